//! Hidden states of words and patches, layer by layer: watch them mix.

use egui::{Align2, Color32, Rect, RichText, Role, Sense, Slider, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::super::{Brush, View};
use super::METHOD;
use crate::app::{App, Command, Light, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::reading::Reading;
use crate::methods::{Evidence, PointKind};
use crate::ui::texts;

/// The view.
pub struct MixingView;

impl View for MixingView {
    fn key(&self) -> &'static str {
        "mixing"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../../assets/help/mixing.en.md"), include_str!("../../../../assets/help/mixing.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(reading) = evidence.reading.clone() else { return };
        layers(ui, brush, &reading);
        let Some(plane) = brush.app.plane.clone() else { return };
        let points = &evidence.cloud.points;
        if plane.points.len() != points.len() || points.is_empty() {
            return; // the plane of this layer is still being computed
        }
        let palette = brush.palette();
        let (rect, response) = ui.allocate_exact_size(ui.available_size().max(vec2(80.0, 80.0)), Sense::click());
        let label = brush.say(texts::PLOT);
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, label));
        let painter = ui.painter_at(rect);
        let inner = rect.shrink2(vec2(36.0, 18.0));
        let bounds = |axis: usize| {
            let values = plane.points.iter().map(|point| point[axis]);
            let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
            (low, (high - low).max(1e-9))
        };
        let (x, y) = (bounds(0), bounds(1));
        #[expect(clippy::cast_possible_truncation, reason = "places on the screen")]
        let place = |at: usize| {
            let point = plane.points[at];
            let (across, up) = ((point[0] - x.0) / x.1, (point[1] - y.0) / y.1);
            pos2(inner.left() + inner.width() * across as f32, inner.bottom() - inner.height() * up as f32)
        };
        let small = egui::TextStyle::Small.resolve(ui.style());
        let words = words(evidence);
        let thing = |at: usize| match points[at].kind {
            PointKind::Patch => Some(Thing::Patch(at)),
            _ => words.iter().find(|(point, _)| *point == at).map(|(_, (start, end))| Thing::Words(*start, *end)),
        };
        for (at, point) in points.iter().enumerate() {
            let light = thing(at).map_or(Light::None, |thing| brush.app.light(thing));
            let stroke = if light == Light::None { Stroke::NONE } else { Stroke::new(2.0, palette.strong) };
            if point.kind == PointKind::Patch {
                painter.circle(place(at), 4.0, colour_of(brush.app, evidence, at), stroke);
            }
        }
        let mut taken: Vec<Rect> = Vec::new();
        for at in (0..points.len()).filter(|at| points[*at].kind == PointKind::Word) {
            let light = thing(at).map_or(Light::None, |thing| brush.app.light(thing));
            let colour = if light == Light::None { palette.second } else { palette.strong };
            painter.circle_filled(place(at), 3.5, colour);
            let galley = painter.layout_no_wrap(points[at].label.clone(), small.clone(), colour);
            let label = Align2::CENTER_TOP.anchor_size(place(at) + vec2(0.0, 4.0), galley.size());
            if taken.iter().all(|other| !other.intersects(label)) {
                painter.galley(label.min, galley, colour);
                taken.push(label);
            }
        }
        let nearest = super::super::parts::pointed(&response).and_then(|pointer| {
            let near =
                (0..points.len()).min_by(|a, b| place(*a).distance(pointer).total_cmp(&place(*b).distance(pointer)))?;
            (place(near).distance(pointer) < 18.0).then_some(near)
        });
        let Some(thing) = nearest.and_then(thing) else { return };
        brush.hover(thing);
        if response.clicked() {
            brush.commands.push(match thing {
                Thing::Words(start, end) => Command::SelectWords { start, end, extend: false },
                Thing::Patch(patch) => Command::SelectPatch(Some(patch)),
                _ => return,
            });
        }
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let points = &evidence.cloud.points;
        let names = || Axis::labelled("point", points.iter().map(|point| point.label.clone()));
        let width = points.first().map_or(0, |point| point.vector.len());
        let vectors = points.iter().flat_map(|point| point.vector.iter().copied()).collect();
        let mut arrays = vec![Numbers::new("hidden_state", [names(), Axis::numbered("dimension", width)], vectors)];
        if let Some(plane) = app.plane.as_ref().filter(|plane| plane.points.len() == points.len()) {
            #[expect(clippy::cast_possible_truncation, reason = "places on the screen")]
            let places = plane.points.iter().flatten().map(|value| *value as f32).collect();
            arrays.push(Numbers::new("place", [names(), Axis::labelled("axis", ["x", "y"])], places));
        }
        arrays
    }
}

/// The layer as a slider.
fn layers(ui: &mut Ui, brush: &mut Brush<'_>, reading: &Reading) {
    let last = reading.depth.saturating_sub(1);
    let mut layer = brush.app.state.fusion.layer.unwrap_or(last).min(last);
    let before = layer;
    ui.horizontal(|ui| {
        ui.spacing_mut().slider_width = (ui.available_width() * 0.5).clamp(60.0, 260.0);
        ui.label(RichText::new(brush.say(texts::LAYER)).color(brush.palette().weak));
        let slider = ui.add(Slider::new(&mut layer, 0..=last).show_value(false));
        let name = brush.say(texts::HIDDEN_LAYER);
        slider.widget_info(|| WidgetInfo::labeled(Role::Slider, true, name));
        ui.label(layer.to_string());
    });
    if layer != before {
        brush.commands.push(Command::SetHiddenLayer(Some(layer)));
    }
}

/// The points that are words, with their spans.
fn words(evidence: &Evidence) -> Vec<(usize, (usize, usize))> {
    let points = evidence.cloud.points.iter().enumerate();
    let words = points.filter(|(_, point)| point.kind == PointKind::Word).map(|(at, _)| at);
    words.zip(evidence.tokens.spans.iter().flatten().copied()).collect()
}

/// The mean colour of a patch, so that it can be told which it is.
fn colour_of(app: &App, evidence: &Evidence, patch: usize) -> Color32 {
    let fallback = Color32::GRAY;
    let Some(picture) = &app.picture else { return fallback };
    let (rows, columns) = evidence.grid;
    let [left, top, right, bottom] = evidence.seen;
    let (row, column) = (patch / columns.max(1), patch % columns.max(1));
    let along = |from: f32, to: f32, at: usize, count: usize| from + (to - from) * (at as f32 + 0.5) / count as f32;
    let (x, y) = (along(left, right, column, columns), along(top, bottom, row, rows));
    let half = ((right - left) / columns as f32 / 2.0).max(1.0);
    let mut sum = [0u32; 3];
    let mut count = 0;
    for dy in 0..4 {
        for dx in 0..4 {
            let at = |middle: f32, step: i32| (middle + half * (step as f32 / 2.0 - 0.75)).max(0.0) as u32;
            if let Some(pixel) = picture.get_pixel_checked(at(x, dx), at(y, dy)) {
                sum.iter_mut().zip(pixel.0).for_each(|(sum, value)| *sum += u32::from(value));
                count += 1;
            }
        }
    }
    match sum.map(|sum| u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX)) {
        _ if count == 0 => fallback,
        [red, green, blue] => crate::ui::theme::of_picture([red, green, blue]),
    }
}
