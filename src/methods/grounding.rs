//! How well each head of a built-in checkpoint grounds, measured on scenes whose truth is known and kept beside the weights.

use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::error::{Error, Result};
use crate::files;
use crate::models::checkpoint::read_json;

const FILE: &str = "grounding.json";

#[derive(Serialize, Deserialize)]
struct Kept {
    /// What it is, for whoever opens the file.
    about: String,
    /// Scenes of each split.
    scenes: usize,
    /// Share of nouns on which the head's raw attention is highest, `[layers][heads]`.
    heads: Vec<Vec<f32>>,
}

/// `[layers, heads]`, from 0 to 1; none where it was never measured.
///
/// # Errors
/// If the file is there but can't be read.
pub fn read(folder: &Path) -> Result<Option<Vec<f32>>> {
    let path = folder.join(FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let kept: Kept = serde_json::from_value(read_json(&path)?).map_err(|error| {
        Error::unusable(error.to_string(), "delete the file, or train the checkpoint again").at(&path)
    })?;
    Ok(Some(kept.heads.concat()))
}

/// Keeps what was measured on so many scenes, `[layers][heads]`, beside the weights; nothing, where there are no heads.
///
/// # Errors
/// If the file can't be written.
pub fn write(folder: &Path, scenes: usize, heads: Vec<Vec<f32>>) -> Result<()> {
    if heads.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let about = "share of nouns whose object each head's attention is highest on, by layer and head".to_owned();
    let kept = Kept { about, scenes, heads };
    let text =
        serde_json::to_string_pretty(&kept).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
    files::write(&folder.join(FILE), format!("{text}\n").as_bytes())
}
