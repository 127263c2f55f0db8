//! States read as words: those of a language model's table that lie nearest, and those that its last norm and output layer
//! make of a state.

use candle_core::{D, Tensor};

use super::language_model::LanguageModel;
use super::tokenizer::TextTokenizer;
use crate::error::Result;
use crate::taps::CancelToken;

/// Rows of the table that are looked through at once, and states that are read at once, which bounds what is needed
/// beside the table.
const ROWS: usize = 4096;
/// See [`ROWS`].
const STATES: usize = 64;

/// A word that a state is near to.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// The word.
    pub word: String,
    /// Its token.
    pub id: u32,
    /// How near: a cosine, or a probability.
    pub score: f32,
}

/// The words of a language model that are text by themselves. Special tokens, and pieces that aren't text alone, are none.
pub struct Lens {
    words: Vec<Option<String>>, // by token
}

impl Lens {
    /// The words of `language`, as `tokenizer` writes them; `placeholder` stands for a picture and is none.
    ///
    /// # Errors
    /// If the table has no size or the tokenizer fails.
    pub fn new(language: &dyn LanguageModel, tokenizer: &TextTokenizer, placeholder: Option<u32>) -> Result<Self> {
        let tokens = language.words().weight().dims()?.0;
        let word = |id: u32| -> Result<Option<String>> {
            let word = tokenizer.decode(&[id])?.trim().to_owned();
            let strange = |letter: char| letter == '\u{fffd}' || letter.is_control();
            let is_text = !word.is_empty() && !word.contains(strange) && Some(id) != placeholder;
            Ok(is_text.then_some(word))
        };
        Ok(Self { words: (0..tokens as u32).map(word).collect::<Result<_>>()? })
    }

    /// The word that a token is, if it is one.
    #[must_use]
    pub fn word(&self, id: u32) -> Option<&str> {
        self.words.get(id as usize)?.as_deref()
    }

    /// The first token that is this word.
    #[must_use]
    pub fn id(&self, word: &str) -> Option<u32> {
        self.words.iter().position(|known| known.as_deref() == Some(word)).map(|id| id as u32)
    }

    /// For each of `states` `[rows, width]` the `count` different words whose vectors in the table of `language` have the
    /// highest cosine to it, nearest first.
    ///
    /// # Errors
    /// If the width isn't that of the table, or it is cancelled.
    pub fn nearest(
        &self,
        language: &dyn LanguageModel,
        states: &Tensor,
        count: usize,
        stop: &CancelToken,
    ) -> Result<Vec<Vec<Near>>> {
        let table = language.words().weight();
        let (tokens, _) = table.dims()?;
        self.best(states, count, stop, |states| {
            let states = unit(states)?;
            let mut all = Vec::new();
            for begin in (0..tokens).step_by(ROWS) {
                stop.check()?;
                let some = unit(&table.narrow(begin, ROWS.min(tokens - begin))?.widened()?)?; // [some, width]
                all.push(states.matmul(&some.t()?)?);
            }
            Ok(Tensor::cat(&all, 1)?) // [states, tokens]
        })
    }

    /// For each of `states` `[rows, width]` behind a block of `language` the `count` likeliest different words, likeliest
    /// first: [`LanguageModel::lens`]. The probabilities are those among all tokens, also those that are no words.
    ///
    /// # Errors
    /// If the width isn't that of the model, or it is cancelled.
    pub fn likeliest(
        &self,
        language: &dyn LanguageModel,
        states: &Tensor,
        count: usize,
        stop: &CancelToken,
    ) -> Result<Vec<Vec<Near>>> {
        self.best(states, count, stop, |states| {
            crate::nn::softmax(&language.lens(&states.unsqueeze(0)?)?.squeeze(0)?) // [states, tokens]
        })
    }

    /// The best words by the scores `[states, tokens]` that `score` gives some states.
    fn best(
        &self,
        states: &Tensor,
        count: usize,
        stop: &CancelToken,
        score: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Vec<Near>>> {
        let rows = states.dim(0)?;
        let mut best = Vec::with_capacity(rows);
        for begin in (0..rows).step_by(STATES) {
            stop.check()?;
            let some = states.narrow(0, begin, STATES.min(rows - begin))?.contiguous()?;
            for scores in score(&some)?.to_vec2::<f32>()? {
                best.push(self.best_of(&scores, count));
            }
        }
        Ok(best)
    }

    /// The `count` different words with the highest of `scores` `[tokens]`.
    fn best_of(&self, scores: &[f32], count: usize) -> Vec<Near> {
        let mut order: Vec<u32> = (0..scores.len().min(self.words.len()) as u32).collect();
        let better = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
        // More than are kept, for some of them are left out.
        let enough = (8 * count).min(order.len());
        if enough > 0 && enough < order.len() {
            order.select_nth_unstable_by(enough - 1, better);
            order.truncate(enough);
        }
        order.sort_by(better);
        let mut best: Vec<Near> = Vec::new();
        for id in order {
            if best.len() == count {
                break;
            }
            if let Some(word) = self.word(id)
                && !best.iter().any(|known| known.word == word)
            {
                best.push(Near { word: word.to_owned(), id, score: scores[id as usize] });
            }
        }
        best
    }
}

/// Vectors `[rows, width]` with length one.
pub(crate) fn unit(vectors: &Tensor) -> Result<Tensor> {
    let lengths = vectors.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-9)?; // [rows, 1]
    Ok(vectors.broadcast_div(&lengths)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_words_are_different_and_text() {
        let words = [None, Some("cat"), Some("Cat"), Some("cat"), Some("dog")];
        let lens = Lens { words: words.map(|word| word.map(str::to_owned)).to_vec() };
        let best = lens.best_of(&[0.9, 0.1, 0.5, 0.3, 0.2], 3);
        let said: Vec<(&str, u32)> = best.iter().map(|near| (near.word.as_str(), near.id)).collect();
        assert_eq!(said, [("Cat", 2), ("cat", 3), ("dog", 4)]);
        assert!(lens.best_of(&[], 3).is_empty() && lens.best_of(&[0.5], 0).is_empty());
    }
}
