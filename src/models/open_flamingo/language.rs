//! The language model under an OpenFlamingo, which stays as others published it: MPT or GPT-NeoX.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::gpt_neox::GptNeoXConfig;
use super::mpt::MptConfig;
use crate::error::Result;
use crate::models::causal::mask;
use crate::models::checkpoint::Checkpoint;
use crate::nn::{Embedding, LanguageBlock, LayerNorm, Linear, Rotary, Scope, Sight};

/// Its sizes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum LanguageSizes {
    /// An `MptForCausalLM`, or the `MosaicGPT` that came before.
    Mpt(MptConfig),
    /// A `GPTNeoXForCausalLM`.
    GptNeoX(GptNeoXConfig),
}

impl Default for LanguageSizes {
    fn default() -> Self {
        Self::Mpt(MptConfig::default())
    }
}

impl LanguageSizes {
    /// Reads and checks the config of a checkpoint.
    ///
    /// # Errors
    /// As [`MptConfig::read`] and [`GptNeoXConfig::read`].
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        if checkpoint.config["model_type"] == "gpt_neox" {
            return Ok(Self::GptNeoX(GptNeoXConfig::read(checkpoint)?));
        }
        Ok(Self::Mpt(MptConfig::read(checkpoint)?))
    }

    /// Length of the vectors.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Mpt(config) => config.d_model,
            Self::GptNeoX(config) => config.hidden_size,
        }
    }

    /// Number of blocks.
    #[must_use]
    pub fn layers(&self) -> usize {
        match self {
            Self::Mpt(config) => config.n_layers,
            Self::GptNeoX(config) => config.num_hidden_layers,
        }
    }

    /// Number of known tokens, before those of OpenFlamingo came.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Mpt(config) => config.vocab_size,
            Self::GptNeoX(config) => config.vocab_size,
        }
    }

    /// Where the blocks stand among the weights.
    pub(super) fn blocks(&self) -> &'static str {
        match self {
            Self::Mpt(_) => "transformer.blocks",
            Self::GptNeoX(_) => "gpt_neox.layers",
        }
    }

    /// What the tokens of one pass see: the last of texts whose attention mask is `attention`, one row for each entry of the
    /// batch (1 for a token, 0 for padding), at `positions`, behind the first `past`, which were seen in earlier passes.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub(super) fn view(
        &self,
        attention: &[Vec<u32>],
        positions: &[Vec<u32>],
        past: usize,
        device: &Device,
    ) -> Result<View> {
        Ok(match self {
            Self::Mpt(config) => View { mask: config.mask(attention, past, device)?, rotary: None },
            Self::GptNeoX(config) => View {
                mask: mask(attention, past, device)?,
                rotary: Some(Rotary::new(positions, config.head_width(), config.rotary_emb_base, device)?),
            },
        })
    }
}

/// What the tokens of one pass see, and how they are turned where positions are told so.
pub(super) struct View {
    mask: Tensor, // [batch, heads or 1, queries, tokens]
    rotary: Option<Rotary>,
}

impl View {
    /// The same for the blocks.
    pub fn sight(&self) -> Sight<'_> {
        Sight { mask: Some(&self.mask), rotary: self.rotary.as_ref(), fusion: None }
    }
}

/// The model.
pub(super) struct Language {
    pub words: Embedding,
    pub blocks: Vec<LanguageBlock>,
    norm: LayerNorm,
    head: Linear,
}

impl Language {
    /// Builds the model from its own weights in `own`, and what was trained of them in `trained`: the tables of `tokens` tokens,
    /// or else the first rows of its own.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(sizes: &LanguageSizes, tokens: usize, own: &Scope<'_>, trained: &Scope<'_>) -> Result<Self> {
        let (width, known) = (sizes.width(), sizes.vocab_size());
        let table = |name: &str| {
            if trained.contains(name) || tokens > known {
                return trained.matrix(name, (tokens, width));
            }
            own.matrix(name, (known, width))?.narrow(0, tokens)
        };
        let scope = own.enter(sizes.blocks());
        match sizes {
            LanguageSizes::Mpt(config) => {
                let words = table("transformer.wte.weight")?;
                let stack = own.enter("transformer");
                let last = if stack.contains("ln_f.weight") { "ln_f" } else { "norm_f" };
                Ok(Self {
                    blocks: (0..config.n_layers)
                        .map(|layer| LanguageBlock::load_mpt(&scope.enter(layer), config.block()))
                        .collect::<Result<_>>()?,
                    norm: LayerNorm::load_without_bias(&stack.enter(last), width, config.layer_norm_epsilon)?,
                    head: Linear::from_weight(words.clone())?,
                    words: Embedding::new(words),
                })
            }
            LanguageSizes::GptNeoX(config) => {
                let last = own.enter("gpt_neox.final_layer_norm");
                Ok(Self {
                    blocks: (0..config.num_hidden_layers)
                        .map(|layer| LanguageBlock::load_gpt_neox(&scope.enter(layer), config.block()))
                        .collect::<Result<_>>()?,
                    norm: LayerNorm::load(&last, width, config.layer_norm_eps)?,
                    head: Linear::from_weight(table("embed_out.weight")?)?,
                    words: Embedding::new(table("gpt_neox.embed_in.weight")?),
                })
            }
        }
    }

    /// From states `[batch, positions, width]` behind the last block to scores `[batch, positions, tokens]`.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn scores(&self, states: &Tensor) -> Result<Tensor> {
        self.head.forward(&self.norm.forward(states)?)
    }
}
