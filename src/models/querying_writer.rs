//! A language model that writes about what queries bring back from a picture: BLIP-2 (Li et al. 2023, arXiv 2301.12597)
//! and InstructBLIP (Dai et al. 2023, arXiv 2305.06500), whose queries also read what is asked.
//!
//! Names and order of operations follow transformers' `Blip2ForConditionalGeneration` and
//! `InstructBlipForConditionalGeneration`.

use candle_core::Tensor;

use super::blip_2::{Blip2Base, Blip2Config, Blip2Kind};
use super::checkpoint::Checkpoint;
use super::generate::Manner;
use super::language_model::{LanguageConfig, LanguageModel};
use super::q_former::{QFormerMask, QFormerText};
use super::splice::{places, splice};
use crate::error::{Error, Result};
use crate::nn::{Linear, Scope};
use crate::taps::Taps;

/// Vision tower, queries, and a language model that gets what they bring back as if it were words.
pub struct QueryingWriter {
    base: Blip2Base,
    language_projection: Linear,
    language: Box<dyn LanguageModel>,
    instructed: bool,
}

/// What the language model reads.
#[derive(Clone, Copy, Debug)]
pub struct QueryingPrompt<'a> {
    /// Token ids, `[batch, tokens]`, with as many placeholders as there are queries, as [`QueryingWriter::prompt`] gives
    /// them.
    pub ids: &'a Tensor,
    /// `[batch, tokens]`, 1 for a token and 0 for padding; `None` without padding.
    pub attention_mask: Option<&'a Tensor>,
    /// What takes the places of the placeholders, `[batch, queries, language width]`, as [`QueryingWriter::project`] gives
    /// it.
    pub projected: &'a Tensor,
}

impl QueryingWriter {
    /// Builds the model of a checkpoint from weights with transformers' names.
    ///
    /// # Errors
    /// If the language model is of an unknown kind or its config makes no sense, or a weight is missing or has another
    /// shape.
    pub fn load(config: Blip2Config, kind: Blip2Kind, checkpoint: &Checkpoint, scope: &Scope<'_>) -> Result<Self> {
        let language = LanguageConfig::read(&config.text_config, checkpoint)?;
        let model = Self::build(config, kind, &language, scope)?;
        let known = model.language.words().weight().dims()?.0;
        if let Some(token) = model.placeholder().filter(|token| *token as usize >= known) {
            return Err(checkpoint.config_error(format!(
                "the config says image_token_index = {token}, but the language model knows {known} tokens"
            )));
        }
        Ok(model)
    }

    /// The same for a config that is known to make sense, with that of the language model already read.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn build(
        config: Blip2Config,
        kind: Blip2Kind,
        language_config: &LanguageConfig,
        scope: &Scope<'_>,
    ) -> Result<Self> {
        let language = language_config.load(&scope.enter("language_model"))?;
        let from = config.qformer_config.hidden_size;
        // transformers asks for the width of the blocks, also where words are narrower (OPT-350M).
        let to = match language_config {
            LanguageConfig::Opt(opt) => opt.hidden_size,
            LanguageConfig::T5(_)
            | LanguageConfig::Llama(_)
            | LanguageConfig::Mistral(_)
            | LanguageConfig::Qwen2(_) => language_config.width(),
        };
        Ok(Self {
            language_projection: Linear::load(&scope.enter("language_projection"), from, to)?,
            base: Blip2Base::load(config, kind, scope)?,
            instructed: kind == Blip2Kind::Instructed,
            language,
        })
    }

    /// Vision tower, queries and querying transformer.
    #[must_use]
    pub fn base(&self) -> &Blip2Base {
        &self.base
    }

    /// The language model.
    #[must_use]
    pub fn language(&self) -> &dyn LanguageModel {
        self.language.as_ref()
    }

    /// Whether the queries read what is asked (InstructBLIP).
    #[must_use]
    pub fn instructed(&self) -> bool {
        self.instructed
    }

    /// What the queries bring back from `states` `[batch, 1 + patches, vision width]` of [`Blip2Base::see`], `[batch,
    /// queries, width]`; only the `kept` queries, if some are dropped. InstructBLIP's queries need the `instruction` in the
    /// ids of the Q-Former's tokenizer; BLIP-2's read none.
    ///
    /// # Errors
    /// If an instruction is missing, too long, or not read here, an id is unknown, a query isn't there, there isn't one
    /// picture for each instruction, the pass is cancelled, or an observer fails.
    pub fn query(
        &self,
        states: &Tensor,
        instruction: Option<QFormerText<'_>>,
        kept: Option<&[usize]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let states = self.query_and_text(states, instruction, kept, taps)?;
        let tokens = instruction.map_or(Ok(0), |text| text.ids.dim(1))?;
        Ok(states.narrow(1, 0, states.dim(1)?.saturating_sub(tokens))?.contiguous()?)
    }

    /// The same with what the querying transformer made of the instruction behind the queries, `[batch, queries + tokens,
    /// width]`.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn query_and_text(
        &self,
        states: &Tensor,
        instruction: Option<QFormerText<'_>>,
        kept: Option<&[usize]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        if self.instructed && instruction.is_none() {
            return Err(Error::unusable("InstructBLIP's queries have nothing to look for", "write an instruction"));
        }
        self.base.fused(instruction, states, kept, QFormerMask::Bidirectional, taps)
    }

    /// What queries brought back, `[batch, queries, width]`, in the space of the language model's words, `[batch, queries,
    /// language width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn project(&self, queries: &Tensor) -> Result<Tensor> {
        self.language_projection.forward(queries)
    }

    /// The token that stands in a text for what a query brings back; without one the queries come in front of the text.
    #[must_use]
    pub fn placeholder(&self) -> Option<u32> {
        self.base.config().image_token_index
    }

    /// The ids that the language model reads: a placeholder for each of `queries`, then `words`, as transformers'
    /// processors put them.
    #[must_use]
    pub fn prompt(&self, words: &[u32], queries: usize) -> Vec<u32> {
        let front = self.placeholder().map(|token| vec![token; queries]).unwrap_or_default();
        [front.as_slice(), words].concat()
    }

    /// What the language model gets: the words' vectors, and what the queries brought back in the places of the
    /// placeholders, `[batch, tokens, language width]`. (Of a model without a placeholder `queries + tokens` vectors.)
    ///
    /// # Errors
    /// If an id is unknown, there isn't one picture for each text, or not one placeholder for each query.
    pub fn inputs(&self, ids: &Tensor, projected: &Tensor) -> Result<Tensor> {
        let words = self.language.embed(ids)?; // [batch, tokens, width]
        let (batch, _, width) = words.dims3()?;
        let (pictures, queries, projected_width) = projected.dims3()?;
        if pictures != batch {
            return Err(Error::unusable(
                format!("there are {batch} texts for {pictures} pictures"),
                "give each text its picture",
            ));
        }
        if projected_width != width {
            return Err(Error::unusable(
                format!(
                    "words have vectors of length {width}, and what queries bring back has length {projected_width}"
                ),
                "use a language model whose word_embed_proj_dim is its hidden_size",
            ));
        }
        let Some(placeholder) = self.placeholder() else {
            return Ok(Tensor::cat(&[projected, &words], 1)?);
        };
        if let Some(found) = places(ids, placeholder)?.into_iter().find(|found| *found != queries) {
            return Err(Error::unusable(
                format!("the text has {found} places for what {queries} queries bring back"),
                "leave the token that stands for a picture out of the text",
            ));
        }
        splice(&words, ids, placeholder, projected)
    }

    /// The mask that belongs to [`Self::inputs`].
    fn mask(&self, prompt: QueryingPrompt<'_>) -> Result<Option<Tensor>> {
        let Some(mask) = prompt.attention_mask else { return Ok(None) };
        if self.placeholder().is_some() {
            return Ok(Some(mask.clone()));
        }
        let (batch, queries, _) = prompt.projected.dims3()?;
        let seen = Tensor::ones((batch, queries), mask.dtype(), mask.device())?;
        Ok(Some(Tensor::cat(&[&seen, mask], 1)?)) // [batch, queries + tokens]
    }

    /// The logits of what follows each token, `[batch, tokens, vocabulary]`: of the prompt, or of `written` `[batch,
    /// tokens]`, the start token first, where an encoder reads the prompt.
    ///
    /// # Errors
    /// As [`Self::inputs`], and if a text is too long, the pass is cancelled, or an observer fails.
    pub fn logits(&self, prompt: QueryingPrompt<'_>, written: Option<&Tensor>, taps: &mut Taps<'_>) -> Result<Tensor> {
        let inputs = self.inputs(prompt.ids, prompt.projected)?;
        self.language.logits(&inputs, self.mask(prompt)?.as_ref(), written, taps)
    }

    /// Writes on behind one prompt (or, where an encoder reads it, answers it). Returns the new tokens, with the one that
    /// ends the text if it came to that; each is handed to `on_token`, which returns whether to go on.
    ///
    /// # Errors
    /// As [`Self::logits`], and if there are several prompts, `how` makes no sense, or the model gives numbers that aren't
    /// finite.
    pub fn generate(
        &self,
        prompt: QueryingPrompt<'_>,
        how: Manner,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        let inputs = self.inputs(prompt.ids, prompt.projected)?;
        self.language.generate(&inputs, self.mask(prompt)?.as_ref(), how, taps, on_token)
    }
}
