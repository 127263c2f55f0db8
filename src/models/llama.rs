//! LLaMA (Touvron et al. 2023, arXiv 2302.13971): the language model under Flamingo, here by itself, and, as Vicuna, under
//! InstructBLIP and LLaVA; with it Mistral and Qwen2, which are the same but for a window and some biases.
//!
//! Names and order of operations follow transformers' `LlamaForCausalLM`, `MistralForCausalLM` and `Qwen2ForCausalLM`.

mod config;
mod rope;

pub use config::{LlamaConfig, LlamaKind};
pub use rope::RopeScaling;

use candle_core::{Device, Tensor};

use super::causal::{View, mask_within, positions, positions_in_order};
use super::generate::{Ends, Manner};
use super::language_model::{Begun, LanguageModel, check_alone, check_one, write_alone};
use crate::error::Result;
use crate::nn::{BlockCache, Embedding, LanguageBlock, Linear, RmsNorm, Rotary, Scope};
use crate::taps::{Taps, Tower};

/// The model.
pub struct Llama {
    embed_tokens: Embedding,
    layers: Vec<LanguageBlock>,
    norm: RmsNorm,
    lm_head: Linear,
    config: LlamaConfig,
}

impl Llama {
    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: LlamaConfig, scope: &Scope<'_>) -> Result<Self> {
        let model = scope.enter("model");
        let (width, tokens) = (config.hidden_size, config.vocab_size);
        let embed_tokens = Embedding::load(&model.enter("embed_tokens"), tokens, width)?;
        let head = if config.tie_word_embeddings {
            embed_tokens.weight().clone()
        } else {
            scope.enter("lm_head").matrix("weight", (tokens, width))?
        };
        let layers = model.enter("layers");
        Ok(Self {
            embed_tokens,
            layers: (0..config.num_hidden_layers)
                .map(|layer| LanguageBlock::load_llama(&layers.enter(layer), config.block()))
                .collect::<Result<_>>()?,
            norm: RmsNorm::load(&model.enter("norm"), width, config.rms_norm_eps)?,
            lm_head: Linear::from_weight(head)?,
            config,
        })
    }

    /// What the tokens of one pass see, and how they are turned: the last tokens of texts whose attention mask is
    /// `attention`, at `positions`, behind the first `past`, which were seen in earlier passes.
    fn view(&self, attention: &[Vec<u32>], positions: &[Vec<u32>], past: usize, device: &Device) -> Result<View> {
        let tokens = positions.iter().flatten().max().map_or(0, |last| *last as usize + 1);
        Ok(View {
            mask: mask_within(attention, past, self.config.sliding_window, device)?,
            rotary: Rotary::with_speeds(positions, &self.config.speeds(tokens), device)?,
        })
    }

    /// The states after the last block, `[batch, new, width]`, of `embeds` `[batch, new, width]`, the last positions of
    /// texts.
    fn states(
        &self,
        embeds: &Tensor,
        view: &View,
        caches: Option<&mut [BlockCache]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        LanguageBlock::through(&self.layers, embeds.clone(), view.sight(), caches, Tower::Decoder, taps)
    }

    /// From states `[batch, positions, width]` to scores `[batch, positions, tokens]`.
    fn head(&self, states: &Tensor) -> Result<Tensor> {
        self.lm_head.forward(&self.norm.forward(states)?)
    }
}

impl LanguageModel for Llama {
    fn words(&self) -> &Embedding {
        &self.embed_tokens
    }

    fn width(&self) -> usize {
        self.config.hidden_size
    }

    fn key_width(&self) -> usize {
        self.config.key_heads() * self.config.head_width()
    }

    fn depth(&self) -> usize {
        self.layers.len()
    }

    fn context(&self) -> usize {
        self.config.context()
    }

    fn begin(&self) -> Option<u32> {
        self.config.bos_token_id
    }

    fn ends(&self) -> Vec<u32> {
        self.config.eos_token_id.as_ref().map(Ends::ids).unwrap_or_default()
    }

    fn start(&self) -> Option<u32> {
        None
    }

    fn lens(&self, states: &Tensor) -> Result<Tensor> {
        self.head(states)
    }

    fn logits(
        &self,
        embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        written: Option<&Tensor>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let attention = check_alone(self, embeds, attention_mask, written)?;
        // transformers counts padding among the positions here, and doesn't when it writes.
        let view = self.view(&attention, &positions_in_order(&attention), 0, embeds.device())?;
        self.head(&self.states(embeds, &view, None, taps)?)
    }

    fn generate(
        &self,
        embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        how: Manner,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        let attention = check_one(self, embeds, attention_mask)?;
        write_alone(self, (&Begun::default(), &attention), embeds, how, taps, on_token)
    }

    fn reads_in_parts(&self, positions: usize) -> bool {
        self.config.speeds(positions) == self.config.speeds(1)
    }

    fn states_behind(
        &self,
        embeds: &Tensor,
        (attention, past): (&[Vec<u32>], usize),
        caches: &mut [BlockCache],
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let view = self.view(attention, &positions(attention, past), past, embeds.device())?;
        self.states(embeds, &view, Some(caches), taps)
    }
}
