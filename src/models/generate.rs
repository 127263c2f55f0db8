//! Writing a text, one token after the other: which one comes next, and where it ends.

use candle_core::{IndexOp, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a text is written greedily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greedy {
    /// The longest text, in tokens, without what it goes on from.
    pub max_new_tokens: usize,
    /// Whether keys and values of earlier tokens are kept. The text is the same without, but each token then costs a
    /// pass over all before it.
    pub cached: bool,
}

impl Greedy {
    /// At most `max_new_tokens`, with a cache.
    #[must_use]
    pub fn new(max_new_tokens: usize) -> Self {
        Self { max_new_tokens, cached: true }
    }
}

/// How the next token is chosen from the scores of all tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// Always the likeliest.
    Greedy,
    /// By chance, but only among the fewest likeliest tokens that together have the probability `p` (nucleus sampling,
    /// Holtzman et al. 2019, arXiv 1904.09751).
    TopP {
        /// Above 0 and up to 1.
        p: f64,
        /// What the scores are divided by before they become probabilities; above 0.
        temperature: f64,
        /// The same seed writes the same text.
        seed: u64,
    },
}

/// How a text is written, greedily or by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manner {
    /// The longest text, in tokens, without what it goes on from.
    pub max_new_tokens: usize,
    /// Whether keys and values of earlier tokens are kept; see [`Greedy::cached`].
    pub cached: bool,
    /// How each token is chosen.
    pub choice: Choice,
}

impl From<Greedy> for Manner {
    fn from(how: Greedy) -> Self {
        Self { max_new_tokens: how.max_new_tokens, cached: how.cached, choice: Choice::Greedy }
    }
}

/// The tokens that end a text, as a config says them: one id, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ends {
    /// One.
    One(u32),
    /// Several.
    Several(Vec<u32>),
}

impl Ends {
    /// All of them.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![*id],
            Self::Several(ids) => ids.clone(),
        }
    }
}

/// Where a text ends, whether or not it is complete.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// New tokens.
    pub max_new_tokens: usize,
    /// All tokens, with those it goes on from.
    pub context: usize,
    /// The tokens that end a text.
    pub ends: &'a [u32],
}

/// Goes on from the tokens `text`. `next` gets all tokens so far and gives the logits `[vocabulary]` of what follows.
/// Each new token is handed to `on_token`, which returns whether to go on. Returns the new tokens, with the one that ends
/// the text if it came to that.
///
/// # Errors
/// If `choice` makes no sense, `next` fails (as it does when the pass is cancelled), or a logit isn't finite.
pub fn write(
    mut text: Vec<u32>,
    limits: Limits<'_>,
    choice: Choice,
    on_token: &mut dyn FnMut(u32) -> bool,
    mut next: impl FnMut(&[u32]) -> Result<Tensor>,
) -> Result<Vec<u32>> {
    let mut chooser = Chooser::new(choice)?;
    let start = text.len();
    while text.len() - start < limits.max_new_tokens && text.len() < limits.context {
        let token = chooser.choose(&next(&text)?.to_vec1::<f32>()?)?;
        text.push(token);
        if !on_token(token) || limits.ends.contains(&token) {
            break;
        }
    }
    Ok(text.split_off(start))
}

/// [`write()`] with always the likeliest token.
///
/// # Errors
/// If `next` fails (as it does when the pass is cancelled), or a logit isn't finite.
pub fn greedy(
    text: Vec<u32>,
    limits: Limits<'_>,
    on_token: &mut dyn FnMut(u32) -> bool,
    next: impl FnMut(&[u32]) -> Result<Tensor>,
) -> Result<Vec<u32>> {
    write(text, limits, Choice::Greedy, on_token, next)
}

/// Goes on from each of `rows`, greedily and all at once. `next` gets all rows so far, of which those that have ended no
/// longer grow, and gives the logits of what follows each of their tokens, `[rows, tokens, vocabulary]`; nothing is kept
/// between the tokens, so this is meant for many short texts. Returns the new tokens of each row, without the end.
///
/// # Errors
/// If `next` fails (as it does when the pass is cancelled).
pub fn write_together(
    mut rows: Vec<Vec<u32>>,
    limits: Limits<'_>,
    mut next: impl FnMut(&[Vec<u32>]) -> Result<Tensor>,
) -> Result<Vec<Vec<u32>>> {
    let begins: Vec<usize> = rows.iter().map(Vec::len).collect();
    let mut open = vec![true; rows.len()];
    for _ in 0..limits.max_new_tokens {
        if !open.contains(&true) {
            break;
        }
        let logits = next(&rows)?;
        for (at, row) in rows.iter_mut().enumerate() {
            if !open[at] {
                continue;
            }
            let token = logits.i((at, row.len().saturating_sub(1)))?.argmax(0)?.to_scalar::<u32>()?;
            let ended = limits.ends.contains(&token);
            if !ended {
                row.push(token);
            }
            open[at] = !ended && row.len() < limits.context;
        }
    }
    Ok(rows.into_iter().zip(begins).map(|(mut row, begin)| row.split_off(begin)).collect())
}

/// Chooses the tokens of one text.
struct Chooser(Option<Nucleus>);

/// What a choice by chance needs.
struct Nucleus {
    p: f64,
    temperature: f64,
    rng: ChaCha8Rng,
}

impl Chooser {
    fn new(choice: Choice) -> Result<Self> {
        let Choice::TopP { p, temperature, seed } = choice else { return Ok(Self(None)) };
        let sensible = p > 0.0 && p <= 1.0;
        if !sensible {
            return Err(Error::unusable(
                format!("top-p sampling is asked for p = {p}"),
                "choose a p above 0 and up to 1",
            ));
        }
        let sensible = temperature > 0.0 && temperature.is_finite();
        if !sensible {
            return Err(Error::unusable(
                format!("top-p sampling is asked for a temperature of {temperature}"),
                "choose one above 0, or the likeliest token always",
            ));
        }
        Ok(Self(Some(Nucleus { p, temperature, rng: ChaCha8Rng::seed_from_u64(seed) })))
    }

    /// The token that follows, from the logits of all tokens.
    fn choose(&mut self, logits: &[f32]) -> Result<u32> {
        let likeliest = most_likely(logits)?;
        Ok(self.0.as_mut().map_or(likeliest, |nucleus| nucleus.choose(logits, likeliest)))
    }
}

impl Nucleus {
    /// A token by chance; the logits are finite, and `likeliest` has the largest.
    fn choose(&mut self, logits: &[f32], likeliest: u32) -> u32 {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| ((f64::from(logit) - f64::from(highest)) / self.temperature).exp();
        let mut tokens: Vec<(u32, f64)> = (0u32..).zip(logits.iter().map(|logit| weight(*logit))).collect();
        // Stable: of equally likely tokens the first one comes first, as in `most_likely`.
        tokens.sort_by(|(_, left), (_, right)| right.total_cmp(left));
        let wanted = self.p * tokens.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut inside = 0.0;
        let in_nucleus = |(_, weight): &&(u32, f64)| {
            let needed = inside < wanted;
            inside += if needed { *weight } else { 0.0 };
            needed
        };
        let size = tokens.iter().take_while(in_nucleus).count();
        tokens.truncate(size);
        let mut left = self.rng.random::<f64>() * inside;
        for (token, weight) in &tokens {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        // Rounding may leave a little behind the last token.
        tokens.iter().rev().find(|(_, weight)| *weight > 0.0).map_or(likeliest, |(token, _)| *token)
    }
}

/// The index of the largest logit, the first of several.
pub(super) fn most_likely(logits: &[f32]) -> Result<u32> {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if !logit.is_finite() {
            return Err(Error::unusable("the model gives numbers that aren't finite", "fetch or train it again"));
        }
        if *logit > logits[best] {
            best = token;
        }
    }
    Ok(u32::try_from(best).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const LOGITS: [f32; 6] = [0.5, 2.0, -1.0, 1.5, 2.0, -3.0];

    fn next(_text: &[u32]) -> Result<Tensor> {
        Ok(Tensor::new(&LOGITS, &Device::Cpu)?)
    }

    /// Fifty tokens, all with the same logits.
    fn written(p: f64, temperature: f64, seed: u64) -> Vec<u32> {
        let limits = Limits { max_new_tokens: 50, context: 1000, ends: &[] };
        let choice = Choice::TopP { p, temperature, seed };
        write(vec![7], limits, choice, &mut |_| true, next).expect("a text")
    }

    #[test]
    fn a_tiny_nucleus_is_greedy() {
        assert_eq!(written(1e-12, 1.0, 3), [1; 50]);
        let limits = Limits { max_new_tokens: 50, context: 1000, ends: &[] };
        assert_eq!(greedy(vec![7], limits, &mut |_| true, next).expect("a text"), [1; 50]);
    }

    #[test]
    fn cold_is_nearly_greedy_and_heat_reaches_everything() {
        assert!(written(1.0, 1e-300, 3).iter().all(|token| [1, 4].contains(token)));
        let hot = written(1.0, 1e300, 3);
        assert!((0..6).all(|token| hot.contains(&token)), "{hot:?}");
    }

    #[test]
    fn a_seed_writes_one_text() {
        assert_eq!(written(0.9, 1.0, 11), written(0.9, 1.0, 11));
        assert_ne!(written(0.9, 1.0, 11), written(0.9, 1.0, 12));
    }

    #[test]
    fn nothing_comes_from_outside_of_the_nucleus() {
        // Probabilities: 1 and 4 have 0.346 each, 3 has 0.210, 0 has 0.077, 2 and 5 the rest.
        for (p, nucleus) in [(0.34, vec![1]), (0.6, vec![1, 4]), (0.8, vec![1, 3, 4]), (0.95, vec![0, 1, 3, 4])] {
            let mut seen: Vec<u32> = (0..20).flat_map(|seed| written(p, 1.0, seed)).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, nucleus, "p = {p}");
        }
    }

    #[test]
    fn chances_are_those_of_the_softmax() {
        let tokens: Vec<u32> = (0..100).flat_map(|seed| written(1.0, 1.0, seed)).collect();
        let share = |token: u32| tokens.iter().filter(|other| **other == token).count() as f64 / tokens.len() as f64;
        let total: f64 = LOGITS.iter().map(|logit| f64::from(*logit).exp()).sum();
        for (token, logit) in (0u32..).zip(LOGITS) {
            let chance = f64::from(logit).exp() / total;
            assert!((share(token) - chance).abs() < 0.03, "{token}: {} instead of {chance}", share(token));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (p, temperature) in
            [(0.0, 1.0), (1.1, 1.0), (-0.5, 1.0), (f64::NAN, 1.0), (0.9, 0.0), (0.9, -1.0), (0.9, f64::INFINITY)]
        {
            let said = Chooser::new(Choice::TopP { p, temperature, seed: 0 }).err().expect("a refusal").to_string();
            assert!(said.contains("top-p") && said.contains("; choose"), "{said}");
        }
        let mut chooser = Chooser::new(Choice::TopP { p: 0.9, temperature: 1.0, seed: 0 }).expect("a chooser");
        assert!(chooser.choose(&[0.0, f32::NAN]).is_err());
        assert!(chooser.choose(&[0.0, f32::INFINITY]).is_err());
    }

    #[test]
    fn rows_end_one_by_one() {
        // What follows a token is the next number.
        let next = |rows: &[Vec<u32>]| -> Result<Tensor> {
            let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
            let mut logits = vec![0f32; rows.len() * longest * 8];
            for (at, row) in rows.iter().enumerate() {
                for (place, token) in row.iter().enumerate() {
                    logits[(at * longest + place) * 8 + *token as usize + 1] = 1.0;
                }
            }
            Ok(Tensor::from_vec(logits, (rows.len(), longest, 8), &Device::Cpu)?)
        };
        let rows = || vec![vec![3], vec![0, 0], vec![4]];
        let limits = Limits { max_new_tokens: 3, context: 10, ends: &[5] };
        assert_eq!(write_together(rows(), limits, next).expect("texts"), [vec![4], vec![1, 2, 3], Vec::<u32>::new()]);
        let limits = Limits { max_new_tokens: 3, context: 3, ends: &[] };
        assert_eq!(write_together(rows(), limits, next).expect("texts"), [vec![4u32, 5], vec![1], vec![5, 6]]);
    }

    #[test]
    fn any_of_several_tokens_ends_a_text() {
        let limits = Limits { max_new_tokens: 50, context: 1000, ends: &[9, 1] };
        assert_eq!(write(vec![7], limits, Choice::Greedy, &mut |_| true, next).expect("a text"), [1]);
        let limits = Limits { max_new_tokens: 50, context: 4, ends: &[] };
        assert_eq!(write(vec![7], limits, Choice::Greedy, &mut |_| true, next).expect("a text"), [1; 3]);
    }
}
