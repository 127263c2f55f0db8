//! BLIP-2 (Li et al. 2023, arXiv 2301.12597) and InstructBLIP (Dai et al. 2023, arXiv 2305.06500): learned queries look at
//! a picture, and what they bring back is compared with a text or handed to a language model.
//!
//! Here are the config and the parts that all classes have: vision tower, queries and querying transformer. Names and
//! order of operations follow transformers.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blip_vision::BlipVision;
use super::checkpoint::Checkpoint;
use super::q_former::{QFormer, QFormerConfig, QFormerInput, QFormerMask, QFormerText, TextInput};
use super::vision_tower::VisionTowerConfig;
use crate::error::{Error, Result};
use crate::nn::Scope;
use crate::taps::Taps;

/// Which of the three classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blip2Kind {
    /// `Blip2ForImageTextRetrieval`: whether a text belongs to a picture.
    Retrieval,
    /// `Blip2ForConditionalGeneration`: a language model writes about what the queries bring back.
    Generation,
    /// `InstructBlipForConditionalGeneration`: the same, and the queries know what is asked.
    Instructed,
}

/// `config.json` of BLIP-2 or InstructBLIP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Blip2Config {
    /// The vision tower.
    pub vision_config: Blip2VisionConfig,
    /// The querying transformer.
    pub qformer_config: QFormerConfig,
    /// The language model, as its own class reads it; retrieval has none.
    pub text_config: Value,
    /// Number of queries.
    #[serde(default = "queries")]
    pub num_query_tokens: usize,
    /// Length of vectors in the shared space of retrieval.
    #[serde(default = "shared_size")]
    pub image_text_hidden_size: usize,
    /// The token that stands in a text for what a query brings back. Older files have none (transformers 4.57.6 then can't
    /// write); what the queries bring back comes in front of the text all the same.
    #[serde(default)]
    pub image_token_index: Option<u32>,
}

/// `vision_config`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Blip2VisionConfig {
    /// What it has in common with other vision towers.
    #[serde(flatten)]
    pub tower: VisionTowerConfig,
    /// Whether the projections of queries, keys and values have a bias.
    #[serde(default = "yes")]
    pub qkv_bias: bool,
}

fn queries() -> usize {
    32
}

fn shared_size() -> usize {
    256
}

fn yes() -> bool {
    true
}

/// `given` with what it leaves out taken from `usual`.
fn over(usual: Value, given: &Value) -> Value {
    match (usual, given) {
        (Value::Object(mut usual), Value::Object(given)) => {
            usual.extend(given.clone());
            Value::Object(usual)
        }
        (usual, Value::Null) => usual,
        (_, given) => given.clone(),
    }
}

impl Blip2Config {
    /// Reads and checks the config of a checkpoint. The language model's part is checked when that is built.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn read(checkpoint: &Checkpoint, kind: Blip2Kind) -> Result<Self> {
        let whole = &checkpoint.config;
        // What a file leaves out has other values here than in CLIP.
        let vision = json!({
            "hidden_size": 1408, "intermediate_size": 6144, "num_hidden_layers": 39, "num_attention_heads": 16,
            "image_size": 224, "patch_size": 14, "hidden_act": "gelu", "layer_norm_eps": 1e-6,
        });
        let vision = over(vision, &whole["vision_config"]);
        let qformer = over(json!({"encoder_hidden_size": vision["hidden_size"]}), &whole["qformer_config"]);
        let text = over(json!({"model_type": "opt"}), &whole["text_config"]);
        // The token has two names in transformers.
        let token = over(whole["image_token_id"].clone(), &whole["image_token_index"]);
        let parts = json!({
            "vision_config": vision, "qformer_config": qformer, "text_config": text, "image_token_index": token,
        });
        let config: Self = checkpoint.parse(&over(whole.clone(), &parts))?;
        config.check(checkpoint, kind)?;
        Ok(config)
    }

    fn check(&self, checkpoint: &Checkpoint, kind: Blip2Kind) -> Result<()> {
        let (vision, qformer) = (&self.vision_config.tower, &self.qformer_config);
        vision.check(checkpoint)?;
        qformer.check(checkpoint)?;
        checkpoint.check_sizes(&[
            ("num_query_tokens", self.num_query_tokens, 1 << 12),
            ("image_text_hidden_size", self.image_text_hidden_size, 1 << 14),
        ])?;
        if qformer.encoder_hidden_size != vision.hidden_size {
            return Err(checkpoint.config_error(format!(
                "the queries look at vectors of length {}, but those of pictures have length {}",
                qformer.encoder_hidden_size, vision.hidden_size
            )));
        }
        if !self.text_config.is_object() {
            return Err(checkpoint.config_error("the config has no values in text_config"));
        }
        if kind == Blip2Kind::Retrieval && !qformer.use_qformer_text_input {
            return Err(checkpoint.config_error(
                "the config says use_qformer_text_input = false, so there is no text to hold against the picture",
            ));
        }
        Ok(())
    }

    /// Rows and columns of patches; one class token stands in front of them.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        self.vision_config.tower.grid()
    }
}

/// Vision tower, queries and querying transformer.
#[derive(Clone, Debug)]
pub struct Blip2Base {
    config: Blip2Config,
    vision: BlipVision,
    query_tokens: Tensor, // [1, queries, width]
    qformer: QFormer,
}

impl Blip2Base {
    /// Builds the parts from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: Blip2Config, kind: Blip2Kind, scope: &Scope<'_>) -> Result<Self> {
        let text = match kind {
            Blip2Kind::Retrieval => TextInput::Outside(scope.enter("embeddings")),
            Blip2Kind::Generation => TextInput::None,
            Blip2Kind::Instructed => TextInput::Own,
        };
        let Blip2VisionConfig { tower, qkv_bias } = &config.vision_config;
        let queries = [1, config.num_query_tokens, config.qformer_config.hidden_size];
        Ok(Self {
            vision: BlipVision::load_with(tower, *qkv_bias, &scope.enter("vision_model"))?,
            query_tokens: scope.get("query_tokens", &queries)?,
            qformer: QFormer::load(&config.qformer_config, &text, &scope.enter("qformer"))?,
            config,
        })
    }

    /// The sizes of the model.
    #[must_use]
    pub fn config(&self) -> &Blip2Config {
        &self.config
    }

    /// The vision tower.
    #[must_use]
    pub fn vision(&self) -> &BlipVision {
        &self.vision
    }

    /// The querying transformer.
    #[must_use]
    pub fn qformer(&self) -> &QFormer {
        &self.qformer
    }

    /// What queries look at, `[batch, 1 + patches, vision width]`, the class token first, of `pixels` `[batch, 3, height,
    /// width]`.
    ///
    /// # Errors
    /// If the pixels have another size than the config says, the pass is cancelled, or an observer fails.
    pub fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        self.vision.forward(pixels, taps)
    }

    /// The queries before they have looked, once for each of `batch` pictures, `[batch, queries, width]`; only those
    /// whose numbers are in `kept`, in that order, if some are dropped.
    ///
    /// # Errors
    /// If none is kept, or one that isn't there.
    pub fn queries(&self, batch: usize, kept: Option<&[usize]>) -> Result<Tensor> {
        let mut tokens = self.query_tokens.clone();
        if let Some(kept) = kept {
            let count = self.config.num_query_tokens;
            if kept.is_empty() {
                return Err(Error::unusable("every query is switched off", "leave at least one"));
            }
            if let Some(query) = kept.iter().find(|query| **query >= count) {
                return Err(Error::unusable(
                    format!("there is no query {query} among {count}"),
                    "choose a smaller query number",
                ));
            }
            let at: Vec<u32> = kept.iter().map(|query| *query as u32).collect();
            let at = Tensor::from_vec(at, kept.len(), tokens.device())?;
            tokens = tokens.index_select(&at, 1)?; // [1, kept, width]
        }
        let (_, queries, width) = tokens.dims3()?;
        Ok(tokens.broadcast_as((batch, queries, width))?.contiguous()?)
    }

    /// The queries after they have looked at `states` `[batch, 1 + patches, vision width]` of [`Self::see`], and behind
    /// them the text, if there is one, `[batch, queries + tokens, width]`; `mask` says what sees what, and `kept` which
    /// queries there are (all, without it).
    ///
    /// # Errors
    /// If a query isn't there, a text is too long or not read here, an id is unknown, there isn't one picture for each
    /// text, the pass is cancelled, or an observer fails.
    pub fn fused(
        &self,
        text: Option<QFormerText<'_>>,
        states: &Tensor,
        kept: Option<&[usize]>,
        mask: QFormerMask,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let queries = self.queries(states.dim(0)?, kept)?;
        let input = QFormerInput { queries: Some(&queries), text, states: Some(states), mask };
        self.qformer.forward(input, taps)
    }
}
