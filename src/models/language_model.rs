//! A language model that is given vectors instead of tokens, so that what comes from a picture can stand among its words,
//! as in BLIP-2 (Li et al. 2023, arXiv 2301.12597), InstructBLIP (Dai et al. 2023, arXiv 2305.06500) and LLaVA (Liu et al.
//! 2023, arXiv 2304.08485).

use candle_core::{DType, Tensor};
use serde::Serialize;
use serde_json::{Map, Value};

use super::causal::{fits, rows};
use super::checkpoint::Checkpoint;
use super::generate::{Limits, Manner, write};
use super::llama::{Llama, LlamaConfig, LlamaKind};
use super::opt::{Opt, OptConfig};
use super::t5::{T5, T5Config};
use crate::error::{Error, Result};
use crate::nn::{BlockCache, Embedding, Scope};
use crate::taps::Taps;

/// What OPT, LLaMA with its relatives, and T5 have in common. All but the last are a decoder alone, which writes on after
/// what it is given; T5 reads it with an encoder ([`crate::taps::Tower::Encoder`]) and writes with a decoder.
pub trait LanguageModel: Send + Sync {
    /// The table of the tokens that it reads, `[tokens, width]`.
    fn words(&self) -> &Embedding;
    /// Length of the vectors that it is given.
    fn width(&self) -> usize;
    /// Length of the keys, and of the values, that a block of the decoder keeps of each position.
    fn key_width(&self) -> usize {
        self.width()
    }
    /// Number of blocks of the decoder.
    fn depth(&self) -> usize;
    /// The longest input, in vectors.
    fn context(&self) -> usize;
    /// The token that begins a text, if there is one.
    fn begin(&self) -> Option<u32>;
    /// The tokens that end a written text.
    fn ends(&self) -> Vec<u32>;
    /// The token before the first one that the decoder of an encoder and a decoder writes; `None` for a decoder alone.
    fn start(&self) -> Option<u32>;

    /// Whether an encoder reads what a decoder writes about.
    fn encoder_decoder(&self) -> bool {
        self.start().is_some()
    }

    /// The vectors of `ids` `[batch, tokens]`, `[batch, tokens, width]`.
    ///
    /// # Errors
    /// If an id is unknown.
    fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        self.words().forward(ids)
    }

    /// The scores of all words for states `[batch, positions, width]` behind any block of the decoder, `[batch, positions,
    /// tokens]`: the norm and the output layer that otherwise stand behind the last block. Behind that one they are
    /// [`Self::logits`]; earlier it is the logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens"; for
    /// pictures' positions Neo et al. 2024, arXiv 2410.07149, github.com/clemneo/llava-interp:src/lvlm_lens.py), which
    /// shows what a state is on its way to. The states are those of [`crate::taps::Point::ResidPost`].
    ///
    /// # Errors
    /// If the shape doesn't fit.
    fn lens(&self, states: &Tensor) -> Result<Tensor>;

    /// The scores of what follows. Reads `embeds` `[batch, positions, width]`; `attention_mask` `[batch, positions]` is 1
    /// for a position and 0 for padding. A decoder alone gives what follows each position, `[batch, positions, tokens]`.
    /// With an encoder it is what follows each token of `written` `[batch, written]`, which begins with
    /// [`Self::start`] (and is that alone for `None`): `[batch, written, tokens]`.
    ///
    /// # Errors
    /// If the shapes don't fit each other or the model, the input is empty or too long, an id is unknown, the pass is
    /// cancelled, or an observer fails; also if a decoder alone gets `written`.
    fn logits(
        &self,
        embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        written: Option<&Tensor>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor>;

    /// Writes a text after one input, `embeds` `[1, positions, width]`, with `attention_mask` `[1, positions]` as for
    /// [`Self::logits`]. Each token is handed to `on_token`, which returns whether to go on. Returns the new tokens, with
    /// the one that ends the text if it came to that. A recorder that watches keeps the pass of the last token.
    ///
    /// # Errors
    /// As [`Self::logits`], and if there are several inputs, `how` makes no sense, or a score isn't finite.
    fn generate(
        &self,
        embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        how: Manner,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>>;

    /// Whether a row of so many `positions` can be read in parts, with the same result as in one pass. An encoder can't, nor
    /// can a decoder that turns every position by the length of the row.
    fn reads_in_parts(&self, _positions: usize) -> bool {
        false
    }

    /// The states behind the last block, `[batch, new, width]`, of `embeds` `[batch, new, width]`, the last positions of rows
    /// whose attention mask is `attention`, 1 for a position and 0 for padding. The first `past` were seen in earlier passes,
    /// which left `caches`, one for each block; these then hold the new ones, too.
    ///
    /// # Errors
    /// As [`Self::logits`], and if the model reads a row only as a whole.
    fn states_behind(
        &self,
        _embeds: &Tensor,
        (_attention, _past): (&[Vec<u32>], usize),
        _caches: &mut [BlockCache],
        _taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        Err(Error::unusable(
            "this language model reads a row only as a whole",
            "let it read picture and text in one pass",
        ))
    }

    /// The scores of what follows each of `embeds` `[1, new, width]`, which stand behind what `begun` has read: `[1, new,
    /// tokens]`. `begun` has then read these, too.
    ///
    /// # Errors
    /// As [`Self::states_behind`].
    fn read_on(&self, begun: &mut Begun, embeds: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let attention = check_behind(self, begun, embeds)?;
        let mut caches = begun.caches(self.depth());
        let states = self.states_behind(embeds, (&attention, begun.positions), &mut caches, taps)?;
        *begun = Begun { positions: begun.positions + embeds.dim(1)?, caches };
        self.lens(&states)
    }

    /// [`Self::generate`] after `embeds` that stand behind what `begun` has read.
    ///
    /// # Errors
    /// As [`Self::generate`], and if the model reads a row only as a whole.
    fn write_behind(
        &self,
        begun: &Begun,
        embeds: &Tensor,
        how: Manner,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        let attention = check_behind(self, begun, embeds)?;
        write_alone(self, (begun, &attention), embeds, how, taps, on_token)
    }
}

/// The beginning of a row that a decoder has read, so that what follows can be read without it. Nothing to begin with.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    positions: usize,
    caches: Vec<BlockCache>, // one for each block
}

impl Begun {
    /// The number of positions that were read.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// What the passes left in each of `depth` blocks.
    fn caches(&self, depth: usize) -> Vec<BlockCache> {
        if self.caches.is_empty() { vec![BlockCache::default(); depth] } else { self.caches.clone() }
    }
}

/// `text_config`, by its `model_type`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "model_type", rename_all = "lowercase")]
pub enum LanguageConfig {
    /// An `OPTForCausalLM`.
    Opt(OptConfig),
    /// A `T5ForConditionalGeneration`.
    T5(T5Config),
    /// A `LlamaForCausalLM`, under InstructBLIP and LLaVA a Vicuna.
    Llama(LlamaConfig),
    /// A `MistralForCausalLM`.
    Mistral(LlamaConfig),
    /// A `Qwen2ForCausalLM`.
    Qwen2(LlamaConfig),
}

impl LanguageConfig {
    /// Reads and checks `config`, which is part of the config of `checkpoint`.
    ///
    /// # Errors
    /// If it is of another kind, a value has the wrong type or makes no sense.
    pub fn read(config: &Value, checkpoint: &Checkpoint) -> Result<Self> {
        // transformers takes a language model for an OPT when its config doesn't say what it is.
        match config["model_type"].as_str().unwrap_or("opt") {
            "opt" => Ok(Self::Opt(OptConfig::read(config, checkpoint)?)),
            "t5" => Ok(Self::T5(T5Config::read(config, checkpoint)?)),
            "llama" => Ok(Self::Llama(LlamaConfig::read(config, checkpoint)?)),
            "mistral" => Ok(Self::Mistral(LlamaConfig::read_as(LlamaKind::Mistral, config, checkpoint)?)),
            "qwen2" => Ok(Self::Qwen2(LlamaConfig::read_as(LlamaKind::Qwen2, config, checkpoint)?)),
            other => Err(checkpoint.config_error(format!(
                "the config says that the language model is of the kind '{other}', and Alignscope knows opt, t5, llama, \
                 mistral and qwen2"
            ))),
        }
    }

    /// Length of the vectors that the model is given.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Opt(config) => config.word_width(),
            Self::T5(config) => config.d_model,
            Self::Llama(config) | Self::Mistral(config) | Self::Qwen2(config) => config.hidden_size,
        }
    }

    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(&self, scope: &Scope<'_>) -> Result<Box<dyn LanguageModel>> {
        let model: Box<dyn LanguageModel> = match self {
            Self::Opt(config) => Box::new(Opt::load(config.clone(), scope)?),
            Self::T5(config) => Box::new(T5::load(config.clone(), scope)?),
            Self::Llama(config) | Self::Mistral(config) | Self::Qwen2(config) => {
                Box::new(Llama::load(config.clone(), scope)?)
            }
        };
        Ok(model)
    }
}

/// What a config says, without what it leaves open: transformers writes that as null, and a part that was left at its
/// defaults too. Only for the tokens that end a text null is a value, none.
pub(super) fn said(config: &Value) -> Value {
    match config {
        Value::Null => Value::Object(Map::new()),
        Value::Object(config) => {
            let mut config = config.clone();
            config.retain(|key, value| !value.is_null() || key == "eos_token_id");
            Value::Object(config)
        }
        other => other.clone(),
    }
}

/// Refuses vectors `[batch, positions, width]` that `model` can't read; gives the attention mask as rows.
pub(super) fn check(
    model: &dyn LanguageModel,
    embeds: &Tensor,
    attention_mask: Option<&Tensor>,
) -> Result<Vec<Vec<u32>>> {
    let (batch, positions, _) = embeds.dims3()?;
    fits("input of the language model", embeds.dims(), &[batch, positions, model.width()])?;
    check_length(positions, model.context())?;
    rows((batch, positions), attention_mask)
}

/// Refuses a text that is too long.
pub(super) fn check_length(tokens: usize, context: usize) -> Result<()> {
    if tokens > context {
        return Err(Error::unusable(
            format!("the text and its picture have {tokens} tokens, but the language model reads at most {context}"),
            "shorten the text",
        ));
    }
    Ok(())
}

/// [`check()`] for a decoder alone, whose input holds what was written before.
pub(super) fn check_alone(
    model: &dyn LanguageModel,
    embeds: &Tensor,
    attention_mask: Option<&Tensor>,
    written: Option<&Tensor>,
) -> Result<Vec<Vec<u32>>> {
    if written.is_some() {
        return Err(Error::unusable(
            "the language model has no encoder, so nothing was written beside its input",
            "put what was written behind the input",
        ));
    }
    check(model, embeds, attention_mask)
}

/// [`check()`] for writing, which goes one text at a time.
pub(super) fn check_one(
    model: &dyn LanguageModel,
    embeds: &Tensor,
    attention_mask: Option<&Tensor>,
) -> Result<Vec<Vec<u32>>> {
    let rows = check(model, embeds, attention_mask)?;
    if rows.len() != 1 {
        return Err(Error::unusable("several texts can't be written on at once", "give one text"));
    }
    Ok(rows)
}

/// The attention mask of texts that have grown to `tokens`, none of the new ones padding.
fn grown(mut attention: Vec<Vec<u32>>, tokens: usize) -> Vec<Vec<u32>> {
    attention.iter_mut().for_each(|row| row.resize(tokens, 1));
    attention
}

/// The state of the last position of `[batch, positions, width]`, `[batch, 1, width]`.
pub(super) fn last(states: &Tensor) -> Result<Tensor> {
    Ok(states.narrow(1, states.dim(1)?.saturating_sub(1), 1)?)
}

/// Refuses vectors `[1, new, width]` that `model` can't read behind `begun`; gives the attention mask of the whole row, in which
/// nothing is padding.
fn check_behind(model: &(impl LanguageModel + ?Sized), begun: &Begun, embeds: &Tensor) -> Result<Vec<Vec<u32>>> {
    let new = embeds.dims3()?.1;
    fits("input of the language model", embeds.dims(), &[1, new.max(1), model.width()])?;
    check_length(begun.positions + new, model.context())?;
    Ok(vec![vec![1; begun.positions + new]])
}

/// Lets a decoder alone write on after `embeds` `[1, positions, width]` behind what `begun` has read; `attention` is the mask of
/// all of it.
pub(super) fn write_alone(
    model: &(impl LanguageModel + ?Sized),
    (begun, attention): (&Begun, &[Vec<u32>]),
    embeds: &Tensor,
    how: Manner,
    taps: &mut Taps<'_>,
    on_token: &mut dyn FnMut(u32) -> bool,
) -> Result<Vec<u32>> {
    write_on(model, begun, embeds, how, on_token, |new, past, caches| {
        let attention = grown(attention.to_vec(), past + new.dim(1)?);
        model.lens(&last(&model.states_behind(new, (&attention, past), caches, taps)?)?)
    })
}

/// Writes on after `first` `[1, positions, width]`, which stand behind what `begun` has read. `pass` gets what no pass has
/// seen yet, `[1, new, width]`, how many positions were seen before, and what their passes left, one for each block; it gives
/// the scores of what follows the last position, `[1, 1, tokens]`.
pub(super) fn write_on(
    model: &(impl LanguageModel + ?Sized),
    begun: &Begun,
    first: &Tensor,
    how: Manner,
    on_token: &mut dyn FnMut(u32) -> bool,
    mut pass: impl FnMut(&Tensor, usize, &mut [BlockCache]) -> Result<Tensor>,
) -> Result<Vec<u32>> {
    let given = begun.positions + first.dim(1)?;
    let ends = model.ends();
    let context = model.context().saturating_sub(given);
    let limits = Limits { max_new_tokens: how.max_new_tokens, context, ends: &ends };
    let mut caches = begun.caches(model.depth());
    write(Vec::new(), limits, how.choice, on_token, |text| {
        let new = match text {
            [] => first.clone(),
            [.., token] if how.cached => model.embed(&Tensor::new(&[[*token]], first.device())?)?,
            _ => {
                let ids = Tensor::new(text, first.device())?.unsqueeze(0)?;
                Tensor::cat(&[first, &model.embed(&ids)?], 1)?
            }
        };
        let past = given + text.len() - new.dim(1)?;
        if !how.cached {
            caches = begun.caches(model.depth());
        }
        let scores = pass(&new, past, &mut caches)?;
        Ok(scores.flatten_all()?.to_dtype(DType::F32)?)
    })
}
