//! The gate board: how far Flamingo's gates are open, how much really comes through, and a click that closes one.

use egui::{Button, RichText, Role, ScrollArea, Ui, WidgetInfo, vec2};

use super::super::{Brush, View};
use super::METHOD;
use crate::app::{App, Command};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::reading::Gate;
use crate::ui::texts;

/// The view.
pub struct GatesView;

impl View for GatesView {
    fn key(&self) -> &'static str {
        "gates"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../../assets/help/gates.en.md"), include_str!("../../../../assets/help/gates.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(reading) = evidence.reading.clone() else { return };
        let palette = brush.palette();
        if reading.gates.is_empty() {
            ui.label(RichText::new(brush.say(texts::NO_GATES)).color(palette.weak));
            return;
        }
        ui.horizontal_wrapped(|ui| {
            let all_closed = reading.gates.iter().all(|gate| gate.closed);
            let any_closed = reading.gates.iter().any(|gate| gate.closed);
            if ui.add_enabled(!all_closed, Button::new(brush.say(texts::CLOSE_GATES))).clicked() {
                brush.commands.push(Command::CloseGates(reading.gates.len()));
            }
            if ui.add_enabled(any_closed, Button::new(brush.say(texts::OPEN_GATES))).clicked() {
                brush.commands.push(Command::CloseGates(0));
            }
        });
        ui.label(RichText::new(brush.say(texts::GATES_HINT)).color(palette.weak).small());
        ui.add_space(4.0);
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            for (at, gate) in reading.gates.iter().enumerate() {
                row(ui, brush, at, gate);
            }
        });
    }

    fn numbers(&self, evidence: &Evidence, _app: &App) -> Vec<Numbers> {
        let Some(reading) = &evidence.reading else { return Vec::new() };
        let axes = || {
            vec![Axis::numbered("block", reading.gates.len()), Axis::labelled("part", ["attention", "feed-forward"])]
        };
        let flat = |of: fn(&Gate) -> [f32; 2]| reading.gates.iter().flat_map(of).collect();
        vec![
            Numbers::new("tanh_alpha", axes(), flat(|gate| gate.tanh)),
            Numbers::new("share_of_residual", axes(), flat(|gate| gate.share)),
        ]
    }
}

/// One block: a switch, and for attention and feed-forward part the gate and what comes through.
fn row(ui: &mut Ui, brush: &mut Brush<'_>, at: usize, gate: &Gate) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        let name = format!("{} {}", brush.say(texts::GATE), at + 1);
        let state = brush.say(if gate.closed { texts::CLOSED } else { texts::OPENED });
        let button = Button::selectable(!gate.closed, format!("{name} · {state}")).min_size(vec2(118.0, 40.0));
        let response = ui.add(button);
        response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, !gate.closed, &name));
        if response.on_hover_text(brush.say(texts::GATE_HINT)).clicked() {
            brush.commands.push(Command::ToggleGate(at));
        }
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 3.0;
            for (part, text) in [(0, texts::GATE_ATTENTION), (1, texts::GATE_FEED_FORWARD)] {
                bars(ui, brush, brush.say(text), gate.tanh[part], gate.share[part], gate.closed);
            }
        });
    });
    ui.add_space(6.0);
}

/// The gate, from -1 to 1, and the share of the residual stream, on one line.
fn bars(ui: &mut Ui, brush: &Brush<'_>, name: &str, tanh: f32, share: f32, closed: bool) {
    let palette = brush.palette();
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 18.0), egui::Sense::hover());
    let painter = ui.painter_at(rect);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let labels = 92.0f32.min(rect.width() * 0.3);
    let half = ((rect.width() - labels) / 2.0 - 8.0).max(20.0);
    let centre = rect.center().y;
    painter.text(egui::pos2(rect.left(), centre), egui::Align2::LEFT_CENTER, name, small.clone(), palette.weak);
    for (which, (value, text)) in
        [(tanh, format!("tanh α {tanh:.2}")), (share, format!("{:.1} %", share * 100.0))].into_iter().enumerate()
    {
        let left = rect.left() + labels + (half + 8.0) * which as f32;
        let track = egui::Rect::from_min_size(egui::pos2(left, rect.top()), vec2(half, rect.height()));
        painter.rect_filled(track, 3.0, palette.raised);
        let length = track.width() * value.abs().clamp(0.0, 1.0);
        let colour = if which == 0 { palette.accent } else { palette.second };
        let fill = if closed { palette.line } else { colour.gamma_multiply(0.55) };
        painter.rect_filled(egui::Rect::from_min_size(track.min, vec2(length, track.height())), 3.0, fill);
        let at = egui::pos2(track.left() + 5.0, centre);
        painter.text(at, egui::Align2::LEFT_CENTER, text, small.clone(), palette.text);
    }
}
