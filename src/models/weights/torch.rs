//! Weights as torch writes them (`.pt`, `.bin`): an archive with one pickle, which says what tensors there are, and one
//! file for each storage. Nothing in it is executed.

use candle_core::DType;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, Stored};
use crate::error::{Error, Result};

/// What an archive begins with.
const MAGIC: [u8; 4] = *b"PK\x03\x04";
/// A list of tensors is small; anything larger than this isn't one, in bytes.
const LONGEST_PICKLE: u64 = 16 << 20;

/// Which tensors a file holds, and where.
pub(super) struct Torch {
    tensors: BTreeMap<String, Stored>,
    folder: String, // where pickle and storages lie in the archive, with the slash at its end
    /// Length of the whole file, in bytes.
    pub length: u64,
}

impl Torch {
    /// Reads the list of tensors of `path`.
    ///
    /// # Errors
    /// If the file can't be read, is cut off, isn't an archive that torch wrote, or asks for anything but tensors.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |error: std::io::Error| Error::io("read", path, &error);
        let about = std::fs::metadata(path).map_err(io)?;
        if !about.is_file() {
            return Err(Error::unusable("that is not an ordinary file", "name a file with weights").at(path));
        }
        let mut begin = Vec::new();
        File::open(path).map_err(io)?.take(MAGIC.len() as u64).read_to_end(&mut begin).map_err(io)?;
        if begin != MAGIC {
            return Err(Error::unusable(
                "the weights aren't an archive, which torch writes since version 1.6",
                "fetch the file again, or let a newer torch load and save it",
            )
            .at(path));
        }
        let mut archive = open(path)?;
        let pickle = archive
            .file_names()
            .flatten()
            .find(|name| name.strip_suffix("data.pkl").is_some_and(|folder| folder.is_empty() || folder.ends_with('/')))
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| broken("it lists no tensors", path))?;
        let program = entry(&mut archive, &pickle, LONGEST_PICKLE).map_err(|problem| broken(&problem, path))?;
        let tensors = pickle::tensors(&program).map_err(|problem| broken(&problem, path))?;
        let folder = pickle.strip_suffix("data.pkl").unwrap_or_default().to_owned();
        Ok(Self { tensors, folder, length: about.len() })
    }

    /// The names of all tensors with their shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&String, &Vec<usize>)> {
        self.tensors.iter().map(|(name, stored)| (name, &stored.shape))
    }

    /// Shape and type of a tensor, if it is there; the type's own name where candle has none for it.
    pub fn info(&self, name: &str) -> Option<(&[usize], std::result::Result<DType, &str>)> {
        let stored = self.tensors.get(name)?;
        Some((stored.shape.as_slice(), kind(stored).ok_or(stored.kind.as_str())))
    }

    /// The bytes of a tensor of the file, which lies at `path`.
    ///
    /// # Errors
    /// If there is no such tensor, its numbers don't follow each other, or the file doesn't hold them all.
    pub fn bytes(&self, path: &Path, name: &str) -> Result<Vec<u8>> {
        let about = |problem: &str| broken(&format!("of the tensor '{name}' {problem}"), path);
        let stored = self.tensors.get(name).ok_or_else(|| about("there is nothing"))?;
        let size = kind(stored).map_or(1, |dtype| dtype.size_in_bytes());
        if !dense(stored) {
            return Err(Error::unusable(
                format!("the numbers of the tensor '{name}' don't stand in order"),
                "let torch make it contiguous and save it again",
            )
            .at(path));
        }
        let count = stored.shape.iter().try_fold(size, |count, axis| count.checked_mul(*axis));
        let start = stored.offset.checked_mul(size);
        let end = start.zip(count).and_then(|(start, count)| start.checked_add(count));
        let storage = format!("{}data/{}", self.folder, stored.storage);
        let mut bytes = entry(&mut open(path)?, &storage, self.length).map_err(|problem| about(&problem))?;
        let (Some(start), Some(end)) = (start, end.filter(|end| *end <= bytes.len())) else {
            return Err(about("the file holds only a part"));
        };
        bytes.truncate(end);
        bytes.drain(..start);
        Ok(bytes)
    }
}

/// The type of a storage's numbers, if weights may have it.
fn kind(stored: &Stored) -> Option<DType> {
    match stored.kind.as_str() {
        "FloatStorage" => Some(DType::F32),
        "HalfStorage" => Some(DType::F16),
        "BFloat16Storage" => Some(DType::BF16),
        "DoubleStorage" => Some(DType::F64),
        _ => None,
    }
}

/// Whether the numbers stand one behind the other, the last axis fastest.
fn dense(stored: &Stored) -> bool {
    let mut expected = 1usize;
    stored.shape.len() == stored.stride.len()
        && stored.shape.iter().zip(&stored.stride).rev().all(|(length, stride)| {
            let fits = *length <= 1 || *stride == expected;
            expected = expected.saturating_mul(*length);
            fits
        })
}

fn open(path: &Path) -> Result<ZipArchive<BufReader<File>>> {
    let file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
    ZipArchive::new(BufReader::new(file)).map_err(|error| broken(&error.to_string(), path))
}

/// The content of one file of the archive, which is no longer than `longest` bytes.
fn entry(archive: &mut ZipArchive<BufReader<File>>, name: &str, longest: u64) -> std::result::Result<Vec<u8>, String> {
    let entry = archive.by_name(name).map_err(|error| error.to_string())?;
    if entry.compression() != CompressionMethod::Stored {
        return Err("it is compressed, which torch doesn't do".into());
    }
    let too_long = || format!("'{}' is longer than it can be", name.escape_debug());
    if entry.size() > longest {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(entry.size()).map_err(|_| too_long())?);
    // To the end and beyond, where the checksum is compared.
    entry.take(longest.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > longest { Err(too_long()) } else { Ok(bytes) }
}

fn broken(problem: &str, path: &Path) -> Error {
    Error::unusable(format!("the weights can't be read ({problem})"), "fetch the file again, from someone you trust")
        .at(path)
}
