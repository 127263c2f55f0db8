//! `tokenizer.json` of every kind of model, with absurd values in chosen places or as it stands; texts there and back.
#![cfg_attr(fuzzing, no_main)]

use alignscope::models::tokenizer::TextTokenizer;
use alignscope_fuzz::{json, put, read, sentence};
use serde_json::Value;
use std::sync::OnceLock;

/// A tokenizer of each kind.
const WHOLE: [&str; 4] = [
    "assets/checkpoints/clip/tokenizer.json",
    "fuzz/tokenizers/bytes.json",
    "fuzz/tokenizers/pieces.json",
    "fuzz/tokenizers/unigram.json",
];

fn whole() -> &'static [Value] {
    static READ: OnceLock<Vec<Value>> = OnceLock::new();
    READ.get_or_init(|| WHOLE.iter().map(|path| read(path)).collect())
}

/// What is done with a file that holds `data`.
pub fn take(data: &[u8]) {
    let folder = put("tokenizer/tokenizer.json", &json(data, whole()));
    let Some(tokenizer) = sentence(TextTokenizer::open(&folder, 16, data.len().is_multiple_of(2))) else { return };
    for text in ["a red cat", "", "\u{FEFF}e\u{301} \u{1F431}\0两只猫 [EOS]</s>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"]
    {
        let Some(tokens) = sentence(tokenizer.encode(text)) else { continue };
        assert!(tokens.ids.len() <= 16);
        for (start, end) in tokens.spans.iter().flatten() {
            assert!(text.get(*start..*end).is_some());
        }
        sentence(tokenizer.decode(&tokens.ids));
        sentence(tokenizer.decode(&[0, 7, u32::MAX]));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(init: alignscope_fuzz::let_panics_be_caught(), |data: &[u8]| take(data));
