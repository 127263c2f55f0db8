//! What CLIP and SigLIP have in common: two encoders and one shared space.

use candle_core::Tensor;

use crate::error::Result;
use crate::taps::Taps;

/// What the vision encoder makes of pictures.
#[derive(Clone, Debug)]
pub struct ImageFeatures {
    /// The pooled output of the tower before projection, `[batch, width]`.
    pub pooled: Tensor,
    /// Each picture in the shared space, unit length, `[batch, projection]`.
    pub embed: Tensor,
    /// Each patch taken through the same last steps as the picture, unit length, `[batch, patches, projection]`.
    pub patches: Tensor,
}

/// What the text encoder makes of texts.
#[derive(Clone, Debug)]
pub struct TextFeatures {
    /// The pooled output of the tower before projection, `[batch, width]`.
    pub pooled: Tensor,
    /// Each text in the shared space, unit length, `[batch, projection]`.
    pub embed: Tensor,
}

/// A model with one encoder for pictures, one for texts, and a shared space.
pub trait DualEncoder: Send + Sync {
    /// Rows and columns of patches.
    fn grid(&self) -> (usize, usize);
    /// How many positions precede the patches in the vision tower: 1 for a class token, else 0.
    fn class_tokens(&self) -> usize;
    /// Number of vision and text blocks.
    fn depths(&self) -> (usize, usize);
    /// The longest text, in tokens.
    fn context(&self) -> usize;
    /// Whether texts are always padded to the longest length and padding is seen (SigLIP), or masked (CLIP).
    fn pads_to_context(&self) -> bool;
    /// Length of vectors in the shared space.
    fn projection_size(&self) -> usize;
    /// Encodes `pixels` `[batch, 3, height, width]`, normalised.
    ///
    /// # Errors
    /// If the shape doesn't fit the config, the pass is cancelled, or an observer fails.
    fn encode_image(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<ImageFeatures>;
    /// Each patch as [`ImageFeatures::patches`], `[batch, patches, projection]`, but by the second way of CLIP Surgery
    /// ([`VisionTower::surgical_states`](super::vision_tower::VisionTower::surgical_states)).
    ///
    /// # Errors
    /// As [`Self::encode_image`].
    fn surgical_patches(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor>;
    /// Encodes `ids` `[batch, tokens]`; `attention_mask` `[batch, tokens]` is 1 for tokens and 0 for padding.
    ///
    /// # Errors
    /// If a text is too long, an id unknown, the pass is cancelled, or an observer fails.
    fn encode_text(&self, ids: &Tensor, attention_mask: Option<&Tensor>, taps: &mut Taps<'_>) -> Result<TextFeatures>;
    /// Scores of each picture with each text, `[pictures, texts]`, from unit vectors.
    ///
    /// # Errors
    /// If the vectors have different lengths.
    fn logits(&self, image_embed: &Tensor, text_embed: &Tensor) -> Result<Tensor>;
    /// The factor between cosine and logit, `e^logit_scale`.
    ///
    /// # Errors
    /// If the device can't be read.
    fn logit_factor(&self) -> Result<f32>;
    /// SigLIP's bias: a logit goes through a sigmoid of its own. `None` where logits are meant for a softmax over the
    /// texts, as in CLIP.
    ///
    /// # Errors
    /// If the device can't be read.
    fn logit_bias(&self) -> Result<Option<f32>>;
}
