//! Checkpoints in the local Hugging Face cache. Only read (`hub` writes it); whatever is broken in it is passed over.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::checkpoint::read_text;
use super::gguf;

/// How a variable of the environment is looked up.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// The cache's folder: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or the place that Python's `huggingface_hub` takes.
#[must_use]
pub fn root() -> Option<PathBuf> {
    root_by(&|variable| std::env::var_os(variable))
}

pub(super) fn root_by(variable: &Lookup<'_>) -> Option<PathBuf> {
    named(variable, "HF_HUB_CACHE").or_else(|| home_by(variable).map(|folder| folder.join("hub")))
}

/// The folder of Hugging Face, in which the cache lies and the token.
pub(super) fn home_by(variable: &Lookup<'_>) -> Option<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".cache"));
    let usual = || named(variable, "XDG_CACHE_HOME").or_else(home).map(|folder| folder.join("huggingface"));
    named(variable, "HF_HOME").or_else(usual)
}

fn named(variable: &Lookup<'_>, name: &str) -> Option<PathBuf> {
    variable(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Every model in the cache at `root` that has a `config.json`: its name (`org/name`) and the folder of the snapshot
/// that `main` points to, or else of the newest one; and of files of llama.cpp every language model with vision beside it. In
/// order of names.
#[must_use]
pub fn snapshots(root: &Path) -> Vec<(String, PathBuf)> {
    let each = folders(root).into_iter().filter_map(|model| Some((name_by(&model)?, snapshot(&model)?)));
    let mut found = Vec::new();
    for (name, folder) in each {
        let files = gguf::models_in(&folder);
        if folder.join("config.json").is_file() || files.len() == 1 {
            found.push((name, folder));
        } else {
            let named = |file: PathBuf| Some((format!("{name}/{}", file.file_name()?.to_str()?), file));
            found.extend(files.into_iter().filter_map(named));
        }
    }
    found.sort();
    found
}

/// The name (`org/name`) of the model that a folder is a snapshot of, if it is one.
#[must_use]
pub fn name_of(snapshot: &Path) -> Option<String> {
    let snapshots = snapshot.parent()?;
    name_by(snapshots.parent().filter(|_| snapshots.ends_with("snapshots"))?)
}

/// The name of a model by its folder in the cache.
fn name_by(model: &Path) -> Option<String> {
    Some(model.file_name()?.to_str()?.strip_prefix("models--")?.replace("--", "/"))
}

fn snapshot(model: &Path) -> Option<PathBuf> {
    let has_config = |folder: &PathBuf| folder.join("config.json").is_file() || !gguf::models_in(folder).is_empty();
    let snapshots = folders(&model.join("snapshots"));
    let main = read_text(&model.join("refs").join("main")).ok();
    let main = main.and_then(|revision| String::from_utf8(revision).ok()).unwrap_or_default();
    // Compared with what is there, so that a strange reference can't lead out of the cache.
    let preferred = snapshots
        .iter()
        .find(|folder| folder.file_name().is_some_and(|name| name == main.trim()) && has_config(folder));
    let newest = || snapshots.iter().filter(|folder| has_config(folder)).max_by_key(|folder| modified(folder));
    preferred.or_else(newest).cloned()
}

fn modified(folder: &Path) -> Option<SystemTime> {
    folder.metadata().ok()?.modified().ok()
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_main_points_to_and_passes_over_what_is_broken() -> std::io::Result<()> {
        let cache = tempfile::tempdir()?;
        let root = cache.path();
        let file = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(root))?;
            std::fs::write(path, text)
        };
        file("models--org--both/snapshots/old/config.json", "{}")?;
        file("models--org--both/snapshots/new/config.json", "{}")?;
        file("models--org--both/refs/main", "old\n")?;
        file("models--alone/snapshots/abc/config.json", "{}")?;
        file("models--org--astray/snapshots/abc/config.json", "{}")?;
        file("models--org--astray/refs/main", "../../../org")?;
        file("models--org--empty/refs/main", "abc")?;
        file("models--org--bare/snapshots/abc/model.safetensors", "")?;
        file("datasets--org--other/snapshots/abc/config.json", "{}")?;
        file("models--stray-file", "")?;
        // Files of llama.cpp: of several language models each, of one the folder; without vision none.
        for name in ["one/snapshots/a/llava.gguf", "several/snapshots/a/q4.gguf", "several/snapshots/a/q8.gguf"] {
            file(&format!("models--gguf--{name}"), "")?;
        }
        for name in ["one", "several"] {
            file(&format!("models--gguf--{name}/snapshots/a/mmproj-f16.gguf"), "")?;
        }
        file("models--gguf--blind/snapshots/a/q4.gguf", "")?;
        let place = |path: &str| root.join(path);
        assert_eq!(
            snapshots(root),
            [
                ("alone".to_owned(), place("models--alone/snapshots/abc")),
                ("gguf/one".to_owned(), place("models--gguf--one/snapshots/a")),
                ("gguf/several/q4.gguf".to_owned(), place("models--gguf--several/snapshots/a/q4.gguf")),
                ("gguf/several/q8.gguf".to_owned(), place("models--gguf--several/snapshots/a/q8.gguf")),
                ("org/astray".to_owned(), place("models--org--astray/snapshots/abc")),
                ("org/both".to_owned(), place("models--org--both/snapshots/old")),
            ]
        );
        assert!(snapshots(&place("nowhere")).is_empty());
        assert_eq!(name_of(&place("models--org--both/snapshots/old")).as_deref(), Some("org/both"));
        assert_eq!(name_of(&place("models--org--both/blobs/old")), None);
        Ok(())
    }
}
