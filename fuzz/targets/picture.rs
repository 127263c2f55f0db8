//! Pictures of all formats.
#![cfg_attr(fuzzing, no_main)]

use alignscope::models::picture::Picture;
use alignscope_fuzz::sentence;

/// What is done with a file that holds `data`.
pub fn take(data: &[u8]) {
    let Some(picture) = sentence(Picture::from_bytes("picture", data)) else { return };
    assert!(picture.pixels.width() > 0 && picture.pixels.height() > 0);
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| take(data));
