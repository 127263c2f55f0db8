//! What the projector does to neighbourhoods of patches, and what can't be told any more behind it.

use egui::{Align, Layout, Rect, RichText, Sense, Ui, vec2};

use super::super::map_picture::{Overlay, draw, interact, shape};
use super::super::parts::{colour_bar, fact};
use super::super::{Brush, View, number};
use super::{METHOD, patch};
use crate::app::App;
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::ui::texts::{self, Text, projector};
use crate::ui::theme::{GAP, SMALL_GAP};

/// The view.
pub struct ProjectorChangeView;

/// Room for the colours under a map.
const LEGEND: f32 = 46.0;

impl View for ProjectorChangeView {
    fn key(&self) -> &'static str {
        "projector-change"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/projector-change.en.md"),
            include_str!("../../../../assets/help/projector-change.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(change) = evidence.spliced.as_ref().and_then(|spliced| spliced.change.clone()) else {
            ui.label(RichText::new(brush.say(texts::WAITING)).color(brush.palette().weak));
            return;
        };
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            let facts = [
                (projector::ALIGNMENT, change.alignment),
                (projector::KEPT, mean(&change.kept)),
                (projector::LOST, mean(&change.lost)),
            ];
            for (text, value) in facts {
                let label = fact(ui, brush, brush.say(text), &number(value));
                ui.add(label);
            }
        });
        ui.add_space(SMALL_GAP);
        let space = ui.available_size();
        let each = vec2((space.x - GAP) / 2.0, space.y);
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for (values, text) in [(&change.kept, projector::KEPT), (&change.lost, projector::LOST)] {
                ui.allocate_ui_with_layout(each, Layout::top_down(Align::Min), |ui| {
                    ui.set_width(each.x);
                    map(ui, evidence, brush, values, text);
                });
            }
        });
    }

    fn numbers(&self, evidence: &Evidence, _app: &App) -> Vec<Numbers> {
        let Some(change) = evidence.spliced.as_ref().and_then(|spliced| spliced.change.as_ref()) else {
            return Vec::new();
        };
        let axes = || vec![Axis::numbered("row", evidence.grid.0), Axis::numbered("column", evidence.grid.1)];
        vec![
            Numbers::new("neighbours_kept", axes(), change.kept.clone()),
            Numbers::new("lost", axes(), change.lost.clone()),
            Numbers::single("alignment", change.alignment),
        ]
    }
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len().max(1) as f32
}

/// One of the maps with its colours.
fn map(ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>, values: &[f32], text: Text) {
    let palette = brush.palette();
    ui.label(RichText::new(brush.say(text)).color(palette.weak));
    let space = ui.available_size();
    let height = (space.y - LEGEND).min(space.x * shape(brush)).max(40.0);
    let (outer, _) = ui.allocate_exact_size(vec2(space.x, height), Sense::hover());
    let overlay = Overlay { values, top: 1.0, signed: false, name: text.0 };
    if let Some(placed) = draw(ui, evidence, brush, overlay, outer) {
        let label = format!("{} · {}", brush.word("view-projector-change"), brush.say(text));
        interact(ui, evidence, brush, placed, text.0, &label);
    }
    let (rect, _) = ui.allocate_exact_size(vec2(space.x, LEGEND - 12.0), Sense::hover());
    let bar = Rect::from_min_size(rect.min + vec2(0.0, 2.0), vec2((rect.width() * 0.6).min(160.0), 8.0));
    let painter = ui.painter_at(rect);
    colour_bar(&painter, brush.app.state.map.colours, bar);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let below = vec2(0.0, 2.0);
    painter.text(bar.left_bottom() + below, egui::Align2::LEFT_TOP, "0", small.clone(), palette.weak);
    painter.text(bar.right_bottom() + below, egui::Align2::RIGHT_TOP, "1", small.clone(), palette.weak);
    if let Some(value) = patch(brush.app).and_then(|patch| values.get(patch)) {
        let place = bar.right_top() + vec2(GAP, -3.0);
        painter.text(place, egui::Align2::LEFT_TOP, number(*value), small, palette.text);
    }
}
