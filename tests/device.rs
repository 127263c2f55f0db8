//! The same numbers on another device: `ALIGNSCOPE_TEST_DEVICE=cuda:0 cargo test --features cuda --test device` holds every
//! activation of a built-in checkpoint of each class, computed there, against the processor's. Without the variable the
//! processor is held against itself, which at least shows that all of it runs.

use std::path::Path;
use std::process::Command;

use alignscope::models::builtin;
use candle_core::{DType, Device};

/// A checkpoint with a text that it reads.
const READS: [(&str, &str); 7] = [
    ("clip-grounded", "a cat and a red ball"),
    ("blip-retrieval", "a cat and a red ball"),
    ("blip-captioning", "a cat and a red ball"),
    ("flamingo", "is there a cat?"),
    ("blip2-retrieval", "a cat and a red ball"),
    ("instructblip", "is there a cat?"),
    ("llava", "<image>is there a cat?"),
];

/// How far numbers may lie apart, as a share of the largest of their tensor (or of one): sums are taken in another order.
const NEAR: f64 = 1e-5;

fn trace(checkpoint: &str, text: &str, device: &str, file: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignscope"));
    command.args(["trace", "--sites", "*", "--device", device, "--text", text]);
    command.arg("--image").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/scene-000101.png"));
    command.arg("--checkpoint").arg(builtin::folder().join(checkpoint)).arg("-o").arg(file);
    let done = command.output().expect("the program starts");
    assert!(done.status.success(), "{checkpoint} on {device}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn every_activation_is_that_of_the_processor() {
    let device = std::env::var("ALIGNSCOPE_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    let folder = tempfile::tempdir().expect("a folder");
    for (checkpoint, text) in READS {
        let [here, there] = ["here", "there"].map(|name| folder.path().join(format!("{name}.safetensors")));
        trace(checkpoint, text, "cpu", &here);
        trace(checkpoint, text, &device, &there);
        let [here, there] =
            [here, there].map(|file| candle_core::safetensors::load(file, &Device::Cpu).expect("tensors"));
        assert!(here.len() > 20 && here.len() == there.len(), "{checkpoint}: {} and {}", here.len(), there.len());
        for (name, expected) in &here {
            let found = there.get(name).unwrap_or_else(|| panic!("{checkpoint} lacks {name} on {device}"));
            assert_eq!(found.dims(), expected.dims(), "{checkpoint}: {name}");
            let numbers = |tensor: &candle_core::Tensor| -> Vec<f64> {
                let flat = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F64));
                flat.and_then(|flat| flat.to_vec1()).expect("numbers")
            };
            let (found, expected) = (numbers(found), numbers(expected));
            let largest = expected.iter().map(|value| value.abs()).fold(1.0, f64::max);
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
            assert!(off <= NEAR, "{checkpoint}: {name} is {off:e} off on {device}");
        }
    }
}
