//! The same numbers on another device: `ALIGNSCOPE_TEST_DEVICE=cuda:0 cargo test --features cuda --test device` holds every
//! activation of a built-in checkpoint of each class, computed there, against the processor's. Without the variable the
//! processor is held against itself, which at least shows that all of it runs.

use std::path::Path;
use std::process::Command;

use alignscope::app::state::MethodName;
use alignscope::app::{self, App, AppState};
use alignscope::models::builtin;
use alignscope::models::runtime::{Precision, RuntimeName};
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

fn trace(checkpoint: &str, text: &str, (device, precision): (&str, &str), file: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignscope"));
    command.args(["trace", "--sites", "*", "--device", device, "--precision", precision, "--text", text]);
    command.arg("--image").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/scene-000101.png"));
    command.arg("--checkpoint").arg(builtin::folder().join(checkpoint)).arg("-o").arg(file);
    let done = command.output().expect("the program starts");
    assert!(done.status.success(), "{checkpoint} on {device}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn every_activation_is_that_of_the_processor() {
    let device = std::env::var("ALIGNSCOPE_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    for (checkpoint, text) in READS {
        let off = apart(checkpoint, text, (&device, "f32"));
        assert!(off <= NEAR, "{checkpoint} is {off:e} off on {device}");
    }
}

/// All but the first are stored in 16 bits, so that nothing is lost where their weights stay so; of that one, and as `bf16`, some
/// is.
#[test]
fn every_activation_is_the_same_with_weights_in_16_bits() {
    let device = std::env::var("ALIGNSCOPE_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    let [(rounded, text), exact @ ..] = READS;
    for (checkpoint, text) in exact {
        let off = apart(checkpoint, text, (&device, "f16"));
        assert!(off <= NEAR, "{checkpoint} is {off:e} off in f16 on {device}");
    }
    for (precision, most) in [("f16", 0.01), ("bf16", 0.1)] {
        let off = apart(rounded, text, (&device, precision));
        assert!(off > NEAR && off < most, "{rounded} is {off:e} off in {precision} on {device}");
    }
}

/// In the window a device that isn't there is no reason to see nothing.
#[test]
fn a_device_that_is_missing_is_replaced_by_the_processor_and_a_sentence_says_so() {
    let mut app = App::new(AppState::first());
    app.apply(app::Command::SetMethod(MethodName("contrastive")));
    app.apply(app::Command::SetRuntime(
        MethodName("contrastive"),
        RuntimeName { device: "cuda:4096".into(), precision: Precision::F16 },
    ));
    app.start(|| ()).expect("a worker");
    while app.busy {
        app.receive();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(app.problem.is_none() && app.evidence.is_some(), "{:?}", app.problem);
    let said = app.warning.clone().unwrap_or_default();
    assert!(said.starts_with("cuda:4096 can't be used, so the processor computes"), "{said}");
    app.apply(app::Command::DismissProblem);
    assert!(app.warning.is_none());
}

/// The largest distance of any activation from what it is on the processor in 32 bits, as a share of the largest of its tensor.
fn apart(checkpoint: &str, text: &str, there: (&str, &str)) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let files = ["here", "there"].map(|name| folder.path().join(format!("{name}.safetensors")));
    trace(checkpoint, text, ("cpu", "f32"), &files[0]);
    trace(checkpoint, text, there, &files[1]);
    let [here, there] = files.map(|file| candle_core::safetensors::load(file, &Device::Cpu).expect("tensors"));
    assert!(here.len() > 20 && here.len() == there.len(), "{checkpoint}: {} and {}", here.len(), there.len());
    let mut most = 0f64;
    for (name, expected) in &here {
        let found = there.get(name).unwrap_or_else(|| panic!("{checkpoint} lacks {name}"));
        assert_eq!(found.dims(), expected.dims(), "{checkpoint}: {name}");
        let numbers = |tensor: &candle_core::Tensor| -> Vec<f64> {
            let flat = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F64));
            flat.and_then(|flat| flat.to_vec1()).expect("numbers")
        };
        let (found, expected) = (numbers(found), numbers(expected));
        let largest = expected.iter().map(|value| value.abs()).fold(1.0, f64::max);
        most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / largest).fold(most, f64::max);
    }
    most
}
