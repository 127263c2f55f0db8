//! Writing a trained model as an ordinary Hugging Face folder, and reading what it has learned.

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

use super::tokenizer::{tokenizer_config_json, tokenizer_json};
use crate::error::Result;
use crate::files;
use crate::models::preprocess::ImageProcessor;
use crate::models::weights::Weights;
use crate::nn::Parameters;

/// Writes `config.json`, `model.safetensors` in `precision` (half of 32 bits makes the files half as large; what is measured
/// is measured of the files), the tokenizer of the sticker world and, if there is a `processor`, `preprocessor_config.json`.
///
/// # Errors
/// If a file can't be written.
pub fn write_checkpoint(
    folder: &Path,
    config: &Value,
    weights: &BTreeMap<String, Tensor>,
    precision: DType,
    context: usize,
    processor: Option<&ImageProcessor>,
) -> Result<()> {
    write_json(&folder.join("config.json"), config)?;
    write_tokenizer(folder, &tokenizer_json(), context)?;
    if let Some(processor) = processor {
        files::write(&folder.join("preprocessor_config.json"), processor.to_json().as_bytes())?;
    }
    // The key by which transformers recognises files that were saved from torch's layout, which is ours.
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let weights =
        weights.iter().map(|(name, weight)| Ok((name.clone(), weight.to_device(&Device::Cpu)?.to_dtype(precision)?)));
    let weights = weights.collect::<Result<BTreeMap<_, _>>>()?;
    files::write_safetensors(&folder.join("model.safetensors"), &weights, metadata)
}

/// What a checkpoint in `folder` has learned, to learn on from it: all of its weights that aren't `frozen`.
///
/// # Errors
/// If its weights can't be read.
pub fn learned_in(folder: &Path, frozen: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let weights = Weights::open(folder, &Device::Cpu)?;
    let learned = weights.shapes().into_iter().filter(|(name, _)| !frozen.contains_key(name));
    learned.map(|(name, shape)| Ok((name.clone(), weights.get(&name, &shape)?))).collect()
}

/// Writes `tokenizer.json` and `tokenizer_config.json`, for a model that reads at most `context` tokens.
///
/// # Errors
/// If a file can't be written.
pub fn write_tokenizer(folder: &Path, tokenizer: &Value, context: usize) -> Result<()> {
    write_json(&folder.join("tokenizer.json"), tokenizer)?;
    write_json(&folder.join("tokenizer_config.json"), &tokenizer_config_json(context))
}

/// Writes a JSON file that a person can read.
///
/// # Errors
/// If the file can't be written.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    files::write(path, format!("{value:#}\n").as_bytes())
}

/// Keys that every config of a built-in checkpoint has.
#[must_use]
pub fn config_head(class: &str, model_type: &str) -> serde_json::Map<String, Value> {
    let mut head = serde_json::Map::new();
    head.insert("architectures".into(), json!([class]));
    head.insert("model_type".into(), json!(model_type));
    head.insert("torch_dtype".into(), json!("float32"));
    head
}
