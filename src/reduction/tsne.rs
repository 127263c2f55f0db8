//! t-SNE (van der Maaten and Hinton 2008; Barnes-Hut approximation, van der Maaten 2014): who is near whom.
//!
//! What it shows: groups of vectors that are near each other in the space stay near each other in the plane. What it
//! can't show: how far groups are from each other, how large or dense they are, and so the size of a gap; where no
//! groups are, it can show some nevertheless. Another seed is another picture of the same neighbourhoods.
//!
//! The descent is bhtsne's. Its sums depend on how rayon splits the work, so it runs on a single thread, and it can't be
//! stopped from within, so it runs in short legs; each begins where the one before ended, without its momentum.

use bhtsne::{Neighbor, SparseAffinities, tSNE};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::neighbours::nearest;
use super::pca::pca;
use super::{Plane, Reduction, Watch, report, width};
use crate::error::{Error, Result};

/// t-SNE among the reductions.
pub const ENTRY: Reduction = Reduction {
    key: "t-sne",
    name: "t-SNE",
    paper: "van der Maaten and Hinton 2008, Visualizing data using t-SNE; van der Maaten 2014, Accelerating t-SNE using \
            tree-based algorithms",
    seeded: true,
    reduce,
};

/// About how many neighbours count for a vector; fewer in a small cloud.
const PERPLEXITY: f64 = 30.0;
/// The share of a cell's distance that its size may have to be taken as one point.
const THETA: f64 = 0.5;
/// Steps of the descent, in legs.
const LEG: usize = 50;
const EXAGGERATED_LEGS: usize = 5;
const LEGS: usize = 20;
/// At first, neighbours attract each other so many times more strongly, so that groups find each other.
const EXAGGERATION: f64 = 12.0;
/// The least learning rate.
const LEAST_RATE: f64 = 200.0;
/// Standard deviation of the first axis at the start.
const START: f64 = 1e-4;
/// Share of the work that is over once the neighbours are known.
const NEIGHBOURS_DONE: f32 = 0.1;

fn reduce(vectors: &[&[f32]], seed: u64, watch: Watch<'_>) -> Result<Plane> {
    width(vectors)?;
    report(watch, 0.0)?;
    let count = vectors.len();
    let start = pca(vectors).points;
    let deviation = (start.iter().map(|[x, _]| x * x).sum::<f64>() / count.max(1) as f64).sqrt();
    // Three vectors span a plane anyway, and equal ones have no neighbourhoods.
    if count < 4 || deviation <= 0.0 {
        return Ok(Plane::of(start));
    }
    // From the principal components the large arrangement is that of the space and not of chance (Kobak and Berens
    // 2019); the seed only shakes them, which also parts equal vectors.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut shaken = |at: &f64| START * (at / deviation + rng.random_range(-0.1..0.1));
    let mut points: Vec<f64> = start.as_flattened().iter().map(&mut shaken).collect();

    let perplexity = PERPLEXITY.min((count - 1) as f64 / 3.0);
    let neighbours = (count - 1).min(3 * PERPLEXITY as usize);
    let near = nearest(vectors, neighbours, &mut |share| watch(NEIGHBOURS_DONE * share))?;
    let threads = ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "t-sne".to_owned());
    let thread = threads.build().map_err(|error| {
        Error::unusable(format!("no thread can be started for t-SNE ({error})"), "close other programs")
    })?;
    let affinities = thread.install(|| affinities(&near, perplexity))?;
    for leg in 0..LEGS {
        report(watch, NEIGHBOURS_DONE + (1.0 - NEIGHBOURS_DONE) * leg as f32 / LEGS as f32)?;
        points = descend(&thread, &affinities, points, leg < EXAGGERATED_LEGS);
    }
    Ok(Plane::of(points.as_chunks().0.to_vec()))
}

/// How much each vector draws each of its neighbours.
fn affinities(near: &[Vec<(usize, f64)>], perplexity: f64) -> Result<SparseAffinities<f64>> {
    let neighbours: Vec<Vec<Neighbor<f64>>> = near.iter().map(|row| without_nearest(row)).collect();
    let data = vec![(); near.len()];
    let mut tsne: tSNE<'_, f64, ()> = tSNE::new(&data);
    // No step is made here, but a start has to be given, lest one be drawn at random. Without exaggeration the
    // affinities come back as they are.
    tsne.perplexity(perplexity).early_exaggeration(1.0).epochs(0).initial_embedding(vec![0.0; 2 * near.len()]);
    tsne.barnes_hut_with_neighbors(THETA, &neighbours);
    tsne.affinities().ok_or_else(|| Error::unusable("t-SNE found no neighbours", "take another reduction"))
}

/// The row with the nearest's square taken from every squared distance. The Gaussian weights, `exp(-d² / 2σ²)` over their
/// sum, stay the same; but where all are far, they would vanish next to what bhtsne adds to the sum.
fn without_nearest(row: &[(usize, f64)]) -> Vec<Neighbor<f64>> {
    let nearest = row.first().map_or(0.0, |(_, distance)| *distance);
    let less = |distance: f64| ((distance - nearest) * (distance + nearest)).max(0.0).sqrt();
    row.iter().map(|&(index, distance)| Neighbor { index, distance: less(distance) }).collect()
}

/// One leg of the descent, from `points`, `[count * 2]`.
fn descend(thread: &ThreadPool, affinities: &SparseAffinities<f64>, points: Vec<f64>, exaggerated: bool) -> Vec<f64> {
    let count = points.len() / 2;
    let (exaggeration, momentum) = if exaggerated { (EXAGGERATION, 0.5) } else { (1.0, 0.8) };
    thread.install(|| {
        let data = vec![(); count];
        let mut tsne: tSNE<'_, f64, ()> = tSNE::new(&data);
        tsne.with_affinities(affinities.clone()).initial_embedding(points).epochs(LEG);
        // The exaggeration stays on for the whole leg, or off.
        tsne.early_exaggeration(exaggeration).stop_lying_epoch(usize::MAX);
        tsne.momentum(momentum).momentum_switch_epoch(usize::MAX);
        // As in openTSNE (Belkina and others 2019), per leg: bhtsne holds its gains below 2, so its own rate, a fixed
        // quarter of this, leaves a descent of this length half done.
        tsne.learning_rate((count as f64 / exaggeration).max(LEAST_RATE));
        // The affinities are given, so no distance is ever asked for.
        tsne.barnes_hut(THETA, |(), ()| 0.0).embedding()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests;
    use super::*;

    #[test]
    fn clusters_stay_apart() {
        tests::keeps_clusters_apart(&ENTRY);
    }

    #[test]
    fn the_same_seed_gives_the_same_plane() {
        tests::repeats_itself(&ENTRY);
    }

    /// A joint affinity is the mean of two conditional ones over the number of vectors, and those of a row sum to one; so
    /// each vector has at least half of its share.
    #[test]
    fn far_vectors_are_not_forgotten() {
        let mut cloud = tests::clusters(100, 32, 2);
        // One vector is as far from all others, but for a trace.
        cloud[0] = vec![0.0; 32];
        cloud[0][5] = 40.0;
        let near = nearest(&tests::slices(&cloud), 90, &mut |_| true).unwrap();
        let affinities = affinities(&near, PERPLEXITY).unwrap();
        let sums: Vec<f64> =
            affinities.rows().windows(2).map(|w| affinities.values()[w[0]..w[1]].iter().sum()).collect();
        assert!((sums.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{sums:?}");
        assert!(sums.iter().all(|sum| *sum > 0.499 / 100.0), "{sums:?}");
    }

    #[test]
    fn it_can_be_stopped() {
        for calls in [1, 2, 3, 9] {
            tests::stops(&ENTRY, calls);
        }
    }

    #[test]
    fn odd_clouds_do_no_harm() {
        tests::survives_odd_clouds(&ENTRY);
    }
}
