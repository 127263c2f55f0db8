//! Arithmetic on single vectors, `[width]` each.

use crate::error::{Error, Result};

/// The inner product; of unit vectors the cosine.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The Euclidean length.
pub(super) fn length(vector: &[f32]) -> f32 {
    dot(vector, vector).sqrt()
}

/// The vector with length one. One of zeros stays so.
pub(super) fn unit(vector: &[f32]) -> Vec<f32> {
    let length = length(vector).max(1e-9);
    vector.iter().map(|value| value / length).collect()
}

/// Refuses numbers that can't be drawn, which damaged weights give.
///
/// # Errors
/// If one of them isn't finite.
pub(super) fn check_finite(values: &[f32]) -> Result<()> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(Error::unusable("the model gives numbers that aren't finite", "fetch or train it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_without_length_has_no_direction() {
        assert_eq!(unit(&[3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(unit(&[0.0; 2]), [0.0; 2]);
        assert!(check_finite(&[1.0, f32::NAN]).is_err() && check_finite(&[]).is_ok());
    }
}
