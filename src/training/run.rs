//! What all recipes share: the loop, its schedule, snapshots, progress and a clean stop.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use super::optimizer::{AdamW, AdamWConfig};
use super::variables::Variables;
use crate::error::{Error, Result};
use crate::nn::Parameters;
use crate::taps::CancelToken;

/// Steps between snapshots.
const SNAPSHOT_EVERY: usize = 200;

/// The parts of a recipe that the loop needs.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Names the recipe in its snapshots.
    pub name: &'static str,
    /// Number of steps.
    pub steps: usize,
    /// Pictures in a step.
    pub batch: usize,
    /// The highest learning rate.
    pub rate: f64,
    /// The optimizer's constants.
    pub optimizer: AdamWConfig,
    /// Seed of weights and data.
    pub seed: u64,
    /// What [`Progress::accuracy`] means, in a few words.
    pub measure: &'static str,
}

impl Plan {
    /// The learning rate of a step: rises for 6 % of the steps, then falls as a cosine to 2 %.
    #[must_use]
    pub fn rate_at(&self, step: usize) -> f64 {
        let warm = (self.steps as f64 * 0.06).max(1.0);
        let step = step as f64;
        if step < warm {
            return self.rate * (step + 1.0) / warm;
        }
        let progress = (step - warm) / (self.steps as f64 - warm).max(1.0);
        self.rate * (0.02 + 0.98 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
    }
}

/// What a step reports.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Mean loss since the last report.
    pub loss: f64,
    /// The learning rate.
    pub rate: f64,
    /// The recipe's own measure of the last batch, from 0 to 1.
    pub accuracy: f64,
    /// Pictures per second since the start or the resumption.
    pub speed: f64,
    /// Time left at this speed.
    pub left: Duration,
}

/// One step's worth of data, made in host memory.
pub trait Batch: Send + Sized {
    /// The same data on `device`.
    ///
    /// # Errors
    /// If the device is out of memory.
    fn to(self, device: &Device) -> Result<Self>;
}

/// A recipe: how its data are made and what its loss is.
pub trait Recipe: Sync {
    /// One step's worth of data.
    type Batch: Batch;
    /// Steps, batch and optimizer.
    fn plan(&self) -> &Plan;
    /// Fresh variables on `device`, all of them created.
    ///
    /// # Errors
    /// If the model can't be built.
    fn variables(&self, device: &Device) -> Result<Variables>;
    /// Whether the weight called `name` decays.
    fn decays(name: &str) -> bool;
    /// Makes the batch of a step; the same step gives the same batch.
    ///
    /// # Errors
    /// If data can't be made.
    fn batch(&self, step: usize) -> Result<Self::Batch>;
    /// Loss (without axes) and accuracy of a batch that is where the variables are.
    ///
    /// # Errors
    /// If the pass fails.
    fn loss(&self, batch: &Self::Batch, variables: &Variables) -> Result<(Tensor, f64)>;
    /// Writes the model as a Hugging Face folder, or several of them within `folder`; gives the folders.
    ///
    /// # Errors
    /// If a file can't be written.
    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>>;
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were done.
    Finished,
    /// It was stopped; the snapshot holds everything up to this step.
    Stopped(usize),
}

#[derive(Serialize, Deserialize)]
struct SnapshotHeader {
    recipe: String,
    seed: u64,
    steps: usize,
    step: usize,
    optimizer_steps: u64,
}

/// Runs `recipe` from its last snapshot in `folder`, or from the start, and reports every few steps.
///
/// # Errors
/// If a pass fails, the loss is no longer finite, or a snapshot can't be read or written.
pub fn run<R: Recipe>(
    recipe: &R,
    variables: &Variables,
    folder: &Path,
    stop: &CancelToken,
    report: &mut dyn FnMut(&Progress),
) -> Result<Outcome> {
    let plan = recipe.plan();
    let mut optimizer = AdamW::new(plan.optimizer, R::decays);
    let first = resume(plan, variables, &mut optimizer, folder)?;
    std::thread::scope(|scope| {
        // Data are made one step ahead, beside the computation; the bound keeps memory small.
        let (sender, batches) = sync_channel(1);
        let producer = std::thread::Builder::new().name("training data".into());
        let made = producer.spawn_scoped(scope, move || {
            for step in first..plan.steps {
                if sender.send(recipe.batch(step)).is_err() {
                    break; // the run has ended
                }
            }
        });
        made.map_err(|error| Error::unusable(format!("no thread could be started ({error})"), "close other programs"))?;
        steps(recipe, variables, &mut optimizer, folder, stop, report, first, batches)
    })
}

#[expect(clippy::too_many_arguments, reason = "the state of the loop, private to this file")]
fn steps<R: Recipe>(
    recipe: &R,
    variables: &Variables,
    optimizer: &mut AdamW,
    folder: &Path,
    stop: &CancelToken,
    report: &mut dyn FnMut(&Progress),
    first: usize,
    batches: Receiver<Result<R::Batch>>,
) -> Result<Outcome> {
    let plan = recipe.plan();
    let begin = Instant::now();
    let (mut losses, mut count) = (0f64, 0f64);
    for (step, batch) in (first..plan.steps).zip(batches) {
        if stop.is_cancelled() {
            save(plan, variables, optimizer, folder, step)?;
            return Ok(Outcome::Stopped(step));
        }
        let (loss, accuracy) = recipe.loss(&batch?.to(variables.device())?, variables)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            return Err(Error::unusable(
                format!("the loss is no longer a number at step {step}"),
                "resume from the snapshot with a lower learning rate",
            )
            .at(folder));
        }
        let gradients = loss.backward()?;
        let rate = plan.rate_at(step);
        optimizer.step(&variables.all(), &gradients, rate)?;
        losses += value;
        count += 1.0;
        let done = step + 1;
        if done % 10 == 0 || done == plan.steps {
            let seconds = begin.elapsed().as_secs_f64();
            let speed = ((done - first) * plan.batch) as f64 / seconds.max(1e-9);
            let left = ((plan.steps - done) * plan.batch) as f64 / speed.max(1e-9);
            report(&Progress {
                step: done,
                steps: plan.steps,
                loss: losses / count,
                rate,
                accuracy,
                speed,
                left: Duration::from_secs_f64(left),
            });
            (losses, count) = (0.0, 0.0);
        }
        if done % SNAPSHOT_EVERY == 0 || done == plan.steps {
            save(plan, variables, optimizer, folder, done)?;
        }
    }
    Ok(Outcome::Finished)
}

fn snapshot_path(folder: &Path) -> PathBuf {
    folder.join("snapshot.safetensors")
}

/// Writes weights, moments and the step to one file, all or nothing.
fn save(plan: &Plan, variables: &Variables, optimizer: &AdamW, folder: &Path, step: usize) -> Result<()> {
    let (mut tensors, optimizer_steps) = optimizer.state()?;
    for (name, variable) in variables.all() {
        tensors.insert(format!("{name}.weight_now"), variable.as_tensor().clone());
    }
    let header =
        SnapshotHeader { recipe: plan.name.to_owned(), seed: plan.seed, steps: plan.steps, step, optimizer_steps };
    let header = serde_json::to_string(&header).unwrap_or_default();
    let metadata = [("training".to_owned(), header)].into_iter().collect();
    crate::files::write_safetensors(&snapshot_path(folder), &tensors, metadata)
}

/// Takes up the snapshot in `folder`, if there is one, and says at which step to go on.
fn resume(plan: &Plan, variables: &Variables, optimizer: &mut AdamW, folder: &Path) -> Result<usize> {
    let path = snapshot_path(folder);
    if !path.is_file() {
        return Ok(0);
    }
    let bytes = std::fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
    let unreadable = |what: String| {
        Error::unusable(
            format!("the snapshot can't be used ({what})"),
            "delete it to start anew, or name another folder",
        )
        .at(&path)
    };
    let (_, metadata) =
        safetensors::SafeTensors::read_metadata(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let header = metadata.metadata().as_ref().and_then(|map| map.get("training"));
    let header: SnapshotHeader =
        serde_json::from_str(header.map_or("", String::as_str)).map_err(|error| unreadable(error.to_string()))?;
    if header.recipe != plan.name || header.seed != plan.seed || header.steps != plan.steps {
        return Err(unreadable(format!(
            "it belongs to {} with seed {} and {} steps",
            header.recipe, header.seed, header.steps
        )));
    }
    let tensors =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| unreadable(error.to_string()))?;
    let tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
    for (name, value) in &tensors {
        if let Some(name) = name.strip_suffix(".weight_now") {
            variables.set(name, value)?;
        }
    }
    optimizer.restore(&tensors, header.optimizer_steps)?;
    Ok(header.step)
}
