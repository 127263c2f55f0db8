//! T5 (Raffel et al. 2019, arXiv 1910.10683): a language model under BLIP-2 and InstructBLIP, which reads with an encoder
//! and writes with a decoder. Names and order of operations follow transformers' `T5ForConditionalGeneration`.

mod config;
mod stack;

pub use config::T5Config;

use candle_core::Tensor;

use super::causal::{mask, padding};
use super::generate::{Ends, Manner};
use super::language_model::{Begun, LanguageModel, check, check_length, check_one, last, write_on};
use crate::error::{Error, Result};
use crate::nn::{BlockCache, Embedding, Fusion, Linear, Scope};
use crate::taps::{Taps, Tower};
use stack::Stack;

/// The model.
pub struct T5 {
    shared: Embedding,
    encoder: Stack,
    decoder: Stack,
    lm_head: Linear,
    config: T5Config,
}

/// What the encoder has read.
struct Read {
    states: Tensor,           // [batch, positions, width]
    attention: Vec<Vec<u32>>, // 1 for a position, 0 for padding
}

impl T5 {
    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape, or the config names an unknown kind of feed-forward part.
    pub fn load(config: T5Config, scope: &Scope<'_>) -> Result<Self> {
        let (width, tokens) = (config.d_model, config.vocab_size);
        let shared = Embedding::load(&scope.enter("shared"), tokens, width)?;
        let head = if config.tie_word_embeddings {
            shared.weight().clone()
        } else {
            scope.enter("lm_head").matrix("weight", (tokens, width))?
        };
        Ok(Self {
            shared,
            encoder: Stack::load(&config, Tower::Encoder, &scope.enter("encoder"))?,
            decoder: Stack::load(&config, Tower::Decoder, &scope.enter("decoder"))?,
            lm_head: Linear::from_weight(head)?,
            config,
        })
    }

    /// Reads `embeds` `[batch, positions, width]`.
    fn read(&self, embeds: &Tensor, attention: Vec<Vec<u32>>, taps: &mut Taps<'_>) -> Result<Read> {
        let mask = padding(&attention, embeds.device())?; // [batch, 1, 1, positions]
        let states = self.encoder.forward(embeds, &mask, None, None, taps)?;
        Ok(Read { states, attention })
    }

    /// The states after the last block of the decoder and its norm, `[batch, new, width]`, of `embeds` `[batch, new,
    /// width]`, the last tokens of what was written; the first `past` were seen in earlier passes.
    fn states(
        &self,
        embeds: &Tensor,
        past: usize,
        read: &Read,
        caches: Option<&mut [BlockCache]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let (batch, new, _) = embeds.dims3()?;
        let mask = mask(&vec![vec![1; past + new]; batch], past, embeds.device())?; // [batch, 1, new, past + new]
        let seen = padding(&read.attention, embeds.device())?; // [batch, 1, 1, positions]
        let seen = seen.broadcast_as((batch, 1, new, seen.dim(3)?))?.contiguous()?;
        let fusion = Fusion { states: &read.states, mask: Some(&seen) };
        self.decoder.forward(embeds, &mask, Some(fusion), caches, taps)
    }

    /// From states `[batch, written, width]` to scores `[batch, written, tokens]`.
    fn head(&self, states: &Tensor) -> Result<Tensor> {
        if self.config.tie_word_embeddings {
            // The table has learned to be read in, where its vectors are longer.
            return self.lm_head.forward(&(states * (self.config.d_model as f64).powf(-0.5))?);
        }
        self.lm_head.forward(states)
    }
}

impl LanguageModel for T5 {
    fn words(&self) -> &Embedding {
        &self.shared
    }

    fn width(&self) -> usize {
        self.config.d_model
    }

    fn depth(&self) -> usize {
        self.decoder.depth()
    }

    fn context(&self) -> usize {
        self.config.n_positions
    }

    fn begin(&self) -> Option<u32> {
        self.config.bos_token_id
    }

    fn ends(&self) -> Vec<u32> {
        self.config.eos_token_id.as_ref().map(Ends::ids).unwrap_or_default()
    }

    fn start(&self) -> Option<u32> {
        Some(self.config.start())
    }

    fn lens(&self, states: &Tensor) -> Result<Tensor> {
        self.head(&self.decoder.norm(states)?)
    }

    fn logits(
        &self,
        embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        written: Option<&Tensor>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let attention = check(self, embeds, attention_mask)?;
        let batch = attention.len();
        let written = match written {
            Some(written) => written.clone(),
            None => Tensor::from_vec(vec![self.config.start(); batch], (batch, 1), embeds.device())?,
        };
        let (rows, tokens) = written.dims2()?;
        if rows != batch || tokens == 0 {
            return Err(Error::unusable(
                format!("what was written has shape [{rows}, {tokens}] for {batch} inputs"),
                "give one text for each input, each with its start",
            ));
        }
        check_length(tokens, self.context())?;
        let read = self.read(embeds, attention, taps)?;
        self.head(&self.states(&self.embed(&written)?, 0, &read, None, taps)?)
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
        let read = self.read(embeds, attention, taps)?;
        let first = self.embed(&Tensor::new(&[[self.config.start()]], embeds.device())?)?; // [1, 1, width]
        write_on(self, &Begun::default(), &first, how, on_token, |new, past, caches| {
            self.head(&last(&self.states(new, past, &read, Some(caches), taps)?)?)
        })
    }
}
