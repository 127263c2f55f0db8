//! A file of weights as safetensors: its header, and every tensor that it lists.
#![cfg_attr(fuzzing, no_main)]

use alignscope::models::weights::Weights;
use alignscope::nn::Parameters;
use alignscope_fuzz::{put, sentence};
use candle_core::Device;

/// What is done with a file that holds `data`.
pub fn take(data: &[u8]) {
    let folder = put("safetensors/model.safetensors", data);
    let Some(weights) = sentence(Weights::open(&folder, &Device::Cpu)) else { return };
    for (name, shape) in weights.shapes() {
        sentence(weights.get(&name, &shape));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| take(data));
