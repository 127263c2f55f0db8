//! Layers and heads of the cross-attention as small maps, each with how well it grounds.

use egui::{Align2, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2};

use super::super::map_picture::{Overlay, plain};
use super::super::{Brush, View};
use super::{Of, asked, place, shown, weightings};
use crate::app::{App, Command, Scale};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::maps::added;
use crate::methods::reading::Reading;
use crate::ui::texts;

/// The view.
pub struct CrossHeadsView(pub Of);

/// Sides of a small map, in points.
const LEAST: f32 = 14.0;
const LEAST_SCORED: f32 = 30.0;
const MOST: f32 = 112.0;
/// Room for the numbers of layers and heads, and for a score under a map.
const RULER: f32 = 20.0;
const SCORE: f32 = 14.0;
const GAP: f32 = 5.0;

impl View for CrossHeadsView {
    fn key(&self) -> &'static str {
        self.0.pick("cross-heads", "row-heads")
    }

    fn method(&self) -> &'static str {
        self.0.method()
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/cross-heads.en.md"),
            include_str!("../../../../assets/help/cross-heads.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(reading) = evidence.reading.clone() else { return };
        weightings(ui, brush);
        let hint = if reading.grounding.is_some() { texts::HEADS_HINT } else { texts::HEADS_HINT_UNMEASURED };
        ui.label(RichText::new(brush.say(hint)).color(brush.palette().weak).small());
        let space = ui.available_size();
        ScrollArea::both().auto_shrink(false).show(ui, |ui| heads(ui, brush, &reading, evidence.grid, space));
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(reading) = &evidence.reading else { return Vec::new() };
        let heads = || vec![Axis::numbered("layer", reading.layers), Axis::numbered("head", reading.heads)];
        let mut arrays = Vec::new();
        if let Some(grounding) = &reading.grounding {
            arrays.push(Numbers::new("grounding", heads(), grounding.to_vec()));
        }
        if let Some((line, at, _)) = shown(app, reading)
            && let Some(maps) = line.maps_at(at, place(app, line), app.state.fusion.weighting)
        {
            let mut axes = heads();
            axes.push(Axis::numbered("patch", maps.len() / (reading.layers * reading.heads).max(1)));
            arrays.push(Numbers::new("maps", axes, maps.to_vec()));
        }
        arrays
    }
}

fn heads(ui: &mut Ui, brush: &mut Brush<'_>, reading: &Reading, grid: (usize, usize), space: Vec2) {
    let palette = brush.palette();
    let Some((line, steps, words)) = asked(brush.app, reading) else { return };
    let (layers, heads) = (reading.layers.max(1), reading.heads.max(1));
    let weighting = brush.app.state.fusion.weighting;
    let shape = (reading.layers, reading.heads);
    let how = (place(brush.app, line), weighting);
    let map = |layer: usize, head: usize| added(steps.iter().map(|at| line.map(*at, how, Some((layer, head)), shape)));
    let foot = if reading.grounding.is_some() { SCORE } else { 0.0 };
    let side = ((space.x - RULER) / heads as f32 - GAP).min((space.y - RULER) / layers as f32 - GAP - foot);
    // A score needs its room, even if that takes scrolling.
    let least = if reading.grounding.is_some() { LEAST_SCORED } else { LEAST };
    let side = side.clamp(least, MOST).floor();
    let step_size = vec2(side + GAP, side + GAP + foot);
    let size = vec2(RULER + step_size.x * heads as f32, RULER + step_size.y * layers as f32);
    let (outer, _) = ui.allocate_exact_size(size, Sense::hover());
    let small = egui::TextStyle::Small.resolve(ui.style());
    let painter = ui.painter().clone();
    let corner = outer.min + Vec2::splat(RULER);
    let best = reading.grounding.as_ref().map_or(0.0, |scores| scores.iter().copied().fold(0.0, f32::max));
    let shared = (0..layers).flat_map(|layer| (0..heads).map(move |head| (layer, head)));
    let shared = shared.filter_map(|(layer, head)| map(layer, head)).flatten().fold(1e-9, f32::max);
    for layer in 0..layers {
        let left = corner + vec2(-8.0, step_size.y * layer as f32 + side / 2.0);
        painter.text(left, Align2::RIGHT_CENTER, (layer + 1).to_string(), small.clone(), palette.weak);
        for head in 0..heads {
            let offset = vec2(step_size.x * head as f32, step_size.y * layer as f32);
            let rect = Rect::from_min_size(corner + offset, Vec2::splat(side));
            if layer == 0 {
                let over = pos2(rect.center().x, rect.top() - 4.0);
                painter.text(over, Align2::CENTER_BOTTOM, (head + 1).to_string(), small.clone(), palette.weak);
            }
            let response = ui.interact(rect, ui.scope_id().with((layer, head)), Sense::click());
            let is_own = brush.app.state.fusion.head == Some((layer, head));
            let label = format!("{} {} · {} {}", brush.say(texts::LAYER), layer + 1, brush.say(texts::HEAD), head + 1);
            response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, is_own, &label));
            painter.rect_filled(rect, 2.0, palette.raised);
            if let Some(values) = map(layer, head) {
                let own = values.iter().copied().fold(1e-9, f32::max);
                let top = if brush.app.state.map.scale == Scale::Own { own } else { shared };
                let key = format!("cross {layer} {head}");
                plain(ui, brush, Overlay { values: &values, top, signed: false, name: &key }, grid, rect);
            }
            let score = reading.grounding.as_ref().and_then(|scores| scores.get(layer * heads + head)).copied();
            if let Some(score) = score {
                let colour = if score == best { palette.accent } else { palette.weak };
                let foot = pos2(rect.center().x, rect.bottom() + 1.0);
                painter.text(foot, Align2::CENTER_TOP, format!("{score:.2}"), small.clone(), colour);
            }
            if is_own || response.hovered() || response.has_focus() {
                let colour = if is_own { palette.accent } else { palette.strong };
                painter.rect_stroke(rect, 2.0, Stroke::new(2.0, colour), StrokeKind::Outside);
            }
            if response.clicked() {
                let next = (!is_own).then_some((layer, head));
                brush.commands.push(Command::SelectFusionHead(next));
            }
            let facts = match score {
                Some(score) => format!("{label}\n“{words}”\n{} {score:.2}", brush.say(texts::GROUNDING)),
                None => format!("{label}\n“{words}”"),
            };
            response.on_hover_text(facts);
        }
    }
}
