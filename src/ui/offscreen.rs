//! Draws an egui interface into a picture, without a window.

use egui::{Context, RawInput, Rect, Theme, Ui, Vec2, ViewportId};
use image::RgbaImage;

use super::raster::Rasterizer;

/// The time between two frames. A fixed step, not the clock, so that the picture is the same every time.
const SECONDS_PER_FRAME: f32 = 1.0 / 60.0;

/// Runs `ui` for some frames (at least one) and draws the last of them on the theme's panel colour.
///
/// Two or three frames let the layout settle: sizes that depend on the contents are known one frame later.
/// `setup` gets the context first, to install fonts and styles; animations are switched off after it.
pub fn render(
    size_points: Vec2,
    pixels_per_point: f32,
    theme: Theme,
    setup: impl FnOnce(&Context),
    frames: usize,
    mut ui: impl FnMut(&mut Ui),
) -> RgbaImage {
    let ctx = Context::default();
    ctx.set_theme(theme);
    setup(&ctx);
    ctx.all_styles_mut(|style| {
        style.animation_time = 0.0;
        style.scroll_animation = egui::style::ScrollAnimation::none();
        style.visuals.text_cursor.blink = false;
    });

    let mut rasterizer = Rasterizer::default();
    let mut shapes = Vec::new();
    for frame in 0..frames.max(1) {
        let input = raw_input(size_points, pixels_per_point, frame);
        let mut output = ctx.run_ui(input, &mut ui);
        rasterizer.update_textures(&mut output.textures_delta);
        shapes = std::mem::take(&mut output.shapes);
    }
    let primitives = ctx.tessellate(shapes, pixels_per_point);
    let background = ctx.global_style().visuals.panel_fill;
    let size = (size_points * pixels_per_point).round();
    rasterizer.draw(&primitives, pixels_per_point, [size.x as u32, size.y as u32], background)
}

fn raw_input(size_points: Vec2, pixels_per_point: f32, frame: usize) -> RawInput {
    let mut input = RawInput {
        screen_rect: Some(Rect::from_min_size(egui::Pos2::ZERO, size_points)),
        time: Some(frame as f64 * f64::from(SECONDS_PER_FRAME)),
        predicted_dt: SECONDS_PER_FRAME,
        ..Default::default()
    };
    if let Some(viewport) = input.viewports.get_mut(&ViewportId::ROOT) {
        viewport.native_pixels_per_point = Some(pixels_per_point);
    }
    input
}
