//! Writing files: all or nothing, so that a stop in the middle never leaves half a file where a whole one was. Reading them:
//! ordinary files of bounded length, and JSON that doesn't unfold to far more than its text.

use safetensors::View;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// What JSON may take once it is read, in bytes.
const MOST_UNFOLDED: usize = 512 << 20;

/// Reads an ordinary file of at most `longest` bytes; what a link leads to counts.
///
/// # Errors
/// If it is missing, too long, or no ordinary file: a pipe would wait for its other end, and a device never ends.
pub fn read(path: &Path, longest: u64) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::io("read", path, &error);
    // Asked before it is opened, which waits, too.
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(Error::unusable("that is not an ordinary file", "name another").at(path));
    }
    let too_long = || Error::unusable("the file is far too large for what it should be", "get it again").at(path);
    if about.len() > longest {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    // It can have grown since.
    File::open(path).map_err(failed)?.take(longest + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > longest { Err(too_long()) } else { Ok(bytes) }
}

/// Reads JSON that stems from a file.
///
/// # Errors
/// What is wrong with it, in lower case, without a full stop.
pub fn json<T: DeserializeOwned>(text: &[u8]) -> std::result::Result<T, String> {
    check_json(text)?;
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// Refuses JSON that would take far more memory than its text: a list in a list takes a hundred bytes, and four in the text.
fn check_json(text: &[u8]) -> std::result::Result<(), String> {
    // Within a text these letters count, too, which does no harm: nobody's file comes near.
    let taken = |letter: &u8| match letter {
        b',' => 80,
        b'[' => 160,
        b'{' => 640,
        _ => 0,
    };
    if text.iter().map(taken).sum::<usize>() > MOST_UNFOLDED {
        return Err("it holds far too many values".into());
    }
    Ok(())
}

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

/// Fills `bytes` with those of `file` from `start` on; several threads may do so at once.
///
/// # Errors
/// If the file can't be read, or ends before; then as [`std::io::ErrorKind::UnexpectedEof`].
pub fn read_exact_at(file: &File, start: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, start);
    #[cfg(windows)]
    {
        let (mut start, mut bytes) = (start, bytes);
        while !bytes.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(file, bytes, start)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            (start, bytes) = (start + read as u64, &mut bytes[read..]);
        }
        Ok(())
    }
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
