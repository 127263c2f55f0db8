//! Pictures from files: decoded once, bounded in size, upright, as plain RGB.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::error::DecodingError;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits, RgbImage,
    metadata::Orientation,
};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat};

use crate::error::{Error, Result};

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;
/// The longest side that is decoded, in pixels.
const MAX_SIDE: u32 = 16_384;
/// The most memory that the decoded pixels may take, in bytes.
const MAX_PIXELS: u64 = 512 << 20;
/// How often a progressive JPEG may go over its pixels; true ones do it some ten times.
const MAX_SCANS: usize = 200;

/// A decoded picture: 8-bit RGB, upright, never empty when it came from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// What to call it: the file's name, or what the caller said.
    pub name: String,
    /// The file it came from, if it came from one.
    pub path: Option<PathBuf>,
    /// The pixels, top left first.
    pub pixels: RgbImage,
}

impl Picture {
    /// Reads a PNG, JPEG, WebP, BMP or GIF (its first frame). The content decides the format, not the
    /// file's name; an EXIF orientation is applied.
    ///
    /// Colours become RGB as Pillow's `convert("RGB")` makes them: alpha is dropped, grey is repeated, of
    /// 16 bits the high 8 stay. (One exception: Pillow clips 16-bit grey at 255, which turns the picture white.)
    ///
    /// # Errors
    /// A folder, a missing or unreadable file, an unknown format, a picture that is damaged, cut off, longer
    /// than 256 MiB, over 16,384 pixels on a side or over 512 MiB decoded. The error names the file.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |e: std::io::Error| Error::io("read", path, &e);
        // Asked before opening: opening a pipe would wait for its other end.
        let about = fs::metadata(path).map_err(io)?;
        if about.is_dir() {
            return Err(Error::unusable("that is a folder, not a picture", "name a picture file in it").at(path));
        }
        if !about.is_file() {
            return Err(
                Error::unusable("that is not an ordinary file", "save the picture to a file and name that").at(path)
            );
        }
        if about.len() > MAX_FILE {
            return Err(too_large().at(path));
        }
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)).map_err(io)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, path: Some(path.to_path_buf()), pixels: decode(&bytes).map_err(|e| e.at(path))? })
    }

    /// Decodes an encoded picture that is already in memory; `name` is what errors and the screen call it.
    ///
    /// # Errors
    /// As [`Picture::open`], without those about files.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let pixels = decode(bytes).map_err(|e| e.at(Path::new(name)))?;
        Ok(Self { name: name.to_owned(), path: None, pixels })
    }

    /// A picture from pixels that were drawn, not read.
    #[must_use]
    pub fn from_rgb(pixels: RgbImage) -> Self {
        Self { name: "picture".to_owned(), path: None, pixels }
    }
}

fn decode(bytes: &[u8]) -> Result<RgbImage> {
    if bytes.is_empty() {
        return Err(Error::unusable("the picture file is empty", "choose another file"));
    }
    let format = image::guess_format(bytes).map_err(|_| {
        Error::unusable(
            "the file is not a picture in a format that can be read",
            "give a PNG, JPEG, WebP, BMP or GIF file",
        )
    })?;
    if !format.reading_enabled() {
        let kind = format!("{format:?}").to_uppercase();
        return Err(Error::unusable(
            format!("{kind} pictures can't be read"),
            "save it as PNG, JPEG, WebP, BMP or GIF",
        ));
    }
    // The JPEG decoder draws a file that is cut off as far as it goes and fills the rest with grey.
    if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
        return Err(damaged("the end is missing"));
    }
    let (mut picture, orientation) = read(bytes, format).map_err(|e| match e {
        ImageError::Limits(_) => too_large(),
        ImageError::Unsupported(e) => {
            Error::unusable(format!("this kind of picture can't be read ({e})"), "save it as an ordinary PNG or JPEG")
        }
        other => damaged(&other.to_string()),
    })?;
    if picture.width() == 0 || picture.height() == 0 {
        return Err(Error::unusable("the picture has no pixels", "choose another file"));
    }
    picture.apply_orientation(orientation);
    Ok(rgb(picture))
}

fn read(bytes: &[u8], format: ImageFormat) -> ImageResult<(DynamicImage, Orientation)> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_PIXELS);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    // A picture whose EXIF data can't be read is still a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // Only `image` makes RGB of the inks of a print file.
    let picture = if format == ImageFormat::Jpeg && decoder.original_color_type() != ExtendedColorType::Cmyk8 {
        DynamicImage::ImageRgb8(jpeg(bytes)?)
    } else {
        DynamicImage::from_decoder(decoder)?
    };
    Ok((picture, orientation))
}

/// The pixels of a JPEG whose size was checked. The standard leaves the rounding to the decoder; this one rounds as
/// libjpeg-turbo does, which is what Pillow reads with.
fn jpeg(bytes: &[u8]) -> ImageResult<RgbImage> {
    let failed = |error: JpegError| ImageError::Decoding(DecodingError::new(ImageFormat::Jpeg.into(), error));
    // Beside the pixels a progressive file needs its coefficients, two bytes each.
    let limits = DecodeLimits { max_memory: Some(4 * MAX_PIXELS), max_scans: MAX_SCANS, ..DecodeLimits::default() };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(failed)?;
    decoder.set_output_format(PixelFormat::Rgb);
    let decoded = decoder.decode_image().map_err(failed)?;
    let [width, height] = [decoded.width, decoded.height].map(|side| u32::try_from(side).unwrap_or(0));
    Ok(RgbImage::from_raw(width, height, decoded.data).unwrap_or_default())
}

/// RGB with the high byte of deep colours; `image` itself would round where Pillow cuts.
fn rgb(picture: DynamicImage) -> RgbImage {
    let high = |v: u16| (v >> 8) as u8;
    match picture {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            let deep = picture.into_rgb16();
            RgbImage::from_fn(deep.width(), deep.height(), |x, y| image::Rgb(deep.get_pixel(x, y).0.map(high)))
        }
        other => other.into_rgb8(),
    }
}

/// Whether a JPEG's end marker is there: steps over the segments (a thumbnail in one has its own end marker)
/// and, after a scan's header, over its compressed data.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[mark, code]) = bytes.get(at..at + 2) {
        at += match (mark, code) {
            (0xFF, 0xD9) => return true,
            (0xFF, 0xFF) => 1,                      // fill
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD8) => 2, // a literal 0xFF, or a marker without a segment
            (0xFF, _) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
            _ => 1, // compressed data
        };
    }
    false
}

fn damaged(why: &str) -> Error {
    Error::unusable(format!("the picture is damaged or cut off ({why})"), "get the file again or choose another")
}

fn too_large() -> Error {
    Error::unusable(
        "the picture is too large (at most 16,384 pixels on a side, 512 MiB decoded, a file of 256 MiB)",
        "make it smaller first",
    )
}
