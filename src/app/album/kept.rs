//! Embeddings on disk: one file for each picture and model, named after both, so that what is known once is never computed
//! again, wherever the picture lies and whatever it is called.
//!
//! ```text
//! <folder>/<model>/<content>     vector and small picture, with a checksum
//! <folder>/folders/<path>.json   length and time of change of a folder's files, with their content
//! ```
//!
//! Each file is written whole or not at all. The second kind spares reading thousands of files to learn that nothing has
//! changed; it says nothing that the first can't tell.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::THUMBNAIL;
use crate::error::{Error, Result};
use crate::models::runtime::Precision;
use crate::taps::CancelToken;

/// Pictures that are kept over all models, about 10 kB each; beyond that those go that weren't used for longest.
pub(super) const MOST_KEPT: usize = 40_000;
/// Folders whose files' times of change are kept.
const MOST_FOLDERS: usize = 64;
/// What files begin with. A change of what is stored, or of how it is computed, is another number.
const MAGIC: &[u8; 8] = b"ALIGN\0\0\x01";
/// Bytes of the checksum at the end.
const CHECK: usize = 32;
/// The longest file that is read: far more than any model's vector.
const LONGEST: u64 = 1 << 20;
/// The longest list of a folder's files.
const LONGEST_LIST: u64 = 64 << 20;
/// A file that changed a moment ago may change again without another time of change.
const SETTLED: Duration = Duration::from_secs(2);
/// Files of a checkpoint that decide what its vectors are.
const WEIGHTS: [&str; 4] = ["safetensors", "bin", "pt", "gguf"];
const CONFIGS: [&str; 2] = ["config.json", "preprocessor_config.json"];

/// A picture as it is kept: its vector, and its small picture as bytes of RGB.
pub(super) type Known = (Vec<f32>, Box<[u8]>);

/// What stands in for the bytes of a file: their SHA-256, in hexadecimal.
#[must_use]
pub(super) fn content_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What stands in for a model: the SHA-256 of its config, its preprocessor's config and all its weights, with how they are
/// held. The bytes themselves are read, not only their names and times: a checkpoint that is trained on keeps names, shapes
/// and lengths, and one that is copied gets other times. On which device it runs says only how its numbers are rounded.
///
/// # Errors
/// If a file can't be read, or the work is cancelled.
pub(super) fn model_of(checkpoint: &Path, precision: Precision, cancel: &CancelToken) -> Result<String> {
    let failed = |error: std::io::Error| Error::io("read", checkpoint, &error);
    let mut files: Vec<PathBuf> =
        fs::read_dir(checkpoint).map_err(failed)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let has_weights = path.extension().is_some_and(|ending| WEIGHTS.iter().any(|known| ending == *known));
        let is_config = path.file_name().is_some_and(|name| CONFIGS.iter().any(|known| name == *known));
        (has_weights || is_config) && path.is_file()
    });
    files.sort();
    let mut hash = Sha256::new();
    hash.update(precision.name());
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let mut file = File::open(&path).map_err(failed)?;
        hash.update([0]);
        hash.update(name);
        hash.update(file.metadata().map_err(failed)?.len().to_le_bytes());
        loop {
            cancel.check()?;
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
    }
    Ok(hex(&hash.finalize()))
}

/// The embeddings of one model on disk.
pub(super) struct Kept {
    folder: PathBuf,
    set_aside: AtomicUsize,
}

impl Kept {
    /// Those of `model` among all that `folder` holds.
    #[must_use]
    pub fn new(folder: &Path, model: &str) -> Self {
        Self { folder: folder.join(model), set_aside: AtomicUsize::new(0) }
    }

    /// How many files were damaged or foreign and were set aside.
    #[must_use]
    pub fn set_aside(&self) -> usize {
        self.set_aside.load(Ordering::Relaxed)
    }

    /// What is known of the picture with this content. A file that isn't what it should be is set aside.
    #[must_use]
    pub fn get(&self, content: &str) -> Option<Known> {
        let path = self.folder.join(content);
        let bytes = read(&path, LONGEST)?;
        let known = bytes.ok().as_deref().and_then(unpack);
        if known.is_some() {
            // The time of change is that of the last use.
            let file = File::options().append(true).open(&path);
            let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
        } else {
            set_aside(&path);
            self.set_aside.fetch_add(1, Ordering::Relaxed);
        }
        known
    }

    /// Keeps what is known of a picture.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn put(&self, content: &str, vector: &[f32], thumbnail: &[u8]) -> Result<()> {
        crate::files::write(&self.folder.join(content), &pack(vector, thumbnail))
    }
}

fn pack(vector: &[f32], thumbnail: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((vector.len() as u32).to_le_bytes());
    bytes.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
    bytes.extend(thumbnail);
    bytes.extend(Sha256::digest(&bytes));
    bytes
}

fn unpack(bytes: &[u8]) -> Option<Known> {
    let (rest, check) = bytes.split_last_chunk::<CHECK>()?;
    if Sha256::digest(rest)[..] != check[..] {
        return None;
    }
    let (width, rest) = rest.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    let width = usize::try_from(u32::from_le_bytes(*width)).ok()?;
    let (vector, thumbnail) = rest.split_at_checked(width.checked_mul(4)?)?;
    let vector: Vec<f32> = vector.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let side = THUMBNAIL as usize;
    let is_whole = vector.iter().all(|value| value.is_finite()) && thumbnail.len() == side * side * 3;
    is_whole.then(|| (vector, thumbnail.into()))
}

/// When a file was changed and how long it is, with its content as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    length: u64,
    modified: SystemTime,
    content: String,
}

/// The files of a folder as they were when it was last looked through.
#[derive(Default)]
pub(super) struct Stamps {
    path: Option<PathBuf>,
    before: BTreeMap<String, Stamp>,
    now: BTreeMap<String, Stamp>,
}

impl Stamps {
    /// Those of `pictures`, a folder, among all that `folder` holds.
    #[must_use]
    pub fn open(folder: &Path, pictures: &Path) -> Self {
        let name = content_of(pictures.as_os_str().as_encoded_bytes());
        let path = folder.join("folders").join(name).with_extension("json");
        let before = match read(&path, LONGEST_LIST) {
            None => BTreeMap::new(),
            Some(bytes) => bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_else(|| {
                set_aside(&path);
                BTreeMap::new()
            }),
        };
        Self { path: Some(path), before, now: BTreeMap::new() }
    }

    /// The content of a file that hasn't changed since.
    #[must_use]
    pub fn content(&self, path: &Path, about: &fs::Metadata) -> Option<String> {
        let stamp = self.before.get(path.to_str()?)?;
        let is_name = stamp.content.len() == 64 && stamp.content.bytes().all(|letter| letter.is_ascii_hexdigit());
        let same = stamp.length == about.len() && about.modified().is_ok_and(|modified| modified == stamp.modified);
        (same && is_name).then(|| stamp.content.clone())
    }

    /// Takes down that a file has this content.
    pub fn note(&mut self, path: &Path, about: &fs::Metadata, content: &str) {
        let (Some(name), Ok(modified)) = (path.to_str(), about.modified()) else { return };
        if modified.elapsed().is_ok_and(|passed| passed >= SETTLED) {
            let stamp = Stamp { length: about.len(), modified, content: content.to_owned() };
            self.now.insert(name.to_owned(), stamp);
        }
    }

    /// Keeps what was taken down.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn keep(&self) -> Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| self.now != self.before) else { return Ok(()) };
        let bytes = serde_json::to_vec(&self.now)
            .map_err(|error| Error::unusable(format!("the list can't be stored ({error})"), "report it").at(path))?;
        crate::files::write(path, &bytes)
    }
}

/// Removes what wasn't used for longest, down to `most` pictures over all models.
pub(super) fn prune(folder: &Path, most: usize) {
    let inside = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let (mut pictures, mut lists) = (Vec::new(), Vec::new());
    for model in inside(folder) {
        let list = if model.ends_with("folders") { &mut lists } else { &mut pictures };
        list.extend(inside(&model).filter_map(|path| {
            let about = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some((about.modified().ok()?, path))
        }));
    }
    for (mut files, most) in [(pictures, most), (lists, MOST_FOLDERS)] {
        files.sort();
        let surplus = files.len().saturating_sub(most);
        for (_, path) in files.iter().take(surplus) {
            let _ = fs::remove_file(path);
        }
    }
}

/// The bytes of a file; `None` if there is none, an error if it is too long or can't be read.
fn read(path: &Path, longest: u64) -> Option<std::io::Result<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return (error.kind() != std::io::ErrorKind::NotFound).then_some(Err(error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(longest + 1).read_to_end(&mut bytes);
    let too_long = bytes.len() as u64 > longest;
    Some(if too_long { Err(std::io::ErrorKind::FileTooLarge.into()) } else { read.map(|_| bytes) })
}

fn set_aside(path: &Path) {
    let _ = fs::rename(path, path.with_added_extension("damaged"));
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thumbnail() -> Vec<u8> {
        (0..THUMBNAIL * THUMBNAIL * 3).map(|at| at as u8).collect()
    }

    #[test]
    fn the_name_of_known_bytes_is_known() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(content_of(b"abc"), expected);
    }

    #[test]
    fn what_is_kept_comes_back_to_the_bit_and_damage_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path(), "model");
        let vector = [0.5, -1.0, f32::MIN_POSITIVE];
        assert_eq!(kept.get("content"), None);
        let path = folder.path().join("model/content");
        kept.put("content", &vector, &thumbnail()).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(kept.get("content"), Some((vector.to_vec(), thumbnail().into())));
        assert_eq!(Kept::new(folder.path(), "other").get("content"), None);
        let mut turned = whole.clone();
        turned[20] ^= 1;
        let nan = pack(&[f32::NAN], &thumbnail());
        let long = vec![0; LONGEST as usize + 7];
        let damages = [vec![], whole[..whole.len() - 1].to_vec(), turned, b"{}".to_vec(), nan, pack(&[], &[]), long];
        for (count, damage) in damages.into_iter().enumerate() {
            fs::write(&path, &damage).unwrap();
            assert_eq!(kept.get("content"), None, "damage {count}");
            assert_eq!(fs::read(folder.path().join("model/content.damaged")).unwrap(), damage);
            assert!(!path.exists() && kept.set_aside() == count + 1);
        }
    }

    #[test]
    fn the_least_used_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path(), "model");
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        for (age, name) in ["a", "b", "c", "d"].iter().enumerate() {
            kept.put(name, &[1.0], &thumbnail()).unwrap();
            let file = File::options().append(true).open(folder.path().join("model").join(name)).unwrap();
            file.set_modified(long_ago + Duration::from_secs(age as u64)).unwrap();
        }
        assert!(kept.get("a").is_some(), "a is used again");
        prune(folder.path(), 2);
        let left = ["a", "b", "c", "d"].map(|name| kept.get(name).is_some());
        assert_eq!(left, [true, false, false, true]);
    }

    #[test]
    fn files_that_are_as_they_were_are_known_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("a.png");
        fs::write(&picture, "one").unwrap();
        let (content, other) = (content_of(b"one"), "no/../name".to_owned());
        let about = || fs::metadata(&picture).unwrap();
        let turn_back = |seconds| {
            let file = File::options().append(true).open(&picture).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        let note = |content: &str| {
            let mut stamps = Stamps::open(folder.path(), folder.path());
            stamps.note(&picture, &about(), content);
            stamps.keep().unwrap();
            Stamps::open(folder.path(), folder.path()).content(&picture, &about())
        };
        assert_eq!(note(&content), None, "it may still be written to");
        turn_back(1000);
        assert_eq!(note(&content), Some(content.clone()));
        assert_eq!(note(&other), None, "what is no name of a content is never used as one");
        assert_eq!(note(&content), Some(content));
        let stamps = Stamps::open(folder.path(), folder.path());
        turn_back(1001);
        assert_eq!(stamps.content(&picture, &about()), None, "another time");
        fs::write(&picture, "three").unwrap();
        turn_back(1000);
        assert_eq!(stamps.content(&picture, &about()), None, "another length");
        let list = stamps.path.clone().unwrap();
        fs::write(&list, "{").unwrap();
        assert!(Stamps::open(folder.path(), folder.path()).before.is_empty());
        assert_eq!(fs::read_to_string(list.with_added_extension("damaged")).unwrap(), "{");
    }

    #[test]
    fn a_model_is_another_with_other_weights_config_or_precision() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let model = |precision| model_of(folder.path(), precision, &CancelToken::default()).unwrap();
        write("config.json", "{}");
        write("model.safetensors", "weights");
        let first = model(Precision::F32);
        write("README.md", "about");
        assert_eq!(model(Precision::F32), first, "what it says of itself changes nothing");
        assert_ne!(model(Precision::F16), first);
        write("model.safetensors", "weightz");
        let trained = model(Precision::F32);
        assert_ne!(trained, first);
        write("model.safetensors", "weights");
        write("config.json", "[]");
        assert!(![trained, first].contains(&model(Precision::F32)));
    }
}
