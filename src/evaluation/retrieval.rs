//! Retrieval: the best text for a picture among those of many scenes, and the best picture for a text.
//!
//! A short caption can be true of another scene by accident: `a cat` is true wherever just one cat is. Such a find isn't a
//! mistake, so it counts as right; the strict figures count only the scene's own.

use serde::Serialize;

use super::Share;
use crate::error::Result;
use crate::world::{Language, Scene, Statement};

/// R@1, the share of questions whose best answer is right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retrieval {
    /// The language of the texts.
    pub language: Language,
    /// Scenes to choose from.
    pub scenes: usize,
    /// Pictures whose best text is true of them.
    pub picture_to_text: Share,
    /// Texts whose best picture they are true of.
    pub text_to_picture: Share,
    /// Pictures whose best text is their own.
    pub picture_to_text_strict: Share,
    /// Texts whose best picture is their own.
    pub text_to_picture_strict: Share,
}

impl Retrieval {
    /// Of the full captions of `scenes`; `similarity` gives that of each picture with each of the captions that it gets,
    /// `[scenes * scenes]`, a row a picture.
    ///
    /// # Errors
    /// If `similarity` fails.
    pub(super) fn among(
        scenes: &[Scene],
        language: Language,
        similarity: impl FnOnce(&[&str]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let statements: Vec<Statement> = scenes.iter().map(|scene| scene.full_statement(language)).collect();
        let captions: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
        let similarity = similarity(&captions)?;
        let is_true = |picture: usize, text: usize| scenes[picture].satisfies(&statements[text].claim);
        Ok(Self::of(language, scenes.len(), &similarity, is_true))
    }

    /// From the similarity of each picture with each text, `[scenes * scenes]`, a row a picture; `is_true(picture, text)`
    /// says whether a text is true of a picture.
    #[must_use]
    pub fn of(language: Language, scenes: usize, similarity: &[f32], is_true: impl Fn(usize, usize) -> bool) -> Self {
        let best_text = |picture: usize| highest((0..scenes).map(|text| similarity[picture * scenes + text]));
        let best_picture = |text: usize| highest((0..scenes).map(|picture| similarity[picture * scenes + text]));
        let share = |right: &dyn Fn(usize) -> bool| {
            let hits: Vec<f64> = (0..scenes).map(|at| f64::from(u8::from(right(at)))).collect();
            Share::of(&hits)
        };
        Self {
            language,
            scenes,
            picture_to_text: share(&|picture| is_true(picture, best_text(picture))),
            text_to_picture: share(&|text| is_true(best_picture(text), text)),
            picture_to_text_strict: share(&|picture| best_text(picture) == picture),
            text_to_picture_strict: share(&|text| best_picture(text) == text),
        }
    }
}

/// Where the first of the highest values is.
fn highest(values: impl Iterator<Item = f32>) -> usize {
    let best = values.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(at, _)| at)
}
