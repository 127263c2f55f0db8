//! A small, complete checkpoint folder to use or to spoil.

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
    let mut tokenizer = tokenizer_json();
    let words = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
    words.retain(|_, id| id.as_u64().is_some_and(|id| id < VOCABULARY));
    write(folder.path(), "config.json", &config);
    write(folder.path(), "tokenizer.json", &tokenizer);
    write(folder.path(), "tokenizer_config.json", &tokenizer_config_json(CONTEXT));
    let processor = ImageProcessor::new(Class::Clip, SIDE).to_json();
    fs::write(folder.path().join("preprocessor_config.json"), processor).expect("a file");
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
