//! Principal component analysis (Pearson 1901): the plane in which the cloud spreads most.
//!
//! What it shows: directions are those of the real space, so a gap between pictures and texts is a real gap. What it
//! can't show: whatever differs outside of these two directions; distances in the plane are never longer than the real
//! ones and often far shorter.

use nalgebra::{DMatrix, SymmetricEigen};

use super::{Axes, Plane, Reduction, Watch, report, width};
use crate::error::Result;

/// PCA among the reductions.
pub const ENTRY: Reduction = Reduction {
    key: "pca",
    name: "PCA",
    paper: "Pearson 1901, On lines and planes of closest fit to systems of points in space",
    seeded: false,
    reduce,
};

/// Below this share of the cloud's variance an axis is rounding alone.
const NOTHING: f64 = 1e-12;

fn reduce(vectors: &[&[f32]], _seed: u64, watch: Watch<'_>) -> Result<Plane> {
    width(vectors)?;
    report(watch, 0.0)?;
    Ok(pca(vectors))
}

/// The two first principal components of `vectors`.
///
/// The signs are fixed (in each component the point farthest from the middle lies on the positive side), so that the
/// same cloud always looks the same. Where there is nothing to compare (fewer than two vectors, vectors that differ in
/// length or hold a number that isn't finite) all points lie at the origin, without axes.
#[must_use]
pub fn pca(vectors: &[&[f32]]) -> Plane {
    let count = vectors.len();
    let width = width(vectors).unwrap_or(0);
    if count < 2 || width == 0 {
        return Plane { points: vec![[0.0; 2]; count], shares: vec![0.0; 2], axes: None };
    }
    let mut matrix = DMatrix::from_fn(count, width, |row, column| f64::from(vectors[row][column]));
    let mut mean = Vec::with_capacity(width);
    for mut column in matrix.column_iter_mut() {
        mean.push(column.mean());
        column.add_scalar_mut(-column.mean());
    }
    let total = matrix.norm_squared();
    let transposed = matrix.transpose();
    // The inner products of the points hold the same components as the covariance; the smaller of the two is faster.
    let few = count <= width;
    let eigen = SymmetricEigen::new(if few { &matrix * &transposed } else { &transposed * &matrix });
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let mut shares = vec![0.0; 2];
    let mut directions = [vec![0.0; width], vec![0.0; width]];
    for (axis, &component) in order.iter().take(2).enumerate() {
        let value = eigen.eigenvalues[component].max(0.0);
        // A direction of nothing would be noise, divided by almost zero.
        if value <= NOTHING * total {
            continue;
        }
        shares[axis] = value / total;
        let vector = eigen.eigenvectors.column(component).into_owned();
        let direction = if few { &transposed * vector / value.sqrt() } else { vector };
        directions[axis].copy_from_slice(direction.as_slice());
    }
    let mut axes = Axes { mean, directions };
    let mut points: Vec<[f64; 2]> = vectors.iter().map(|vector| axes.project(vector)).collect();
    for (axis, direction) in axes.directions.iter_mut().enumerate() {
        let farther = |far: f64, x: f64| if x.abs() > far.abs() + 1e-12 { x } else { far };
        if points.iter().map(|point| point[axis]).fold(0.0, farther) < 0.0 {
            direction.iter_mut().for_each(|share| *share = -*share);
            points.iter_mut().for_each(|point| point[axis] = -point[axis]);
        }
    }
    Plane { points, shares, axes: Some(axes) }
}

#[cfg(test)]
mod tests {
    use super::super::tests;
    use super::*;

    #[test]
    fn a_line_has_one_component() {
        let cloud: Vec<Vec<f32>> = (0..5).map(|at| vec![at as f32 * 3.0, at as f32 * 4.0, 7.0]).collect();
        let plane = pca(&tests::slices(&cloud));
        assert!((plane.shares[0] - 1.0).abs() < 1e-9);
        let length = (plane.points[4][0] - plane.points[0][0]).abs();
        assert!((length - 20.0).abs() < 1e-6, "distances along the line stay, {length}");
        let axes = plane.axes.unwrap();
        assert!((axes.directions[0][0].abs() - 0.6).abs() < 1e-9, "{axes:?}");
        assert_eq!(axes.directions[1], [0.0; 3], "the second direction is none");
        let beyond = axes.project(&[30.0, 40.0, 7.0])[0].abs();
        assert!((beyond - 40.0).abs() < 1e-6, "a further point lies on the line, {beyond}");
    }

    #[test]
    fn axes_bring_the_cloud_to_its_own_points() {
        for (count, width) in [(10, 40), (40, 10), (2, 5), (30, 30)] {
            let cloud = tests::clusters(count, width, 3);
            let plane = pca(&tests::slices(&cloud));
            let axes = plane.axes.unwrap();
            for (vector, point) in cloud.iter().zip(&plane.points) {
                assert_eq!(axes.project(vector), *point);
            }
            let product = |a: usize, b: usize| -> f64 {
                axes.directions[a].iter().zip(&axes.directions[b]).map(|(a, b)| a * b).sum()
            };
            assert!((product(0, 0) - 1.0).abs() < 1e-9, "{count} x {width}");
            assert!(count == 2 || (product(1, 1) - 1.0).abs() < 1e-9, "{count} x {width}");
            assert!(product(0, 1).abs() < 1e-9, "{count} x {width}");
        }
    }

    /// Wide and narrow clouds go two ways, which must come to the same.
    #[test]
    fn empty_columns_change_nothing() {
        let cloud = tests::clusters(20, 10, 3);
        let padded: Vec<Vec<f32>> = cloud.iter().map(|vector| [vector.as_slice(), &[0.0; 30]].concat()).collect();
        let (narrow, wide) = (pca(&tests::slices(&cloud)), pca(&tests::slices(&padded)));
        for (a, b) in narrow.points.as_flattened().iter().zip(wide.points.as_flattened()) {
            assert!((a - b).abs() < 1e-9, "{a} and {b}");
        }
        assert!(narrow.shares.iter().zip(&wide.shares).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn clusters_stay_apart() {
        tests::keeps_clusters_apart(&ENTRY);
    }

    #[test]
    fn the_same_cloud_gives_the_same_plane() {
        tests::repeats_itself(&ENTRY);
    }

    #[test]
    fn it_can_be_stopped() {
        tests::stops(&ENTRY, 1);
    }

    #[test]
    fn odd_clouds_do_no_harm() {
        assert_eq!(pca(&[]).points.len(), 0);
        assert_eq!(pca(&[&[1.0, 2.0]]).points, vec![[0.0; 2]]);
        assert_eq!(pca(&[&[1.0], &[1.0]]).points, vec![[0.0; 2]; 2]);
        assert_eq!(pca(&[&[1.0], &[f32::NAN], &[2.0]]).points, vec![[0.0; 2]; 3]);
        tests::survives_odd_clouds(&ENTRY);
    }
}
