//! Whether a map is true of its model: what becomes of the claim when patches are hidden, or shown, in the map's order.
//!
//! Deletion and insertion after Petsiuk et al. 2018 (RISE, arXiv 1806.07421; eclique/RISE:evaluation.py), always beside
//! random orders and, where the object is known, beside its own patches.

use image::RgbImage;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::attribution::{Asked, occlusion};
use crate::error::{Error, Result};

/// Steps of a curve, at most: groups of patches that are hidden together.
pub const STEPS: usize = 16;
/// Patches of a picture of which each is hidden by itself, at most.
pub const MOST_OCCLUDED: usize = 256;
/// Random orders whose mean is shown.
const RANDOM_ORDERS: usize = 3;

/// In which order patches are hidden or shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The map's, its highest patch first.
    Map,
    /// By chance: the mean over several.
    Random,
    /// The patches that the named objects cover most come first.
    Object,
}

/// What becomes of the claim along an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The order.
    pub order: Order,
    /// How strongly the claim is held to, from no patch hidden (or shown) to all of them in equal steps.
    pub values: Vec<f32>,
}

impl Curve {
    /// The area under it: low is good for deletion, high for insertion.
    #[must_use]
    pub fn area(&self) -> f32 {
        area(&self.values)
    }

    /// Its value where about `share` of the patches are hidden or shown.
    #[must_use]
    pub fn at(&self, share: f32) -> Option<f32> {
        self.values.get(step_at(share, self.values.len())).copied()
    }
}

/// The area under a curve of these values, `(Σs − (s₀ + sₙ) / 2) / n`.
#[must_use]
pub fn area(values: &[f32]) -> f32 {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return 0.0 };
    let steps = values.len().saturating_sub(1).max(1) as f32;
    (values.iter().sum::<f32>() - (first + last) / 2.0) / steps
}

/// The step of a curve with so many values that is nearest to `share`.
#[must_use]
pub fn step_at(share: f32, values: usize) -> usize {
    (share * values.saturating_sub(1) as f32).round() as usize
}

/// Both curves of each order.
#[derive(Clone, Debug, PartialEq)]
pub struct Faithfulness {
    /// Patches are hidden one group after the other.
    pub deletion: Vec<Curve>,
    /// Patches are shown one group after the other.
    pub insertion: Vec<Curve>,
    /// How much less strongly the claim is held to without each patch, as [`occlusion::map`] says; where there are more than
    /// [`MOST_OCCLUDED`], it isn't asked.
    pub occlusion: Option<Vec<f32>>,
}

impl Faithfulness {
    /// The curve of an order in one of both lists.
    #[must_use]
    pub fn of(curves: &[Curve], order: Order) -> Option<&Curve> {
        curves.iter().find(|curve| curve.order == order)
    }
}

/// What is tested.
#[derive(Clone, Copy, Debug)]
pub struct Test<'a> {
    /// The map, `[patches]`, in any unit.
    pub map: &'a [f32],
    /// Which share of each patch the named objects cover, where that is known, `[patches]`.
    pub covered: Option<&'a [f32]>,
    /// Where the random orders begin.
    pub seed: u64,
}

/// Holds the map against random orders and the object; `progress` gets the share that is done.
///
/// # Errors
/// If the model can't be asked, or the map doesn't fit the grid.
pub fn faithfulness(asked: &mut dyn Asked, test: &Test<'_>, progress: &mut dyn FnMut(f32)) -> Result<Faithfulness> {
    let patches = asked.hiding().patches();
    if test.map.len() != patches || patches == 0 {
        return Err(Error::unusable("the map doesn't fit the picture", "choose another map"));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(test.seed);
    let mut orders = vec![(Order::Map, descending(test.map, &mut rng))];
    if let Some(covered) = test.covered {
        orders.push((Order::Object, descending(covered, &mut rng)));
    }
    for _ in 0..RANDOM_ORDERS {
        let mut order: Vec<usize> = (0..patches).collect();
        order.shuffle(&mut rng);
        orders.push((Order::Random, order));
    }
    let ends = ends(asked)?;
    let mut curves: [Vec<Curve>; 2] = Default::default();
    let all = 2 * orders.len() + 1;
    let mut done = 0;
    for (order, places) in &orders {
        for (inserts, curves) in [false, true].into_iter().zip(&mut curves) {
            curves.push(Curve { order: *order, values: along(asked, places, inserts, ends)? });
            done += 1;
            progress(done as f32 / all as f32);
        }
    }
    let [deletion, insertion] = curves.map(merged);
    let occlusion = (patches <= MOST_OCCLUDED).then(|| occlusion::map(asked, &mut |_| ())).transpose()?;
    progress(1.0);
    Ok(Faithfulness { deletion, insertion, occlusion })
}

/// How strongly the claim is held to for the whole picture, and with every patch hidden.
///
/// # Errors
/// If the model can't be asked.
pub fn ends(asked: &mut dyn Asked) -> Result<[f32; 2]> {
    let pictures = [asked.hiding().without(&[]), asked.hiding().only(&[])];
    let held = asked.hold(&pictures)?;
    <[f32; 2]>::try_from(held)
        .map_err(|_| Error::unusable("the model says nothing of the picture", "choose other words"))
}

/// How strongly the claim is held to while patches are hidden in this `order`, or shown if `inserts`; `ends` as [`ends`] says.
///
/// # Errors
/// If the model can't be asked.
pub fn along(asked: &mut dyn Asked, order: &[usize], inserts: bool, [whole, nothing]: [f32; 2]) -> Result<Vec<f32>> {
    let steps = order.len().clamp(1, STEPS);
    let hiding = asked.hiding();
    let pictures: Vec<RgbImage> = (1..steps)
        .map(|step| {
            let part = &order[..(step * order.len()).div_ceil(steps)];
            if inserts { hiding.only(part) } else { hiding.without(part) }
        })
        .collect();
    let between = asked.hold(&pictures)?;
    let (first, last) = if inserts { (nothing, whole) } else { (whole, nothing) };
    Ok([&[first], between.as_slice(), &[last]].concat())
}

/// The curves of each order as their mean.
fn merged(curves: Vec<Curve>) -> Vec<Curve> {
    let mut merged: Vec<(Curve, f32)> = Vec::new();
    for curve in curves {
        match merged.iter_mut().find(|(known, _)| known.order == curve.order) {
            Some((known, count)) => {
                known.values.iter_mut().zip(&curve.values).for_each(|(sum, value)| *sum += value);
                *count += 1.0;
            }
            None => merged.push((curve, 1.0)),
        }
    }
    let mean = |(curve, count): (Curve, f32)| Curve {
        values: curve.values.iter().map(|sum| sum / count).collect(),
        order: curve.order,
    };
    merged.into_iter().map(mean).collect()
}

/// The patches, highest first; equals in an order by chance, as their places must not help.
#[must_use]
pub fn descending(map: &[f32], rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<(usize, u32)> = (0..map.len()).map(|patch| (patch, rng.random())).collect();
    order.sort_by(|(one, luck), (other, their_luck)| map[*other].total_cmp(&map[*one]).then(luck.cmp(their_luck)));
    order.into_iter().map(|(patch, _)| patch).collect()
}

/// Spearman's rank correlation of two maps; `None` where one of them is the same everywhere.
#[must_use]
pub fn rank_correlation(one: &[f32], other: &[f32]) -> Option<f32> {
    let (one, other) = (ranks(one), ranks(other));
    let count = one.len().min(other.len()) as f32;
    let mean = (count - 1.0) / 2.0;
    let [mut both, mut of_one, mut of_other] = [0.0f32; 3];
    for (a, b) in one.iter().zip(&other) {
        both += (a - mean) * (b - mean);
        of_one += (a - mean).powi(2);
        of_other += (b - mean).powi(2);
    }
    let scale = (of_one * of_other).sqrt();
    (scale > 0.0).then(|| both / scale)
}

/// The rank of each value, from 0; equals share the mean of theirs.
fn ranks(values: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for end in 1..=order.len() {
        if end == order.len() || values[order[end]] != values[order[start]] {
            let shared = (start + end - 1) as f32 / 2.0;
            order[start..end].iter().for_each(|at| ranks[*at] = shared);
            start = end;
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::Slope;
    use crate::attribution::bimodal_relevancy::Flow;
    use crate::attribution::hiding::{Fill, Hiding};
    use crate::taps::{Recording, SitePattern};
    use image::Rgb;

    /// A model that holds to a picture as far as the white patch can be seen in it.
    struct White(Hiding);

    impl White {
        /// Sixteen patches of two by two pixels, of which the last is white on black.
        fn new() -> Self {
            let picture = RgbImage::from_fn(8, 8, |x, y| Rgb([if x >= 6 && y >= 6 { 255 } else { 0 }; 3]));
            Self(Hiding::new(&picture, Fill::Mean, [0.0, 0.0, 8.0, 8.0], (4, 4)))
        }
    }

    impl Asked for White {
        fn hiding(&self) -> &Hiding {
            &self.0
        }

        fn hold(&mut self, pictures: &[RgbImage]) -> Result<Vec<f32>> {
            Ok(pictures.iter().map(|picture| f32::from(picture.get_pixel(7, 7).0[0] == 255)).collect())
        }

        fn slopes(&mut self, _pictures: &[RgbImage]) -> Result<Vec<Slope>> {
            Ok(Vec::new())
        }

        fn flow(&mut self, _sites: &SitePattern) -> Result<(Recording, Flow)> {
            Ok(Default::default())
        }
    }

    #[test]
    fn a_true_map_falls_at_once_and_a_false_one_last() {
        let run = |map: &[f32]| {
            let covered: Vec<f32> = (0..16).map(|patch| f32::from(patch == 15)).collect();
            let test = Test { map, covered: Some(&covered), seed: 1 };
            faithfulness(&mut White::new(), &test, &mut |_| ()).expect("curves")
        };
        let area = |curves: &[Curve], order| Faithfulness::of(curves, order).expect("a curve").area();
        let good = run(&(0..16).map(|patch| patch as f32).collect::<Vec<_>>());
        assert_eq!(area(&good.deletion, Order::Map), 0.5 / 16.0);
        assert_eq!(area(&good.insertion, Order::Map), 15.5 / 16.0);
        assert_eq!(area(&good.deletion, Order::Object), area(&good.deletion, Order::Map));
        let bad = run(&(0..16).map(|patch| -(patch as f32)).collect::<Vec<_>>());
        assert_eq!(area(&bad.deletion, Order::Map), 15.5 / 16.0);
        // Chance lies between both, and the same for each of them.
        let chance = area(&good.deletion, Order::Random);
        assert!(chance > 0.1 && chance < 0.9, "{chance}");
    }

    #[test]
    fn ranks_correlate() {
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[10.0, 20.0, 900.0]), Some(1.0));
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(rank_correlation(&[1.0, 1.0], &[3.0, 2.0]), None);
        // Ties as in scipy.stats.spearmanr([1, 2, 2, 4], [1, 3, 2, 4]).
        let tied = rank_correlation(&[1.0, 2.0, 2.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).expect("a number");
        assert!((tied - 0.948_683_3).abs() < 1e-6, "{tied}");
    }
}
