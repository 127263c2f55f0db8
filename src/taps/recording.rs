//! What a forward pass leaves behind for the views: plain host arrays. Candle ends here.

use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

use super::{Observer, Site, SitePattern};
use crate::error::Result;

/// A row-major array of `f32` in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The values, last axis fastest; as many as the product of `shape`.
    pub data: Vec<f32>,
}

impl Array {
    /// Copies a tensor of any float type to the host.
    ///
    /// # Errors
    /// If the device can't be read.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        let data = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(Self { shape: tensor.dims().to_vec(), data })
    }

    /// The sub-array at `index` of the first axis, as a slice; empty if there is none.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        let width: usize = self.shape.iter().skip(1).product();
        self.data.get(index * width..(index + 1) * width).unwrap_or_default()
    }
}

/// A row-major array of ids in host memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdArray {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The values, last axis fastest; as many as the product of `shape`.
    pub data: Vec<i64>,
}

/// The activations of one pass, and their gradients where a [`super::GradProbe`] was there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Activations, in the layout of the site.
    pub activations: BTreeMap<Site, Array>,
    /// Gradients of the asked score at a site, of the same shape as the activation.
    pub gradients: BTreeMap<Site, Array>,
}

impl Recording {
    /// The activation at `site`, if it was recorded.
    #[must_use]
    pub fn get(&self, site: Site) -> Option<&Array> {
        self.activations.get(&site)
    }
}

/// Copies the wanted activations to the host and lets them go on unchanged.
pub struct Recorder {
    wanted: SitePattern,
    activations: BTreeMap<Site, Array>,
}

impl Recorder {
    /// Records the sites that `wanted` names.
    #[must_use]
    pub fn new(wanted: SitePattern) -> Self {
        Self { wanted, activations: BTreeMap::new() }
    }

    /// What was recorded.
    #[must_use]
    pub fn finish(self) -> Recording {
        Recording { activations: self.activations, gradients: BTreeMap::new() }
    }
}

impl Observer for Recorder {
    fn wants(&self, site: Site) -> bool {
        self.wanted.matches(site)
    }

    fn observe(&mut self, site: Site, activation: Tensor) -> Result<Tensor> {
        self.activations.insert(site, Array::from_tensor(&activation)?);
        Ok(activation)
    }
}
