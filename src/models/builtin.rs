//! The checkpoints that come with the program.

use std::path::{Path, PathBuf};

/// Names another folder with checkpoints than the one that comes with the program.
pub const VARIABLE: &str = "ALIGNSCOPE_CHECKPOINTS";

/// Where they lie within a release, and within the repository.
const PLACE: &str = "assets/checkpoints";

/// The folder with the built-in checkpoints: the one that [`VARIABLE`] names; else `assets/checkpoints` beside the
/// executable, up to three folders above it (a build lies in `target/release`) or in the current folder; else that of
/// the sources. It need not exist.
#[must_use]
pub fn folder() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return PathBuf::from(named);
    }
    let executable = std::env::current_exe().unwrap_or_default();
    let near = executable.ancestors().skip(1).take(4).chain([Path::new(".")]);
    let found = near.map(|folder| folder.join(PLACE)).find(|folder| folder.is_dir());
    found.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(PLACE))
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
