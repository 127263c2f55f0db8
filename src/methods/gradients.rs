//! Gradients of several scores of one pass.

use rayon::prelude::*;

use crate::error::Result;

/// Of so many numbers in the states of all blocks, some forty times as many are in memory while a gradient goes back through them.
const SMALL: usize = 1 << 18;

/// What `of` gives for each of `scores`, in their order. One by one their gradients would leave cores idle where the model is small:
/// there, of a pass with few `numbers` in the states of all blocks, they are formed at once.
///
/// # Errors
/// What `of` says.
pub fn each<S: Sync, T: Send>(
    numbers: usize,
    scores: &[S],
    of: impl Fn(&S) -> Result<T> + Send + Sync,
) -> Result<Vec<T>> {
    if numbers <= SMALL { scores.par_iter().map(of).collect() } else { scores.iter().map(of).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn each_score_has_its_place_and_a_failure_is_told() {
        for numbers in [0, SMALL + 1] {
            let doubled = each(numbers, &[3, 1, 2], |score| Ok(2 * score)).expect("numbers");
            assert_eq!(doubled, [6, 2, 4]);
            let failed = each(numbers, &[1, 2], |score| if *score == 2 { Err(Error::Cancelled) } else { Ok(()) });
            assert!(matches!(failed, Err(Error::Cancelled)));
        }
    }
}
