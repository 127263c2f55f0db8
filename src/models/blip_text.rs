//! The text transformer of BLIP: BERT, whose blocks can look at pictures. It reads both ways as an encoder and only
//! backwards as a decoder. Names and order of operations follow transformers' `BlipTextModel`.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::nn::{
    Activation, BertBlock, BlockCache, BlockShape, Embedding, Fusion, LayerNorm, Scope, causal_mask, padding_mask_for,
};
use crate::taps::{Point, Site, Taps, Tower};

/// `text_config` of BLIP. Keys that a file leaves out have the values that transformers gives them. The width of what
/// cross-attention looks at is always that of the vision tower, whatever `encoder_hidden_size` says, as in transformers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BlipTextConfig {
    /// Number of known tokens.
    pub vocab_size: usize,
    /// Length of the vectors.
    pub hidden_size: usize,
    /// Length of the vectors inside the feed-forward parts.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// How positions are told; BLIP knows `absolute` alone.
    pub position_embedding_type: String,
    /// Activation of the feed-forward parts and of the head.
    pub hidden_act: Activation,
    /// What layer norm adds to the variance.
    pub layer_norm_eps: f64,
    /// The token that a written text starts with.
    pub bos_token_id: u32,
    /// Unused by the model; a written text ends with `sep_token_id`.
    pub eos_token_id: u32,
    /// The padding token.
    pub pad_token_id: u32,
    /// The token that ends a text.
    pub sep_token_id: u32,
    /// Whether the blocks have cross-attention.
    pub is_decoder: bool,
    /// Whether the output matrix of a decoder is its table of words.
    pub tie_word_embeddings: bool,
}

impl Default for BlipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30524,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            position_embedding_type: "absolute".into(),
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            bos_token_id: 30522,
            eos_token_id: 2,
            pad_token_id: 0,
            sep_token_id: 102,
            is_decoder: true,
            tie_word_embeddings: true,
        }
    }
}

impl BlipTextConfig {
    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// On the first such value.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.check_sizes(&[
            ("vocab_size", self.vocab_size, 1 << 20),
            ("text hidden_size", self.hidden_size, 1 << 14),
            ("text intermediate_size", self.intermediate_size, 1 << 16),
            ("text num_hidden_layers", self.num_hidden_layers, 256),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 14),
        ])?;
        checkpoint.check_block(self.hidden_size, self.num_attention_heads, self.layer_norm_eps)?;
        if self.position_embedding_type != "absolute" {
            let found = &self.position_embedding_type;
            return Err(checkpoint.config_error(format!("the config asks for '{found}' positions, not for 'absolute'")));
        }
        if !self.is_decoder {
            return Err(checkpoint.config_error("the config says is_decoder = false, so texts can't look at pictures"));
        }
        if self.bos_token_id as usize >= self.vocab_size {
            return Err(checkpoint.config_error(format!(
                "the config says bos_token_id = {}, but there are {} tokens",
                self.bos_token_id, self.vocab_size
            )));
        }
        Ok(())
    }
}

/// Words, positions and blocks.
#[derive(Clone, Debug)]
pub struct BlipText {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    layer_norm: LayerNorm,
    blocks: Vec<BertBlock>,
    tower: Tower,
    context: usize,
}

impl BlipText {
    /// Builds the transformer from the weights under `text_encoder` or `text_decoder.bert`. Cross-attention looks at
    /// vectors of length `key_width`. The `tower` names the sites; a [`Tower::Decoder`] looks only backwards.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: &BlipTextConfig, key_width: usize, tower: Tower, scope: &Scope<'_>) -> Result<Self> {
        let embeddings = scope.enter("embeddings");
        let layers = scope.enter("encoder.layer");
        let (width, context) = (config.hidden_size, config.max_position_embeddings);
        let shape = BlockShape {
            width,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        Ok(Self {
            word_embeddings: Embedding::load(&embeddings.enter("word_embeddings"), config.vocab_size, width)?,
            position_embeddings: Embedding::load(&embeddings.enter("position_embeddings"), context, width)?,
            layer_norm: LayerNorm::load(&embeddings.enter("LayerNorm"), width, config.layer_norm_eps)?,
            blocks: (0..config.num_hidden_layers)
                .map(|layer| BertBlock::load(&layers.enter(layer), shape, Some(key_width)))
                .collect::<Result<_>>()?,
            tower,
            context,
        })
    }

    /// Number of blocks.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// The longest text, in tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// The table of words.
    #[must_use]
    pub fn words(&self) -> &Embedding {
        &self.word_embeddings
    }

    /// A cache before the first pass.
    #[must_use]
    pub fn new_cache(&self) -> Vec<BlockCache> {
        vec![BlockCache::default(); self.blocks.len()]
    }

    /// The states after the last block, `[batch, tokens, width]`, of `ids` `[batch, tokens]`. `attention_mask` `[batch,
    /// tokens so far]` is 1 for tokens and 0 for padding. Without `fusion` the text is read alone; with it, each row looks
    /// at the row of `fusion`. With a `cache`, `ids` are only the tokens that follow those in it, and it grows by them.
    ///
    /// # Errors
    /// If a text is too long, an id unknown, there isn't one row of `fusion` for each text, the pass is cancelled, or an
    /// observer fails.
    pub fn forward(
        &self,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
        fusion: Option<Fusion<'_>>,
        mut cache: Option<&mut [BlockCache]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        let earlier = match cache.as_deref().and_then(<[BlockCache]>::first) {
            Some(first) => first.self_attn.positions(),
            None => 0,
        };
        self.check(earlier + tokens, batch, fusion)?;
        let mask = self.mask(earlier, tokens, attention_mask, ids)?;
        let positions = self.position_embeddings.slice(earlier, tokens)?; // [tokens, width]
        let x = self.word_embeddings.forward(ids)?.broadcast_add(&positions)?;
        let mut x = taps.tap(Site::new(self.tower, 0, Point::Embed), self.layer_norm.forward(&x)?)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            let cache = cache.as_deref_mut().and_then(|cache| cache.get_mut(layer));
            x = block.forward(x, mask.as_ref(), fusion, cache, (self.tower, layer), taps)?;
        }
        Ok(x)
    }

    fn check(&self, tokens: usize, texts: usize, fusion: Option<Fusion<'_>>) -> Result<()> {
        if tokens > self.context {
            return Err(Error::unusable(
                format!("the text has {tokens} tokens, but the model reads at most {}", self.context),
                "shorten the text",
            ));
        }
        let rows = fusion.map_or(Ok(texts), |fusion| fusion.states.dim(0))?;
        if rows != texts {
            return Err(Error::unusable(
                format!("there are {texts} texts for {rows} pictures"),
                "give each text its picture",
            ));
        }
        Ok(())
    }

    /// What is added to the scores of `tokens` new positions behind `earlier` ones, `[batch or 1, 1, tokens, all]`.
    fn mask(
        &self,
        earlier: usize,
        tokens: usize,
        attention_mask: Option<&Tensor>,
        ids: &Tensor,
    ) -> Result<Option<Tensor>> {
        // The last position may see all others anyway.
        let causal = if self.tower == Tower::Decoder && tokens > 1 {
            Some(causal_mask(earlier + tokens, ids.device())?.narrow(2, earlier, tokens)?)
        } else {
            None
        };
        let padding = attention_mask.map(|mask| padding_mask_for(mask, tokens)).transpose()?;
        Ok(match (causal, padding) {
            (Some(causal), Some(padding)) => Some(padding.broadcast_add(&causal)?),
            (causal, padding) => causal.or(padding),
        })
    }
}
