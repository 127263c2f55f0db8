//! The embedding space of pictures and captions, projected onto its two main directions.

use egui::{Color32, RichText, Ui, Vec2b};
use egui_plot::{HoverPosition, Line, MarkerShape, Plot, PlotImage, PlotPoint, Points};
use std::sync::Arc;

use super::{Brush, View};
use crate::app::{App, Command};
use crate::methods::{Cloud, Evidence, PointKind};
use crate::reduction::{Plane, pca::pca};
use crate::ui::texts::{self, Text};
use crate::ui::theme::Palette;

/// The view.
pub struct EmbeddingView;

impl View for EmbeddingView {
    fn key(&self) -> &'static str {
        "embedding"
    }

    fn title(&self) -> Text {
        texts::EMBEDDING
    }

    fn help(&self, _app: &App) -> Text {
        [include_str!("../../../assets/help/embedding.en.md"), include_str!("../../../assets/help/embedding.zh.md")]
    }

    fn share_of_height(&self) -> f32 {
        0.62
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let cloud = &evidence.cloud;
        let vectors: Vec<&[f32]> = cloud.points.iter().map(|point| point.vector.as_slice()).collect();
        let plane = pca(&vectors);
        let palette = brush.palette();
        facts(ui, brush, cloud, &palette);
        plot(ui, brush, cloud, &plane, &palette);
    }
}

/// Colours, and the modality gap as a number.
fn facts(ui: &mut Ui, brush: &Brush<'_>, cloud: &Cloud, palette: &Palette) {
    ui.horizontal_wrapped(|ui| {
        for (kind, name) in [(PointKind::Picture, texts::PICTURES), (PointKind::Text, texts::TEXTS)] {
            let (rect, _) = ui.allocate_exact_size(egui::vec2(10.0, 14.0), egui::Sense::hover());
            let centre = rect.center();
            match kind {
                PointKind::Picture => ui.painter().circle_filled(centre, 4.0, palette.accent),
                PointKind::Text => ui.painter().add(egui::Shape::convex_polygon(
                    [(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)].map(|(x, y)| centre + egui::vec2(x, y)).to_vec(),
                    palette.second,
                    egui::Stroke::NONE,
                )),
            };
            ui.label(RichText::new(brush.say(name)).color(palette.weak));
        }
        ui.add_space(10.0);
        ui.label(format!("{} {:.2}", brush.say(texts::GAP), cloud.modality_gap()));
    });
}

fn plot(ui: &mut Ui, brush: &mut Brush<'_>, cloud: &Cloud, plane: &Plane, palette: &Palette) {
    let index = brush.app.language_index();
    let own = cloud.points.iter().map(|point| point.pair).max().unwrap_or(0);
    let at = |point: usize| -> [f64; 2] { plane.points.get(point).copied().unwrap_or_default() };
    let spread = plane.points.iter().flat_map(|point| point.map(f64::abs)).fold(1e-6, f64::max);
    let thumbnails: Vec<(egui::TextureId, PlotPoint, bool)> = thumbnails(ui, brush, cloud, own)
        .into_iter()
        .map(|(point, texture)| (texture, PlotPoint::from(at(point)), cloud.points[point].pair == own))
        .collect();
    let labels: Vec<String> = cloud.points.iter().map(|point| point.label.clone()).collect();
    let share = |axis: usize| {
        let share = plane.shares.get(axis).copied().unwrap_or(0.0) * 100.0;
        match index {
            0 => format!("component {} ({share:.0} %)", axis + 1),
            _ => format!("第 {} 主成分（{share:.0}%）", axis + 1),
        }
    };
    let of_kind = |kind: PointKind| -> Vec<usize> {
        (0..cloud.points.len()).filter(|point| cloud.points[*point].kind == kind).collect()
    };
    let (pictures, texts_of) = (of_kind(PointKind::Picture), of_kind(PointKind::Text));
    let (first_text, names) = (texts_of.first().copied().unwrap_or(0), labels.clone());
    let response = Plot::new("embedding")
        .data_aspect(1.0)
        .show_grid(Vec2b::FALSE)
        .show_axes(Vec2b::TRUE)
        .x_axis_label(share(0))
        .y_axis_label(share(1))
        .x_axis_formatter(|_, _| String::new())
        .y_axis_formatter(|_, _| String::new())
        .show_background(false)
        .set_margin_fraction(egui::vec2(0.08, 0.08))
        .allow_scroll(false)
        .label_formatter(move |hover| match hover {
            HoverPosition::NearDataPoint { plot_name, index, .. } if *plot_name == "texts" => {
                names.get(first_text + index).cloned()
            }
            HoverPosition::NearDataPoint { plot_name, index, .. } if *plot_name == "pictures" => {
                names.get(*index).cloned()
            }
            _ => None,
        })
        .show(ui, |plot| {
            for pair in 0..=own {
                let ends: Vec<usize> =
                    (0..cloud.points.len()).filter(|point| cloud.points[*point].pair == pair).collect();
                if let [picture, text] = ends.as_slice() {
                    let colour = if pair == own { palette.text } else { palette.line };
                    let width = if pair == own { 2.0 } else { 1.2 };
                    plot.line(
                        Line::new("", vec![at(*picture), at(*text)]).color(colour).width(width).allow_hover(false),
                    );
                }
            }
            for (texture, centre, is_own) in thumbnails {
                let side = (spread * if is_own { 0.24 } else { 0.16 }) as f32;
                plot.image(PlotImage::new("", texture, centre, egui::vec2(side, side)).allow_hover(false));
            }
            let points = |name: &str, which: &[usize], shape: MarkerShape, colour: Color32, radius: f32| {
                let series: Vec<[f64; 2]> = which.iter().map(|point| at(*point)).collect();
                Points::new(name, series).shape(shape).color(colour).radius(radius)
            };
            plot.points(points("pictures", &pictures, MarkerShape::Circle, palette.accent, 3.0));
            plot.points(points("texts", &texts_of, MarkerShape::Diamond, palette.second, 5.0));
            if let (Some(picture), Some(text)) = (pictures.last(), texts_of.last()) {
                // Under both ends of the own pair, free of its picture, and towards the middle, where there is room.
                let [x, y] = at(*text);
                let place = PlotPoint::new(x, y.min(at(*picture)[1]) - 0.19 * spread);
                let anchor = if x > 0.0 { egui::Align2::RIGHT_CENTER } else { egui::Align2::LEFT_CENTER };
                let label = RichText::new(short(&labels[*text])).color(palette.text);
                plot.text(egui_plot::Text::new("", place, label).anchor(anchor).allow_hover(false));
            }
            plot.response().hover_pos().map(|pointer| plot.plot_from_screen(pointer))
        });
    let hovered = response.inner.and_then(|pointer| nearest(plane, pointer, spread));
    if hovered != brush.app.hovered_point {
        brush.commands.push(Command::HoverPoint(hovered));
    }
}

/// The point under the pointer, if one is near.
fn nearest(plane: &Plane, pointer: PlotPoint, spread: f64) -> Option<usize> {
    let distance = |point: &[f64; 2]| (point[0] - pointer.x).hypot(point[1] - pointer.y);
    let points = plane.points.iter().enumerate();
    let best = points.min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))?;
    (distance(best.1) < 0.1 * spread).then_some(best.0)
}

/// Textures of the pictures in the cloud, by the index of their point.
fn thumbnails(ui: &Ui, brush: &mut Brush<'_>, cloud: &Cloud, own: usize) -> Vec<(usize, egui::TextureId)> {
    let mut found = Vec::new();
    for (index, point) in cloud.points.iter().enumerate().filter(|(_, point)| point.kind == PointKind::Picture) {
        let picture = if point.pair == own { brush.app.picture.clone() } else { point.picture.clone() };
        let Some(picture) = picture else { continue };
        let name = format!("thumbnail {}", if point.pair == own { "own" } else { &point.label });
        found.push((index, brush.textures.thumbnail(ui.ctx(), &name, &Arc::clone(&picture))));
    }
    found
}

/// A label that isn't wider than the plot.
fn short(text: &str) -> String {
    const LONGEST: usize = 42;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}
