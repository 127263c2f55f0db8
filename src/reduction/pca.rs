//! Principal component analysis (Pearson 1901): the plane in which the cloud spreads most.
//!
//! What it shows: directions are those of the real space, so a gap between pictures and texts is a real gap. What it
//! can't show: whatever differs outside of these two directions; distances in the plane are never longer than the real
//! ones and often far shorter.

use nalgebra::{DMatrix, SymmetricEigen};

use super::Plane;

/// The two first principal components of `vectors`, which must all have the same length.
///
/// The signs are fixed (in each component the point farthest from the middle lies on the positive side), so that the
/// same cloud always looks the same.
#[must_use]
pub fn pca(vectors: &[&[f32]]) -> Plane {
    let count = vectors.len();
    let width = vectors.first().map_or(0, |vector| vector.len());
    if count < 2 || width == 0 || vectors.iter().any(|vector| vector.len() != width) {
        let (points, shares) = (vec![[0.0; 2]; count], vec![0.0; 2]);
        return Plane { points, shares };
    }
    let mut matrix = DMatrix::from_fn(count, width, |row, column| f64::from(vectors[row][column]));
    for mut column in matrix.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    let total: f64 = matrix.iter().map(|value| value * value).sum();
    // The inner products of the points hold the same components as the covariance, and there are few points.
    let eigen = SymmetricEigen::new(&matrix * matrix.transpose());
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let mut points = vec![[0.0; 2]; count];
    let mut shares = Vec::new();
    for (axis, &component) in order.iter().take(2).enumerate() {
        let value = eigen.eigenvalues[component].max(0.0);
        let vector = eigen.eigenvectors.column(component);
        let farthest = vector.iter().fold(0.0f64, |far, x| if x.abs() > far.abs() + 1e-12 { *x } else { far });
        let scale = value.sqrt() * if farthest < 0.0 { -1.0 } else { 1.0 };
        for (point, coordinate) in points.iter_mut().zip(vector.iter()) {
            point[axis] = coordinate * scale;
        }
        shares.push(if total > 0.0 { value / total } else { 0.0 });
    }
    Plane { points, shares }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_one_component() {
        let cloud: Vec<Vec<f32>> = (0..5).map(|at| vec![at as f32 * 3.0, at as f32 * 4.0, 7.0]).collect();
        let vectors: Vec<&[f32]> = cloud.iter().map(Vec::as_slice).collect();
        let plane = pca(&vectors);
        assert!((plane.shares[0] - 1.0).abs() < 1e-9);
        let length = (plane.points[4][0] - plane.points[0][0]).abs();
        assert!((length - 20.0).abs() < 1e-6, "distances along the line stay, {length}");
    }

    #[test]
    fn odd_clouds_do_no_harm() {
        assert_eq!(pca(&[]).points.len(), 0);
        assert_eq!(pca(&[&[1.0, 2.0]]).points, vec![[0.0; 2]]);
        assert_eq!(pca(&[&[1.0], &[1.0]]).points, vec![[0.0; 2]; 2]);
    }
}
