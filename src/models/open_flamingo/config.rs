//! The sizes of an OpenFlamingo.
//!
//! OpenFlamingo publishes no `config.json`; what it would hold stands in the call that builds the model. Ours holds
//! that call's arguments, and constants of the code that no published checkpoint changes:
//!
//! ```json
//! {
//!   "architectures": ["OpenFlamingo"],
//!   "cross_attn_every_n_layers": 1,
//!   "media_token_id": 50278,
//!   "eoc_token_id": 50277,
//!   "vocab_size": 50280
//! }
//! ```
//!
//! is OpenFlamingo-3B-vitl-mpt1b: the ids are those of `<image>` and `<|endofchunk|>` in the tokenizer once they were
//! added to it, and `vocab_size` is its length then.

use serde::{Deserialize, Serialize};

use super::language::LanguageSizes;
use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::models::clip::vision_config;
use crate::models::vision_tower::VisionTowerConfig;
use crate::nn::PerceiverShape;

/// `config.json`, and those of the frozen parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenFlamingoConfig {
    /// A gated cross-attention stands before every so many blocks: before the last of them.
    pub cross_attn_every_n_layers: usize,
    /// The token that stands in a picture's place, `<image>`.
    pub media_token_id: u32,
    /// The token that ends what is said about a picture, `<|endofchunk|>`; here a text ends.
    pub eoc_token_id: u32,
    /// Number of tokens, with those that OpenFlamingo added; where it isn't said, that of the language model.
    #[serde(default)]
    pub vocab_size: Option<usize>,
    /// Whether a token sees only the picture before it, and not those before that; always so.
    #[serde(default = "yes")]
    pub only_attend_immediate_media: bool,
    /// The gated cross-attention.
    #[serde(default)]
    pub cross_attention: HeadsConfig,
    /// The resampler.
    #[serde(default)]
    pub perceiver: PerceiverConfig,
    /// The language model, from `language_model/config.json`.
    #[serde(skip)]
    pub language: LanguageSizes,
    /// The vision encoder, from `vision_encoder/config.json`.
    #[serde(skip)]
    pub vision: VisionTowerConfig,
}

/// Heads of the gated cross-attention.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct HeadsConfig {
    /// Their number.
    pub heads: usize,
    /// Length of a head's vectors.
    pub dim_head: usize,
}

/// Sizes of the resampler.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PerceiverConfig {
    /// Number of latents, and so of vectors that a picture becomes.
    pub num_latents: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Length of a head's vectors.
    pub dim_head: usize,
    /// For how many pictures of a text there are learned places, if there are any.
    pub max_num_media: Option<usize>,
    /// For how many frames of a picture there are learned places, if there are any. A picture is the first frame.
    pub max_num_frames: Option<usize>,
}

impl Default for HeadsConfig {
    fn default() -> Self {
        Self { heads: 8, dim_head: 64 }
    }
}

impl Default for PerceiverConfig {
    fn default() -> Self {
        Self { num_latents: 64, depth: 6, heads: 8, dim_head: 64, max_num_media: None, max_num_frames: None }
    }
}

fn yes() -> bool {
    true
}

impl OpenFlamingoConfig {
    /// Reads and checks the config of a checkpoint and those of its frozen parts.
    ///
    /// # Errors
    /// If a file is missing, or a value has the wrong type or makes no sense.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let mut config: Self = checkpoint.parse(&checkpoint.config)?;
        config.language = LanguageSizes::read(&Checkpoint::open(&checkpoint.folder.join("language_model"))?)?;
        config.vision = vision_config(&Checkpoint::open(&checkpoint.folder.join("vision_encoder"))?)?;
        let perceiver = &config.perceiver;
        checkpoint.check_sizes(&[
            ("cross_attn_every_n_layers", config.cross_attn_every_n_layers, config.language.layers()),
            ("vocab_size", config.tokens(), 1 << 20),
            ("cross_attention heads", config.cross_attention.heads, 256),
            ("cross_attention dim_head", config.cross_attention.dim_head, 1 << 12),
            ("perceiver num_latents", perceiver.num_latents, 1 << 12),
            ("perceiver depth", perceiver.depth, 256),
            ("perceiver heads", perceiver.heads, 256),
            ("perceiver dim_head", perceiver.dim_head, 1 << 12),
            ("perceiver max_num_media", perceiver.max_num_media.unwrap_or(1), 1 << 12),
            ("perceiver max_num_frames", perceiver.max_num_frames.unwrap_or(1), 1 << 12),
        ])?;
        for (name, id) in [("media_token_id", config.media_token_id), ("eoc_token_id", config.eoc_token_id)] {
            if id as usize >= config.tokens() {
                let known = config.tokens();
                return Err(checkpoint.config_error(format!("the config says {name} = {id}, of {known} tokens")));
            }
        }
        if !config.only_attend_immediate_media {
            return Err(checkpoint.config_error("the config lets tokens see all pictures, which no checkpoint does"));
        }
        Ok(config)
    }

    /// Number of tokens, with those that OpenFlamingo added.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.vocab_size.unwrap_or(self.language.vocab_size())
    }

    /// Number of gated cross-attentions.
    #[must_use]
    pub fn gated(&self) -> usize {
        self.language.layers() / self.cross_attn_every_n_layers
    }

    /// The sizes of the resampler.
    #[must_use]
    pub fn resampler(&self) -> PerceiverShape {
        let PerceiverConfig { num_latents, depth, heads, dim_head, .. } = self.perceiver;
        let width = self.vision.hidden_size;
        PerceiverShape { width, latents: num_latents, depth, heads, head_width: dim_head, head_norms: false }
    }
}
