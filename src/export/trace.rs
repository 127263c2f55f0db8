//! A trace: everything that was seen in one pass, as a safetensors file that Python opens too.
//!
//! Floats are f32 and ids i64, in the layout of transformers' outputs. Activations have the names of their sites
//! (`vision.blocks.0.self_attn.pattern`). The metadata holds text, and JSON where it is more than a word.

use safetensors::Dtype;
use safetensors::tensor::View;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::error::{Error, Result};
use crate::files;
use crate::taps::{Array, IdArray};

/// The content of a trace file.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    entries: BTreeMap<String, Entry>,
    metadata: HashMap<String, String>,
}

#[derive(Clone, Debug)]
enum Entry {
    Floats(Array),
    Ids(IdArray),
}

impl Trace {
    /// Adds an array of floats.
    pub fn floats(&mut self, name: impl Into<String>, array: Array) {
        self.entries.insert(name.into(), Entry::Floats(array));
    }

    /// Adds an array of ids.
    pub fn ids(&mut self, name: impl Into<String>, array: IdArray) {
        self.entries.insert(name.into(), Entry::Ids(array));
    }

    /// Adds a word or two of metadata.
    pub fn note(&mut self, key: &str, text: impl Into<String>) {
        self.metadata.insert(key.to_owned(), text.into());
    }

    /// Adds metadata as JSON.
    ///
    /// # Errors
    /// If the value can't be written as JSON.
    pub fn note_json(&mut self, key: &str, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(value)
            .map_err(|error| Error::unusable(format!("'{key}' can't be stored ({error})"), "please report it"))?;
        self.note(key, json);
        Ok(())
    }

    /// The names of all arrays, with their shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.shape()))
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_safetensors(path, &self.entries, self.metadata.clone())
    }
}

impl Entry {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Floats(array) => &array.shape,
            Self::Ids(array) => &array.shape,
        }
    }
}

impl View for &Entry {
    fn dtype(&self) -> Dtype {
        match self {
            Entry::Floats(_) => Dtype::F32,
            Entry::Ids(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        Entry::shape(self)
    }

    // The format is little-endian, as every machine is for which this is built.
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(match self {
            Entry::Floats(array) => bytemuck::cast_slice(&array.data),
            Entry::Ids(array) => bytemuck::cast_slice(&array.data),
        })
    }

    fn data_len(&self) -> usize {
        match self {
            Entry::Floats(array) => array.data.len() * size_of::<f32>(),
            Entry::Ids(array) => array.data.len() * size_of::<i64>(),
        }
    }
}
