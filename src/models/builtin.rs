//! The checkpoints that come with the program.

use std::path::{Path, PathBuf};

use crate::resources;

/// Names another folder with checkpoints than the one that comes with the program.
pub const VARIABLE: &str = "ALIGNSCOPE_CHECKPOINTS";

/// Where they lie within a release, and within the repository.
const PLACE: &str = "assets/checkpoints";

/// The folder with the built-in checkpoints: the one that [`VARIABLE`] names, else the program's own. It need not exist.
#[must_use]
pub fn folder() -> PathBuf {
    let named = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()).map(PathBuf::from);
    named.or_else(|| resources::folder(PLACE)).unwrap_or_else(|| PathBuf::from(PLACE))
}

/// The folder with the language model that was trained for the built-in checkpoints and has never seen a picture: what
/// Flamingo, BLIP-2 and LLaVA learn on.
#[must_use]
pub fn language_model() -> PathBuf {
    let name = "assets/language-model";
    resources::folder(name).unwrap_or_else(|| PathBuf::from(name))
}

/// The built-in checkpoints: the folders in [`folder`] that hold a `config.json`, by name; empty if there are none.
#[must_use]
pub fn list() -> Vec<PathBuf> {
    list_in(&folder())
}

/// The checkpoints directly in `folder`, by name; empty if it can't be read.
#[must_use]
pub fn list_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.retain(|checkpoint| checkpoint.join("config.json").is_file());
    found.sort();
    found
}
