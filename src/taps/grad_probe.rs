//! Gradients at sites.

use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

use super::{Array, Observer, Recording, Site, SitePattern};
use crate::error::Result;

/// Records activations together with the gradient of a score at the same sites.
///
/// Adds a variable of zeros to the activation: the pass stays bit-identical, all later paths stay connected, and the
/// variable's gradient is the gradient at the site. Replacing the activation by a leaf instead would cut the paths
/// that lead through earlier layers.
pub struct GradProbe {
    wanted: SitePattern,
    probes: BTreeMap<Site, (Tensor, Var)>,
}

impl GradProbe {
    /// Probes the sites that `wanted` names.
    #[must_use]
    pub fn new(wanted: SitePattern) -> Self {
        Self { wanted, probes: BTreeMap::new() }
    }

    /// How many numbers the probed activations have.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.probes.values().map(|(activation, _)| activation.elem_count()).sum()
    }

    /// Activations and the gradients of `score` (one number; for independent rows of a batch, their sum). Several scores of one
    /// pass can be asked for, one after the other.
    ///
    /// # Errors
    /// If the backward pass fails.
    pub fn backward(&self, score: &Tensor) -> Result<Recording> {
        let gradients = score.backward()?;
        let mut recording = Recording::default();
        for (site, (activation, probe)) in &self.probes {
            let array = Array::from_tensor(activation)?;
            let gradient = match gradients.get(probe.as_tensor()) {
                Some(gradient) => Array::from_tensor(gradient)?,
                // The score doesn't depend on this site, so its gradient there is zero.
                None => Array { shape: array.shape.clone(), data: vec![0.0; array.data.len()] },
            };
            recording.activations.insert(*site, array);
            recording.gradients.insert(*site, gradient);
        }
        Ok(recording)
    }
}

impl Observer for GradProbe {
    fn wants(&self, site: Site) -> bool {
        self.wanted.matches(site)
    }

    fn observe(&mut self, site: Site, activation: Tensor) -> Result<Tensor> {
        let probe = Var::from_tensor(&activation.zeros_like()?)?;
        let probed = (&activation + probe.as_tensor())?;
        self.probes.insert(site, (activation, probe));
        Ok(probed)
    }
}
