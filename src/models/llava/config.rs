//! The sizes of a LLaVA, and which states of its vision tower it looks at.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::models::language_model::{LanguageConfig, said};
use crate::models::siglip;
use crate::models::vision_tower::{Tail, VisionTowerConfig};
use crate::nn::Activation;

/// The most layers whose states are put beside each other.
const MOST_LAYERS: usize = 64;

/// `config.json` of a `LlavaForConditionalGeneration`. Keys that a file leaves out have the values that transformers gives
/// them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LlavaConfig {
    /// The vision tower.
    pub vision_config: LlavaVisionConfig,
    /// The language model, as its own class reads it.
    pub text_config: Value,
    /// The token that stands in a text for each vector of a picture.
    pub image_token_index: u32,
    /// How many vectors a picture becomes, as the file says; what counts is [`Self::positions`].
    pub image_seq_length: usize,
    /// Which layers' states are looked at.
    pub vision_feature_layer: FeatureLayers,
    /// Whether the first position of the vision tower is among them.
    pub vision_feature_select_strategy: FeatureStrategy,
    /// Activation between the two layers of the projector.
    pub projector_hidden_act: Activation,
    /// Whether the layers of the projector have biases.
    pub multimodal_projector_bias: bool,
}

/// `vision_config`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LlavaVisionConfig {
    /// What it has in common with other vision towers.
    #[serde(flatten)]
    pub tower: VisionTowerConfig,
    /// Whose tower it is.
    #[serde(default)]
    pub model_type: VisionKind,
}

/// `model_type` of a vision tower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VisionKind {
    /// CLIP's.
    #[default]
    #[serde(rename = "clip_vision_model")]
    Clip,
    /// SigLIP's.
    #[serde(rename = "siglip_vision_model")]
    Siglip,
}

impl VisionKind {
    /// What stands before the patches.
    #[must_use]
    pub fn tail(self) -> Tail {
        match self {
            Self::Clip => Tail::ClassToken,
            Self::Siglip => Tail::Patches,
        }
    }
}

/// `vision_feature_layer`: 0 is what enters the first block of the vision tower, n what leaves the n-th; -1 is what leaves
/// the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FeatureLayers {
    /// One.
    One(i64),
    /// Several, whose vectors stand beside each other in this order.
    Several(Vec<i64>),
}

/// `vision_feature_select_strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeatureStrategy {
    /// The first position is left out: CLIP's class token. (Of a SigLIP, which has none, it is the first patch;
    /// transformers does it too.)
    #[default]
    #[serde(rename = "default")]
    WithoutFirst,
    /// All positions.
    #[serde(rename = "full")]
    Full,
}

impl Default for LlavaConfig {
    fn default() -> Self {
        Self {
            vision_config: LlavaVisionConfig::default(),
            text_config: json!({"model_type": "llama"}),
            image_token_index: 32000,
            image_seq_length: 576,
            vision_feature_layer: FeatureLayers::One(-2),
            vision_feature_select_strategy: FeatureStrategy::default(),
            projector_hidden_act: Activation::Gelu,
            multimodal_projector_bias: true,
        }
    }
}

impl Default for LlavaVisionConfig {
    /// CLIP's ViT-L/14 for pictures of 336 pixels.
    fn default() -> Self {
        let tower = VisionTowerConfig {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            image_size: 336,
            patch_size: 14,
            ..VisionTowerConfig::default()
        };
        Self { tower, model_type: VisionKind::Clip }
    }
}

impl LlavaConfig {
    /// Reads and checks the config of a checkpoint. The language model's part is read by [`Self::language`].
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let mut whole = said(&checkpoint.config);
        if let Value::Object(values) = &mut whole {
            // The token has two names in transformers.
            if !values.contains_key("image_token_index")
                && let Some(token) = values.get("image_token_id").cloned()
            {
                values.insert("image_token_index".into(), token);
            }
            // What a file leaves out has other values here than in CLIP.
            if let Some(vision) = values.get_mut("vision_config")
                && vision["model_type"] == "siglip_vision_model"
            {
                *vision = siglip::vision_config(vision);
            }
            // transformers takes a language model for a LLaMA when its config doesn't say what it is.
            if let Some(Value::Object(text)) = values.get_mut("text_config")
                && text.get("model_type").is_none_or(Value::is_null)
            {
                text.insert("model_type".into(), "llama".into());
            }
        }
        let config: Self = checkpoint.parse(&whole)?;
        config.check(checkpoint)?;
        Ok(config)
    }

    pub(super) fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        let tower = &self.vision_config.tower;
        tower.check(checkpoint)?;
        checkpoint.check_sizes(&[(
            "number of layers in vision_feature_layer",
            self.given_layers().len(),
            MOST_LAYERS,
        )])?;
        let depth = tower.num_hidden_layers;
        for (given, layer) in self.given_layers().iter().zip(self.layers()) {
            if layer.is_none_or(|layer| layer > depth) {
                return Err(checkpoint.config_error(format!(
                    "the config says vision_feature_layer = {given}, but the vision tower has {depth} blocks"
                )));
            }
        }
        if self.positions() == 0 {
            return Err(checkpoint.config_error("the config leaves out the only patch that pictures have"));
        }
        if !self.text_config.is_object() {
            return Err(checkpoint.config_error("the config has no values in text_config"));
        }
        Ok(())
    }

    fn given_layers(&self) -> &[i64] {
        match &self.vision_feature_layer {
            FeatureLayers::One(layer) => std::slice::from_ref(layer),
            FeatureLayers::Several(layers) => layers,
        }
    }

    /// The layers counted from the front; `None` where one lies before the first.
    fn layers(&self) -> impl Iterator<Item = Option<usize>> {
        let states = self.vision_config.tower.num_hidden_layers as i64 + 1;
        self.given_layers().iter().map(move |layer| {
            let layer = if *layer < 0 { states.checked_add(*layer)? } else { *layer };
            usize::try_from(layer).ok()
        })
    }

    /// Behind how many blocks of the vision tower the states are taken, in the order in which they stand beside each other.
    #[must_use]
    pub fn feature_layers(&self) -> Vec<usize> {
        self.layers().flatten().collect()
    }

    /// Length of the vectors that the projector gets.
    #[must_use]
    pub fn feature_width(&self) -> usize {
        self.vision_config.tower.hidden_size * self.given_layers().len()
    }

    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        self.vision_config.tower.grid()
    }

    /// How many of the vision tower's first positions are left out.
    #[must_use]
    pub fn skipped(&self) -> usize {
        usize::from(self.vision_feature_select_strategy == FeatureStrategy::WithoutFirst)
    }

    /// How many positions of the vision tower stand before the patches.
    #[must_use]
    pub fn class_tokens(&self) -> usize {
        self.vision_config.model_type.tail().class_tokens()
    }

    /// How many vectors a picture becomes for the language model.
    #[must_use]
    pub fn positions(&self) -> usize {
        let (rows, columns) = self.grid();
        (rows * columns + self.class_tokens()).saturating_sub(self.skipped())
    }

    /// Which patch the vector at `place` of a picture stands for, counted row by row; `None` for the class token and beyond
    /// the last one.
    #[must_use]
    pub fn patch(&self, place: usize) -> Option<usize> {
        let patch = (place + self.skipped()).checked_sub(self.class_tokens())?;
        (place < self.positions()).then_some(patch)
    }

    /// The language model's part.
    ///
    /// # Errors
    /// If it is of a kind that Alignscope doesn't know under LLaVA, a value has the wrong type or makes no sense.
    pub fn language(&self, checkpoint: &Checkpoint) -> Result<LanguageConfig> {
        let language = LanguageConfig::read(&self.text_config, checkpoint)?;
        match language {
            LanguageConfig::Llama(_) | LanguageConfig::Mistral(_) | LanguageConfig::Qwen2(_) => Ok(language),
            LanguageConfig::Opt(_) | LanguageConfig::T5(_) => Err(checkpoint.config_error(
                "the config says that the language model is an OPT or a T5, and under LLaVA Alignscope knows llama, mistral \
                 and qwen2",
            )),
        }
    }
}
