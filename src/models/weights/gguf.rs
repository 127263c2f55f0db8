//! Weights as llama.cpp writes them, by the names that transformers gives them.

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::file::Kind;
use crate::error::{Error, Result};
use crate::files;
use crate::models::gguf::{Header, Named, named};

/// Which tensors a file holds, and where.
pub(super) struct Gguf {
    tensors: BTreeMap<String, Named>,
    path: PathBuf,
    /// Length of the whole file, in bytes.
    pub length: u64,
}

impl Gguf {
    /// Reads the list of tensors of `path`.
    ///
    /// # Errors
    /// If the file can't be read, is cut off, or isn't a GGUF file that is known here.
    pub fn read(path: &Path) -> Result<Self> {
        let header = Header::read(path)?;
        let tensors = named(&header).into_iter().map(|named| (named.name.clone(), named)).collect();
        Ok(Self { tensors, path: path.to_path_buf(), length: header.length })
    }

    /// The names of all tensors with their shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&String, &Vec<usize>)> {
        self.tensors.iter().map(|(name, named)| (name, &named.stored.shape))
    }

    /// Shape and kind of a tensor, if it is there.
    pub fn info(&self, name: &str) -> Option<(&[usize], Kind)> {
        let stored = &self.tensors.get(name)?.stored;
        let kind = match stored.kind {
            GgmlDType::F32 => Kind::Plain(DType::F32),
            // Numbers of 16 bits, too: who chose such a file wants it to stay small.
            other => Kind::Blocks(other),
        };
        Some((&stored.shape, kind))
    }

    /// The bytes of a tensor, with its rows in the order that transformers has them in.
    ///
    /// # Errors
    /// If there is no such tensor, its rows are no heads, or the file can't be read.
    pub fn bytes(&self, file: &File, name: &str) -> Result<Vec<u8>> {
        let broken = |problem: &str| {
            Error::unusable(format!("of the tensor '{name}' {problem}"), "fetch the file again").at(&self.path)
        };
        let Named { stored, turned, .. } = self.tensors.get(name).ok_or_else(|| broken("there is nothing"))?;
        let mut bytes = vec![0; stored.length];
        files::read_exact_at(file, stored.start, &mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => broken("the file holds only a part"),
            _ => Error::io("read", &self.path, &error),
        })?;
        let Some(heads) = turned else { return Ok(bytes) };
        let rows = stored.shape.first().copied().unwrap_or(0);
        if *heads == 0 || rows == 0 || !rows.is_multiple_of(2 * heads) {
            return Err(broken("the rows can't be shared among the heads"));
        }
        Ok(halves_apart(&bytes, bytes.len() / rows, rows / heads))
    }
}

/// Rows of so many bytes, which stand in heads of `width` rows, those that are turned together beside each other, with the two
/// halves of each head behind each other instead.
fn halves_apart(bytes: &[u8], row: usize, width: usize) -> Vec<u8> {
    let mut apart = Vec::with_capacity(bytes.len());
    for head in bytes.chunks_exact(row * width) {
        for half in 0..2 {
            for pair in head.chunks_exact(2 * row) {
                apart.extend_from_slice(&pair[half * row..][..row]);
            }
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::halves_apart;

    #[test]
    fn pairs_become_halves_in_each_head() {
        // Two heads of four rows of two bytes.
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(halves_apart(&bytes, 2, 4), [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
    }
}
