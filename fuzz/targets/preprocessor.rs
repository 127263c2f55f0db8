//! `preprocessor_config.json`, with absurd values in chosen places or as it stands; a picture by it.
#![cfg_attr(fuzzing, no_main)]

use alignscope::models::preprocess::ImageProcessor;
use alignscope_fuzz::{json, put, read, sentence};
use serde_json::Value;
use std::sync::OnceLock;

const WHOLE: [&str; 3] = [
    "assets/checkpoints/clip/preprocessor_config.json",
    "assets/checkpoints/blip-retrieval/preprocessor_config.json",
    "assets/checkpoints/flamingo/preprocessor_config.json",
];

fn whole() -> &'static [Value] {
    static READ: OnceLock<Vec<Value>> = OnceLock::new();
    READ.get_or_init(|| WHOLE.iter().map(|path| read(path)).collect())
}

/// What is done with a file that holds `data`.
pub fn take(data: &[u8]) {
    let folder = put("preprocessor/preprocessor_config.json", &json(data, whole()));
    let Some(processor) = sentence(ImageProcessor::from_folder(&folder)) else { return };
    let (height, width) = processor.size();
    if height * width > 1 << 16 {
        return;
    }
    let picture = image::RgbImage::from_fn(17, 9, |x, y| image::Rgb([x as u8, y as u8, 255]));
    let Some(pixels) = sentence(processor.pixels(&picture)) else { return };
    assert_eq!(pixels.dimensions(), (width, height));
    assert!(processor.normalise(&pixels).iter().all(|value| value.is_finite()));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| take(data));
