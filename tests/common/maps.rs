//! Maps held against known ones, and the checkpoints of a family.

use std::path::{Path, PathBuf};

use alignscope::taps::Array;
use candle_core::Tensor;

pub fn close(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0f32, |most, value| most.max(value.abs()));
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= 1e-4 * largest + 1e-6, "{what}: {a} is not {b}");
    }
}

pub fn fixtures(family: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family);
    let mut found: Vec<PathBuf> = std::fs::read_dir(root).expect("fixtures").flatten().map(|e| e.path()).collect();
    found.sort();
    assert!(found.len() >= 4);
    found
}

pub fn host(tensor: &Tensor) -> Array {
    Array::from_tensor(tensor).expect("host")
}
