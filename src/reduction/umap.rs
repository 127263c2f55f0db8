//! UMAP (McInnes, Healy and Melville 2018, arXiv 1802.03426): who is near whom, as a graph that is laid into the plane.
//!
//! What it shows: groups of vectors that are near each other in the space stay near each other in the plane, and chains of
//! neighbours stay chains. What it can't show: true distances between groups, and so the size of a gap; how dense a group
//! is; where no groups are, it can show some nevertheless. Another seed is another picture of the same neighbourhoods.
//!
//! The crates for it (umap-rs, fast-umap, annembed) draw from the system's randomness or let threads race, so no two runs
//! agree. This is umap-learn's algorithm with its default values, on one thread and with seeded draws; the start is the
//! principal components, as with its `init="pca"`.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::neighbours::nearest;
use super::pca::pca;
use super::{Plane, Reduction, Watch, report, width};
use crate::error::Result;

/// UMAP among the reductions.
pub const ENTRY: Reduction = Reduction {
    key: "umap",
    name: "UMAP",
    paper: "McInnes, Healy and Melville 2018, UMAP: Uniform manifold approximation and projection for dimension reduction, \
            arXiv 1802.03426",
    seeded: true,
    reduce,
};

/// Neighbours of a vector, itself included; fewer in a small cloud.
const NEIGHBOURS: usize = 15;
/// Rounds of the layout.
const EPOCHS: usize = 500;
/// So many vectors push a vector away for each neighbour that draws it.
const PUSHES: f64 = 5.0;
/// The nearness of two points of the plane is `1 / (1 + A d^(2 B))`: umap-learn's fit to `min_dist` 0.1 and `spread` 1.
const A: f64 = 1.576_943_460_269_765;
const B: f64 = 0.895_060_877_851_573;
/// The largest step along an axis, before the rate.
const LARGEST_STEP: f64 = 4.0;
/// How far from the middle the start reaches.
const START: f64 = 10.0;
/// How exactly the number of neighbours is met.
const TOLERANCE: f64 = 1e-5;
/// The least width of a neighbourhood, as a share of the mean distance in it.
const LEAST_WIDTH: f64 = 1e-3;
/// Share of the work that is over once the neighbours are known.
const NEIGHBOURS_DONE: f32 = 0.2;

fn reduce(vectors: &[&[f32]], seed: u64, watch: Watch<'_>) -> Result<Plane> {
    width(vectors)?;
    report(watch, 0.0)?;
    let start = pca(vectors).points;
    let reach = start.as_flattened().iter().fold(0.0, |far: f64, value| far.max(value.abs()));
    // Three vectors span a plane anyway, and equal ones have no neighbourhoods.
    if vectors.len() < 4 || reach <= 0.0 {
        return Ok(Plane::of(start));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Shaken a little, which parts equal vectors.
    let mut shaken = |value: f64| START * value / reach + rng.random_range(-1e-4..1e-4);
    let mut points: Vec<[f64; 2]> = start.into_iter().map(|point| point.map(&mut shaken)).collect();

    let neighbours = NEIGHBOURS.min(vectors.len() - 1);
    let near = nearest(vectors, neighbours - 1, &mut |share| watch(NEIGHBOURS_DONE * share))?;
    let mut edges = edges(&graph(&near));
    for epoch in 0..EPOCHS {
        let done = epoch as f32 / EPOCHS as f32;
        report(watch, NEIGHBOURS_DONE + (1.0 - NEIGHBOURS_DONE) * done)?;
        lay(&mut points, &mut edges, epoch as f64, &mut rng);
    }
    // The graph doesn't say where it lies as a whole.
    for axis in 0..2 {
        let mean = points.iter().map(|point| point[axis]).sum::<f64>() / points.len() as f64;
        points.iter_mut().for_each(|point| point[axis] -= mean);
    }
    Ok(Plane::of(points))
}

/// The fuzzy neighbour graph: how surely two vectors are neighbours, from 0 to 1, both ways. `near` has the nearest
/// others of each vector with their distances.
fn graph(near: &[Vec<(usize, f64)>]) -> BTreeMap<(usize, usize), f64> {
    let mean = |row: &[(usize, f64)]| row.iter().map(|(_, distance)| distance).sum::<f64>() / (row.len() + 1) as f64;
    let overall = near.iter().map(|row| mean(row)).sum::<f64>() / near.len() as f64;
    let mut one_way = BTreeMap::new();
    for (own, row) in near.iter().enumerate() {
        // The nearest other is a neighbour for sure; equal vectors don't count as others.
        let closest = row.iter().map(|(_, distance)| *distance).find(|distance| *distance > 0.0).unwrap_or(0.0);
        let least = LEAST_WIDTH * if closest > 0.0 { mean(row) } else { overall };
        let scale = scale(row, closest).max(least);
        for &(other, distance) in row {
            one_way.insert((own, other), membership(distance - closest, scale));
        }
    }
    let mut both_ways = BTreeMap::new();
    for (&(from, to), &there) in &one_way {
        let back = one_way.get(&(to, from)).copied().unwrap_or(0.0);
        // At least one of the two ways, as if they were independent.
        let either = there + back - there * back;
        both_ways.insert((from, to), either);
        both_ways.insert((to, from), either);
    }
    both_ways
}

/// How surely a vector is a neighbour that is so much `farther` than the closest, in a neighbourhood of this scale.
fn membership(farther: f64, scale: f64) -> f64 {
    if farther > 0.0 { (-farther / scale).exp() } else { 1.0 }
}

/// The scale at which a row's memberships sum to the logarithm of the number of neighbours, found by halving.
fn scale(row: &[(usize, f64)], closest: f64) -> f64 {
    let wanted = ((row.len() + 1) as f64).log2();
    let (mut low, mut high, mut scale) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..64 {
        let sum: f64 = row.iter().map(|(_, distance)| membership(distance - closest, scale)).sum();
        if (sum - wanted).abs() < TOLERANCE {
            break;
        }
        if sum > wanted {
            high = scale;
        } else {
            low = scale;
        }
        scale = if high.is_finite() { (low + high) / 2.0 } else { scale * 2.0 };
    }
    scale
}

/// An edge of the graph and when it is due.
struct Edge {
    from: usize,
    to: usize,
    /// Rounds from one time to the next; the surest edges are due in each.
    every: f64,
    next: f64,
    /// The round up to which it has pushed others away.
    pushed: f64,
}

/// The edges that are due at least once.
fn edges(graph: &BTreeMap<(usize, usize), f64>) -> Vec<Edge> {
    let surest = graph.values().copied().fold(0.0, f64::max);
    let due = graph.iter().filter(|(_, sure)| **sure * EPOCHS as f64 >= surest);
    due.map(|(&(from, to), sure)| {
        let every = surest / sure;
        Edge { from, to, every, next: every, pushed: every / PUSHES }
    })
    .collect()
}

/// One round: each edge that is due draws its ends together and pushes its first end away from others drawn by chance.
fn lay(points: &mut [[f64; 2]], edges: &mut [Edge], epoch: f64, rng: &mut ChaCha8Rng) {
    let rate = 1.0 - epoch / EPOCHS as f64;
    let count = points.len() as u64;
    for edge in edges.iter_mut().filter(|edge| edge.next <= epoch) {
        edge.next += edge.every;
        let (apart, square) = between(points[edge.from], points[edge.to]);
        if square > 0.0 {
            let power = square.powf(B);
            let draw = -2.0 * A * B * power / (square * (A * power + 1.0));
            for axis in 0..2 {
                let step = rate * (draw * apart[axis]).clamp(-LARGEST_STEP, LARGEST_STEP);
                points[edge.from][axis] += step;
                points[edge.to][axis] -= step;
            }
        }
        let pushes = ((epoch - edge.pushed) * PUSHES / edge.every).floor().max(0.0);
        edge.pushed += pushes * edge.every / PUSHES;
        for _ in 0..pushes as usize {
            let other = rng.random_range(0..count) as usize;
            let (apart, square) = between(points[edge.from], points[other]);
            if square > 0.0 {
                let push = 2.0 * B / ((0.001 + square) * (A * square.powf(B) + 1.0));
                for axis in 0..2 {
                    points[edge.from][axis] += rate * (push * apart[axis]).clamp(-LARGEST_STEP, LARGEST_STEP);
                }
            }
        }
    }
}

/// From `b` to `a`, and the squared distance.
fn between(a: [f64; 2], b: [f64; 2]) -> ([f64; 2], f64) {
    let apart = [a[0] - b[0], a[1] - b[1]];
    (apart, apart[0] * apart[0] + apart[1] * apart[1])
}

#[cfg(test)]
mod tests {
    use super::super::tests;
    use super::*;

    /// The numbers are of umap-learn 0.5.12, `fuzzy_simplicial_set` with four neighbours, on these seven points.
    #[test]
    fn the_graph_is_that_of_umap_learn() {
        let cloud: [&[f32]; 7] =
            [&[0.0, 0.0], &[1.0, 0.0], &[0.0, 2.0], &[3.0, 1.0], &[4.0, 1.0], &[4.0, 3.0], &[9.0, 9.0]];
        let graph = graph(&nearest(&cloud, 3, &mut |_| true).unwrap());
        let expected = [
            ((0, 1), 1.0),
            ((0, 2), 0.999_999_94),
            ((0, 3), 0.369_219_06),
            ((1, 2), 0.876_423_9),
            ((1, 3), 0.749_999_05),
            ((1, 4), 0.369_219_06),
            ((2, 3), 0.247_155_85),
            ((2, 5), 0.175_774_63),
            ((3, 4), 1.0),
            ((3, 5), 0.912_113_2),
            ((3, 6), 0.448_348_82),
            ((4, 5), 0.999_999_94),
            ((4, 6), 0.551_655_95),
            ((5, 6), 1.0),
        ];
        assert_eq!(graph.len(), 2 * expected.len());
        for ((from, to), sure) in expected {
            for way in [(from, to), (to, from)] {
                let own = graph[&way];
                assert!((own - sure).abs() < 2e-5, "{way:?}: {own}, not {sure}");
            }
        }
    }

    #[test]
    fn clusters_stay_apart() {
        tests::keeps_clusters_apart(&ENTRY);
    }

    #[test]
    fn the_same_seed_gives_the_same_plane() {
        tests::repeats_itself(&ENTRY);
    }

    #[test]
    fn it_can_be_stopped() {
        for calls in [1, 2, 3, 40] {
            tests::stops(&ENTRY, calls);
        }
    }

    #[test]
    fn odd_clouds_do_no_harm() {
        tests::survives_odd_clouds(&ENTRY);
    }
}
