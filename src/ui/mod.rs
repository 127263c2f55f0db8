//! Pixels.

pub mod fonts;
pub mod offscreen;
pub mod raster;
