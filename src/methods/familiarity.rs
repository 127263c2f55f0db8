//! How far a picture lies from what a checkpoint was trained on.
//!
//! The small checkpoints know nothing but stickers, and a heatmap of a photograph would look just as convincing. So
//! each carries the mean and the spread of what its vision tower makes of sticker scenes, and the distance of a picture
//! from them (Mahalanobis 1936, used for this by Lee et al. 2018, arXiv 1807.03888) is measured against the distance
//! that fresh scenes have.
//!
//! What is looked at are the states of an early block, their mean and their deviation over the picture. The output of the
//! tower would not do: it was trained to keep nothing but which stickers are there, and maps a photograph right among
//! them (measured: three of four photographs lay within the usual distance).

use candle_core::{Device, Tensor};
use image::RgbImage;
use nalgebra::DMatrix;
use std::path::Path;

use super::evidence::Familiar;
use crate::error::{Error, Result};
use crate::files;
use crate::taps::{Array, Point, Recorder, Recording, Site, SitePattern, Taps, Tower};
use crate::world::{Scene, Split};

/// The file in a checkpoint's folder.
const FILE: &str = "familiarity.safetensors";
/// More than any width's matrix takes, in bytes.
const LARGEST: u64 = 256 << 20;
/// Scenes from which mean and spread are taken, and fresh ones that set the usual distance.
const SCENES: u64 = 4096;
/// Scenes a pass.
const BATCH: u64 = 128;

/// The block whose states are looked at.
const LAYER: usize = 0;

/// Mean and spread of the early vision features of sticker scenes.
pub struct Familiarity {
    mean: Vec<f32>,      // [width]
    precision: Vec<f32>, // [width, width], the inverse of the covariance
    usual: f32,
}

impl Familiarity {
    /// Reads the file of a checkpoint's folder; `None` if it has none, as any checkpoint not trained here.
    ///
    /// # Errors
    /// If the file is there but can't be used.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let broken = |what: String| {
            Error::unusable(format!("the file can't be used ({what})"), "delete it or train the checkpoint anew")
                .at(&path)
        };
        let bytes = files::read(&path, LARGEST)?;
        let tensors =
            candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| broken(error.to_string()))?;
        let values = |name: &str| -> Result<Vec<f32>> {
            let tensor = tensors.get(name).ok_or_else(|| broken(format!("it has no '{name}'")))?;
            Ok(Array::from_tensor(tensor)?.data)
        };
        let (mean, precision, usual) = (values("mean")?, values("precision")?, values("usual")?);
        if precision.len() != mean.len() * mean.len() || usual.len() != 1 {
            return Err(broken("its shapes don't fit".into()));
        }
        Ok(Some(Self { mean, precision, usual: usual[0] }))
    }

    /// Measures the checkpoint in `folder` on training scenes and on as many fresh ones, and writes the file into it; `see`
    /// lets its vision tower look at pictures.
    ///
    /// # Errors
    /// If a pass fails, the spread has no inverse, or the file can't be written.
    pub fn measure(folder: &Path, see: impl Fn(&[&RgbImage], &mut Taps<'_>) -> Result<()>) -> Result<()> {
        let features_on = |split: Split, first: u64| -> Result<Vec<Vec<f32>>> {
            let mut rows = Vec::new();
            for start in (0..SCENES).step_by(BATCH as usize) {
                let pictures: Vec<_> =
                    (start..start + BATCH).map(|at| Scene::random(split, first + at).draw()).collect();
                let mut recorder = recorder();
                see(&pictures.iter().collect::<Vec<_>>(), &mut Taps::none().with(&mut recorder))?;
                rows.extend(features_of(&recorder.finish()));
            }
            Ok(rows)
        };
        // Seeds far from those of training runs, which count from zero.
        let known = features_on(Split::Training, 1 << 60)?;
        let fresh = features_on(Split::Test, 1 << 60)?;
        let width = known.first().map_or(0, Vec::len);
        let matrix = DMatrix::from_fn(known.len(), width, |row, column| f64::from(known[row][column]));
        let mean = matrix.row_mean();
        let centred = DMatrix::from_fn(known.len(), width, |row, column| matrix[(row, column)] - mean[column]);
        let covariance = centred.transpose() * &centred / known.len() as f64;
        // A little of the mean variance on the diagonal keeps directions without any spread from deciding alone.
        let ridge = covariance.trace() / width as f64 * 1e-3;
        let inverse = (covariance + DMatrix::identity(width, width) * ridge).try_inverse().ok_or_else(|| {
            Error::unusable("the features of the checkpoint don't spread", "train it longer").at(folder)
        })?;
        #[expect(clippy::cast_possible_truncation, reason = "kept as f32")]
        let single = |values: &[f64]| -> Vec<f32> { values.iter().map(|value| *value as f32).collect() };
        let mut familiarity = Self {
            mean: single(mean.transpose().as_slice()),
            precision: single(inverse.transpose().as_slice()),
            usual: f32::INFINITY,
        };
        let mut distances: Vec<f32> = fresh.iter().map(|row| familiarity.distance(row)).collect();
        distances.sort_by(f32::total_cmp);
        let at = (distances.len() as f64 * 0.999) as usize;
        familiarity.usual = distances.get(at).copied().unwrap_or(f32::INFINITY);
        familiarity.write(folder)
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let width = self.mean.len();
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
        let tensors = [
            ("mean".to_owned(), tensor(&self.mean, &[width])?),
            ("precision".to_owned(), tensor(&self.precision, &[width, width])?),
            ("usual".to_owned(), tensor(&[self.usual], &[1])?),
        ];
        files::write_safetensors(&folder.join(FILE), tensors, Default::default())
    }

    /// The distance of features `[width]`.
    fn distance(&self, features: &[f32]) -> f32 {
        let width = self.mean.len();
        if features.len() != width {
            return f32::INFINITY;
        }
        let difference = features.iter().zip(&self.mean).map(|(value, mean)| f64::from(value - mean));
        let difference: Vec<f64> = difference.collect();
        let along = |row: &[f32]| row.iter().zip(&difference).map(|(value, by)| f64::from(*value) * by).sum::<f64>();
        let rows = self.precision.chunks_exact(width);
        #[expect(clippy::cast_possible_truncation, reason = "shown with three digits")]
        let distance = rows.zip(&difference).map(|(row, by)| by * along(row)).sum::<f64>().max(0.0).sqrt() as f32;
        distance
    }

    /// How far features `[width]` lie, beside what is usual.
    #[must_use]
    pub fn of(&self, features: &[f32]) -> Familiar {
        Familiar { distance: self.distance(features), usual: self.usual }
    }
}

fn site() -> Site {
    Site::new(Tower::Vision, LAYER, Point::ResidPost)
}

/// Records what [`features_of`] looks at.
#[must_use]
pub fn recorder() -> Recorder {
    Recorder::new(SitePattern::new(&site().to_string()))
}

/// The features of each picture of a batch: mean and standard deviation of each number over the positions,
/// `[2 * width]`.
#[must_use]
pub fn features_of(recording: &Recording) -> Vec<Vec<f32>> {
    let Some(states) = recording.get(site()) else { return Vec::new() };
    let width = states.shape.last().copied().unwrap_or(1).max(1);
    let batch = states.shape.first().copied().unwrap_or(0);
    let one = |picture: usize| {
        let positions = states.row(picture).chunks_exact(width);
        let count = positions.len().max(1) as f32;
        let mut mean = vec![0f32; width];
        let mut square = vec![0f32; width];
        for position in positions {
            for (at, value) in position.iter().enumerate() {
                mean[at] += value / count;
                square[at] += value * value / count;
            }
        }
        let deviation = mean.iter().zip(&square).map(|(mean, square)| (square - mean * mean).max(0.0).sqrt());
        let deviation: Vec<f32> = deviation.collect();
        mean.into_iter().chain(deviation).collect()
    };
    (0..batch).map(one).collect()
}
