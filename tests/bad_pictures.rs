//! Pictures and configurations that can't be used give one clear sentence, quickly, and never a panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use alignscope::models::picture::Picture;
use alignscope::models::preprocess::{Class, ImageProcessor};
use image::RgbImage;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(name)).unwrap()
}

/// The sentence for bytes in a file; it must name the file and be one line.
fn refused(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    sentence(&path)
}

fn sentence(path: &Path) -> String {
    let said = Picture::open(path).unwrap_err().to_string();
    assert!(said.ends_with(&format!(": {}", path.display())), "{said}");
    assert!(said.contains("; ") && !said.contains('\n'), "{said}");
    said
}

#[test]
fn files_that_are_no_pictures() {
    assert!(refused("empty.png", b"").starts_with("the picture file is empty"));
    assert!(refused("text.png", b"A cat on a mat.\n").contains("give a PNG, JPEG, WebP, BMP or GIF"));
    assert!(refused("scan.tif", b"II*\0\x08\0\0\0").starts_with("TIFF pictures can't be read"));
    assert!(refused("header.jpg", b"\xFF\xD8\xFF").contains("cut off"));

    let folder = tempfile::tempdir().unwrap();
    assert!(sentence(folder.path()).starts_with("that is a folder"));
    assert!(sentence(&folder.path().join("missing.png")).contains("check the path"));
    assert!(Picture::from_bytes("pasted", b"").unwrap_err().to_string().ends_with(": pasted"));
}

#[cfg(unix)]
#[test]
fn files_that_may_not_or_never_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("private.png");
    fs::write(&path, fixture("thin.png")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_err() {
        assert!(sentence(&path).contains("check its permissions"));
    } // else: this user may read everything
    assert!(sentence(Path::new("/dev/zero")).starts_with("that is not an ordinary file"));
}

#[test]
fn the_content_counts_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.txt");
    fs::write(&path, fixture("landscape.jpg")).unwrap();
    let picture = Picture::open(&path).unwrap();
    assert_eq!((picture.name.as_str(), picture.path), ("picture.txt", Some(path)));
    assert_eq!(picture.pixels.dimensions(), (181, 103));
}

/// Wherever a file is cut off: an error, or every pixel. (What follows the pixels may be missing.)
#[test]
fn cut_off_pictures_are_not_half_drawn() {
    let names = [
        "portrait.png",
        "deep-grey.png",
        "landscape.jpg",
        "progressive.jpg",
        "turned.jpg",
        "grey.jpg",
        "lossless.webp",
        "lossy.webp",
        "palette.gif",
        "plain.bmp",
    ];
    for name in names {
        let bytes = fixture(name);
        let whole = Picture::from_bytes(name, &bytes).unwrap();
        let step = (bytes.len() / 150).max(1);
        for length in (0..bytes.len()).step_by(step).chain(bytes.len().saturating_sub(40)..bytes.len()) {
            if let Ok(picture) = Picture::from_bytes(name, &bytes[..length]) {
                assert!(picture == whole, "{name} cut at {length} of {} is half drawn", bytes.len());
                assert!(length + 40 > bytes.len(), "{name} cut at {length} of {} is drawn", bytes.len());
            }
        }
    }
}

/// Bytes that were changed give some picture or an error.
#[test]
fn damaged_pictures_never_panic() {
    for name in
        ["grey.png", "landscape.jpg", "progressive.jpg", "lossless.webp", "lossy.webp", "palette.gif", "plain.bmp"]
    {
        let bytes = fixture(name);
        let mut random = 12_345_u64;
        for _ in 0..150 {
            let mut changed = bytes.clone();
            for _ in 0..3 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (random >> 33) as usize % changed.len();
                changed[at] = (random >> 20) as u8;
            }
            let _ = Picture::from_bytes(name, &changed);
        }
    }
}

/// A PNG of which only the header is there, with its right checksum.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], body: &[u8]| {
        let content = [kind.as_slice(), body].concat();
        let crc = !content.iter().fold(!0_u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg()))
        });
        [&(body.len() as u32).to_be_bytes(), content.as_slice(), &crc.to_be_bytes()].concat()
    };
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &[]), chunk(b"IEND", &[])].concat()
}

#[test]
fn huge_pictures_are_refused_from_their_header() {
    let start = Instant::now();
    for (width, height) in [(60_000, 60_000), (20_000, 1), (1, 20_000), (16_384, 16_384)] {
        let said = refused("huge.png", &png_header(width, height));
        assert!(said.starts_with("the picture is too large"), "{width} x {height}: {said}");
    }
    assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
    // The header itself is a good one.
    assert!(refused("small.png", &png_header(60, 60)).starts_with("the picture is damaged or cut off"));
}

#[test]
fn extreme_shapes_cost_no_more_than_others() {
    let start = Instant::now();
    for class in [Class::Clip, Class::Siglip, Class::Blip, Class::Idefics] {
        let processor = ImageProcessor::new(class, 224);
        for (width, height) in [(1, 5000), (5000, 1), (1, 1), (2, 16_384), (16_384, 2)] {
            let picture = RgbImage::from_pixel(width, height, image::Rgb([10, 120, 250]));
            let pixels = processor.pixels(&picture).unwrap();
            assert_eq!(pixels.dimensions(), (224, 224));
            assert!(pixels.pixels().all(|p| p.0 == [10, 120, 250]), "{class:?} {width} x {height}");
            assert_eq!(processor.normalise(&pixels).len(), 3 * 224 * 224);
        }
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let said = ImageProcessor::new(Class::Clip, 224).pixels(&RgbImage::new(0, 5)).unwrap_err().to_string();
    assert!(said.starts_with("the picture has no pixels"), "{said}");
}

#[test]
fn configurations_that_make_no_sense() {
    let bad = [
        "",
        "[]",
        "null",
        "{",
        r#"{"size": 0}"#,
        r#"{"size": 5000}"#,
        r#"{"size": -3}"#,
        r#"{"size": "large"}"#,
        r#"{"size": {"shortest_edge": 0}}"#,
        r#"{"size": {"height": 224}}"#,
        r#"{"size": [1, 2, 3]}"#,
        r#"{"crop_size": {"height": 4097, "width": 3}}"#,
        r#"{"crop_size": 0}"#,
        r#"{"size": 99999999999999}"#,
        r#"{"resample": 6}"#,
        r#"{"resample": -1}"#,
        r#"{"image_std": [0.5, 0, 0.5]}"#,
        r#"{"image_mean": [1, 2]}"#,
        r#"{"rescale_factor": "x"}"#,
        r#"{"do_center_crop": false}"#,
        r#"{"do_resize": "yes"}"#,
        r#"{"image_processor_type": "ViTImageProcessor"}"#,
        r#"{"image_processor_type": "SiglipImageProcessor", "do_resize": false}"#,
        r#"{"image_processor_type": "IdeficsImageProcessor", "image_size": 0}"#,
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("preprocessor_config.json");
    for text in bad {
        fs::write(&path, text).unwrap();
        let said = ImageProcessor::from_folder(folder.path()).expect_err(text).to_string();
        assert!(said.ends_with(&path.display().to_string()) && !said.contains('\n'), "{text}: {said}");
    }
    let missing: PathBuf = folder.path().join("nowhere");
    assert!(ImageProcessor::from_folder(&missing).unwrap_err().to_string().contains("check the path"));
}

#[test]
fn what_is_left_out_is_as_in_transformers() {
    let read = |text: &str| ImageProcessor::from_json(text).unwrap();
    assert_eq!(read("{}"), ImageProcessor::new(Class::Clip, 224));
    for (name, class, side) in [
        ("CLIPImageProcessorFast", Class::Clip, 224),
        ("CLIPFeatureExtractor", Class::Clip, 224),
        ("SiglipImageProcessor", Class::Siglip, 224),
        ("BlipImageProcessor", Class::Blip, 384),
        ("IdeficsImageProcessor", Class::Idefics, 224),
    ] {
        let text = format!(r#"{{"image_processor_type": "{name}", "size": null, "anything": [1]}}"#);
        assert_eq!(read(&text), ImageProcessor::new(class, side), "{name}");
    }
    let old =
        r#"{"feature_extractor_type": "CLIPFeatureExtractor", "size": 336, "crop_size": 336, "image_mean": null}"#;
    assert_eq!(read(old), ImageProcessor::new(Class::Clip, 336));
    let new = r#"{"processor_class": "LlavaProcessor", "size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}"#;
    assert_eq!(read(new), ImageProcessor::new(Class::Clip, 336));
    assert_eq!(read(r#"{"crop_size": {"height": 20, "width": 30}}"#).size(), (20, 30));
    // Without scaling and normalising the values are the pixels.
    let plain = read(r#"{"do_rescale": false, "do_normalize": false, "crop_size": 1}"#);
    assert_eq!(plain.normalise(&RgbImage::from_pixel(1, 1, image::Rgb([1, 2, 255]))), [1.0, 2.0, 255.0]);
}
