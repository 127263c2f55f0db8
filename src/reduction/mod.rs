//! Clouds of vectors brought to two dimensions, for the embedding-space projection. Plain numbers in and out.
//!
//! Distances are Euclidean. The vectors of an embedding space have unit length, and there a Euclidean distance says the
//! same as a cosine: its square is 2 - 2 cos.

mod neighbours;
pub mod pca;
pub mod tsne;
pub mod umap;

use crate::error::{Error, Result};

/// A cloud in the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Where each point lies, in the order of the vectors.
    pub points: Vec<[f64; 2]>,
    /// Share of the cloud's variance that each axis shows, from 0 to 1; empty where the method has no such number.
    pub shares: Vec<f64>,
    /// How further vectors of the same space come into this plane; `None` where the method has no such way.
    pub axes: Option<Axes>,
}

impl Plane {
    /// A cloud of which nothing but the places is known.
    fn of(points: Vec<[f64; 2]>) -> Self {
        Self { points, shares: Vec::new(), axes: None }
    }
}

/// A plane in the space of the vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Axes {
    /// The middle of the cloud, which lies at the plane's origin, `[width]`.
    pub mean: Vec<f64>,
    /// The two directions, `[width]` each, of unit length and at right angles; all zero where the cloud doesn't spread.
    pub directions: [Vec<f64>; 2],
}

impl Axes {
    /// Where `vector` (`[width]`, of the same space as the cloud) lies in the plane.
    #[must_use]
    pub fn project(&self, vector: &[f32]) -> [f64; 2] {
        self.directions.each_ref().map(|direction| {
            let parts = vector.iter().zip(&self.mean).zip(direction);
            parts.map(|((value, mean), share)| (f64::from(*value) - mean) * share).sum()
        })
    }
}

/// Called now and then with the share done, from 0 to 1; `false` stops the work, which then gives [`Error::Cancelled`].
pub type Watch<'a> = &'a mut dyn FnMut(f32) -> bool;

/// A way to bring vectors into the plane.
#[derive(Clone, Copy, Debug)]
pub struct Reduction {
    /// Its word on the command line and in saved settings.
    pub key: &'static str,
    /// Its name on the screen, the same in both languages.
    pub name: &'static str,
    /// Where it is described.
    pub paper: &'static str,
    /// Whether the seed makes a difference.
    pub seeded: bool,
    /// Brings the vectors (all of one length) into the plane, by this seed. The same vectors and seed give the same
    /// plane to the bit, on any number of threads.
    ///
    /// Vectors that differ in length or hold a number that isn't finite are an error.
    pub reduce: fn(&[&[f32]], u64, Watch<'_>) -> Result<Plane>,
}

/// All reductions, in the order in which they are offered.
pub const REDUCTIONS: &[Reduction] = &[pca::ENTRY, tsne::ENTRY, umap::ENTRY];

/// The reduction with this key.
#[must_use]
pub fn named(key: &str) -> Option<&'static Reduction> {
    REDUCTIONS.iter().find(|reduction| reduction.key == key)
}

/// The vectors' length, if they have one in common and all of their numbers are finite.
fn width(vectors: &[&[f32]]) -> Result<usize> {
    let width = vectors.first().map_or(0, |vector| vector.len());
    if vectors.iter().any(|vector| vector.len() != width) {
        return Err(Error::unusable("the vectors of the cloud differ in length", "take them from one space"));
    }
    if vectors.iter().any(|vector| vector.iter().any(|value| !value.is_finite())) {
        let problem = "a vector of the cloud holds a number that isn't finite";
        return Err(Error::unusable(problem, "check the checkpoint and the input"));
    }
    Ok(width)
}

/// Tells `watch` the share done.
///
/// # Errors
/// [`Error::Cancelled`] if it wants no more.
fn report(watch: Watch<'_>, done: f32) -> Result<()> {
    if watch(done) { Ok(()) } else { Err(Error::Cancelled) }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Unit vectors around `clusters` directions at right angles, one after the other in turn.
    pub(super) fn clusters(count: usize, width: usize, clusters: usize) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let vector = |at: usize| {
            let mut vector: Vec<f32> =
                (0..width).map(|_| rng.random_range(-1.0..1.0) / (width as f32).sqrt()).collect();
            vector[at % clusters] += 2.0;
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vector.iter().map(|value| value / length).collect()
        };
        (0..count).map(vector).collect()
    }

    pub(super) fn slices(cloud: &[Vec<f32>]) -> Vec<&[f32]> {
        cloud.iter().map(Vec::as_slice).collect()
    }

    pub(super) fn plane(reduction: &Reduction, cloud: &[Vec<f32>], seed: u64) -> Plane {
        (reduction.reduce)(&slices(cloud), seed, &mut |_| true).unwrap()
    }

    fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
        (a[0] - b[0]).hypot(a[1] - b[1])
    }

    /// Mean distance in the plane within the two clusters and between them.
    fn within_and_between(points: &[[f64; 2]]) -> [f64; 2] {
        let mut sums = [[0.0; 2]; 2];
        for a in 0..points.len() {
            for b in 0..a {
                let sum = &mut sums[(a + b) % 2];
                *sum = [sum[0] + distance(points[a], points[b]), sum[1] + 1.0];
            }
        }
        sums.map(|[sum, pairs]| sum / pairs)
    }

    pub(super) fn keeps_clusters_apart(reduction: &Reduction) {
        for count in [12, 60, 400] {
            let [within, between] = within_and_between(&plane(reduction, &clusters(count, 32, 2), 3).points);
            assert!(within * 2.0 < between, "{count} points, {within} within, {between} between");
        }
    }

    pub(super) fn repeats_itself(reduction: &Reduction) {
        let cloud = clusters(300, 24, 3);
        let first = plane(reduction, &cloud, 5);
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| plane(reduction, &cloud, 5)), first, "on {threads} threads");
        }
        assert_eq!(plane(reduction, &cloud, 6) != first, reduction.seeded, "another seed");
    }

    pub(super) fn survives_odd_clouds(reduction: &Reduction) {
        let mut huge = clusters(9, 4, 2);
        huge.iter_mut().flatten().for_each(|value| *value *= 1e38);
        let tiny: Vec<Vec<f32>> = clusters(9, 4, 2).iter().map(|v| v.iter().map(|x| x * 1e-30).collect()).collect();
        let line: Vec<Vec<f32>> = (0..20).map(|at| vec![at as f32, 0.0, 1.0]).collect();
        let mut far = vec![vec![1.0, 0.0]; 40];
        far[7] = vec![0.0, 1.0];
        let few = (0..8).map(|count| clusters(count, 6, 2));
        let same = (0..8).map(|count| vec![vec![0.1, -0.7, 0.3]; count]);
        let twins = [clusters(30, 8, 2), clusters(30, 8, 2), clusters(30, 8, 2)].concat();
        let others = [huge, tiny, line, far, twins, vec![vec![]; 6], vec![vec![1.0]; 200]];
        for cloud in few.chain(same).chain(others) {
            let plane = plane(reduction, &cloud, 1);
            assert_eq!(plane.points.len(), cloud.len());
            assert!(plane.points.as_flattened().iter().all(|value| value.is_finite()), "{:?}", plane.points);
            if cloud.iter().all(|vector| *vector == cloud[0]) {
                assert!(plane.points.iter().all(|point| *point == [0.0; 2]), "equal vectors, {:?}", plane.points);
            }
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let error = (reduction.reduce)(&[&[1.0, 0.0], &[bad, 0.0], &[0.0, 1.0]], 0, &mut |_| true).unwrap_err();
            assert!(error.to_string().contains("isn't finite"), "{error}");
        }
        let error = (reduction.reduce)(&[&[1.0, 0.0], &[1.0]], 0, &mut |_| true).unwrap_err();
        assert!(error.to_string().contains("differ in length"), "{error}");
    }

    /// Stops after `calls` calls, each of which says that at least as much is done as the one before.
    pub(super) fn stops(reduction: &Reduction, calls: usize) {
        let cloud = clusters(200, 16, 2);
        let mut said = Vec::new();
        let result = (reduction.reduce)(&slices(&cloud), 0, &mut |done| {
            said.push(done);
            said.len() < calls
        });
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
        assert_eq!(said.len(), calls, "nothing is done after the stop");
        assert!(said.is_sorted() && said.iter().all(|done| (0.0..=1.0).contains(done)), "{said:?}");
    }

    #[test]
    fn reductions_are_found_by_their_keys() {
        assert_eq!(REDUCTIONS.iter().map(|reduction| reduction.key).collect::<Vec<_>>(), ["pca", "t-sne", "umap"]);
        assert_eq!(named("umap").map(|reduction| reduction.name), Some("UMAP"));
        assert!(named("isomap").is_none());
    }
}
