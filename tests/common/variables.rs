//! Weights and inputs for tests: named variables with seeded random values, and the gradients of a score.

use std::cell::RefCell;
use std::collections::BTreeMap;

use alignscope::Result;
use alignscope::nn::{Parameters, Scope};
use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Variables that come into being as a block asks for them. Their values hang on their names alone, and are the same in
/// `f32` and `f64`.
pub struct Variables {
    dtype: DType,
    pub known: RefCell<BTreeMap<String, Var>>,
}

impl Variables {
    pub fn new(dtype: DType) -> Self {
        Self { dtype, known: RefCell::new(BTreeMap::new()) }
    }

    pub fn scope(&self) -> Scope<'_> {
        Scope::root(self)
    }

    /// Gives one variable a new value.
    pub fn change(&self, name: &str, new: impl Fn(&mut Vec<f64>)) {
        let known = self.known.borrow();
        let var = &known[name];
        let mut values = numbers(var);
        new(&mut values);
        var.set(&tensor(values, var.dims(), self.dtype)).expect("the same shape");
    }
}

impl Parameters for Variables {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let mut known = self.known.borrow_mut();
        let var = known.entry(name.to_owned()).or_insert_with(|| {
            let value = tensor(random(name, shape.iter().product()), shape, self.dtype);
            Var::from_tensor(&value).expect("a variable")
        });
        assert_eq!(var.dims(), shape, "{name}");
        Ok(var.as_tensor().clone())
    }

    fn contains(&self, name: &str) -> bool {
        self.known.borrow().contains_key(name)
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }
}

/// Numbers between -1 and 1 that `f32` holds exactly.
pub fn random(name: &str, count: usize) -> Vec<f64> {
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(131).wrapping_add(byte.into()));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| f64::from(rng.random_range(-1.0f32..1.0))).collect()
}

pub fn tensor(values: Vec<f64>, shape: &[usize], dtype: DType) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).and_then(|t| t.to_dtype(dtype)).expect("a tensor")
}

pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all());
    flat.and_then(|t| t.to_vec1()).expect("numbers")
}

/// One number from all of `output`: the sum, each number weighted at random.
pub fn score(output: &Tensor) -> Tensor {
    let weights = tensor(random("projection", output.elem_count()), output.dims(), output.dtype());
    (output * weights).and_then(|t| t.sum_all()).expect("a score")
}

/// The largest distance between two arrays, and the largest number in the second.
pub fn distance(ours: &[f64], theirs: &[f64]) -> (f64, f64) {
    assert_eq!(ours.len(), theirs.len());
    let far = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    (far, theirs.iter().fold(0.0, |most, value| value.abs().max(most)))
}
