//! Fixtures of the numeric reference: checkpoints with random weights, and what transformers computes with them.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use alignscope::models::Model;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::taps::{Array, Recorder};
use candle_core::{DType, Device, Tensor};

pub const TOLERANCE: f32 = 1e-4;

/// Every folder with a reference beside a checkpoint.
pub fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found = Vec::new();
    for family in std::fs::read_dir(root).expect("fixtures are there").flatten() {
        for folder in std::fs::read_dir(family.path()).into_iter().flatten().flatten() {
            if folder.path().join("reference.safetensors").is_file() {
                found.push(folder.path());
            }
        }
    }
    found.sort();
    found
}

/// One fixture.
pub struct Reference {
    pub folder: PathBuf,
    pub tensors: BTreeMap<String, Tensor>,
}

impl Reference {
    pub fn read(folder: &Path) -> Self {
        let tensors = candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu)
            .expect("a reference")
            .into_iter()
            .collect();
        Self { folder: folder.to_path_buf(), tensors }
    }

    pub fn model(&self) -> Model {
        let checkpoint = Checkpoint::open(&self.folder).expect("a checkpoint");
        Model::open(&checkpoint, &Device::Cpu).expect("a model").0
    }

    /// Ids or a mask, if the reference has them.
    pub fn unsigned(&self, name: &str) -> Option<Tensor> {
        Some(self.tensors.get(name)?.to_dtype(DType::U32).expect("ids"))
    }

    /// How far `ours` are from the tensor of that name.
    pub fn off(&self, name: &str, ours: &Array) -> f32 {
        let theirs = self.tensors.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.folder.display()));
        difference(ours, theirs)
    }
}

/// The largest difference between two arrays of one shape.
pub fn difference(ours: &Array, theirs: &Tensor) -> f32 {
    assert_eq!(ours.shape, theirs.dims(), "shapes differ");
    let theirs = theirs.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("floats");
    let pairs = ours.data.iter().zip(&theirs);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// On the host.
pub fn host(tensor: &Tensor) -> Array {
    Array::from_tensor(tensor).expect("host")
}

/// What was recorded, by the names of the sites.
pub fn by_name(recorder: Recorder) -> BTreeMap<String, Array> {
    recorder.finish().activations.into_iter().map(|(site, array)| (site.to_string(), array)).collect()
}
