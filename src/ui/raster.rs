//! Draws egui's triangles on the CPU, so that a picture of the window needs neither a display nor a GPU driver.
//!
//! It blends as egui's GPU renderers do (premultiplied, in gamma space) and uses only integers and the four
//! basic float operations: the same frame gives the same bytes on every machine.

mod texture;
mod triangle;

use std::collections::HashMap;

use egui::epaint::Primitive;
use egui::{ClippedPrimitive, Color32, Mesh, Rect, TextureId, TexturesDelta};
use image::RgbaImage;
use rayon::prelude::*;

use texture::Texture;
use triangle::{Bounds, Triangle, Vertex};

/// Rows that one task draws: few enough to share a frame among cores, many enough to keep the overhead low.
const BAND_ROWS: usize = 32;

/// A CPU renderer for egui frames. It keeps the textures between frames, as a GPU would.
#[derive(Default)]
pub struct Rasterizer {
    textures: HashMap<TextureId, Texture>,
    /// Freed by the last update, but the frame that came with it may still show them.
    doomed: Vec<TextureId>,
}

impl Rasterizer {
    /// Applies a frame's texture changes and leaves `delta` empty. Call it once a frame, before [`Self::draw`].
    pub fn update_textures(&mut self, delta: &mut TexturesDelta) {
        for id in self.doomed.drain(..) {
            self.textures.remove(&id);
        }
        for (id, changes) in delta.set.drain() {
            for change in changes {
                match (change.pos, self.textures.get_mut(&id)) {
                    (None, _) => {
                        self.textures.insert(id, Texture::new(change));
                    }
                    (Some(at), Some(texture)) => texture.patch(at, &change),
                    (Some(_), None) => {}
                }
            }
        }
        self.doomed.extend(delta.free.drain());
    }

    /// Draws one frame of `size` pixels. Paint callbacks need a GPU and are left out.
    ///
    /// The colours of the picture are premultiplied with alpha, which makes no difference on an opaque background.
    pub fn draw(
        &self,
        primitives: &[ClippedPrimitive],
        pixels_per_point: f32,
        size: [u32; 2],
        background: Color32,
    ) -> RgbaImage {
        let [width, height] = size;
        let mut image = RgbaImage::from_pixel(width, height, image::Rgba(background.to_array()));
        if width == 0 || height == 0 {
            return image;
        }
        let triangles: Vec<Triangle<'_>> = primitives
            .iter()
            .filter_map(|primitive| match &primitive.primitive {
                Primitive::Mesh(mesh) => Some((primitive.clip_rect, mesh)),
                Primitive::Callback(_) => None,
            })
            .flat_map(|(clip, mesh)| self.triangles(mesh, scissor(clip, pixels_per_point, size), pixels_per_point))
            .collect();
        let stride = width as usize * 4;
        image.par_chunks_mut(stride * BAND_ROWS).enumerate().for_each(|(band, bytes)| {
            let (pixels, _) = bytes.as_chunks_mut::<4>();
            for triangle in &triangles {
                triangle.draw(pixels, width as usize, band * BAND_ROWS);
            }
        });
        image
    }

    fn triangles<'a>(
        &'a self,
        mesh: &'a Mesh,
        clip: Bounds,
        pixels_per_point: f32,
    ) -> impl Iterator<Item = Triangle<'a>> {
        let texture = self.textures.get(&mesh.texture_id).filter(|_| !clip.is_empty());
        texture.into_iter().flat_map(move |texture| {
            mesh.triangles().filter_map(move |corners| {
                let [a, b, c] = corners.map(|index| {
                    let vertex = mesh.vertices.get(index as usize)?;
                    Vertex::new(vertex, pixels_per_point, texture)
                });
                Triangle::new([a?, b?, c?], clip, texture)
            })
        })
    }
}

/// The clip rectangle in whole pixels. Casts saturate and turn NaN into 0, so any rectangle will do.
fn scissor(clip: Rect, pixels_per_point: f32, [width, height]: [u32; 2]) -> Bounds {
    let pixel = |points: f32, limit: u32| (pixels_per_point * points).round().clamp(0.0, limit as f32) as i32;
    Bounds {
        left: pixel(clip.min.x, width),
        top: pixel(clip.min.y, height),
        right: pixel(clip.max.x, width),
        bottom: pixel(clip.max.y, height),
    }
}
