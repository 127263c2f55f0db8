//! Writing files: all or nothing, so that a stop in the middle never leaves half a file where a whole one was.

use safetensors::View;
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes `bytes` to `path` by way of a temporary file beside it; makes missing folders.
///
/// # Errors
/// If the folder can't be made or the file can't be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_by(path, |file, _| file.write_all(bytes).map_err(|error| Error::io("write", path, &error)))
}

/// The same with what `fill` puts into the temporary file, which it gets with its place.
fn write_by(path: &Path, fill: impl FnOnce(&mut File, &Path) -> Result<()>) -> Result<()> {
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
    let place = file.path().to_path_buf();
    fill(file.as_file_mut(), &place)?;
    file.persist(path).map_err(|error| failed(&error.error))?;
    Ok(())
}

/// Writes tensors with `metadata` as a safetensors file, one after the other.
///
/// # Errors
/// As [`write`].
pub fn write_safetensors<Name: AsRef<str> + Ord + Display, Numbers: View>(
    path: &Path,
    tensors: impl IntoIterator<Item = (Name, Numbers)>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    write_by(path, |_, place| {
        safetensors::serialize_to_file(tensors, Some(metadata), place).map_err(|error| {
            Error::unusable(format!("the tensors can't be stored ({error})"), "free some memory and disk space")
                .at(path)
        })
    })
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
