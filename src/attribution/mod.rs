//! Attributions: which patches of a picture a text, or the model as a whole, has to do with.
//!
//! An attribution is a function from what a pass left behind, a [`Subject`], to one number a patch. It works on plain
//! host arrays. A new attribution is one file here, two help texts in `assets/help`, and one line in [`ATTRIBUTIONS`].
//!
//! An [`Explainer`] is the same for any model: it asks the model itself, about the picture and about changed ones, which takes
//! longer, so that it is made only where a person wants it.

pub mod asking;
pub mod bimodal_relevancy;
pub mod class_attention;
pub mod cosine;
pub mod cosine_corrected;
pub mod fusion;
pub mod grad_cam;
pub mod gradient_input;
pub mod hiding;
pub mod integrated_gradients;
mod matrix;
pub mod occlusion;
pub mod relevancy;
pub mod relevancy_last;
pub mod rollout;
pub mod sliding_occlusion;
pub mod surgery;
pub mod value_attention;

use crate::error::Result;
use crate::taps::Recording;
pub use asking::{Asked, EXPLAINERS, Explainer, Slope, explainer};

/// What an attribution looks at: one text (word, phrase or sentence) and one picture of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The vision tower's attention patterns, `[batch, heads, queries, keys]`, and values, `[batch, heads, keys, head width]`,
    /// without a class token also the pooling head's, and what enters its first block and its last; with [`Attribution::needs_gradients`] also the gradient there of the pair's score. Recorded over a batch
    /// of pairs, the score is the sum over the pairs: a row's gradient belongs to its pair alone.
    pub recording: &'a Recording,
    /// Which entry of the batch.
    pub row: usize,
    /// The picture's patches in the shared space, unit length, `[patches * projection]`.
    pub patches: &'a [f32],
    /// The same by CLIP Surgery's second way through the tower, `[patches * projection]`.
    pub surgical: &'a [f32],
    /// The text in the shared space, unit length, `[projection]`.
    pub text: &'a [f32],
    /// The empty text in the shared space, unit length, `[projection]`: what every text has in common.
    pub neutral: &'a [f32],
    /// How many positions precede the patches in the vision tower: 1 for CLIP, 0 for SigLIP.
    pub class_tokens: usize,
    /// Number of vision blocks.
    pub depth: usize,
}

/// A way to tell which patches matter. Its name on the screen and what a number of it is stand in the language files.
#[derive(Clone, Copy, Debug)]
pub struct Attribution {
    /// Its name on the command line and in files.
    pub key: &'static str,
    /// What it shows and what it can't, as Markdown, in English and Chinese.
    pub help: [&'static str; 2],
    /// Whether the recording must hold gradients.
    pub needs_gradients: bool,
    /// Whether another text gives another map.
    pub depends_on_text: bool,
    /// Whether a number can be below zero.
    pub signed: bool,
    /// Where it was published.
    pub paper: &'static str,
    /// The map: one number a patch, row by row, never rescaled. Fails if the recording lacks something, and names it.
    pub map: fn(&Subject<'_>) -> Result<Vec<f32>>,
}

/// Every attribution.
pub const ATTRIBUTIONS: &[Attribution] = &[
    cosine::COSINE,
    cosine_corrected::CORRECTED,
    surgery::SURGERY,
    class_attention::CLASS_ATTENTION,
    value_attention::VALUE_ATTENTION,
    rollout::ROLLOUT,
    relevancy::RELEVANCY,
    relevancy_last::LAST,
    gradient_input::GRADIENT_INPUT,
    grad_cam::GRAD_CAM,
];

/// The attribution with this key.
#[must_use]
pub fn named(key: &str) -> Option<&'static Attribution> {
    ATTRIBUTIONS.iter().find(|attribution| attribution.key == key)
}
