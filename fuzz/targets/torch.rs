//! A file of weights as torch writes it: as it stands if it is an archive, else as the pickle of a whole one.
#![cfg_attr(fuzzing, no_main)]

use alignscope::models::weights::Weights;
use alignscope::nn::Parameters;
use alignscope_fuzz::{put, sentence};
use candle_core::Device;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in [("a/data.pkl", pickle), ("a/data/0", &[0; 64]), ("a/data/1", &[1; 256])] {
        out.start_file(name, stored).expect("a file");
        out.write_all(content).expect("room");
    }
    out.finish().expect("an archive").into_inner()
}

/// What is done with a file that holds `data`.
pub fn take(data: &[u8]) {
    let whole = data.starts_with(b"PK");
    let folder =
        if whole { put("torch/pytorch_model.bin", data) } else { put("torch/pytorch_model.bin", &archive(data)) };
    let Some(weights) = sentence(Weights::open(&folder, &Device::Cpu)) else { return };
    for (name, shape) in weights.shapes() {
        sentence(weights.get(&name, &shape));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| take(data));
