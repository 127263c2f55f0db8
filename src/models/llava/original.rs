//! LLaVA as its authors publish it (github.com/haotian-liu/LLaVA, versions 1.0 and 1.5). A checkpoint is a folder of
//!
//! - `config.json`, that of the LLaMA, with keys about the picture among its own (`mm_…`);
//! - the weights of the LLaMA by its usual names, with the projector's under `model.mm_projector`, in most cases as torch
//!   writes them (`pytorch_model-00001-of-00002.bin`), of which nothing is executed;
//! - a vision tower: among the weights (`model.vision_tower.vision_tower`), or, as `mm_vision_tower` names it, a CLIP with
//!   a folder of its own, which [`tower_beside`] looks for.

use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

use super::config::{FeatureLayers, FeatureStrategy, LlavaConfig, LlavaVisionConfig, VisionKind};
use super::mlp::OriginalDepth;
use crate::error::{Error, Result};
use crate::models::cache;
use crate::models::checkpoint::{Checkpoint, read_json};
use crate::models::clip::vision_config;
use crate::models::language_model::said;
use crate::models::llama::LlamaConfig;
use crate::nn::Activation;

/// What `architectures` of `config.json` says.
pub const ORIGINAL_CLASS: &str = "LlavaLlamaForCausalLM";

/// The folder of the vision tower within that of the checkpoint, and what stands before the names of its weights.
pub const TOWER: &str = "vision_tower";

/// What `config.json` says about pictures.
#[derive(Clone, Debug, Deserialize)]
pub struct OriginalConfig {
    /// The vision tower's name, as that of a repository (`openai/clip-vit-large-patch14-336`).
    pub mm_vision_tower: String,
    /// Length of its vectors, where it is said.
    #[serde(default)]
    pub mm_hidden_size: Option<usize>,
    /// The projector; `linear` where nothing is said.
    #[serde(default = "linear")]
    pub mm_projector_type: String,
    /// Which layer's states the projector gets, counted as in [`FeatureLayers`].
    pub mm_vision_select_layer: i64,
    /// Which of their positions.
    #[serde(default)]
    pub mm_vision_select_feature: SelectFeature,
    /// Whether a picture stands between the tokens `<im_start>` and `<im_end>`.
    #[serde(default)]
    pub mm_use_im_start_end: bool,
    /// What is done with a picture that isn't square: `pad` makes it so with the processor's mean colour.
    #[serde(default)]
    pub image_aspect_ratio: String,
}

/// `mm_vision_select_feature`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum SelectFeature {
    /// The patches.
    #[default]
    #[serde(rename = "patch")]
    Patch,
    /// The class token and the patches.
    #[serde(rename = "cls_patch")]
    ClassAndPatch,
}

fn linear() -> String {
    "linear".into()
}

impl OriginalConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type, or pictures are treated as Alignscope doesn't know.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let config: Self = checkpoint.parse(&said(&checkpoint.config))?;
        if config.image_aspect_ratio == "anyres" {
            return Err(checkpoint.config_error("the config cuts pictures into parts, which Alignscope doesn't know"));
        }
        Ok(config)
    }

    /// The layers of the projector.
    ///
    /// # Errors
    /// If the config names one that Alignscope doesn't know.
    pub fn depth(&self, checkpoint: &Checkpoint) -> Result<OriginalDepth> {
        OriginalDepth::named(&self.mm_projector_type).ok_or_else(|| {
            let kind = &self.mm_projector_type;
            checkpoint
                .config_error(format!("the config says mm_projector_type = '{kind}', which Alignscope doesn't know"))
        })
    }

    /// Whether pictures are made square first.
    #[must_use]
    pub fn pads(&self) -> bool {
        self.image_aspect_ratio == "pad"
    }

    /// The same model as transformers' config says it. No token stands for a picture in these files; here it is the first
    /// id that is no token's.
    ///
    /// # Errors
    /// If the vision tower's folder isn't there, or a value makes no sense.
    pub fn as_llava(&self, checkpoint: &Checkpoint) -> Result<LlavaConfig> {
        let tower = vision_config(&Checkpoint::open(&self.tower_folder(checkpoint)?)?)?;
        let mut text = checkpoint.config.clone();
        if let Some(text) = text.as_object_mut() {
            // The config's own kind is that of the whole model.
            text.insert("model_type".into(), "llama".into());
        }
        let words = LlamaConfig::read(&text, checkpoint)?.vocab_size;
        let mut config = LlavaConfig {
            vision_config: LlavaVisionConfig { tower, model_type: VisionKind::Clip },
            text_config: text,
            image_token_index: words as u32,
            vision_feature_layer: FeatureLayers::One(self.mm_vision_select_layer),
            vision_feature_select_strategy: match self.mm_vision_select_feature {
                SelectFeature::Patch => FeatureStrategy::WithoutFirst,
                SelectFeature::ClassAndPatch => FeatureStrategy::Full,
            },
            projector_hidden_act: Activation::Gelu,
            multimodal_projector_bias: true,
            ..LlavaConfig::default()
        };
        config.image_seq_length = config.positions();
        config.check(checkpoint)?;
        let width = config.feature_width();
        if let Some(said) = self.mm_hidden_size.filter(|said| *said != width) {
            return Err(checkpoint.config_error(format!(
                "the config says mm_hidden_size = {said}, but the vision tower's vectors have length {width}"
            )));
        }
        Ok(config)
    }

    /// The folder of the vision tower.
    ///
    /// # Errors
    /// If there is none.
    pub fn tower_folder(&self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        tower_beside(&checkpoint.folder).ok_or_else(|| {
            let name = &self.mm_vision_tower;
            Error::unusable(
                format!("the folder of the vision tower '{name}' isn't beside the weights"),
                format!("fetch it into the folder '{TOWER}' of the checkpoint"),
            )
            .at(&checkpoint.folder)
        })
    }
}

/// The folder of the vision tower that the `config.json` in `folder` names, if it does and there is one: `vision_tower` in
/// it, or one by the last part of the tower's name in it or beside it, or the one in the Hugging Face cache.
#[must_use]
pub fn tower_beside(folder: &Path) -> Option<PathBuf> {
    let config = read_json(&folder.join("config.json")).ok()?;
    let name = config.get("mm_vision_tower").and_then(Value::as_str)?;
    let last = name.rsplit('/').next().unwrap_or(name);
    // A name with a path in it could point anywhere on the disk.
    let last = Path::new(last).file_name().filter(|file| *file == last);
    let beside = last.and_then(|last| Some(folder.parent()?.join(last)));
    let places = [Some(folder.join(TOWER)), last.map(|last| folder.join(last)), beside];
    let has_config = |folder: &PathBuf| folder.join("config.json").is_file();
    let cached = || {
        let found = cache::snapshots(&cache::root()?);
        found.into_iter().find(|(cached, _)| cached == name).map(|(_, folder)| folder)
    };
    // A checkpoint isn't its own vision tower, whatever they are called.
    places.into_iter().flatten().find(|place| place != folder && has_config(place)).or_else(cached)
}
