//! The pictures of a folder: found in a bounded walk, in the order of their paths.

use std::path::{Path, PathBuf};

use super::PICTURES;
use crate::error::{Error, Result};
use crate::taps::CancelToken;

/// Folders inside of folders inside of … that are looked into.
const DEEPEST: usize = 8;
/// Names that are looked at at most; a folder of a whole disk ends here.
const MOST_NAMES: usize = 400_000;
/// Names that are looked at to tell what a folder is.
const FEW_NAMES: usize = 1_000;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// The files, by their paths.
    pub pictures: Vec<PathBuf>,
    /// Whether there are more, which were left out.
    pub more: bool,
    names: usize,
}

/// The first `most` pictures in `folder` and the folders inside of it. Links to folders aren't followed, so that no loop of
/// them can trap the walk; hidden files and folders are left out.
///
/// # Errors
/// If the folder can't be read or holds no picture, or the walk is cancelled.
pub(super) fn list(folder: &Path, most: usize, cancel: &CancelToken) -> Result<Listed> {
    let mut listed = Listed::default();
    let limits = Limits { most, names: MOST_NAMES, cancel };
    walk(folder, 0, &limits, &mut listed).map_err(|error| {
        Error::unusable(format!("the folder can't be read ({error})"), "choose another folder").at(folder)
    })?;
    cancel.check()?;
    if listed.pictures.is_empty() {
        let remedy = "choose one that holds PNG, JPEG, WebP, BMP or GIF files";
        return Err(Error::unusable("there are no pictures in the folder", remedy).at(folder));
    }
    Ok(listed)
}

/// Whether a folder is one of pictures. A checkpoint isn't, even if pictures lie in it.
#[must_use]
pub fn holds_pictures(folder: &Path) -> bool {
    let is_gguf = |entry: &std::fs::DirEntry| ending(&entry.path()) == "gguf";
    let entries = || std::fs::read_dir(folder).into_iter().flatten().flatten().take(FEW_NAMES);
    if folder.join("config.json").is_file() || entries().any(|entry| is_gguf(&entry)) {
        return false;
    }
    let mut listed = Listed::default();
    let limits = Limits { most: 1, names: FEW_NAMES, cancel: &CancelToken::default() };
    walk(folder, 0, &limits, &mut listed).is_ok() && !listed.pictures.is_empty()
}

struct Limits<'a> {
    most: usize,
    names: usize,
    cancel: &'a CancelToken,
}

fn walk(folder: &Path, depth: usize, limits: &Limits<'_>, listed: &mut Listed) -> std::io::Result<()> {
    let room = limits.names.saturating_sub(listed.names);
    let mut entries: Vec<_> = std::fs::read_dir(folder)?.flatten().take(room).collect();
    listed.names += entries.len();
    listed.more |= entries.len() == room;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if limits.cancel.is_cancelled() {
            return Ok(());
        }
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            if depth < DEEPEST {
                // What lies inside of a folder that is closed to us isn't ours to show.
                let _ = walk(&path, depth + 1, limits, listed);
            }
        } else if PICTURES.contains(&ending(&path).as_str()) && (kind.is_file() || path.is_file()) {
            if listed.pictures.len() == limits.most {
                listed.more = true;
                return Ok(());
            }
            listed.pictures.push(path);
        }
    }
    Ok(())
}

fn ending(path: &Path) -> String {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.JPG", "a.png", "notes.txt", ".hidden.png", "in/side.webp", "in/deep/er.gif", ".git/x.png"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    fn names(folder: &Path, most: usize) -> (Vec<String>, bool) {
        let listed = list(folder, most, &CancelToken::default()).unwrap();
        let name = |path: &PathBuf| path.strip_prefix(folder).unwrap().to_string_lossy().replace('\\', "/");
        (listed.pictures.iter().map(name).collect(), listed.more)
    }

    #[test]
    fn pictures_stand_in_the_order_of_their_paths_up_to_the_ceiling() {
        let folder = folder();
        let all = ["a.png", "b.JPG", "in/deep/er.gif", "in/side.webp"].map(str::to_owned).to_vec();
        assert_eq!(names(folder.path(), 10), (all.clone(), false));
        assert_eq!(names(folder.path(), 4), (all.clone(), false));
        assert_eq!(names(folder.path(), 3), (all[..3].to_vec(), true));
    }

    #[cfg(unix)]
    #[test]
    fn loops_of_links_end() {
        use std::os::unix::fs::symlink;
        let folder = folder();
        symlink(folder.path(), folder.path().join("in/loop")).unwrap();
        symlink("round", folder.path().join("round")).unwrap();
        symlink("nowhere.png", folder.path().join("dangling.png")).unwrap();
        symlink(folder.path().join("a.png"), folder.path().join("z.png")).unwrap();
        let found = names(folder.path(), 10).0;
        assert_eq!(found, ["a.png", "b.JPG", "in/deep/er.gif", "in/side.webp", "z.png"]);
    }

    #[test]
    fn a_checkpoint_is_no_folder_of_pictures() {
        let folder = folder();
        assert!(holds_pictures(folder.path()));
        assert!(!holds_pictures(&folder.path().join(".git").join("no such")));
        std::fs::write(folder.path().join("model.gguf"), "x").unwrap();
        assert!(!holds_pictures(folder.path()));
        std::fs::rename(folder.path().join("model.gguf"), folder.path().join("config.json")).unwrap();
        assert!(!holds_pictures(folder.path()));
        let empty = tempfile::tempdir().unwrap();
        assert!(!holds_pictures(empty.path()));
        let error = list(empty.path(), 9, &CancelToken::default()).unwrap_err().to_string();
        assert!(error.contains("no pictures") && error.contains(&empty.path().display().to_string()), "{error}");
    }
}
