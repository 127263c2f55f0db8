//! LLaVA (Liu et al. 2023, arXiv 2304.08485; version 1.5: arXiv 2310.03744): a projector maps the patches of a picture to
//! where words are, and a language model reads both in one row.
//!
//! Names and order of operations follow transformers' `LlavaForConditionalGeneration`; LLaVA's own layout is read too.

mod config;
mod mlp;
mod original;

pub use config::{FeatureLayers, FeatureStrategy, LlavaConfig, LlavaVisionConfig, VisionKind};
pub use mlp::{OriginalDepth, Projector};
pub use original::{ORIGINAL_CLASS, OriginalConfig, SelectFeature, TOWER, tower_beside};

use candle_core::{D, Tensor};

use super::checkpoint::Checkpoint;
use super::generate::Manner;
use super::language_model::{LanguageConfig, LanguageModel};
use super::splice::{places, splice};
use super::vision_tower::{Tail, VisionTower};
use crate::error::{Error, Result};
use crate::nn::Scope;
use crate::taps::Taps;

/// Vision tower, projector, and a language model that gets a picture's vectors as if they were words.
pub struct Llava {
    config: LlavaConfig,
    vision: VisionTower,
    projector: Projector,
    language: Box<dyn LanguageModel>,
}

/// What the language model reads.
#[derive(Clone, Copy, Debug)]
pub struct LlavaPrompt<'a> {
    /// Token ids, `[batch, tokens]`, with [`LlavaConfig::positions`] placeholders for each picture.
    pub ids: &'a Tensor,
    /// `[batch, tokens]`, 1 for a token and 0 for padding; `None` without padding.
    pub attention_mask: Option<&'a Tensor>,
    /// What takes the places of the placeholders, `[pictures, positions, language width]`, as [`Llava::project`] gives it:
    /// the pictures of all texts in their order. `None` for texts without pictures.
    pub projected: Option<&'a Tensor>,
}

impl Llava {
    /// Builds the model of a checkpoint from weights with transformers' names.
    ///
    /// # Errors
    /// If the language model is of an unknown kind or its config makes no sense, or a weight is missing or has another
    /// shape.
    pub fn load(config: LlavaConfig, checkpoint: &Checkpoint, scope: &Scope<'_>) -> Result<Self> {
        let language = config.language(checkpoint)?;
        let model = Self::build(config, &language, scope)?;
        let (token, known) = (model.placeholder(), model.language.words().weight().dims()?.0);
        if token as usize >= known && checkpoint.gguf.is_none() {
            return Err(checkpoint.config_error(format!(
                "the config says image_token_index = {token}, but the language model knows {known} tokens"
            )));
        }
        Ok(model)
    }

    /// The same for a config that is known to make sense, with that of the language model already read.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn build(config: LlavaConfig, language: &LanguageConfig, scope: &Scope<'_>) -> Result<Self> {
        let sizes = (config.feature_width(), language.width());
        let (bias, activation) = (config.multimodal_projector_bias, config.projector_hidden_act);
        let (tower, kind) = (&config.vision_config.tower, config.vision_config.model_type);
        Ok(Self {
            vision: VisionTower::load(tower, kind.tail(), &scope.enter("vision_tower.vision_model"))?,
            projector: Projector::load(&scope.enter("multi_modal_projector"), sizes, bias, activation)?,
            language: language.load(&scope.enter("language_model"))?,
            config,
        })
    }

    /// Builds the model of a checkpoint from weights with the names of LLaVA's own files.
    ///
    /// # Errors
    /// If the config makes no sense, the vision tower's folder is missing, or a weight is missing or has another shape.
    pub fn load_original(checkpoint: &Checkpoint, scope: &Scope<'_>) -> Result<Self> {
        let original = OriginalConfig::read(checkpoint)?;
        let config = original.as_llava(checkpoint)?;
        let (depth, language) = (original.depth(checkpoint)?, config.language(checkpoint)?);
        let sizes = (config.feature_width(), language.width());
        if depth == OriginalDepth::Layers(0) && sizes.0 != sizes.1 {
            return Err(checkpoint.config_error(format!(
                "the config has no projector between vectors of length {} and those of length {}",
                sizes.0, sizes.1
            )));
        }
        // One that was trained along lies among the weights.
        let own = scope.enter("model.vision_tower.vision_tower.vision_model");
        let tower =
            if own.contains("embeddings.class_embedding") { own } else { scope.enter(TOWER).enter("vision_model") };
        Ok(Self {
            vision: VisionTower::load(&config.vision_config.tower, Tail::ClassToken, &tower)?,
            projector: Projector::load_original(&scope.enter("model.mm_projector"), sizes, depth)?,
            language: language.load(scope)?,
            config,
        })
    }

    /// The sizes of the model.
    #[must_use]
    pub fn config(&self) -> &LlavaConfig {
        &self.config
    }

    /// The vision tower.
    #[must_use]
    pub fn vision(&self) -> &VisionTower {
        &self.vision
    }

    /// The projector.
    #[must_use]
    pub fn projector(&self) -> &Projector {
        &self.projector
    }

    /// The language model. Its [`LanguageModel::lens`] turns states behind any of its blocks into scores of words.
    #[must_use]
    pub fn language(&self) -> &dyn LanguageModel {
        self.language.as_ref()
    }

    /// The token that stands in a text for each vector of a picture. Of LLaVA's own layout it is one that the language
    /// model doesn't know.
    #[must_use]
    pub fn placeholder(&self) -> u32 {
        self.config.image_token_index
    }

    /// What the projector gets of `pixels` `[pictures, 3, height, width]`, `[pictures, positions, feature width]`: states
    /// behind the layers of [`LlavaConfig::feature_layers`], before any last norm. [`LlavaConfig::patch`] says which patch
    /// a position stands for.
    ///
    /// # Errors
    /// If the pixels have another size than the config says, the pass is cancelled, or an observer fails.
    pub fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let skipped = self.config.skipped();
        let states = self.vision.states(pixels, &self.config.feature_layers(), taps)?;
        let kept = |states: &Tensor| -> Result<Tensor> {
            Ok(states.narrow(1, skipped, states.dim(1)?.saturating_sub(skipped))?) // [pictures, positions, vision width]
        };
        let kept = states.iter().map(kept).collect::<Result<Vec<_>>>()?;
        match kept.as_slice() {
            [one] => Ok(one.contiguous()?),
            several => Ok(Tensor::cat(several, D::Minus1)?.contiguous()?),
        }
    }

    /// A picture's vectors `[pictures, positions, feature width]` of [`Self::see`] in the space of the language model's
    /// words, `[pictures, positions, language width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn project(&self, features: &Tensor) -> Result<Tensor> {
        self.projector.forward(features)
    }

    /// What the language model gets: the vectors of the words in `ids` `[batch, tokens]`, and `projected` `[pictures,
    /// positions, language width]` in the places of the placeholders, in order, `[batch, tokens, language width]`.
    ///
    /// # Errors
    /// If an id is unknown, or the texts have more or fewer places than the pictures have vectors.
    pub fn inputs(&self, ids: &Tensor, projected: Option<&Tensor>) -> Result<Tensor> {
        let placeholder = self.placeholder();
        // It may be no word at all; whatever is read in its place is replaced.
        let known = ids.flatten_all()?.to_vec1::<u32>()?.into_iter();
        let known: Vec<u32> = known.map(|id| if id == placeholder { 0 } else { id }).collect();
        let words = self.language.embed(&Tensor::from_vec(known, ids.shape(), ids.device())?)?; // [batch, tokens, width]
        let found: usize = places(ids, placeholder)?.iter().sum();
        let (pictures, each) = match projected {
            Some(projected) => (projected.dim(0)?, projected.dim(1)?),
            None => (0, self.config.positions()),
        };
        if found != pictures * each {
            return Err(Error::unusable(
                format!("the texts have places for {found} vectors, and {pictures} pictures have {each} each"),
                "write '<image>' once for each picture",
            ));
        }
        match projected {
            Some(projected) => splice(&words, ids, placeholder, projected),
            None => Ok(words),
        }
    }

    /// The logits of what follows each token of the prompt, `[batch, tokens, vocabulary]`.
    ///
    /// # Errors
    /// As [`Self::inputs`], and if a text is too long, the pass is cancelled, or an observer fails.
    pub fn logits(&self, prompt: LlavaPrompt<'_>, taps: &mut Taps<'_>) -> Result<Tensor> {
        let inputs = self.inputs(prompt.ids, prompt.projected)?;
        self.language.logits(&inputs, prompt.attention_mask, None, taps)
    }

    /// Writes on behind one prompt. Returns the new tokens, with the one that ends the text if it came to that; each is
    /// handed to `on_token`, which returns whether to go on.
    ///
    /// # Errors
    /// As [`Self::logits`], and if there are several prompts, `how` makes no sense, or the model gives numbers that aren't
    /// finite.
    pub fn generate(
        &self,
        prompt: LlavaPrompt<'_>,
        how: Manner,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        let inputs = self.inputs(prompt.ids, prompt.projected)?;
        self.language.generate(&inputs, prompt.attention_mask, how, taps, on_token)
    }
}
