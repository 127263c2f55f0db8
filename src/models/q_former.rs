//! The querying transformer (Q-Former) of BLIP-2 (Li et al. 2023, arXiv 2301.12597) and InstructBLIP (Dai et al. 2023,
//! arXiv 2305.06500): a fixed number of learned queries look at a picture, beside a text or without one.
//!
//! Names and order of operations follow transformers' `Blip2QFormerModel` and `InstructBlipQFormerModel`.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::causal::fits;
use super::checkpoint::Checkpoint;
use super::tokenizer::TextBatch;
use crate::error::{Error, Result};
use crate::nn::{Activation, BlockShape, Embedding, LayerNorm, QFormerBlock, Scope, padding_mask};
use crate::taps::{MASKED, Point, Site, Taps, Tower};

/// `qformer_config`. Keys that a file leaves out have the values that transformers gives them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct QFormerConfig {
    /// Number of known tokens.
    pub vocab_size: usize,
    /// Length of the vectors.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// Length of the vectors inside the feed-forward parts.
    pub intermediate_size: usize,
    /// Activation of the feed-forward parts.
    pub hidden_act: Activation,
    /// What layer norm adds to the variance.
    pub layer_norm_eps: f64,
    /// The longest text, in tokens, queries not counted.
    pub max_position_embeddings: usize,
    /// The padding token.
    pub pad_token_id: u32,
    /// How positions are told; only `absolute` is known here.
    pub position_embedding_type: String,
    /// Every so many blocks, from the first one on, the queries look at the picture.
    pub cross_attention_frequency: usize,
    /// Length of the vectors that queries look at: the width of the vision tower.
    pub encoder_hidden_size: usize,
    /// Whether BLIP-2 reads texts; InstructBLIP always does.
    pub use_qformer_text_input: bool,
}

impl Default for QFormerConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            max_position_embeddings: 512,
            pad_token_id: 0,
            position_embedding_type: "absolute".into(),
            cross_attention_frequency: 2,
            encoder_hidden_size: 1408,
            use_qformer_text_input: false,
        }
    }
}

impl QFormerConfig {
    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// On the first such value.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.check_sizes(&[
            ("qformer vocab_size", self.vocab_size, 1 << 20),
            ("qformer hidden_size", self.hidden_size, 1 << 14),
            ("qformer intermediate_size", self.intermediate_size, 1 << 16),
            ("qformer num_hidden_layers", self.num_hidden_layers, 256),
            ("qformer max_position_embeddings", self.max_position_embeddings, 1 << 14),
            ("cross_attention_frequency", self.cross_attention_frequency, 256),
            ("encoder_hidden_size", self.encoder_hidden_size, 1 << 14),
        ])?;
        checkpoint.check_block(self.hidden_size, self.num_attention_heads, self.layer_norm_eps)?;
        if self.position_embedding_type != "absolute" {
            let found = &self.position_embedding_type;
            return Err(checkpoint.config_error(format!("the config asks for '{found}' positions, not for 'absolute'")));
        }
        Ok(())
    }

    /// The blocks in which queries look at the picture.
    #[must_use]
    pub fn cross_layers(&self) -> Vec<usize> {
        (0..self.num_hidden_layers).filter(|layer| self.crosses(*layer)).collect()
    }

    fn crosses(&self, layer: usize) -> bool {
        layer.is_multiple_of(self.cross_attention_frequency)
    }
}

/// Where the tables of words and positions are, if there are any.
#[derive(Clone)]
pub enum TextInput<'a> {
    /// The transformer reads no texts (`Blip2ForConditionalGeneration`).
    None,
    /// There, outside of the Q-Former (`embeddings` in `Blip2ForImageTextRetrieval`).
    Outside(Scope<'a>),
    /// Under `embeddings` in the Q-Former, together with the norm (`InstructBlipForConditionalGeneration`).
    Own,
}

/// What sees what in self-attention: the three masks of BLIP-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QFormerMask {
    /// Queries and text don't see each other (image-text contrast).
    Unimodal,
    /// Everything sees everything (image-text matching).
    Bidirectional,
    /// Queries see queries alone; a token sees the queries and the text up to itself (image-grounded text generation).
    Causal,
}

/// Which position may see which under `mask`, `queries` first and then `tokens` of a text: row by row, `[positions,
/// positions]`, query -> key. Padding isn't looked at here.
#[must_use]
pub fn allowed(mask: QFormerMask, queries: usize, tokens: usize) -> Vec<bool> {
    let positions = queries + tokens;
    let sees = move |from: usize, to: usize| match mask {
        QFormerMask::Unimodal => (from < queries) == (to < queries),
        QFormerMask::Bidirectional => true,
        QFormerMask::Causal => to < queries || (from >= queries && to <= from),
    };
    (0..positions).flat_map(|from| (0..positions).map(move |to| sees(from, to))).collect()
}

/// A text beside the queries.
#[derive(Clone, Copy, Debug)]
pub struct QFormerText<'a> {
    /// `[batch, tokens]`.
    pub ids: &'a Tensor,
    /// `[batch, tokens]`, 1 for a token and 0 for padding; `None` without padding.
    pub attention_mask: Option<&'a Tensor>,
}

impl<'a> From<&'a TextBatch> for QFormerText<'a> {
    fn from(texts: &'a TextBatch) -> Self {
        Self { ids: &texts.ids, attention_mask: texts.attention_mask.as_ref() }
    }
}

/// What one pass gets.
#[derive(Clone, Copy, Debug)]
pub struct QFormerInput<'a> {
    /// The raw queries, `[batch, queries, width]`; `None` for a text alone.
    pub queries: Option<&'a Tensor>,
    /// The text; `None` for queries alone.
    pub text: Option<QFormerText<'a>>,
    /// What the queries look at, `[batch, 1 + patches, vision width]`; a text alone needs none.
    pub states: Option<&'a Tensor>,
    /// What sees what.
    pub mask: QFormerMask,
}

/// Norm, blocks, and the tables of the text.
#[derive(Clone, Debug)]
pub struct QFormer {
    norm: LayerNorm,
    text: Option<TextTables>,
    blocks: Vec<QFormerBlock>,
}

#[derive(Clone, Debug)]
struct TextTables {
    words: Embedding,
    positions: Embedding,
    context: usize,
}

impl QFormer {
    /// Builds the transformer from the weights under `qformer`. Its sites are those of [`Tower::QFormer`]; a block
    /// without cross-attention has no such site.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: &QFormerConfig, text: &TextInput<'_>, scope: &Scope<'_>) -> Result<Self> {
        let shape = BlockShape {
            width: config.hidden_size,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        let own = scope.enter("embeddings");
        let (tables, norm) = match text {
            TextInput::None => (None, scope.enter("layernorm")),
            TextInput::Outside(tables) => (Some(tables.clone()), scope.enter("layernorm")),
            TextInput::Own => (Some(own.clone()), own.enter("layernorm")),
        };
        let layers = scope.enter("encoder.layer");
        let block = |layer: usize| {
            let key_width = config.crosses(layer).then_some(config.encoder_hidden_size);
            QFormerBlock::load(&layers.enter(layer), shape, key_width, tables.is_some())
        };
        Ok(Self {
            norm: LayerNorm::load(&norm, config.hidden_size, config.layer_norm_eps)?,
            text: tables.as_ref().map(|tables| TextTables::load(config, tables)).transpose()?,
            blocks: (0..config.num_hidden_layers).map(block).collect::<Result<_>>()?,
        })
    }

    /// Number of blocks.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// The table of words, if the transformer reads texts.
    #[must_use]
    pub fn words(&self) -> Option<&Embedding> {
        self.text.as_ref().map(|tables| &tables.words)
    }

    /// The states after the last block, `[batch, queries + tokens, width]`, queries first.
    ///
    /// # Errors
    /// If there is neither a query nor a text, a text is too long or not read here, an id is unknown, the parts don't
    /// belong together, the pass is cancelled, or an observer fails.
    pub fn forward(&self, input: QFormerInput<'_>, taps: &mut Taps<'_>) -> Result<Tensor> {
        let embedded = input.text.map(|text| self.embed(text)).transpose()?; // [batch, tokens, width]
        let parts: Vec<&Tensor> = input.queries.into_iter().chain(&embedded).collect();
        let Some(first) = parts.first() else {
            return Err(Error::unusable("there are neither queries nor a text to read", "give one of them"));
        };
        let batch = first.dim(0)?;
        for part in parts.iter().copied().chain(input.states) {
            let rows = part.dim(0)?;
            if rows != batch {
                return Err(Error::unusable(
                    format!("there are {batch} and {rows} rows of queries, texts and pictures, which must be as many"),
                    "give each text its picture",
                ));
            }
        }
        let queries = input.queries.map_or(Ok(0), |queries| queries.dim(1))?;
        let x = self.norm.forward(&Tensor::cat(&parts, 1)?)?; // [batch, queries + tokens, width]
        let mask = scores_mask(input, [batch, queries, x.dim(1)?], x.device())?;
        let mut x = taps.tap(Site::new(Tower::QFormer, 0, Point::Embed), x)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, queries, mask.as_ref(), input.states, layer, taps)?;
        }
        Ok(x)
    }

    /// Words and positions of a text, `[batch, tokens, width]`.
    fn embed(&self, text: QFormerText<'_>) -> Result<Tensor> {
        let Some(tables) = &self.text else {
            return Err(Error::unusable(
                "this querying transformer reads no texts",
                "open a Blip2ForImageTextRetrieval or an InstructBLIP",
            ));
        };
        let (batch, tokens) = text.ids.dims2()?;
        if batch == 0 || tokens == 0 {
            return Err(Error::unusable("the text is empty", "write at least one word"));
        }
        if tokens > tables.context {
            return Err(Error::unusable(
                format!("the text has {tokens} tokens, but the model reads at most {}", tables.context),
                "shorten the text",
            ));
        }
        if let Some(mask) = text.attention_mask {
            fits("attention mask", mask.dims(), &[batch, tokens])?;
        }
        let positions = tables.positions.first(tokens)?; // [tokens, width]
        Ok(tables.words.forward(text.ids)?.broadcast_add(&positions)?)
    }
}

impl TextTables {
    fn load(config: &QFormerConfig, scope: &Scope<'_>) -> Result<Self> {
        let (width, context) = (config.hidden_size, config.max_position_embeddings);
        Ok(Self {
            words: Embedding::load(&scope.enter("word_embeddings"), config.vocab_size, width)?,
            positions: Embedding::load(&scope.enter("position_embeddings"), context, width)?,
            context,
        })
    }
}

/// What is added to the scores of self-attention, `[batch or 1, 1, positions, positions]`; `None` where everything sees
/// everything.
fn scores_mask(
    input: QFormerInput<'_>,
    [batch, queries, positions]: [usize; 3],
    device: &Device,
) -> Result<Option<Tensor>> {
    let allowed = allowed(input.mask, queries, positions.saturating_sub(queries));
    let order = if allowed.contains(&false) {
        let added = allowed.into_iter().map(|allowed| if allowed { 0.0 } else { MASKED }).collect::<Vec<f32>>();
        Some(Tensor::from_vec(added, (1, 1, positions, positions), device)?)
    } else {
        None
    };
    let Some(tokens) = input.text.and_then(|text| text.attention_mask) else { return Ok(order) };
    let padding = if queries > 0 {
        let seen = Tensor::ones((batch, queries), tokens.dtype(), device)?;
        padding_mask(&Tensor::cat(&[&seen, tokens], 1)?)?
    } else {
        padding_mask(tokens)?
    }; // [batch, 1, positions, positions]
    Ok(Some(match order {
        Some(order) => padding.broadcast_add(&order)?,
        None => padding,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows as text: a letter for what is seen, a point for what isn't.
    fn rows(mask: QFormerMask, queries: usize, tokens: usize) -> Vec<String> {
        let letters: Vec<char> = allowed(mask, queries, tokens).iter().map(|a| if *a { 'x' } else { '.' }).collect();
        letters.chunks((queries + tokens).max(1)).map(|row| row.iter().collect()).collect()
    }

    #[test]
    fn the_three_masks_of_the_paper() {
        assert_eq!(rows(QFormerMask::Unimodal, 2, 3), ["xx...", "xx...", "..xxx", "..xxx", "..xxx"]);
        assert_eq!(rows(QFormerMask::Bidirectional, 2, 1), ["xxx", "xxx", "xxx"]);
        assert_eq!(rows(QFormerMask::Causal, 2, 3), ["xx...", "xx...", "xxx..", "xxxx.", "xxxxx"]);
        assert_eq!(rows(QFormerMask::Causal, 0, 3), ["x..", "xx.", "xxx"]);
        for mask in [QFormerMask::Unimodal, QFormerMask::Bidirectional, QFormerMask::Causal] {
            assert!(allowed(mask, 0, 0).is_empty());
            assert_eq!(rows(mask, 2, 0), ["xx", "xx"]);
        }
    }

    #[test]
    fn every_second_block_looks_at_the_picture() {
        let mut config = QFormerConfig { num_hidden_layers: 5, ..QFormerConfig::default() };
        assert_eq!(config.cross_layers(), [0, 2, 4]);
        config.cross_attention_frequency = 7;
        assert_eq!(config.cross_layers(), [0]);
    }
}
