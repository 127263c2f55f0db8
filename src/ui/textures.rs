//! Pictures on the graphics side, uploaded only when they change.

use egui::{ColorImage, Context, TextureHandle, TextureId, TextureOptions};
use image::RgbImage;
use std::collections::HashMap;
use std::sync::Arc;

use super::atlas::Atlas;

/// Textures by name, each with a fingerprint of what it was made from.
#[derive(Default)]
pub struct Textures {
    entries: HashMap<String, (u64, TextureHandle)>,
    /// The pictures that textures were made from: while one is held, no other lies where it does.
    pictures: HashMap<String, Arc<RgbImage>>,
    /// The small pictures of a folder.
    pub atlas: Atlas,
}

/// Longest side of a texture that is only looked at small.
const THUMBNAIL: u32 = 192;
/// Longest side of any texture; old graphics cards take no more.
const LARGEST: u32 = 2048;

impl Textures {
    /// The texture called `name`, made anew if `fingerprint` has changed.
    pub fn get(
        &mut self,
        ctx: &Context,
        name: &str,
        fingerprint: u64,
        options: TextureOptions,
        make: impl FnOnce() -> ColorImage,
    ) -> TextureId {
        match self.entries.get_mut(name) {
            Some((known, handle)) => {
                if *known != fingerprint {
                    handle.set(make(), options);
                    *known = fingerprint;
                }
                handle.id()
            }
            None => {
                let handle = ctx.load_texture(name, make(), options);
                let id = handle.id();
                self.entries.insert(name.to_owned(), (fingerprint, handle));
                id
            }
        }
    }

    /// The texture of a picture.
    pub fn picture(&mut self, ctx: &Context, name: &str, picture: &Arc<RgbImage>) -> TextureId {
        self.small(ctx, name, picture, LARGEST)
    }

    /// A small texture of a picture of the comparison: `listed` is its place in the person's list, which stays when pairs
    /// before it come and go; the person's own picture has none.
    pub fn thumbnail(&mut self, ctx: &Context, listed: Option<usize>, picture: &Arc<RgbImage>) -> TextureId {
        let name = listed.map_or_else(|| "own thumbnail".to_owned(), |at| format!("thumbnail {at}"));
        self.small(ctx, &name, picture, THUMBNAIL)
    }

    /// The texture of a picture, no side of which is longer than `longest`.
    fn small(&mut self, ctx: &Context, name: &str, picture: &Arc<RgbImage>, longest: u32) -> TextureId {
        let address = Arc::as_ptr(picture) as u64;
        let texture = self.get(ctx, name, address, TextureOptions::LINEAR, || within(picture, longest));
        if !self.pictures.get(name).is_some_and(|held| Arc::ptr_eq(held, picture)) {
            self.pictures.insert(name.to_owned(), Arc::clone(picture));
        }
        texture
    }
}

/// The picture, made smaller if a side is longer than `longest`.
fn within(picture: &RgbImage, longest: u32) -> ColorImage {
    let (width, height) = picture.dimensions();
    if width.max(height) <= longest {
        return ColorImage::from_rgb([width as usize, height as usize], picture.as_raw());
    }
    let scale = f64::from(longest) / f64::from(width.max(height));
    let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    let filter = image::imageops::FilterType::Triangle;
    let small = image::imageops::resize(picture, side(width), side(height), filter);
    ColorImage::from_rgb([small.width() as usize, small.height() as usize], small.as_raw())
}
