//! Writing a text greedily: the most likely token, again and again.

use candle_core::Tensor;

use crate::error::{Error, Result};

/// How a text is written.
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

/// Where a text ends, whether or not it is complete.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// New tokens.
    pub max_new_tokens: usize,
    /// All tokens, with those it goes on from.
    pub context: usize,
    /// The token that ends a text.
    pub end: u32,
}

/// Goes on from the tokens `text`. `next` gets all tokens so far and gives the logits `[vocabulary]` of what follows.
/// Each new token is handed to `on_token`, which returns whether to go on. Returns the new tokens, with the one that ends
/// the text if it came to that.
///
/// # Errors
/// If `next` fails (as it does when the pass is cancelled), or a logit isn't finite.
pub fn greedy(
    mut text: Vec<u32>,
    limits: Limits,
    on_token: &mut dyn FnMut(u32) -> bool,
    mut next: impl FnMut(&[u32]) -> Result<Tensor>,
) -> Result<Vec<u32>> {
    let start = text.len();
    while text.len() - start < limits.max_new_tokens && text.len() < limits.context {
        let token = most_likely(&next(&text)?.to_vec1::<f32>()?)?;
        text.push(token);
        if !on_token(token) || token == limits.end {
            break;
        }
    }
    Ok(text.split_off(start))
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
