//! Reading `preprocessor_config.json`: the spellings it had over the years, the defaults, and what is refused.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Class, Filter, ImageProcessor, Resize};
use crate::error::{Error, Result};
use crate::files;

/// The longest side that a tower may take, in pixels; more is a damaged file, not a model.
const MAX_SIDE: u32 = 4096;

/// `preprocessor_config.json` as it stands in the file. A missing key and `null` are the same.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    processor_class: Option<String>,
    do_resize: Option<bool>,
    size: Option<Size>,
    image_size: Option<u32>,
    resample: Option<u8>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Channels>,
    image_std: Option<Channels>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Side(u32),
    Pair([u32; 2]),
    Shortest { shortest_edge: u32 },
    Sides { height: u32, width: u32 },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Channels {
    Same(f64),
    Each([f64; 3]),
}

/// Reads and checks the text of the file.
pub(super) fn read(text: &str) -> Result<ImageProcessor> {
    // An object first: serde would take a list for the fields in order.
    let fields: Map<String, Value> = files::json(text.as_bytes()).map_err(|why| bad(&why))?;
    let config = serde_json::from_value(Value::Object(fields)).map_err(|error| bad(&error.to_string()))?;
    checked(&config)
}

fn checked(c: &Config) -> Result<ImageProcessor> {
    let named = [&c.image_processor_type, &c.feature_extractor_type, &c.processor_class];
    let class = match named.into_iter().flatten().next() {
        Some(name) => Class::named(name)
            .ok_or_else(|| bad(&format!("its class {name} is not one of CLIP's, SigLIP's, BLIP's or IDEFICS'")))?,
        None => Class::Clip,
    };
    let usual = ImageProcessor::new(class, if class == Class::Blip { 384 } else { 224 });

    let given = match class {
        Class::Idefics => c.image_size.map(Size::Side),
        _ => c.size,
    };
    let resize = match given {
        _ if c.do_resize == Some(false) => None,
        None => usual.resize,
        Some(Size::Side(side)) if class == Class::Clip => Some(Resize::Shortest(side)),
        Some(Size::Shortest { shortest_edge }) => Some(Resize::Shortest(shortest_edge)),
        Some(other) => Some(Resize::Stretch(other.sides())),
    };
    // The other classes don't know the key, and ignore it where it stands.
    let crop = class == Class::Clip && c.do_center_crop.unwrap_or(true);
    let size = match resize {
        _ if crop => c.crop_size.map_or(usual.size, Size::sides),
        Some(Resize::Stretch(size)) => size,
        _ => {
            return Err(bad("it gives every picture another size"));
        }
    };
    let resized = match resize {
        Some(Resize::Shortest(n)) => [n; 2],
        Some(Resize::Stretch(sides)) => sides,
        None => size,
    };
    if let Some(side) = size.iter().chain(&resized).find(|n| !(1..=MAX_SIDE).contains(*n)) {
        return Err(bad(&format!("it asks for {side} pixels on a side")));
    }

    let filter = match c.resample {
        Some(n) => Filter::numbered(n).ok_or_else(|| bad(&format!("it names the unknown resampling filter {n}")))?,
        None => usual.filter,
    };
    let factor = c.rescale_factor.unwrap_or(1.0 / 255.0);
    let (mean, std) = class.mean_and_std();
    let mean = c.image_mean.map_or(mean, Channels::each);
    let std = c.image_std.map_or(std, Channels::each);
    let processor = ImageProcessor {
        class,
        resize,
        filter,
        crop,
        size,
        rescale: c.do_rescale.unwrap_or(true).then_some(factor),
        normalise: c.do_normalize.unwrap_or(true).then_some((mean, std)),
    };
    if (0..3).any(|channel| processor.values(channel).iter().any(|value| !value.is_finite())) {
        return Err(bad(&format!("it can't scale by {factor}, mean {mean:?} and deviation {std:?}")));
    }
    Ok(processor)
}

impl Size {
    fn sides(self) -> [u32; 2] {
        match self {
            Self::Side(n) | Self::Shortest { shortest_edge: n } => [n; 2],
            Self::Pair(sides) => sides,
            Self::Sides { height, width } => [height, width],
        }
    }
}

impl Channels {
    fn each(self) -> [f64; 3] {
        match self {
            Self::Same(v) => [v; 3],
            Self::Each(v) => v,
        }
    }
}

fn bad(why: &str) -> Error {
    Error::unusable(
        format!("the preprocessor configuration can't be used ({why})"),
        "take it again from where the model came from",
    )
}
