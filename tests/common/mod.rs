//! What the tests of the interface share.

use alignscope::ui::raster::Rasterizer;
use egui::{Color32, Context, FullOutput, TexturesDelta};
use egui_kittest::TestRenderer;
use image::RgbaImage;

/// Lets kittest draw snapshots without a GPU driver: `Harness::builder().renderer(RasterRenderer::default())`.
#[derive(Default)]
pub struct RasterRenderer {
    rasterizer: Rasterizer,
}

impl TestRenderer for RasterRenderer {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        self.rasterizer.update_textures(delta);
    }

    fn render(&mut self, ctx: &Context, output: &FullOutput) -> Result<RgbaImage, String> {
        let pixels_per_point = ctx.pixels_per_point();
        let size = (ctx.content_rect().size() * pixels_per_point).round();
        let primitives = ctx.tessellate(output.shapes.clone(), pixels_per_point);
        Ok(self.rasterizer.draw(&primitives, pixels_per_point, [size.x as u32, size.y as u32], Color32::TRANSPARENT))
    }
}
