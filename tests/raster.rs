//! The CPU rasterizer against known pixels.

mod common;

use alignscope::ui::{fonts, offscreen, raster::Rasterizer};
use egui::epaint::{self, ClippedPrimitive, ImageDelta, Mesh, Primitive, Vertex};
use egui::{
    Color32, ColorImage, Pos2, Rect, Shape, Stroke, TextureId, TextureOptions, TexturesDelta, Theme, Ui, pos2, vec2,
};
use image::RgbaImage;
use proptest::prelude::*;

const SIZE: [u32; 2] = [40, 30];
const BACKGROUND: Color32 = Color32::BLACK;
const PICTURE: TextureId = TextureId::User(7);

/// White in every texel, as egui's font atlas is in the corner that plain shapes use.
fn rasterizer() -> Rasterizer {
    let white = ColorImage::filled([4, 4], Color32::WHITE);
    with_textures([(TextureId::default(), white, TextureOptions::LINEAR)])
}

fn with_textures<const N: usize>(textures: [(TextureId, ColorImage, TextureOptions); N]) -> Rasterizer {
    let mut delta = TexturesDelta::default();
    for (id, image, options) in textures {
        delta.push(id, ImageDelta::full(image, options));
    }
    let mut rasterizer = Rasterizer::default();
    rasterizer.update_textures(&mut delta);
    rasterizer
}

fn everything() -> Rect {
    Rect::from_min_size(Pos2::ZERO, vec2(SIZE[0] as f32, SIZE[1] as f32))
}

fn draw(rasterizer: &Rasterizer, clip_rect: Rect, mesh: Mesh) -> RgbaImage {
    let primitive = ClippedPrimitive { clip_rect, primitive: Primitive::Mesh(mesh) };
    rasterizer.draw(&[primitive], 1.0, SIZE, BACKGROUND)
}

fn draw_shape(shape: Shape) -> RgbaImage {
    let mut mesh = Mesh::default();
    let options = epaint::TessellationOptions::default();
    epaint::Tessellator::new(1.0, options, [4, 4], Vec::new()).tessellate_shape(shape, &mut mesh);
    draw(&rasterizer(), everything(), mesh)
}

fn plain_rect(rect: Rect, colour: Color32) -> Mesh {
    let mut mesh = Mesh::default();
    mesh.add_colored_rect(rect, colour);
    mesh
}

fn red(image: &RgbaImage, x: u32, y: u32) -> u8 {
    image.get_pixel(x, y).0[0]
}

#[test]
fn a_filled_rect_covers_exactly_its_pixels() {
    let rect = Rect::from_min_max(pos2(3.0, 4.0), pos2(20.0, 11.0));
    let image = draw(&rasterizer(), everything(), plain_rect(rect, Color32::RED));
    for (x, y, pixel) in image.enumerate_pixels() {
        let inside = (3..20).contains(&x) && (4..11).contains(&y);
        let expected = if inside { Color32::RED } else { BACKGROUND };
        assert_eq!(pixel.0, expected.to_array(), "at {x}, {y}");
    }
}

#[test]
fn triangles_that_share_an_edge_draw_each_pixel_once() {
    let half = Color32::from_rgba_premultiplied(100, 100, 100, 128);
    let rect = Rect::from_min_max(pos2(0.5, 0.5), pos2(37.5, 28.5));
    let image = draw(&rasterizer(), everything(), plain_rect(rect, half));
    // Centres on the left and top edge belong to the rect, those on the right and bottom edge don't.
    for (x, y, pixel) in image.enumerate_pixels() {
        let inside = x < 37 && y < 28;
        assert_eq!(pixel.0[0], if inside { 100 } else { 0 }, "at {x}, {y}");
    }
}

#[test]
fn translucent_colours_blend_over_what_is_there() {
    let mut mesh = plain_rect(everything(), Color32::from_rgb(200, 100, 0));
    let veil = Color32::from_rgba_premultiplied(0, 0, 128, 128);
    mesh.add_colored_rect(everything(), veil);
    let image = draw(&rasterizer(), everything(), mesh);
    assert_eq!(image.get_pixel(5, 5).0, [100, 50, 128, 255]);
}

#[test]
fn a_line_has_soft_edges() {
    // Slanted, since egui moves level lines onto whole pixels.
    let line = [pos2(2.0, 8.0), pos2(38.0, 12.0)];
    let image = draw_shape(Shape::line_segment(line, Stroke::new(2.0, Color32::WHITE)));
    let column: Vec<u8> = (8..13).map(|y| red(&image, 20, y)).collect();
    assert!(column[0] == 0 && column[4] == 0, "too wide: {column:?}");
    let soft = column.iter().filter(|&&value| value > 0 && value < 255).count();
    assert!(soft >= 2, "no soft edge: {column:?}");
    let ink: u32 = column.iter().map(|&value| u32::from(value)).sum();
    assert!((480..=540).contains(&ink), "not two pixels of ink: {column:?}");
}

fn black_and_white(options: TextureOptions) -> RgbaImage {
    let image = ColorImage::new([2, 1], vec![Color32::BLACK, Color32::WHITE]);
    let mut mesh = Mesh::with_texture(PICTURE);
    let whole = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
    mesh.add_rect_with_uv(everything(), whole, Color32::WHITE);
    draw(&with_textures([(PICTURE, image, options)]), everything(), mesh)
}

#[test]
fn a_nearest_texture_shows_its_texels() {
    let image = black_and_white(TextureOptions::NEAREST);
    for (x, _, pixel) in image.enumerate_pixels() {
        assert_eq!(pixel.0[0], if x < 20 { 0 } else { 255 }, "column {x}");
    }
}

#[test]
fn a_linear_texture_blends_between_its_texels() {
    let image = black_and_white(TextureOptions::LINEAR);
    // The centres of the two texels lie at 10 and 30 pixels; outside them the edge texel goes on.
    for (x, _, pixel) in image.enumerate_pixels() {
        let share = ((x as f32 + 0.5 - 10.0) / 20.0).clamp(0.0, 1.0);
        let error = f32::from(pixel.0[0]) - share * 255.0;
        assert!(error.abs() <= 1.0, "column {x}: {}", pixel.0[0]);
    }
}

#[test]
fn a_partial_update_changes_only_its_part() {
    let mut rasterizer =
        with_textures([(PICTURE, ColorImage::filled([4, 3], Color32::BLACK), TextureOptions::NEAREST)]);
    let mut delta = TexturesDelta::default();
    let white = ColorImage::filled([2, 1], Color32::WHITE);
    delta.push(PICTURE, ImageDelta::partial([1, 2], white, TextureOptions::NEAREST));
    delta.free(PICTURE);
    rasterizer.update_textures(&mut delta);
    assert!(delta.is_empty());

    let mut mesh = Mesh::with_texture(PICTURE);
    let whole = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
    mesh.add_rect_with_uv(everything(), whole, Color32::WHITE);
    let image = draw(&rasterizer, everything(), mesh.clone());
    for (x, y, pixel) in image.enumerate_pixels() {
        let inside = (10..30).contains(&x) && y >= 20;
        assert_eq!(pixel.0[0], if inside { 255 } else { 0 }, "at {x}, {y}");
    }
    // The frame that frees a texture may show it; later frames may not.
    rasterizer.update_textures(&mut TexturesDelta::default());
    let image = draw(&rasterizer, everything(), mesh);
    assert!(image.pixels().all(|pixel| pixel.0[0] == 0));
}

#[test]
fn nothing_is_drawn_outside_the_clip_rect() {
    let clip = Rect::from_min_max(pos2(10.4, 5.6), pos2(15.5, 9.0));
    let image = draw(&rasterizer(), clip, plain_rect(everything(), Color32::WHITE));
    for (x, y, pixel) in image.enumerate_pixels() {
        let inside = (10..16).contains(&x) && (6..9).contains(&y);
        assert_eq!(pixel.0[0], if inside { 255 } else { 0 }, "at {x}, {y}");
    }
    for clip in [Rect::NOTHING, Rect::NAN] {
        let image = draw(&rasterizer(), clip, plain_rect(everything(), Color32::WHITE));
        assert!(image.pixels().all(|pixel| pixel.0[0] == 0));
    }
}

#[test]
fn a_missing_texture_or_vertex_and_an_empty_picture_are_left_out() {
    let unknown = Mesh::with_texture(PICTURE);
    assert!(draw(&rasterizer(), everything(), unknown).pixels().all(|p| p.0[0] == 0));
    let mut mesh = plain_rect(everything(), Color32::WHITE);
    mesh.indices.extend([0, 1, 99]);
    assert_eq!(red(&draw(&rasterizer(), everything(), mesh), 5, 5), 255);
    let empty = rasterizer().draw(&[], 1.0, [0, 10], BACKGROUND);
    assert_eq!(empty.dimensions(), (0, 10));
}

fn board(ui: &mut Ui) {
    egui::CentralPanel::default().show(ui, |ui| {
        ui.label(egui::RichText::new("Heading 标题").font(egui::FontId::new(20.0, fonts::semibold())));
        ui.label("Words land in the picture. 词落在图中。");
        ui.monospace("patches 24x24 图块");
        let _ = ui.button("Compute");
    });
}

/// FNV-1a: a fingerprint that is the same in every build.
fn fingerprint(image: &RgbaImage) -> u64 {
    image.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn text_is_drawn_and_every_run_gives_the_same_picture() {
    for pixels_per_point in [1.0, 1.5] {
        let render = |theme| {
            let size = vec2(300.0, 120.0);
            offscreen::render(size, pixels_per_point, theme, fonts::install, 2, board)
        };
        let [dark, light] = [render(Theme::Dark), render(Theme::Light)];
        assert_eq!(dark.width(), (300.0 * pixels_per_point) as u32);
        let bright = dark.pixels().filter(|pixel| pixel.0[0] > 100).count();
        let inked = light.pixels().filter(|pixel| pixel.0[0] < 140).count();
        assert!(bright > 500 && inked > 500, "{bright} and {inked} pixels of text");
        assert!(dark.pixels().all(|pixel| pixel.0[3] == 255));
        assert_eq!(fingerprint(&dark), fingerprint(&render(Theme::Dark)));
    }
}

#[test]
fn kittest_draws_with_it() {
    let mut harness = egui_kittest::Harness::builder()
        .with_size([300.0, 120.0])
        .with_context_setup(fonts::install)
        .renderer(common::RasterRenderer::default())
        .build_ui(board);
    harness.run();
    let image = harness.render().expect("a picture");
    assert_eq!(image.dimensions(), (300, 120));
    assert!(image.pixels().filter(|pixel| pixel.0[0] > 100).count() > 500);
}

#[test]
fn every_font_has_the_characters_it_is_there_for() {
    let ctx = egui::Context::default();
    fonts::install(&ctx);
    let output = ctx.run_ui(egui::RawInput::default(), |ui| {
        ui.fonts_mut(|loaded| {
            for family in [egui::FontFamily::Proportional, egui::FontFamily::Monospace, fonts::semibold()] {
                let font = egui::FontId::new(13.0, family);
                for text in ["Aa09", "词图块注意力", "，。：；？！（）《》“”", "← → ↑ ↓ × ± ≤ ≥ · … – — ‘ ’ √ ∑ ² ‖"]
                {
                    assert!(loaded.has_glyphs(&font, text), "{font:?} lacks some of {text}");
                }
            }
        });
    });
    output.drop_without_applying_deltas();
}

fn coordinate() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -60.0_f32..100.0,
        1 => any::<f32>(),
        1 => prop::sample::select(vec![
            f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 0.0, 20.0, 1e7, -1e7,
        ]),
    ]
}

fn corner() -> impl Strategy<Value = Vertex> {
    ([coordinate(), coordinate(), coordinate(), coordinate()], any::<[u8; 4]>()).prop_map(
        |([x, y, u, v], [r, g, b, a])| Vertex {
            pos: pos2(x, y),
            uv: pos2(u, v),
            color: Color32::from_rgba_premultiplied(r, g, b, a),
        },
    )
}

fn texture_options() -> impl Strategy<Value = TextureOptions> {
    prop::sample::select(vec![
        TextureOptions::LINEAR,
        TextureOptions::NEAREST,
        TextureOptions::LINEAR_REPEAT,
        TextureOptions::NEAREST_MIRRORED_REPEAT,
    ])
}

proptest! {
    #[test]
    fn no_triangle_is_too_strange(
        vertices in prop::collection::vec(corner(), 3..12),
        corners in prop::collection::vec(any::<prop::sample::Index>(), 3..30),
        options in texture_options(),
        clip in [coordinate(), coordinate(), coordinate(), coordinate()],
        pixels_per_point in coordinate(),
    ) {
        let indices = corners.iter().map(|corner| corner.index(vertices.len()) as u32).collect();
        let mesh = Mesh { indices, vertices, texture_id: PICTURE };
        let picture = ColorImage::new([2, 2], vec![Color32::RED, Color32::WHITE, Color32::BLUE, Color32::TRANSPARENT]);
        let rasterizer = with_textures([(PICTURE, picture, options)]);
        for clip_rect in [everything(), Rect::from_min_max(pos2(clip[0], clip[1]), pos2(clip[2], clip[3]))] {
            let primitive = ClippedPrimitive { clip_rect, primitive: Primitive::Mesh(mesh.clone()) };
            let draw = |scale| rasterizer.draw(std::slice::from_ref(&primitive), scale, SIZE, BACKGROUND);
            prop_assert_eq!(fingerprint(&draw(1.0)), fingerprint(&draw(1.0)));
            draw(pixels_per_point);
        }
    }
}
