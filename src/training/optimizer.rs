//! AdamW (Loshchilov & Hutter 2017) with decoupled decay, gradient clipping, and moments that can be saved.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;
use std::collections::BTreeMap;

use crate::error::Result;

/// The optimizer's constants.
#[derive(Clone, Copy, Debug)]
pub struct AdamWConfig {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Share of each decaying weight that is taken away per unit of learning rate.
    pub weight_decay: f64,
    /// Longest gradient over all weights; a longer one is shortened to this.
    pub clip: f64,
}

/// The optimizer and its moments.
pub struct AdamW {
    config: AdamWConfig,
    decays: fn(&str) -> bool,
    moments: BTreeMap<String, (Vec<f32>, Vec<f32>)>,
    steps: u64,
}

/// A variable and what belongs to it, in host memory while it moves.
struct Part<'a> {
    name: &'a String,
    variable: &'a Var,
    gradient: Vec<f32>,
    values: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl AdamW {
    /// An optimizer at step zero; `decays` says of a weight's name whether it decays.
    #[must_use]
    pub fn new(config: AdamWConfig, decays: fn(&str) -> bool) -> Self {
        Self { config, decays, moments: BTreeMap::new(), steps: 0 }
    }

    /// Moves all variables by one step; returns the length of the gradient before clipping.
    ///
    /// # Errors
    /// If a tensor can't be read or written.
    pub fn step(&mut self, variables: &[(String, Var)], gradients: &GradStore, rate: f64) -> Result<f64> {
        let mut parts = Vec::new();
        let mut squares = 0f64;
        for (name, variable) in variables {
            let Some(gradient) = gradients.get(variable.as_tensor()) else {
                continue;
            };
            let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
            squares += gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
            let values = variable.flatten_all()?.to_vec1::<f32>()?;
            let none = || (vec![0.0; values.len()], vec![0.0; values.len()]);
            let (mean, square) = self.moments.remove(name).unwrap_or_else(none);
            parts.push(Part { name, variable, gradient, values, mean, square });
        }
        let length = squares.sqrt();
        let shorten = (self.config.clip / length.max(1e-12)).min(1.0);
        self.steps += 1;
        parts.par_iter_mut().for_each(|part| self.step_part(part, rate, shorten));
        for Part { name, variable, values, mean, square, .. } in parts {
            variable.set(&Tensor::from_vec(values, variable.shape(), variable.device())?)?;
            self.moments.insert(name.clone(), (mean, square));
        }
        Ok(length)
    }

    /// Moves one variable, after its gradient was shortened by the factor `shorten`.
    fn step_part(&self, part: &mut Part<'_>, rate: f64, shorten: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "a training run has fewer than 2^31 steps")]
        let steps = self.steps as i32;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay, .. } = self.config;
        let correction1 = 1.0 - beta1.powi(steps);
        let correction2 = 1.0 - beta2.powi(steps);
        let decay = if (self.decays)(part.name) { weight_decay } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
        for i in 0..part.values.len() {
            let g = f64::from(part.gradient[i]) * shorten;
            let m = beta1 * f64::from(part.mean[i]) + (1.0 - beta1) * g;
            let v = beta2 * f64::from(part.square[i]) + (1.0 - beta2) * g * g;
            part.mean[i] = m as f32;
            part.square[i] = v as f32;
            let update = (m / correction1) / ((v / correction2).sqrt() + epsilon);
            let value = f64::from(part.values[i]);
            part.values[i] = (value - rate * (update + decay * value)) as f32;
        }
    }

    /// The moments, to be saved: names with `.mean` and `.square`, and the number of steps.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn state(&self) -> Result<(BTreeMap<String, Tensor>, u64)> {
        let mut state = BTreeMap::new();
        for (name, (mean, square)) in &self.moments {
            let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
            state.insert(format!("{name}.mean"), tensor(mean)?);
            state.insert(format!("{name}.square"), tensor(square)?);
        }
        Ok((state, self.steps))
    }

    /// Takes up saved moments.
    ///
    /// # Errors
    /// If a tensor can't be read.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        for (name, mean) in state {
            if let Some(name) = name.strip_suffix(".mean")
                && let Some(square) = state.get(&format!("{name}.square"))
            {
                let moments = (mean.to_vec1::<f32>()?, square.to_vec1::<f32>()?);
                self.moments.insert(name.to_owned(), moments);
            }
        }
        self.steps = steps;
        Ok(())
    }
}
