//! Flamingo (Alayrac et al. 2022, arXiv 2204.14198) in its public form IDEFICS (Laurençon et al. 2023, arXiv
//! 2306.16527): a language model that stays as it was, and between its blocks gated cross-attention to the pictures.
//!
//! Names and order of operations follow transformers' `IdeficsForVisionText2Text`.

mod config;
mod generate;
mod media;

pub use super::generate::Ends;
pub use config::{AlphaType, IdeficsConfig, IdeficsPerceiverConfig, IdeficsVisionConfig};
pub use generate::Writing;
pub(super) use generate::write_on;
pub use media::image_mask;
pub(super) use media::media;

use candle_core::{DType, Tensor};

use super::causal::{View, attention_rows, fits};
use super::vision_tower::{Tail, VisionTower};
use crate::error::{Error, Result};
use crate::nn::{
    BlockCache, Embedding, GatedCrossAttention, GatedShape, KeyValue, LanguageBlock, Linear, LlamaShape, Media,
    PerceiverResampler, PerceiverShape, RmsNorm, Scope,
};
use crate::taps::{Point, Site, Taps, Tower};

/// transformers leaves the base of turned positions at LLaMA's.
const ROTARY_BASE: f32 = 10_000.0;

/// The model.
pub struct Idefics {
    config: IdeficsConfig,
    vision: VisionTower,
    resampler: Option<PerceiverResampler>,
    embed_tokens: Embedding, // the additional tokens behind the others
    layers: Vec<LanguageBlock>,
    gated: Vec<GatedCrossAttention>,
    norm: RmsNorm,
    lm_head: Linear,
}

/// A text with its pictures.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Token ids, `[batch, tokens]`.
    pub ids: Tensor,
    /// 1 for a token, 0 for padding, `[batch, tokens]`; `None` without padding.
    pub attention_mask: Option<Tensor>,
    /// Normalised pixels, `[batch, pictures, 3, height, width]`.
    pub pixels: Tensor,
    /// 1 where a token may see a picture, `[batch, tokens, pictures]`.
    pub image_mask: Tensor,
}

/// The keys and values that the pictures have in each gated cross-attention.
pub(super) type MediaKeys = Vec<KeyValue>;

impl Prompt {
    /// Refuses a prompt whose parts don't fit each other; gives the attention mask as rows, and what tokens see of
    /// pictures that each became `each` vectors.
    pub(super) fn check(&self, each: usize) -> Result<(Vec<Vec<u32>>, Media)> {
        let attention = attention_rows(&self.ids, self.attention_mask.as_ref())?;
        let (batch, tokens) = self.ids.dims2()?;
        let pictures = match self.pixels.dims() {
            [of, pictures, 3, _, _] if *of == batch && *pictures > 0 => *pictures,
            other => {
                return Err(Error::unusable(
                    format!("the pixels have shape {other:?}, which isn't a row of pictures for each of {batch} texts"),
                    "give each text its pictures",
                ));
            }
        };
        fits("image attention mask", self.image_mask.dims(), &[batch, tokens, pictures])?;
        let image_mask = self.image_mask.to_dtype(DType::U32)?;
        Ok((attention, media(&image_mask, each)?))
    }
}

impl Idefics {
    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: IdeficsConfig, scope: &Scope<'_>) -> Result<Self> {
        let model = scope.enter("model");
        let tower = config.vision_config.tower();
        let width = config.hidden_size;
        let known = [config.vocab_size, config.additional_vocab_size];
        let table = |scope: &Scope<'_>, additional: &str| -> Result<Tensor> {
            let first = scope.get("weight", &[known[0], width])?;
            if known[1] == 0 {
                return Ok(first);
            }
            let second = scope.enter(additional).get("weight", &[known[1], width])?;
            Ok(Tensor::cat(&[first, second], 0)?) // [all tokens, width]
        };
        let tokens = table(&model.enter("embed_tokens"), "additional_embedding")?;
        let head =
            if config.tie_word_embeddings { tokens.clone() } else { table(&scope.enter("lm_head"), "additional_fc")? };
        let perceiver = &config.perceiver_config;
        let perceiver = PerceiverShape {
            width: tower.hidden_size,
            latents: perceiver.resampler_n_latents,
            depth: perceiver.resampler_depth,
            heads: perceiver.resampler_n_heads,
            head_width: perceiver.resampler_head_dim,
            head_norms: perceiver.qk_layer_norms_perceiver,
        };
        let block = LlamaShape {
            width,
            heads: config.num_attention_heads,
            key_heads: config.num_attention_heads,
            head_width: config.head_width(),
            inner: config.intermediate_size,
            activation: config.hidden_act,
            epsilon: config.rms_norm_eps,
            attention_bias: false,
            qkv_bias: false,
            mlp_bias: false,
        };
        let gated = GatedShape {
            width,
            media_width: tower.hidden_size,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            activation: config.hidden_act,
            epsilon: config.rms_norm_eps,
            head_norms: config.qk_layer_norms,
            gate_vectors: config.alpha_type == AlphaType::Vector,
        };
        let (layers, blocks) = (model.enter("layers"), model.enter("gated_cross_attn_layers"));
        Ok(Self {
            vision: VisionTower::load(&tower, Tail::ClassToken, &model.enter("vision_model"))?,
            resampler: config
                .use_resampler
                .then(|| PerceiverResampler::load(&model.enter("perceiver_resampler"), perceiver))
                .transpose()?,
            embed_tokens: Embedding::new(tokens),
            layers: (0..config.num_hidden_layers)
                .map(|layer| LanguageBlock::load_llama(&layers.enter(layer), block))
                .collect::<Result<_>>()?,
            gated: (0..config.num_hidden_layers / config.cross_layer_interval)
                .map(|layer| GatedCrossAttention::load(&blocks.enter(layer), gated))
                .collect::<Result<_>>()?,
            norm: RmsNorm::load(&model.enter("norm"), width, config.rms_norm_eps)?,
            lm_head: Linear::from_weight(head)?,
            config,
        })
    }

    /// The sizes of the model.
    #[must_use]
    pub fn config(&self) -> &IdeficsConfig {
        &self.config
    }

    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        self.config.vision_config.tower().grid()
    }

    /// How far the gates of each gated cross-attention are open: the means of tanh(α), between -1 and 1, of attention
    /// and feed-forward part.
    ///
    /// # Errors
    /// If the device can't be read.
    pub fn gates(&self) -> Result<Vec<(f32, f32)>> {
        self.gated.iter().map(GatedCrossAttention::gates).collect()
    }

    /// What the language model gets of `pixels` `[batch, pictures, 3, height, width]`: `[batch, pictures, media tokens,
    /// vision width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit the config, the pass is cancelled, or an observer fails.
    pub fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let (batch, pictures, ..) = pixels.dims5()?;
        let states = self.resample(&self.look(pixels, taps)?, taps)?; // [batch * pictures, media tokens, vision width]
        let (_, tokens, width) = states.dims3()?;
        Ok(states.reshape((batch, pictures, tokens, width))?)
    }

    /// What the vision tower makes of `pixels` `[batch, pictures, 3, height, width]`: `[batch * pictures, 1 + patches, vision
    /// width]`.
    ///
    /// # Errors
    /// As [`Self::see`].
    pub fn look(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let (batch, pictures, channels, height, width) = pixels.dims5()?;
        let flat = pixels.reshape((batch * pictures, channels, height, width))?;
        self.vision.forward(&flat, taps)
    }

    /// What the resampler makes of `states` `[pictures, 1 + patches, vision width]` of the vision tower: `[pictures, latents,
    /// vision width]`; without a resampler they stay as they are.
    ///
    /// # Errors
    /// If the shape doesn't fit the config, the pass is cancelled, or an observer fails.
    pub fn resample(&self, states: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        match &self.resampler {
            Some(resampler) => resampler.forward(states, taps),
            None => Ok(states.clone()),
        }
    }

    /// Scores of every next token, `[batch, tokens, all tokens]`.
    ///
    /// # Errors
    /// If the shapes don't fit each other or the config, an id is unknown, the pass is cancelled, or an observer fails.
    pub fn forward(&self, prompt: &Prompt, taps: &mut Taps<'_>) -> Result<Tensor> {
        let (attention, media) = prompt.check(self.config.media_tokens())?;
        let keys = self.media_keys(&self.see(&prompt.pixels, taps)?)?;
        let view = View::new(&attention, 0, self.config.head_width(), ROTARY_BASE, prompt.ids.device())?;
        self.decode(&prompt.ids, &view, Some((&keys, &media)), None, taps)
    }

    /// The same for pictures that were seen before: `states` `[batch, pictures, media tokens, vision width]` are those of
    /// [`Self::see`]; `image_mask` `[batch, tokens, pictures]` is 1 where a token of `ids` `[batch, tokens]` sees a picture.
    ///
    /// # Errors
    /// If the shapes don't fit each other, an id is unknown, the pass is cancelled, or an observer fails.
    pub fn read(&self, ids: &Tensor, states: &Tensor, image_mask: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let attention = attention_rows(ids, None)?;
        let view = View::new(&attention, 0, self.config.head_width(), ROTARY_BASE, ids.device())?;
        let (batch, tokens) = ids.dims2()?;
        fits("image attention mask", image_mask.dims(), &[batch, tokens, states.dim(1)?])?;
        let media = media(image_mask, states.dim(2)?)?;
        let keys = self.media_keys(states)?;
        self.decode(ids, &view, Some((&keys, &media)), None, taps)
    }

    /// Scores of every next token from the language model alone, `[batch, tokens, all tokens]`: no picture, no gated
    /// cross-attention.
    ///
    /// # Errors
    /// If the shapes don't fit, an id is unknown, the pass is cancelled, or an observer fails.
    pub fn language(&self, ids: &Tensor, attention_mask: Option<&Tensor>, taps: &mut Taps<'_>) -> Result<Tensor> {
        let attention = attention_rows(ids, attention_mask)?;
        let view = View::new(&attention, 0, self.config.head_width(), ROTARY_BASE, ids.device())?;
        self.decode(ids, &view, None, None, taps)
    }

    /// The keys and values of what [`Self::see`] gave.
    fn media_keys(&self, states: &Tensor) -> Result<MediaKeys> {
        let states = states.flatten(1, 2)?; // [batch, pictures * media tokens, vision width]
        self.gated.iter().map(|block| block.keys(&states)).collect()
    }

    /// The language model over `ids` `[batch, queries]`, the last tokens of a text. `caches` holds what its earlier
    /// tokens left, one for each block.
    fn decode(
        &self,
        ids: &Tensor,
        view: &View,
        pictures: Option<(&MediaKeys, &Media)>,
        mut caches: Option<&mut Vec<BlockCache>>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let embedded = self.embed_tokens.forward(ids)?; // [batch, queries, width]
        let mut x = taps.tap(Site::new(Tower::Decoder, 0, Point::Embed), embedded)?;
        for (layer, block) in self.layers.iter().enumerate() {
            let interval = self.config.cross_layer_interval;
            if let (Some((keys, media)), true) = (pictures, layer.is_multiple_of(interval)) {
                let at = layer / interval;
                if let (Some(gated), Some(keys)) = (self.gated.get(at), keys.get(at)) {
                    x = gated.forward(&x, keys, media, at, taps)?;
                }
            }
            let cache = caches.as_mut().and_then(|caches| caches.get_mut(layer));
            x = block.forward(x, view.sight(), cache, (Tower::Decoder, layer), taps)?;
        }
        self.lm_head.forward(&self.norm.forward(&x)?)
    }
}
