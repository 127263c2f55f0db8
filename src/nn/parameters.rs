//! Where the weights of a block come from.

use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::fmt::Display;

use super::Weight;
use crate::error::{Error, Result};

/// A source of named weights: a checkpoint that was read, or the variables of a training run.
pub trait Parameters {
    /// The weight called `name`, which must have `shape`.
    ///
    /// # Errors
    /// If there is no such weight, or its shape is another, or it holds numbers that aren't finite.
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor>;
    /// The same of a matrix, which may stay as it is stored.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn matrix(&self, name: &str, (rows, columns): (usize, usize)) -> Result<Weight> {
        self.get(name, &[rows, columns]).map(Weight::Full)
    }
    /// The same of a matrix that is for nothing but products: laid as these read it, where it is frozen.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn for_products(&self, name: &str, shape: (usize, usize)) -> Result<Weight> {
        self.matrix(name, shape)?.laid()
    }
    /// Whether there is a weight called `name`.
    fn contains(&self, name: &str) -> bool;
    /// Where the weights live.
    fn device(&self) -> &Device;
}

/// Weights by name in host memory.
impl Parameters for BTreeMap<String, Tensor> {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match self.get(name) {
            Some(weight) if weight.dims() == shape => Ok(weight.clone()),
            found => {
                let found = found.map_or("missing".to_owned(), |weight| format!("of shape {:?}", weight.dims()));
                Err(Error::unusable(
                    format!("the weight '{name}' is {found}, but {shape:?} is asked for"),
                    "start from checkpoints of the same sizes",
                ))
            }
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.contains_key(name)
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }
}

/// A source of weights together with a prefix of their names, such as `vision_model.encoder.layers.3`.
#[derive(Clone)]
pub struct Scope<'a> {
    parameters: &'a dyn Parameters,
    prefix: String,
}

impl<'a> Scope<'a> {
    /// The whole source.
    #[must_use]
    pub fn root(parameters: &'a dyn Parameters) -> Self {
        let prefix = String::new();
        Self { parameters, prefix }
    }

    /// The part of the source whose names go on with `name`.
    #[must_use]
    pub fn enter(&self, name: impl Display) -> Self {
        Self { parameters: self.parameters, prefix: self.full(name) }
    }

    /// The weight called `name` here.
    ///
    /// # Errors
    /// As [`Parameters::get`].
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.parameters.get(&self.full(name), shape)
    }

    /// The matrix called `name` here, which may stay as it is stored.
    ///
    /// # Errors
    /// As [`Parameters::get`].
    pub fn matrix(&self, name: &str, shape: (usize, usize)) -> Result<Weight> {
        self.parameters.matrix(&self.full(name), shape)
    }

    /// The matrix called `name` here, which is for nothing but products.
    ///
    /// # Errors
    /// As [`Parameters::get`].
    pub fn for_products(&self, name: &str, shape: (usize, usize)) -> Result<Weight> {
        self.parameters.for_products(&self.full(name), shape)
    }

    /// Whether there is a weight called `name` here.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.parameters.contains(&self.full(name))
    }

    /// Where the weights live.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn full(&self, name: impl Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }
}
