//! Texts for training: ids, targets, and unknown words here and there.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::tokenizer::{END, PAD, UNKNOWN};
use crate::error::Result;
use crate::models::tokenizer::TextTokenizer;
use crate::world::{Language, Scene, Statement};

/// Share of texts with words that aren't known, so that these don't disturb the rest.
const STRANGE: f64 = 0.1;

/// Ids of a text, at most `longest`; now and then with unknown words in front.
///
/// # Errors
/// If the tokenizer fails.
pub fn with_unknown_words(
    tokenizer: &TextTokenizer,
    text: &str,
    longest: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<u32>> {
    let mut ids = tokenizer.encode(text)?.ids;
    if rng.random_bool(STRANGE) {
        for _ in 0..rng.random_range(1..=4u32) {
            ids.insert(1, UNKNOWN.1);
        }
        if ids.len() > longest {
            ids.truncate(longest - 1);
            ids.push(END.1);
        }
    }
    Ok(ids)
}

/// One of the languages, each as likely.
pub fn any_language(rng: &mut ChaCha8Rng) -> Language {
    Language::ALL[rng.random_range(0..Language::ALL.len() as u32) as usize]
}

/// What is to be written about a scene, and what stands before it: half of the time the question what is there, to which
/// all things are the answer, and else nothing, and any sentence behind it.
pub fn asked_caption(scene: &Scene, language: Language, rng: &mut ChaCha8Rng) -> (&'static str, String) {
    if rng.random_bool(0.5) {
        (language.caption_prompt(), scene.list(language, rng).text)
    } else {
        ("", scene.caption(language, rng))
    }
}

/// A caption of each scene in its language, as [`asked_caption`] chooses it: its ids, with the number of those that are
/// given and not learned, as [`Lines::new`] takes them.
///
/// # Errors
/// If the tokenizer fails.
pub fn caption_rows(
    tokenizer: &TextTokenizer,
    scenes: &[Scene],
    languages: impl Iterator<Item = Language>,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<(Vec<u32>, usize)>> {
    let mut rows = Vec::new();
    for (scene, language) in scenes.iter().zip(languages) {
        let (prompt, caption) = asked_caption(scene, language, rng);
        // Without its end token, which the caption has.
        let given = tokenizer.encode(prompt)?.ids.len() - 1;
        let mut ids = tokenizer.encode(&format!("{prompt} {caption}"))?.ids;
        ids.truncate(tokenizer.context());
        rows.push((ids, given));
    }
    Ok(rows)
}

/// Texts that a decoder learns to write on.
pub struct Lines {
    /// What it reads, `[texts, tokens]`.
    pub ids: Tensor,
    /// 1 for tokens and 0 for padding, `[texts, tokens]`.
    pub mask: Tensor,
    /// What follows each token, `[texts, tokens]`.
    pub targets: Tensor,
    /// 1 where what follows is to be learned, else 0, `[texts, tokens]`.
    pub learned: Tensor,
}

impl Lines {
    /// From rows of ids, each with the number of leading ids that are given and not learned (1 for the start alone).
    ///
    /// # Errors
    /// If memory runs out.
    pub fn new(rows: &[(Vec<u32>, usize)]) -> Result<Self> {
        let tokens = rows.iter().map(|(row, _)| row.len()).max().unwrap_or(0).saturating_sub(1).max(1);
        let shape = (rows.len(), tokens);
        let (mut ids, mut mask, mut targets, mut learned) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, given) in rows {
            for at in 0..tokens {
                let follows = at + 1 < row.len();
                ids.push(if follows { row[at] } else { PAD.1 });
                mask.push(u32::from(follows));
                targets.push(if follows { row[at + 1] } else { PAD.1 });
                learned.push(f32::from(follows && at + 1 >= *given));
            }
        }
        Ok(Self {
            ids: Tensor::from_vec(ids, shape, &Device::Cpu)?,
            mask: Tensor::from_vec(mask, shape, &Device::Cpu)?,
            targets: Tensor::from_vec(targets, shape, &Device::Cpu)?,
            learned: Tensor::from_vec(learned, shape, &Device::Cpu)?,
        })
    }
}

/// `[scenes * statements]`, 1 where a statement, of which there is one for each scene, is true of another scene by accident.
pub fn also_true(scenes: &[Scene], statements: &[&Statement]) -> Vec<f32> {
    let mut also_true = Vec::with_capacity(scenes.len() * scenes.len());
    for (picture, scene) in scenes.iter().enumerate() {
        let accident = |(text, statement): (usize, &Statement)| picture != text && scene.satisfies(&statement.claim);
        also_true.extend(statements.iter().enumerate().map(|(text, statement)| f32::from(accident((text, statement)))));
    }
    also_true
}
