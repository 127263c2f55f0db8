//! The two files of a model as llama.cpp writes them: the first byte says whether the language model or the vision file is the
//! given one, beside a whole other one. What opens is asked for every tensor, its tokenizer, its template and its processor.
#![cfg_attr(fuzzing, no_main)]

use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::weights::Weights;
use alignscope::nn::Parameters;
use alignscope_fuzz::{put, repository, sentence};
use candle_core::Device;
use std::sync::OnceLock;

/// A whole language model and its vision file.
fn whole() -> &'static [Vec<u8>; 2] {
    static WHOLE: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let read = |name| std::fs::read(repository().join("tests/fixtures/gguf/f32").join(name)).expect("a file");
    WHOLE.get_or_init(|| ["model.gguf", "mmproj-model.gguf"].map(read))
}

/// What is done with files of which one holds `data`.
pub fn take(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let [language, vision] = whole();
    let (language, vision): (&[u8], &[u8]) = if first % 2 == 0 { (data, vision) } else { (language, data) };
    let _folder = put("gguf/model.gguf", language);
    let folder = put("gguf/mmproj-model.gguf", vision);
    let Some(checkpoint) = sentence(Checkpoint::open(&folder)) else { return };
    if let Some(headers) = &checkpoint.gguf {
        if let Some(tokenizer) = sentence(headers.tokenizer(64)) {
            sentence(tokenizer.encode("a cat, 猫"));
        }
        sentence(headers.processor());
        sentence(headers.chat_template());
    }
    let Some(weights) = sentence(Weights::open(&folder, &Device::Cpu)) else { return };
    for (name, shape) in weights.shapes() {
        sentence(weights.get(&name, &shape));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| take(data));
