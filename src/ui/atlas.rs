//! Small pictures side by side on a few textures, so that thousands are drawn in a handful of draws and each is uploaded once.

use egui::{Color32, ColorImage, Context, Mesh, Painter, Rect, Shape, TextureHandle, TextureOptions, pos2, vec2};

use crate::app::album::{Album, THUMBNAIL};

/// Side of a small picture, and how many stand in a row and in a column of a page: 1008 pixels, which every graphics card takes.
const SIDE: usize = THUMBNAIL as usize;
const ACROSS: usize = 21;
const ON_PAGE: usize = ACROSS * ACROSS;
/// Small pictures that are uploaded in one frame: a folder that is recalled at once comes over several.
const A_FRAME: usize = 2 * ON_PAGE;

/// The small pictures of a folder on the graphics side.
#[derive(Default)]
pub struct Atlas {
    album: u64,
    filled: usize,
    pages: Vec<TextureHandle>,
}

impl Atlas {
    /// Uploads those small pictures of `album` that aren't there yet, some in each frame. Pages are used again for another
    /// folder.
    pub fn fill(&mut self, ctx: &Context, album: &Album) {
        if self.album != album.id {
            (self.album, self.filled) = (album.id, 0);
        }
        let end = album.pictures.len().min(self.filled + A_FRAME);
        while self.filled < end {
            let (page, at) = (self.filled / ON_PAGE, self.filled % ON_PAGE);
            let (row, column) = (at / ACROSS, at % ACROSS);
            let count = (end - self.filled).min(ACROSS - column);
            let pictures = &album.pictures[self.filled..self.filled + count];
            let mut image = ColorImage::filled([count * SIDE, SIDE], Color32::TRANSPARENT);
            for (at, picture) in pictures.iter().enumerate() {
                for (line, pixels) in picture.thumbnail.chunks_exact(3 * SIDE).enumerate() {
                    let start = line * count * SIDE + at * SIDE;
                    for (to, [red, green, blue]) in image.pixels[start..].iter_mut().zip(pixels.as_chunks::<3>().0) {
                        *to = super::theme::of_picture([*red, *green, *blue]);
                    }
                }
            }
            if page == self.pages.len() {
                let empty = ColorImage::filled([ACROSS * SIDE, ACROSS * SIDE], Color32::TRANSPARENT);
                self.pages.push(ctx.load_texture(format!("small pictures {page}"), empty, TextureOptions::LINEAR));
            }
            self.pages[page].set_partial([column * SIDE, row * SIDE], image, TextureOptions::LINEAR);
            self.filled += count;
        }
        if self.filled < album.pictures.len() {
            ctx.request_repaint();
        }
    }

    /// How many of the pictures, from the first on, can be drawn.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Draws small pictures, by their numbers, each into its rectangle with its tint.
    pub fn paint(&self, painter: &Painter, pictures: impl IntoIterator<Item = (usize, Rect, Color32)>) {
        let mut meshes: Vec<Mesh> = self.pages.iter().map(|page| Mesh::with_texture(page.id())).collect();
        for (number, rect, tint) in pictures {
            if number >= self.filled {
                continue;
            }
            let at = number % ON_PAGE;
            let corner = pos2((at % ACROSS) as f32, (at / ACROSS) as f32);
            // Half a pixel inside, so that nothing of a neighbour shines in.
            let inset = 0.5 / SIDE as f32;
            let place = Rect::from_min_size(corner, vec2(1.0, 1.0)).shrink(inset);
            let uv = Rect::from_min_max(
                (place.min.to_vec2() / ACROSS as f32).to_pos2(),
                (place.max.to_vec2() / ACROSS as f32).to_pos2(),
            );
            meshes[number / ON_PAGE].add_rect_with_uv(rect, uv, tint);
        }
        meshes.into_iter().filter(|mesh| !mesh.is_empty()).for_each(|mesh| {
            painter.add(Shape::mesh(mesh));
        });
    }
}
