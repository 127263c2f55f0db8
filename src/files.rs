//! Writing files: all or nothing, so that a stop in the middle never leaves half a file where a whole one was.

use candle_core::Tensor;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes `bytes` to `path` by way of a temporary file beside it; makes missing folders.
///
/// # Errors
/// If the folder can't be made or the file can't be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: &std::io::Error| Error::io("write", path, error);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    #[cfg(unix)]
    {
        // A temporary file is for its owner's eyes alone; what a person asked for is an ordinary file.
        use std::os::unix::fs::PermissionsExt;
        let ordinary = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(ordinary).map_err(|error| failed(&error))?;
    }
    file.write_all(bytes).map_err(|error| failed(&error))?;
    file.persist(path).map_err(|error| failed(&error.error))?;
    Ok(())
}

/// Writes tensors with `metadata` as a safetensors file.
///
/// # Errors
/// As [`write`].
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|error| {
        Error::unusable(format!("the tensors can't be stored ({error})"), "free some memory").at(path)
    })?;
    write(path, &bytes)
}

/// A picture as the bytes of a PNG file.
///
/// # Errors
/// If the picture can't be encoded.
pub fn png(picture: &image::DynamicImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let format = image::ImageFormat::Png;
    picture
        .write_to(&mut std::io::Cursor::new(&mut bytes), format)
        .map_err(|error| Error::unusable(format!("the picture can't be encoded ({error})"), "make it smaller"))?;
    Ok(bytes)
}
