//! Where the latents of a Perceiver resampler start: one on each patch.
//!
//! Latents that start by chance all gather the same mixture of the picture, and a small resampler takes hundreds of thousands
//! of pictures to part them (measured: after 205,000 a linear map still couldn't read from them what lies where). The
//! places of patches are linear in the states of the tower (`places.rs`); but a product of two vectors that are linear in
//! places is highest at the border, never in the middle. With queries and keys of one length, as IDEFICS has them
//! (`qk_layer_norms_perceiver`), it is highest where both are the same: row, column and a constant, brought to one length,
//! are a point on a sphere for each place. So every latent can start out looking at its own patch, and hand it on.

use candle_core::{Device, Tensor};
use nalgebra::{DMatrix, DVector};
use std::collections::BTreeMap;

use super::places::places;
use crate::error::{Error, Result};

/// Share of the mean squared state that is added to its covariance, so that it can be inverted.
const RIDGE: f64 = 1e-2;
/// The constant beside row and column, which run from -1 to 1.
const CONSTANT: f64 = 0.7;
/// Weight of the norms of queries and keys. Of heads with 32 numbers, each latent then has .6 of its attention on its own
/// patch and .99 on that and its neighbours (measured on `clip-grounded`, 50 scenes).
const SHARPNESS: f32 = 4.2;

/// The sizes of the resampler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    /// How many.
    pub count: usize,
    /// Length of a head's vectors; a multiple of 8.
    pub width: usize,
}

/// Where the latents and the first block's attention start, by their names under the resampler, for patches whose `states`
/// `[pictures, patches, width]` are those of a square grid. There are as many latents as patches, and the heads together are
/// as wide as the states.
///
/// # Errors
/// If the sizes don't fit, or the states are all the same.
pub(super) fn on_patches(states: &Tensor, heads: Heads) -> Result<BTreeMap<String, Tensor>> {
    let (pictures, patches, width) = states.dims3()?;
    if heads.count * heads.width != width || !heads.width.is_multiple_of(8) {
        return Err(Error::unusable("the heads of the resampler don't fit the tower", "report this"));
    }
    let targets = places(patches, &Device::Cpu)?.to_vec2::<f32>()?;
    let rows = states.reshape((pictures * patches, width))?.to_vec2::<f32>()?;
    let rows: Vec<DVector<f64>> = rows.iter().map(|row| normed(row)).collect();
    let (directions, offsets) = places_read(&rows, &targets)?;
    let mean = rows.iter().fold(DVector::zeros(width), |sum, row| sum + row) / rows.len() as f64;

    // What a normed state `x` becomes is `x + 1`, and `x` has the mean 0: so a constant is read from it, too.
    let constant = DVector::from_element(width, 1.0 / width as f64);
    let read = [&directions[0] + &constant * offsets[0], &directions[1] + &constant * offsets[1], &constant * CONSTANT];
    let looks: Vec<f32> = (0..width)
        .flat_map(|row| {
            let signs = signs(row % heads.width, heads.width);
            let weights = read.iter().zip(signs).fold(DVector::zeros(width), |sum, (read, sign)| sum + read * sign);
            weights.iter().map(|weight| *weight as f32).collect::<Vec<_>>()
        })
        .collect();
    let looks = Tensor::from_vec(looks, (width, width), &Device::Cpu)?;
    let same = Tensor::eye(width, states.dtype(), &Device::Cpu)?;
    let ones = Tensor::ones(width, states.dtype(), &Device::Cpu)?;
    let sharp = Tensor::full(SHARPNESS, heads.width, &Device::Cpu)?;

    let latents = targets.iter().map(|target| {
        let wanted = [f64::from(target[0]) - offsets[0], f64::from(target[1]) - offsets[1]];
        latent(&directions, wanted, &mean)
    });
    let latents: Vec<Vec<f32>> = latents.collect::<Result<_>>()?;
    let mut start = BTreeMap::from([("latents".to_owned(), Tensor::new(latents, &Device::Cpu)?)]);
    for (name, weight) in [
        ("context_layer_norm.bias", &ones),
        ("latents_layer_norm.bias", &ones),
        ("q_proj.weight", &looks),
        ("k_proj.weight", &looks),
        ("v_proj.weight", &same),
        ("output_proj.weight", &same),
        ("q_layer_norm.weight", &sharp),
        ("k_layer_norm.weight", &sharp),
    ] {
        start.insert(format!("blocks.0.0.{name}"), weight.clone());
    }
    Ok(start)
}

/// A state as a layer norm leaves it: mean 0, mean square 1.
fn normed(row: &[f32]) -> DVector<f64> {
    let row = DVector::from_iterator(row.len(), row.iter().map(|value| f64::from(*value)));
    let row = row.add_scalar(-row.mean());
    let length = (row.norm_squared() / row.len() as f64 + 1e-5).sqrt();
    row / length
}

/// The directions and offsets that read rows and columns from normed states best (ridge regression).
fn places_read(rows: &[DVector<f64>], targets: &[Vec<f32>]) -> Result<([DVector<f64>; 2], [f64; 2])> {
    let width = rows.first().map_or(0, DVector::len);
    let mean = rows.iter().fold(DVector::zeros(width), |sum, row| sum + row) / rows.len().max(1) as f64;
    let mut covariance = DMatrix::identity(width, width) * (RIDGE * rows.len() as f64);
    let mut both = [DVector::zeros(width), DVector::zeros(width)];
    for (row, target) in rows.iter().zip(targets.iter().cycle()) {
        let centred = row - &mean;
        covariance.ger(1.0, &centred, &centred, 1.0);
        for (both, target) in both.iter_mut().zip(target) {
            both.axpy(f64::from(*target), &centred, 1.0);
        }
    }
    let factor = covariance.cholesky();
    let factor =
        factor.ok_or_else(|| Error::unusable("the tower's states are all the same", "train the tower first"))?;
    // States have the mean 0, so nothing is lost where a direction has it, too.
    let directions = both.map(|both| {
        let direction = factor.solve(&both);
        direction.add_scalar(-direction.mean())
    });
    let offsets = [0, 1].map(|at| -directions[at].dot(&mean));
    Ok((directions, offsets))
}

/// A normed vector from which the directions read `wanted`; the rest of its length lies along `rest`.
fn latent(directions: &[DVector<f64>; 2], wanted: [f64; 2], rest: &DVector<f64>) -> Result<Vec<f32>> {
    let matrix = DMatrix::from_rows(&[directions[0].transpose(), directions[1].transpose()]);
    let inverse =
        matrix.clone().pseudo_inverse(1e-9).map_err(|error| Error::unusable(error.to_owned(), "report this"))?;
    let placed = &inverse * DVector::from_row_slice(&wanted);
    let aside = rest - &inverse * (&matrix * rest);
    let left = (rest.len() as f64 - placed.norm_squared()).max(0.0).sqrt();
    let vector = placed + aside.normalize() * left;
    Ok(vector.iter().map(|value| *value as f32).collect())
}

/// Row `at` of three columns of a Walsh matrix with `width` rows: orthonormal, and of mean 0.
fn signs(at: usize, width: usize) -> [f64; 3] {
    let length = (width as f64).sqrt();
    [1, 2, 4].map(|pieces| if (at * 2 * pieces / width).is_multiple_of(2) { 1.0 / length } else { -1.0 / length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{PerceiverResampler, PerceiverShape, Scope};
    use crate::taps::{Recorder, SitePattern, Taps};
    use crate::training::variables::{Start, Variables};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const PATCHES: usize = 16;
    const WIDTH: usize = 32;

    /// States that hold their place along two axes, and noise along the others.
    fn states() -> Tensor {
        let places = places(PATCHES, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut values = Vec::new();
        for _ in 0..64 {
            for place in &places {
                values.extend([place[0], place[1]].map(|place| 2.0 * place));
                values.extend((2..WIDTH).map(|_| rng.random_range(-1.0..1.0f32)));
            }
        }
        Tensor::from_vec(values, (64, PATCHES, WIDTH), &Device::Cpu).unwrap()
    }

    #[test]
    fn each_latent_looks_at_its_own_patch() {
        let states = states();
        let heads = Heads { count: 4, width: 8 };
        let start = on_patches(&states, heads).expect("a start");
        let initial = |name: &str, _: &[usize]| {
            let is_norm = name.contains("norm") || name.contains("ln");
            if is_norm && name.ends_with("weight") { Start::Constant(1.0) } else { Start::Constant(0.0) }
        };
        let variables = Variables::new(initial, 0, &Device::Cpu).starting_as(start);
        let shape =
            PerceiverShape { width: WIDTH, latents: PATCHES, depth: 1, heads: 4, head_width: 8, head_norms: true };
        let resampler = PerceiverResampler::load(&Scope::root(&variables), shape).expect("a resampler");
        let mut recorder = Recorder::new(SitePattern::new("*.pattern"));
        resampler.forward(&states, &mut Taps::none().with(&mut recorder)).expect("a pass");
        let recording = recorder.finish();
        let (_, pattern) = recording.activations.iter().next().expect("a pattern");
        let keys = 2 * PATCHES; // patches, and behind them the latents
        assert_eq!(pattern.shape, [64, 4, PATCHES, keys]);
        let found = pattern.data.chunks_exact(keys).enumerate().filter(|(row, pattern)| {
            let best = (0..PATCHES).max_by(|one, other| pattern[*one].total_cmp(&pattern[*other]));
            best == Some(row % PATCHES)
        });
        let share = found.count() as f32 / (pattern.data.len() / keys) as f32;
        assert!(share > 0.8, "{share}");
    }

    #[test]
    fn heads_that_do_not_fit_are_refused() {
        assert!(on_patches(&states(), Heads { count: 3, width: 8 }).is_err());
        assert!(on_patches(&states(), Heads { count: 8, width: 4 }).is_err());
    }
}
