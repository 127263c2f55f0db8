//! OpenFlamingo (Awadalla et al. 2023, arXiv 2308.01390): Flamingo (Alayrac et al. 2022, arXiv 2204.14198) between
//! models that others published, CLIP's vision encoder and a language model, MPT or GPT-NeoX.
//!
//! Its authors publish the trained parts alone. A checkpoint is a folder of
//!
//! - `config.json`, which [`OpenFlamingoConfig`] describes;
//! - `checkpoint.pt`, as it is published;
//! - `tokenizer.json` and `preprocessor_config.json`, where they aren't those of the frozen parts ([`parts`]);
//! - `language_model/`, the folder of the language model, and `vision_encoder/`, the folder of the CLIP, as theirs are.
//!
//! Names and order of operations follow `open_flamingo/src` in github.com/mlfoundations/open_flamingo, and
//! transformers' `MptForCausalLM`, `GPTNeoXForCausalLM` and `CLIPVisionModel`.

mod config;
mod gpt_neox;
mod language;
mod mpt;
pub mod parts;

pub use config::{HeadsConfig, OpenFlamingoConfig, PerceiverConfig};
pub use gpt_neox::GptNeoXConfig;
pub use language::LanguageSizes;
pub use mpt::{MptAttentionConfig, MptConfig};

use candle_core::{Device, Tensor};

use super::causal::{attention_rows, fits, positions, positions_in_order};
use super::idefics::{MediaKeys, Prompt, Writing, image_mask, media, write_on};
use super::vision_tower::{Tail, VisionTower};
use crate::error::{Error, Result};
use crate::nn::{BlockCache, GatedCrossAttention, Media, PerceiverResampler, Scope};
use crate::taps::{Point, Site, Taps, Tower};
use language::{Language, View};

/// What `architectures` of `config.json` says.
pub const CLASS: &str = "OpenFlamingo";

/// The model.
pub struct OpenFlamingo {
    config: OpenFlamingoConfig,
    vision: VisionTower,
    resampler: PerceiverResampler,
    frame: Option<Tensor>, // the place of the first frame, [width]
    media: Option<Tensor>, // the places of a text's pictures, [pictures, 1, width]
    language: Language,
    gated: Vec<GatedCrossAttention>,
}

impl OpenFlamingo {
    /// Builds the model from the trained weights, and from those under `language_model` and `vision_encoder`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: OpenFlamingoConfig, scope: &Scope<'_>) -> Result<Self> {
        let (trained, perceiver) = (scope.enter("lang_encoder"), scope.enter("perceiver"));
        let (width, media_width) = (config.language.width(), config.vision.hidden_size);
        let heads = (config.cross_attention.heads, config.cross_attention.dim_head);
        let places = |name: &str, count: Option<usize>, each: &[usize]| {
            count.map(|count| perceiver.get(name, &[&[count][..], each].concat())).transpose()
        };
        let frames = places("frame_embs", config.perceiver.max_num_frames, &[media_width])?;
        Ok(Self {
            vision: VisionTower::load(&config.vision, Tail::ClassToken, &scope.enter("vision_encoder.vision_model"))?,
            resampler: PerceiverResampler::load_open_flamingo(&perceiver, config.resampler())?,
            frame: frames.map(|frames| frames.get(0)).transpose()?,
            media: places("media_time_embs", config.perceiver.max_num_media, &[1, media_width])?,
            language: Language::load(&config.language, config.tokens(), &scope.enter("language_model"), &trained)?,
            gated: (1..=config.gated())
                .map(|count| gated(&config, &trained, count * config.cross_attn_every_n_layers - 1))
                .map(|scope| GatedCrossAttention::load_open_flamingo(&scope, width, media_width, heads))
                .collect::<Result<_>>()?,
            config,
        })
    }

    /// The sizes of the model.
    #[must_use]
    pub fn config(&self) -> &OpenFlamingoConfig {
        &self.config
    }

    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        self.config.vision.grid()
    }

    /// How far the gates of each gated cross-attention are open: tanh(α), between -1 and 1, of attention and
    /// feed-forward part.
    ///
    /// # Errors
    /// If the device can't be read.
    pub fn gates(&self) -> Result<Vec<(f32, f32)>> {
        self.gated.iter().map(GatedCrossAttention::gates).collect()
    }

    /// 1 where a token of `ids` `[batch, tokens]` sees a picture, `[batch, tokens, pictures]`: the one whose `<image>`
    /// is the last up to it, and none before the first.
    ///
    /// # Errors
    /// If a text has more places for pictures than there are pictures.
    pub fn image_mask(&self, ids: &Tensor, pictures: usize) -> Result<Tensor> {
        let image = self.config.media_token_id;
        let mut rows = Vec::new();
        for row in ids.to_vec2::<u32>()? {
            let places = row.iter().filter(|id| **id == image).count();
            if places > pictures {
                return Err(Error::unusable(
                    format!("the text has {places} places for pictures, and {pictures} were given"),
                    "give a picture for each '<image>'",
                ));
            }
            rows.push(image_mask(&row, image, pictures, ids.device())?);
        }
        Ok(Tensor::cat(&rows, 0)?)
    }

    /// What the language model gets of `pixels` `[batch, pictures, 3, height, width]`: `[batch, pictures, latents,
    /// vision width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit the config, the pass is cancelled, or an observer fails.
    pub fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let (batch, pictures, ..) = pixels.dims5()?;
        let states = self.resample(&self.look(pixels, taps)?, taps)?; // [batch * pictures, latents, vision width]
        let (_, latents, width) = states.dims3()?;
        Ok(states.reshape((batch, pictures, latents, width))?)
    }

    /// What the resampler makes of `states` `[pictures, patches, vision width]`: `[pictures, latents, vision width]`.
    ///
    /// # Errors
    /// As [`Self::see`].
    pub fn resample(&self, states: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        self.resampler.forward(states, taps)
    }

    /// What the resampler looks at of `pixels` `[batch, pictures, 3, height, width]`: `[batch * pictures, patches, vision
    /// width]`.
    ///
    /// # Errors
    /// As [`Self::see`].
    pub fn look(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let (batch, pictures, channels, height, width) = pixels.dims5()?;
        let flat = pixels.reshape((batch * pictures, channels, height, width))?;
        let states = self.vision.forward(&flat, taps)?; // [batch * pictures, 1 + patches, vision width]
        let (_, positions, width) = states.dims3()?;
        // The resampler looks at the patches alone, as they leave the last block.
        let mut states = states.narrow(1, 1, positions - 1)?;
        if let Some(frame) = &self.frame {
            states = states.broadcast_add(frame)?;
        }
        if let Some(media) = &self.media {
            let places = media.dim(0)?;
            if pictures > places {
                return Err(Error::unusable(
                    format!("there are {pictures} pictures, and the model has places for {places}"),
                    "give fewer pictures",
                ));
            }
            let split = states.reshape((batch, pictures, positions - 1, width))?;
            let split = split.broadcast_add(&media.narrow(0, 0, pictures)?)?;
            states = split.reshape((batch * pictures, positions - 1, width))?;
        }
        Ok(states)
    }

    /// Scores of every next token, `[batch, tokens, all tokens]`. The prompt's image mask is that of
    /// [`Self::image_mask`], unless somebody wants to know what another would do.
    ///
    /// # Errors
    /// If the shapes don't fit each other or the config, an id is unknown, the pass is cancelled, or an observer fails.
    pub fn forward(&self, prompt: &Prompt, taps: &mut Taps<'_>) -> Result<Tensor> {
        let (attention, media) = prompt.check(self.config.perceiver.num_latents)?;
        let keys = self.media_keys(&self.see(&prompt.pixels, taps)?)?;
        self.decode(&prompt.ids, &self.whole(&attention, prompt.ids.device())?, Some((&keys, &media)), None, taps)
    }

    /// The same for pictures that were seen before: `states` `[batch, pictures, latents, vision width]` are those of
    /// [`Self::see`]; `image_mask` `[batch, tokens, pictures]` is 1 where a token of `ids` `[batch, tokens]` sees a picture.
    ///
    /// # Errors
    /// If the shapes don't fit each other, an id is unknown, the pass is cancelled, or an observer fails.
    pub fn read(&self, ids: &Tensor, states: &Tensor, image_mask: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let view = self.whole(&attention_rows(ids, None)?, ids.device())?;
        let (batch, tokens) = ids.dims2()?;
        fits("image attention mask", image_mask.dims(), &[batch, tokens, states.dim(1)?])?;
        let media = media(image_mask, states.dim(2)?)?;
        self.decode(ids, &view, Some((&self.media_keys(states)?, &media)), None, taps)
    }

    /// Scores of every next token from the language model alone, `[batch, tokens, all tokens]`: no picture, no gated
    /// cross-attention.
    ///
    /// # Errors
    /// If the shapes don't fit, an id is unknown, the pass is cancelled, or an observer fails.
    pub fn language(&self, ids: &Tensor, attention_mask: Option<&Tensor>, taps: &mut Taps<'_>) -> Result<Tensor> {
        let attention = attention_rows(ids, attention_mask)?;
        self.decode(ids, &self.whole(&attention, ids.device())?, None, None, taps)
    }

    /// Writes on after one text (a batch of one). A new token sees the pictures that the last token of the prompt sees.
    /// `on_token` gets every token as it is written, and ends the writing by `false`.
    ///
    /// # Errors
    /// As [`Self::forward`], and if there are several texts.
    pub fn generate(
        &self,
        prompt: &Prompt,
        how: &Writing,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        let sizes = (self.config.perceiver.num_latents, self.language.blocks.len());
        let (attention, _) = prompt.check(sizes.0)?;
        let keys = self.media_keys(&self.see(&prompt.pixels, taps)?)?;
        write_on(prompt, attention, how, sizes, on_token, |pass| {
            let places = positions(pass.attention, pass.past);
            let view = self.config.language.view(pass.attention, &places, pass.past, pass.ids.device())?;
            self.decode(pass.ids, &view, Some((&keys, pass.media)), pass.caches, taps)
        })
    }

    /// The keys and values of what [`Self::see`] gave, in each gated cross-attention.
    fn media_keys(&self, states: &Tensor) -> Result<MediaKeys> {
        let states = states.flatten(1, 2)?; // [batch, pictures * latents, vision width]
        self.gated.iter().map(|block| block.keys(&states)).collect()
    }

    /// What the tokens of whole texts see. transformers counts padding among the positions here, and doesn't when it writes.
    fn whole(&self, attention: &[Vec<u32>], device: &Device) -> Result<View> {
        self.config.language.view(attention, &positions_in_order(attention), 0, device)
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
        let embedded = self.language.words.forward(ids)?; // [batch, queries, width]
        let mut x = taps.tap(Site::new(Tower::Decoder, 0, Point::Embed), embedded)?;
        for (layer, block) in self.language.blocks.iter().enumerate() {
            let every = self.config.cross_attn_every_n_layers;
            if let (Some((keys, media)), true) = (pictures, (layer + 1).is_multiple_of(every)) {
                let at = layer / every;
                if let (Some(gated), Some(keys)) = (self.gated.get(at), keys.get(at)) {
                    x = gated.forward(&x, keys, media, at, taps)?;
                }
            }
            let cache = caches.as_mut().and_then(|caches| caches.get_mut(layer));
            x = block.forward(x, view.sight(), cache, (Tower::Decoder, layer), taps)?;
        }
        self.language.scores(&x)
    }
}

/// Where the gated cross-attention before a block lies: torch saves it under two names, and published files hold the
/// one, the other or both.
fn gated<'a>(config: &OpenFlamingoConfig, trained: &Scope<'a>, layer: usize) -> Scope<'a> {
    let short = trained.enter("gated_cross_attn_layers").enter(layer);
    if short.contains("attn_gate") {
        return short;
    }
    trained.enter(config.language.blocks()).enter(layer).enter("gated_cross_attn_layer")
}
