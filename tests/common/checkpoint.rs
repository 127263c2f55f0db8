//! Small, complete checkpoint folders to use or to spoil.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use alignscope::models::preprocess::{Class, ImageProcessor};
use alignscope::training::tokenizer::{END, tokenizer_config_json, tokenizer_json};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Number of tokens that the fixture's table has; the longest text it reads; side of its pictures.
pub const VOCABULARY: u64 = 99;
pub const CONTEXT: usize = 12;
pub const SIDE: u32 = 32;

/// Weights and config of a parity fixture, with the tokenizer of the sticker world as far as the table reaches.
pub fn checkpoint() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clip/first-end");
    fs::copy(fixture.join("model.safetensors"), folder.path().join("model.safetensors")).expect("weights");
    let mut config = read(&fixture.join("config.json"));
    config["text_config"]["eos_token_id"] = json!(END.1);
    write(folder.path(), "config.json", &config);
    write(folder.path(), "tokenizer.json", &first_words(VOCABULARY));
    write(folder.path(), "tokenizer_config.json", &tokenizer_config_json(CONTEXT));
    let processor = ImageProcessor::new(Class::Clip, SIDE).to_json();
    fs::write(folder.path().join("preprocessor_config.json"), processor).expect("a file");
    folder
}

/// The tokenizer of the sticker world with its first words alone.
pub fn first_words(count: u64) -> Value {
    let mut tokenizer = tokenizer_json();
    let words = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
    words.retain(|_, id| id.as_u64().is_some_and(|id| id < count));
    tokenizer
}

/// A parity fixture of BLIP-2 or InstructBLIP (`blip2-retrieval/as-published`) as a whole folder: its tokenizers have as
/// many words as the tables that they are for.
pub fn querying_checkpoint(fixture: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    for name in ["config.json", "model.safetensors"] {
        fs::copy(from.join(name), folder.path().join(name)).expect("a file");
    }
    let config = read(&from.join("config.json"));
    let number = |part: &str, key: &str| config[part][key].as_u64().unwrap_or_else(|| panic!("no {key} in {part}"));
    let of_queries = number("qformer_config", "vocab_size");
    let retrieval = config["architectures"][0] == "Blip2ForImageTextRetrieval";
    // The last token may be the placeholder, which is no word.
    let words = if retrieval { of_queries } else { number("text_config", "vocab_size") } - 1;
    write(folder.path(), "tokenizer.json", &first_words(words));
    if config["architectures"][0] == "InstructBlipForConditionalGeneration" {
        fs::create_dir(folder.path().join("qformer_tokenizer")).expect("a folder");
        write(&folder.path().join("qformer_tokenizer"), "tokenizer.json", &first_words(of_queries));
    }
    let side = u32::try_from(number("vision_config", "image_size")).expect("a side");
    fs::write(folder.path().join("preprocessor_config.json"), ImageProcessor::new(Class::Blip, side).to_json())
        .expect("a file");
    folder
}

pub fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

pub fn write(folder: &Path, name: &str, value: &Value) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, value.to_string()).expect("a file");
    path
}
