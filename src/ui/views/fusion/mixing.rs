//! Hidden states of words and patches, layer by layer: watch them mix.

use egui::{Align2, Color32, Rect, Role, Sense, Stroke, Ui, WidgetInfo, vec2};

use super::super::parts::{fitted, pointed};
use super::super::{Brush, View};
use super::{Of, depth_slider};
use crate::app::{App, Command, Light, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::{Evidence, PointKind};
use crate::ui::texts;

/// The view.
pub struct MixingView(pub Of);

impl View for MixingView {
    fn key(&self) -> &'static str {
        self.0.pick("mixing", "row-space")
    }

    fn method(&self) -> &'static str {
        self.0.method()
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        self.0.pick(
            [
                include_str!("../../../../assets/help/mixing.en.md"),
                include_str!("../../../../assets/help/mixing.zh.md"),
            ],
            [
                include_str!("../../../../assets/help/row-space.en.md"),
                include_str!("../../../../assets/help/row-space.zh.md"),
            ],
        )
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(reading) = evidence.reading.clone() else { return };
        let last = reading.depth.saturating_sub(1);
        depth_slider(ui, brush, last, self.0.pick(last, 0));
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
        #[expect(clippy::cast_possible_truncation, reason = "places on the screen")]
        let points_of_plane: Vec<[f32; 2]> = plane.points.iter().map(|point| point.map(|value| value as f32)).collect();
        let places = fitted(&points_of_plane, inner);
        let place = |at: usize| places[at];
        let small = egui::TextStyle::Small.resolve(ui.style());
        let words = words_in(evidence);
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
        let nearest = pointed(&response).and_then(|pointer| {
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

/// The points that are words of the text, with their spans. Other words may lie among them.
pub(in crate::ui::views) fn words_in(evidence: &Evidence) -> Vec<(usize, (usize, usize))> {
    let tokens = evidence.tokens.texts.iter().zip(&evidence.tokens.spans);
    let mut left: Vec<(&str, (usize, usize))> =
        tokens.filter_map(|(text, span)| Some((text.trim(), (*span)?))).collect();
    let points = evidence.cloud.points.iter().enumerate();
    let words = points.filter(|(_, point)| point.kind == PointKind::Word);
    let found = words.filter_map(|(at, point)| {
        let place = left.iter().position(|(text, _)| *text == point.label)?;
        Some((at, left.remove(place).1))
    });
    found.collect()
}

/// The mean colour of a patch, so that it can be told which it is.
pub(in crate::ui::views) fn colour_of(app: &App, evidence: &Evidence, patch: usize) -> Color32 {
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
