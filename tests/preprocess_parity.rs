//! Decoding and preprocessing give the pixels that Pillow and transformers' image processors give.

use std::fs;
use std::path::{Path, PathBuf};

use alignscope::models::picture::Picture;
use alignscope::models::preprocess::{Class, ImageProcessor};
use image::RgbImage;
use safetensors::SafeTensors;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures")
}

fn processor(name: &str) -> ImageProcessor {
    ImageProcessor::from_folder(&fixtures().join("processors").join(name)).unwrap()
}

/// The expected tensors of a kind, as (picture, processor, shape, bytes).
fn expected(what: &str) -> Vec<(String, String, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(fixtures().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut found: Vec<_> = tensors
        .tensors()
        .into_iter()
        .filter_map(|(name, view)| {
            let path = name.strip_suffix(what)?.trim_end_matches('/').to_owned();
            let (picture, processor) = path.split_once('/').unwrap_or((&path, ""));
            let (picture, processor) = (picture.to_owned(), processor.to_owned());
            Some((picture, processor, view.shape().to_vec(), view.data().to_vec()))
        })
        .collect();
    assert!(!found.is_empty(), "no {what} in the fixtures");
    found.sort();
    found
}

fn open(picture: &str) -> RgbImage {
    Picture::open(&fixtures().join(picture)).unwrap().pixels
}

/// The largest difference, and how many of the values differ at all.
fn difference(ours: &RgbImage, shape: &[usize], theirs: &[u8]) -> (u8, f64) {
    assert_eq!(shape, [ours.height() as usize, ours.width() as usize, 3]);
    let differences = ours.as_raw().iter().zip(theirs).map(|(a, b)| a.abs_diff(*b));
    let changed = differences.clone().filter(|d| *d > 0).count() as f64 / theirs.len() as f64;
    (differences.max().unwrap(), changed)
}

#[test]
fn pictures_decode_as_in_pillow() {
    for (picture, _, shape, theirs) in expected("decoded") {
        let (most, changed) = difference(&open(&picture), &shape, &theirs);
        println!("{picture}: {most} of 255 at most, {:.2} % differ", 100.0 * changed);
        assert_eq!(most, 0, "{picture}");
    }
}

#[test]
fn pixels_are_those_of_transformers() {
    let mut worst = Vec::new();
    for (picture, name, shape, theirs) in expected("pixels") {
        let ours = processor(&name).pixels(&open(&picture)).unwrap();
        assert_eq!((ours.height(), ours.width()), processor(&name).size());
        let (most, changed) = difference(&ours, &shape, &theirs);
        println!("{picture} {name}: {most} of 255 at most, {:.2} % differ", 100.0 * changed);
        if most > 0 {
            worst.push((picture, name, most));
        }
    }
    assert!(worst.is_empty(), "{worst:?}");
}

#[test]
fn values_are_those_of_transformers() {
    for (picture, name, shape, theirs) in expected("values") {
        let theirs: Vec<f32> = theirs.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let processor = processor(&name);
        // The file is lossless, so what is left is the rounding of f32.
        let values = processor.normalise(&processor.pixels(&open(&picture)).unwrap());
        assert_eq!([3, values.len() / 3], [shape[0], shape[1] * shape[2]]);
        let far = values.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{picture} {name}: {far:e}");
        assert!(far <= 1e-6, "{picture} {name}: {far}");
    }
}

#[test]
fn a_configuration_survives_writing_and_reading() {
    for entry in fs::read_dir(fixtures().join("processors")).unwrap() {
        let read = ImageProcessor::from_folder(&entry.unwrap().path()).unwrap();
        assert_eq!(ImageProcessor::from_json(&read.to_json()).unwrap(), read);
    }
    for class in [Class::Clip, Class::Siglip, Class::Blip, Class::Idefics] {
        let new = ImageProcessor::new(class, 48);
        assert_eq!(new.size(), (48, 48));
        assert_eq!(ImageProcessor::from_json(&new.to_json()).unwrap(), new);
    }
}

#[test]
fn the_rectangle_that_is_seen_is_the_one_that_is_kept() {
    let seen = |name: &str, width, height| processor(name).seen(width, height);
    assert_eq!(seen("siglip", 300, 100), [0.0, 0.0, 300.0, 100.0]);
    // 112 x 56 after resizing; the middle 56 columns are columns 50 to 150 of the picture.
    assert_eq!(seen("clip", 200, 100), [50.0, 0.0, 150.0, 100.0]);
    assert_eq!(seen("clip", 100, 200), [0.0, 50.0, 100.0, 150.0]);
    // 30 x 30 after resizing, in a result 36 wide and 41 high: 3 blank columns and 6 blank rows come first.
    assert_eq!(seen("clip-padded", 60, 60), [-6.0, -12.0, 66.0, 70.0]);
    for [width, height] in [[1, 1], [1, 5000], [16_384, 1], [0, 7]] {
        assert!(seen("clip", width, height).iter().all(|v| v.is_finite()));
    }
}
