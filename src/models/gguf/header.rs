//! What a GGUF file says of itself, read without its weights.

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The longest header, in bytes; most of it are the tokenizer's words, of which the largest known has a third of that.
const LONGEST: u64 = 24 << 20;

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its shape, the slowest axis first.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub kind: GgmlDType,
    /// Where it begins, in bytes from the beginning of the file.
    pub start: u64,
    /// How long it is, in bytes.
    pub length: usize,
}

/// Keys and tensors of a file.
#[derive(Debug)]
pub struct Header {
    /// The file.
    pub path: PathBuf,
    /// Its tensors by name, each of which lies within the file.
    pub tensors: BTreeMap<String, Stored>,
    /// Length of the whole file, in bytes.
    pub length: u64,
    keys: HashMap<String, Value>,
}

impl Header {
    /// Reads the header of `path`.
    ///
    /// # Errors
    /// If the file can't be read, isn't a GGUF file, is cut off, or its numbers are of an unknown kind.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |error: std::io::Error| Error::io("read", path, &error);
        let about = std::fs::metadata(path).map_err(io)?;
        if !about.is_file() {
            return Err(Error::unusable("that is not an ordinary file", "name a GGUF file").at(path));
        }
        let mut beginning = Vec::new();
        File::open(path).map_err(io)?.take(LONGEST).read_to_end(&mut beginning).map_err(io)?;
        if aligned_to_nothing(&beginning) {
            return Err(broken("its tensors are aligned to 0 bytes", path));
        }
        let content =
            Content::read(&mut Cursor::new(&beginning)).map_err(|error| broken(&said(&error.to_string()), path))?;
        let mut tensors = BTreeMap::new();
        for (name, info) in content.tensor_infos {
            let (shape, kind) = (info.shape.dims().to_vec(), info.ggml_dtype);
            let count = shape.iter().try_fold(1usize, |count, axis| count.checked_mul(*axis));
            let whole = count.filter(|_| shape.last().is_some_and(|last| last.is_multiple_of(kind.block_size())));
            let length = whole.and_then(|count| (count / kind.block_size()).checked_mul(kind.type_size()));
            let start = content.tensor_data_offset.checked_add(info.offset);
            let (Some(start), Some(length)) = (start, length) else {
                return Err(broken(&format!("the tensor '{}' has an impossible size", name.escape_debug()), path));
            };
            if start.checked_add(length as u64).is_none_or(|end| end > about.len()) {
                return Err(broken(&format!("of the tensor '{}' it holds only a part", name.escape_debug()), path));
            }
            tensors.insert(name, Stored { shape, kind, start, length });
        }
        Ok(Self { path: path.to_path_buf(), tensors, length: about.len(), keys: content.metadata })
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }

    /// A text.
    #[must_use]
    pub fn string(&self, key: &str) -> Option<&str> {
        text(self.get(key)?)
    }

    /// Whether something holds.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        number(self.get(key)?)
    }

    /// Several numbers.
    #[must_use]
    pub fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        match self.get(key)? {
            Value::Array(values) => values.iter().map(number).collect(),
            _ => None,
        }
    }

    /// A whole number that must be there.
    ///
    /// # Errors
    /// If it isn't, or is something else.
    pub fn whole(&self, key: &str) -> Result<u64> {
        let number = self.number(key).filter(|number| number.fract() == 0.0 && (0.0..9e15).contains(number));
        number.map(|number| number as u64).ok_or_else(|| broken(&format!("it has no whole number '{key}'"), &self.path))
    }

    /// Texts that must be there.
    ///
    /// # Errors
    /// If they aren't, or are something else.
    pub fn strings(&self, key: &str) -> Result<Vec<&str>> {
        let texts = match self.get(key) {
            Some(Value::Array(values)) => values.iter().map(text).collect(),
            _ => None,
        };
        texts.ok_or_else(|| broken(&format!("it has no texts '{key}'"), &self.path))
    }

    /// An error: the file holds something that isn't known here.
    #[must_use]
    pub fn unknown(&self, what: impl std::fmt::Display) -> Error {
        Error::unusable(format!("the GGUF file can't be used ({what})"), "use one of LLaVA-1.5 with its mmproj file")
            .at(&self.path)
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    Some(match value {
        Value::U8(value) => f64::from(*value),
        Value::I8(value) => f64::from(*value),
        Value::U16(value) => f64::from(*value),
        Value::I16(value) => f64::from(*value),
        Value::U32(value) => f64::from(*value),
        Value::I32(value) => f64::from(*value),
        Value::U64(value) => *value as f64,
        Value::I64(value) => *value as f64,
        Value::F32(value) => f64::from(*value),
        Value::F64(value) => *value,
        Value::Bool(_) | Value::String(_) | Value::Array(_) => return None,
    })
}

/// Whether the key of the alignment has the value 0, by which candle divides.
fn aligned_to_nothing(beginning: &[u8]) -> bool {
    const KEY: &[u8] = b"general.alignment";
    let found = beginning.windows(KEY.len()).enumerate().filter(|(_, window)| *window == KEY);
    // Behind the key stand the type of the value, of which those of whole numbers count, and the value.
    found.map(|(at, _)| &beginning[at + KEY.len()..]).any(|rest| match rest.get(..4) {
        Some([0 | 1, 0, 0, 0]) => rest.get(4) == Some(&0),
        Some([2 | 3, 0, 0, 0]) => rest.get(4..6) == Some(&[0; 2]),
        Some([4 | 5, 0, 0, 0]) => rest.get(4..8) == Some(&[0; 4]),
        _ => false,
    })
}

/// The first line of what candle says; it may add where in its code it stood.
fn said(error: &str) -> String {
    error.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn broken(problem: &str, path: &Path) -> Error {
    Error::unusable(format!("the GGUF file can't be read ({problem})"), "fetch the file again").at(path)
}
