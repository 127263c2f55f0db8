//! Weights that are being learned.

use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::nn::Parameters;

/// How a weight starts, by its name and shape.
pub type Initialisation = fn(name: &str, shape: &[usize]) -> Start;

/// What a weight starts as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Every number the same.
    Constant(f32),
    /// Normally distributed around zero with this standard deviation.
    Normal(f64),
}

/// Named variables, created as a model asks for them, beside weights that stay as they are.
pub struct Variables {
    variables: Mutex<BTreeMap<String, Var>>,
    initialisation: Initialisation,
    given: BTreeMap<String, Tensor>,
    frozen: BTreeMap<String, Tensor>,
    seed: u64,
    device: Device,
}

impl Variables {
    /// No variables yet; those to come live on `device` and start as `initialisation` says, with random numbers from
    /// `seed`.
    #[must_use]
    pub fn new(initialisation: Initialisation, seed: u64, device: &Device) -> Self {
        let (given, frozen) = (BTreeMap::new(), BTreeMap::new());
        Self { variables: Mutex::new(BTreeMap::new()), initialisation, given, frozen, seed, device: device.clone() }
    }

    /// What has a name in `frozen` is no variable: it stays as it is there.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn beside(mut self, frozen: &BTreeMap<String, Tensor>) -> Result<Self> {
        let moved = frozen.iter().map(|(name, weight)| Ok((name.clone(), weight.to_device(&self.device)?)));
        self.frozen = moved.collect::<Result<_>>()?;
        Ok(self)
    }

    /// Lets the variables that have a name in `given` start as it says.
    #[must_use]
    pub fn starting_as(mut self, given: BTreeMap<String, Tensor>) -> Self {
        self.given = given;
        self
    }

    /// Names and variables, in the order of the names.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Var)> {
        let variables = self.lock().clone();
        variables.into_iter().collect()
    }

    /// Gives the variable called `name` a new value.
    ///
    /// # Errors
    /// If there is none or the shape differs.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<()> {
        match self.lock().get(name) {
            Some(variable) => Ok(variable.set(&value.to_device(&self.device)?)?),
            None => Err(Error::unusable(
                format!("the snapshot holds '{name}', which this recipe doesn't learn"),
                "start the training in another folder",
            )),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Var>> {
        self.variables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, name: &str, shape: &[usize]) -> Result<Var> {
        if let Some(given) = self.given.get(name) {
            return Ok(Var::from_tensor(&given.reshape(shape)?.contiguous()?.to_device(&self.device)?)?);
        }
        let count = shape.iter().product();
        let values = match (self.initialisation)(name, shape) {
            Start::Constant(value) => vec![value; count],
            Start::Normal(deviation) => normal(self.seed ^ hash(name), count, deviation),
        };
        Ok(Var::from_tensor(&Tensor::from_vec(values, shape, &self.device)?)?)
    }
}

impl Parameters for Variables {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if self.frozen.contains_key(name) {
            return Parameters::get(&self.frozen, name, shape);
        }
        if let Some(variable) = self.lock().get(name) {
            return Ok(variable.as_tensor().clone());
        }
        let variable = self.create(name, shape)?;
        debug_assert_eq!(variable.dtype(), DType::F32);
        let tensor = variable.as_tensor().clone();
        self.lock().insert(name.to_owned(), variable);
        Ok(tensor)
    }

    fn contains(&self, name: &str) -> bool {
        self.frozen.contains_key(name) || self.lock().contains_key(name)
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

/// Normal numbers as sums of twelve uniform ones (Irwin-Hall): plain additions, so the same on every machine.
fn normal(seed: u64, count: usize, deviation: f64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || {
        let sum: f64 = (0..12).map(|_| rng.random::<f64>()).sum();
        #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
        let value = ((sum - 6.0) * deviation) as f32;
        value
    };
    (0..count).map(|_| draw()).collect()
}

/// FNV-1a, so that each weight has random numbers of its own, whatever the order of creation.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
