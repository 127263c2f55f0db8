//! The cache on the disk, as Python's `huggingface_hub` lays it out: `blobs/<checksum>`, `snapshots/<revision>/<file>` that
//! lead there, `refs/main` with a revision, and `.locks` beside the models.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::RemoteFile;
use crate::error::{Error, Result};
use crate::files;
use crate::taps::CancelToken;

/// How often a lock is asked for that another process holds.
const BETWEEN_ASKS: Duration = Duration::from_millis(100);

/// The folders of a model.
pub(super) struct Store {
    model: PathBuf,
    locks: PathBuf,
}

impl Store {
    /// The folders of the model `name`, which was checked.
    pub fn new(cache: &Path, name: &str) -> Self {
        let folder = folder_of(name);
        Self { model: cache.join(&folder), locks: cache.join(".locks").join(folder) }
    }

    /// Where the files of a revision lie.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.model.join("snapshots").join(commit)
    }

    /// Where the content of a file lies.
    pub fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.model.join("blobs").join(file.checksum.digits())
    }

    /// Where it lies while it is loaded.
    pub fn incomplete(&self, file: &RemoteFile) -> PathBuf {
        self.model.join("blobs").join(format!("{}.incomplete", file.checksum.digits()))
    }

    /// Where a file is that is here: under its name, or else its content.
    pub fn place(&self, file: &RemoteFile, commit: &str) -> PathBuf {
        let pointer = self.snapshot(commit).join(&file.name);
        if is_whole(&pointer, file) { pointer } else { self.blob(file) }
    }

    /// Whether a file is here. Where no links are possible, it may lie under its name alone.
    pub fn has(&self, file: &RemoteFile, commit: &str) -> bool {
        is_whole(&self.place(file, commit), file)
    }

    /// How many bytes of a file aren't here.
    pub fn missing(&self, file: &RemoteFile, commit: &str) -> u64 {
        if self.has(file, commit) {
            return 0;
        }
        let begun = fs::metadata(self.incomplete(file)).map_or(0, |about| about.len());
        // What is too long begins anew.
        if begun <= file.bytes { file.bytes - begun } else { file.bytes }
    }

    /// Waits until no other process loads the same file. It is let go when it is dropped.
    pub fn lock(&self, file: &RemoteFile, cancel: &CancelToken) -> Result<File> {
        let path = self.locks.join(format!("{}.lock", file.checksum.digits()));
        let lock = make_folder(&self.locks)
            .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path))
            .map_err(|error| Error::io("write", &path, &error))?;
        loop {
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    cancel.check()?;
                    std::thread::sleep(BETWEEN_ASKS);
                }
                // Where the file system knows no locks, nothing keeps processes apart.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(lock),
            }
        }
    }

    /// Lays a file that is here under its name.
    pub fn link(&self, file: &RemoteFile, commit: &str, cancel: &CancelToken) -> Result<()> {
        let _alone = self.lock(file, cancel)?;
        let pointer = self.snapshot(commit).join(&file.name);
        if is_whole(&pointer, file) {
            return Ok(());
        }
        let lay = || {
            make_folder(&self.snapshot(commit))?;
            match fs::remove_file(&pointer) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            lay(symlink, &self.blob(file), &pointer)
        };
        lay().map_err(|error| Error::io("write", &pointer, &error))
    }

    /// Lets `folder` in the revision `commit` lead to the revision `other` of the model `name`. What a person put there stays.
    pub fn lead_to(&self, folder: &str, commit: &str, name: &str, other: &str) -> Result<()> {
        let link = self.snapshot(commit).join(folder);
        let target: PathBuf = ["..", "..", "..", &folder_of(name), "snapshots", other].iter().collect();
        match fs::symlink_metadata(&link) {
            Ok(about) if !about.is_symlink() => return Ok(()),
            Ok(_) => fs::remove_file(&link).map_err(|error| Error::io("write", &link, &error))?,
            Err(_) => {}
        }
        symlink_folder(&target, &link).map_err(|error| Error::io("write", &link, &error))
    }

    /// Says that `main` is at a revision.
    pub fn point_main_to(&self, commit: &str) -> Result<()> {
        files::write(&self.model.join("refs").join("main"), commit.as_bytes())
    }

    /// Makes the folder of contents.
    pub fn prepare(&self) -> Result<()> {
        let folder = self.model.join("blobs");
        make_folder(&folder).map_err(|error| Error::io("write", &folder, &error))
    }
}

/// The folder of a model in the cache.
fn folder_of(name: &str) -> String {
    format!("models--{}", name.replace('/', "--"))
}

/// Lays a content under its name: as a relative link, else as a second name of the same file; where the disk knows
/// neither, it is moved there, which takes no more room.
fn lay(symlink: fn(&Path, &Path) -> io::Result<()>, blob: &Path, pointer: &Path) -> io::Result<()> {
    let name = blob.file_name().unwrap_or_default();
    let relative = Path::new("..").join("..").join("blobs").join(name);
    symlink(&relative, pointer).or_else(|_| fs::hard_link(blob, pointer)).or_else(|_| fs::rename(blob, pointer))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(unix)]
use symlink as symlink_folder;

#[cfg(windows)]
fn symlink_folder(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_dir(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

fn is_whole(path: &Path, file: &RemoteFile) -> bool {
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() == file.bytes)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// What is free on the disk of a folder that need not be there yet, in bytes.
pub(super) fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.is_dir())?;
    fs4::available_space(there).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_links_a_file_still_lies_under_its_name_once() -> io::Result<()> {
        let cache = tempfile::tempdir()?;
        let place = |path: &str| cache.path().join(path);
        fs::create_dir_all(place("blobs"))?;
        fs::create_dir_all(place("snapshots/c"))?;
        fs::write(place("blobs/a"), "content")?;
        lay(symlink, &place("blobs/a"), &place("snapshots/c/linked"))?;
        #[cfg(unix)]
        assert_eq!(fs::read_link(place("snapshots/c/linked"))?, Path::new("../../blobs/a"));
        lay(|_, _| Err(io::Error::other("no links")), &place("blobs/a"), &place("snapshots/c/named"))?;
        for name in ["linked", "named"] {
            assert_eq!(fs::read_to_string(place("snapshots/c").join(name))?, "content");
        }
        Ok(())
    }
}
