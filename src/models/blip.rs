//! BLIP (Li et al. 2022, arXiv 2201.12086): a text transformer whose blocks look at a picture by cross-attention.
//!
//! One vision tower and one kind of text transformer make three models: retrieval, captions, and answers to questions.
//! Names and order of operations follow transformers' classes of these names.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blip_heads::{BlipDecoder, BlipRetrieval};
use super::blip_text::{BlipText, BlipTextConfig};
use super::blip_vision::BlipVision;
use super::checkpoint::Checkpoint;
use super::vision_tower::VisionTowerConfig;
use crate::error::Result;
use crate::nn::{Fusion, Scope};
use crate::taps::{Taps, Tower};

/// Which of the three models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlipKind {
    /// `BlipForImageTextRetrieval`: whether a text belongs to a picture.
    Retrieval,
    /// `BlipForConditionalGeneration`: a caption of a picture.
    Captioning,
    /// `BlipForQuestionAnswering`: the answer to a question about a picture.
    Answering,
}

/// `config.json` of a BLIP model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlipConfig {
    /// The text transformers.
    pub text_config: BlipTextConfig,
    /// The vision tower.
    pub vision_config: VisionTowerConfig,
    /// Length of vectors in the shared space of retrieval.
    #[serde(default = "shared_size")]
    pub image_text_hidden_size: usize,
}

fn shared_size() -> usize {
    256
}

impl BlipConfig {
    /// Reads and checks the config of a checkpoint.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn read(checkpoint: &Checkpoint, kind: BlipKind) -> Result<Self> {
        let mut config = checkpoint.config.clone();
        // What a file leaves out has other values here than in CLIP.
        let mut vision = json!({
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
            "image_size": 384, "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
        });
        if let Value::Object(values) = config["vision_config"].take() {
            for (key, value) in values {
                vision[key] = value;
            }
        }
        config["vision_config"] = vision;
        if config["text_config"].is_null() {
            config["text_config"] = json!({});
        }
        let config: Self = checkpoint.parse(&config)?;
        config.text_config.check(checkpoint)?;
        config.vision_config.check(checkpoint)?;
        checkpoint.check_sizes(&[("image_text_hidden_size", config.image_text_hidden_size, 1 << 14)])?;
        let (text, vision) = (config.text_config.hidden_size, config.vision_config.hidden_size);
        if kind == BlipKind::Answering && text != vision {
            // One config serves the encoder, which looks at the picture, and the decoder, which looks at the encoder.
            return Err(checkpoint.config_error(format!(
                "questions have vectors of length {text} and pictures of length {vision}, which must be the same"
            )));
        }
        Ok(config)
    }
}

/// The model.
pub struct Blip {
    config: BlipConfig,
    vision: BlipVision,
    head: BlipHead,
}

/// What stands on the vision tower.
pub enum BlipHead {
    /// Whether a text belongs to a picture.
    Retrieval(BlipRetrieval),
    /// Writes about the picture.
    Captioning(BlipDecoder),
    /// Reads a question in front of the picture, and writes the answer.
    Answering(BlipAnswering),
}

/// Reads a question while it looks at the picture, and writes an answer while it looks at the question. In transformers
/// (4.57.6) the answer sees the padding of a question, so a mask in its [`Fusion`] gives other numbers than there; one
/// question at a time needs neither.
pub struct BlipAnswering {
    /// Reads the question; its sites are those of the tower `text`.
    pub question: BlipText,
    /// Writes the answer; its sites are those of the tower `decoder`.
    pub answer: BlipDecoder,
}

impl BlipAnswering {
    /// The question's states after it looked at the picture, `[batch, tokens, width]`. `ids` and `attention_mask` are
    /// `[batch, tokens]`, `states` those of the vision tower, `[batch, 1 + patches, width]`.
    ///
    /// # Errors
    /// If a question is too long, an id unknown, there isn't one picture for each question, the pass is cancelled, or an
    /// observer fails.
    pub fn read(
        &self,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
        states: &Tensor,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        self.question.forward(ids, attention_mask, Some(Fusion { states, mask: None }), None, taps)
    }
}

impl Blip {
    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: BlipConfig, kind: BlipKind, scope: &Scope<'_>) -> Result<Self> {
        let (text, vision_width) = (&config.text_config, config.vision_config.hidden_size);
        let decoder = scope.enter("text_decoder");
        let head = match kind {
            BlipKind::Retrieval => {
                let shared = config.image_text_hidden_size;
                BlipHead::Retrieval(BlipRetrieval::load(text, vision_width, shared, scope)?)
            }
            BlipKind::Captioning => BlipHead::Captioning(BlipDecoder::load(text, vision_width, &decoder)?),
            BlipKind::Answering => BlipHead::Answering(BlipAnswering {
                question: BlipText::load(text, vision_width, Tower::Text, &scope.enter("text_encoder"))?,
                answer: BlipDecoder::load(text, text.hidden_size, &decoder)?,
            }),
        };
        Ok(Self { vision: BlipVision::load(&config.vision_config, &scope.enter("vision_model"))?, head, config })
    }

    /// The sizes of the model.
    #[must_use]
    pub fn config(&self) -> &BlipConfig {
        &self.config
    }

    /// Rows and columns of patches; one class token stands in front of them.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        self.config.vision_config.grid()
    }

    /// The vision tower.
    #[must_use]
    pub fn vision(&self) -> &BlipVision {
        &self.vision
    }

    /// What stands on the vision tower.
    #[must_use]
    pub fn head(&self) -> &BlipHead {
        &self.head
    }
}
