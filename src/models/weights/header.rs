//! The header of a safetensors file, which says what the file holds, read without the data.

use safetensors::tensor::Metadata;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::files;

/// The longest header that the format allows, in bytes.
const LONGEST: u64 = 100_000_000;

/// Which tensors a file holds, and where. Every tensor lies within the file.
pub struct Header {
    /// Names, shapes and offsets.
    pub metadata: Metadata,
    /// Where the data begins, in bytes from the beginning of the file.
    pub start: usize,
    /// Length of the whole file, in bytes.
    pub length: u64,
}

impl Header {
    /// Reads the header of `path` and holds it against the length of the file, so that a file that is cut off or
    /// promises more than it has takes no memory.
    ///
    /// # Errors
    /// If the file can't be read, is cut off, or isn't a safetensors file.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |error: std::io::Error| Error::io("read", path, &error);
        let broken = |why: String| {
            Error::unusable(
                format!("the weights can't be read ({why})"),
                "the file is cut off or isn't a safetensors file: fetch it again",
            )
            .at(path)
        };
        let about = std::fs::metadata(path).map_err(io)?;
        if !about.is_file() {
            return Err(Error::unusable("that is not an ordinary file", "name a file with weights").at(path));
        }
        let length = about.len();
        if length < 8 {
            return Err(broken(format!("it has {length} bytes")));
        }
        let mut file = File::open(path).map_err(io)?;
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(io)?;
        let size = u64::from_le_bytes(size);
        if size > LONGEST || size > length - 8 {
            return Err(broken(format!("its header claims {size} bytes, the file has {length}")));
        }
        let mut header = Vec::new();
        file.take(size).read_to_end(&mut header).map_err(io)?;
        let metadata: Metadata = files::json(&header).map_err(broken)?;
        let data = length - 8 - size;
        if metadata.data_len() as u64 != data {
            let promised = metadata.data_len();
            return Err(broken(format!("it promises {promised} bytes of tensors and has {data}")));
        }
        let start = usize::try_from(8 + size).map_err(|error| broken(error.to_string()))?;
        Ok(Self { metadata, start, length })
    }

    /// How many numbers all tensors hold together.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.metadata.tensors().values().map(|info| info.shape.iter().product::<usize>()).sum()
    }
}
