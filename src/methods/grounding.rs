//! How well each head of a built-in checkpoint grounds, measured on scenes whose truth is known and kept beside the weights.

use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::error::{Error, Result};
use crate::evaluation::contrastive::Plan;
use crate::evaluation::{fusion, fusion_pointing::Place};
use crate::files;
use crate::models::checkpoint::read_json;
use crate::models::fusion::OpenedFusion;
use crate::taps::CancelToken;

const FILE: &str = "grounding.json";
/// Scenes on which it is measured.
const SCENES: usize = 256;

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

/// Measures a checkpoint and keeps the result beside its weights.
///
/// # Errors
/// If a pass fails, or the file can't be written.
pub fn measure(opened: &OpenedFusion) -> Result<()> {
    let plan = Plan { seed: 99, scenes: SCENES };
    let report = fusion::evaluate(opened, plan, &CancelToken::default(), &mut |_, _| {})?;
    let part = report.parts.first();
    let pointing = part.and_then(|part| {
        let of = |place| part.pointing.iter().find(|pointing| pointing.place == place);
        of(Place::Predict).or(of(Place::Read))
    });
    let heads = pointing.map(|pointing| pointing.raw_heads.clone()).unwrap_or_default();
    let heads = heads.iter().map(|layer| layer.iter().map(|share| *share as f32).collect()).collect();
    let about = "share of nouns whose object each head's attention is highest on, by layer and head".to_owned();
    let kept = Kept { about, scenes: SCENES, heads };
    let text =
        serde_json::to_string_pretty(&kept).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
    files::write(&opened.checkpoint.folder.join(FILE), format!("{text}\n").as_bytes())
}
