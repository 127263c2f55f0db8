//! A checkpoint: a Hugging Face folder with `config.json`, weights, tokenizer and preprocessor.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache;
use super::gguf::{Headers, Pair};
use super::llava::ORIGINAL_CLASS;
use crate::error::{Error, Result};
use crate::files;
use crate::nn::check_heads;

/// Configs, tokenizers and indexes are small; anything larger than this isn't one.
pub(super) const LARGEST_TEXT_FILE: u64 = 64 << 20;

/// A folder whose `config.json` was read.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The folder.
    pub folder: PathBuf,
    /// The whole of `config.json`.
    pub config: Value,
    /// What its files say of themselves, where they are those of llama.cpp.
    pub gguf: Option<Arc<Headers>>,
}

impl Checkpoint {
    /// Reads the `config.json` of `folder`, or what GGUF files say that lie there, or at that file.
    ///
    /// # Errors
    /// If there is no such folder, or it has no readable config.
    pub fn open(folder: &Path) -> Result<Self> {
        if let Some(pair) = Pair::at(folder)? {
            let headers = pair.read()?;
            let config = headers.config()?;
            return Ok(Self { folder: folder.to_path_buf(), config, gguf: Some(Arc::new(headers)) });
        }
        if !folder.is_dir() {
            return Err(Error::unusable(
                "there is no such checkpoint folder",
                "name a folder that holds config.json and model.safetensors, or a GGUF file",
            )
            .at(folder));
        }
        let config = read_json(&folder.join("config.json"))?;
        let folder = folder.to_path_buf();
        Ok(Self { folder, config, gguf: None })
    }

    /// The model's class: the first of `architectures`, else guessed from `model_type`.
    #[must_use]
    pub fn class(&self) -> &str {
        let named = self.config["architectures"][0].as_str();
        named.unwrap_or_else(|| match self.config["model_type"].as_str() {
            Some("clip") => "CLIPModel",
            Some("siglip") => "SiglipModel",
            Some("idefics") => "IdeficsForVisionText2Text",
            Some("llava" | "llava_llama") if self.config["mm_vision_tower"].is_string() => ORIGINAL_CLASS,
            Some("llava") => "LlavaForConditionalGeneration",
            Some(other) => other,
            None => "",
        })
    }

    /// The name to show: that of [`name_of`].
    #[must_use]
    pub fn name(&self) -> String {
        name_of(&self.folder)
    }

    /// Reads part of the config as `Config`.
    ///
    /// # Errors
    /// If a value has the wrong type.
    pub fn parse<Config: serde::de::DeserializeOwned>(&self, part: &Value) -> Result<Config> {
        serde_json::from_value(part.clone()).map_err(|error| {
            Error::unusable(format!("the config can't be understood ({error})"), "correct config.json")
                .at(&self.folder.join("config.json"))
        })
    }

    /// An error about the config of this checkpoint.
    #[must_use]
    pub fn config_error(&self, problem: impl Into<String>) -> Error {
        Error::unusable(problem, "use the config.json that belongs to the weights").at(&self.folder.join("config.json"))
    }

    /// Refuses a number of heads that doesn't divide the width, and what layer norm can't add to a variance.
    ///
    /// # Errors
    /// On the first such value.
    pub fn check_block(&self, width: usize, heads: usize, epsilon: f64) -> Result<()> {
        check_heads(width, heads).map_err(|error| error.at(&self.folder.join("config.json")))?;
        if !(0.0..=1.0).contains(&epsilon) {
            return Err(self.config_error(format!("the config says layer_norm_eps = {epsilon}, outside of 0 to 1")));
        }
        Ok(())
    }

    /// Refuses sizes that no model has, before any memory is taken for them. Each entry is a name, the value, and the
    /// largest that makes sense; zero is refused too.
    ///
    /// # Errors
    /// On the first value out of range.
    pub fn check_sizes(&self, sizes: &[(&str, usize, usize)]) -> Result<()> {
        for (name, value, largest) in sizes {
            if *value == 0 || value > largest {
                return Err(self.config_error(format!("the config says {name} = {value}, outside of 1 to {largest}")));
            }
        }
        Ok(())
    }
}

/// The name to show of a checkpoint: that of the folder, or of the model that it is a snapshot of.
#[must_use]
pub fn name_of(folder: &Path) -> String {
    let name = || folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    cache::name_of(folder).unwrap_or_else(name)
}

/// Reads a JSON file.
///
/// # Errors
/// If it is missing, too large, or not JSON.
pub fn read_json(path: &Path) -> Result<Value> {
    files::json(&read_text(path)?)
        .map_err(|why| Error::unusable(format!("the file isn't valid JSON ({why})"), "fetch it again").at(path))
}

/// Reads a text file of a checkpoint.
///
/// # Errors
/// If it is missing, too large, or not an ordinary file.
pub fn read_text(path: &Path) -> Result<Vec<u8>> {
    files::read(path, LARGEST_TEXT_FILE)
}
