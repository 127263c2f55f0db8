//! How the attention of a word is shared between picture, text and sinks, layer by layer.

use egui::{Align2, Color32, Rect, RichText, Sense, Ui, pos2, vec2};

use super::super::{Brush, View};
use super::{METHOD, position};
use crate::app::{App, Command};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::spliced::{Share, Spliced};
use crate::ui::texts::{self, projector};
use crate::ui::theme::{GAP, title_font};

/// The view.
pub struct RowSharesView;

/// Height of a bar at most, and room for what stands before and over it.
const BAR: f32 = 34.0;
const LABELS: f32 = 92.0;

impl View for RowSharesView {
    fn key(&self) -> &'static str {
        "row-shares"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/row-shares.en.md"),
            include_str!("../../../../assets/help/row-shares.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(spliced) = evidence.spliced.clone() else { return };
        let palette = brush.palette();
        let at = position(brush.app, evidence, &spliced);
        let name = at.and_then(|at| spliced.row.get(at)).map(|token| format!("“{}”", token.text.trim()));
        let name = name.unwrap_or_else(|| brush.say(projector::MEAN_OF_WORDS).to_owned());
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            ui.label(RichText::new(name).font(title_font(15.0)).color(palette.accent));
            if let Some((_, head)) = head(brush.app, &spliced) {
                ui.label(RichText::new(format!("{} {}", brush.say(texts::HEAD), head + 1)).color(palette.weak));
                if ui.small_button(brush.say(texts::ALL_HEADS)).clicked() {
                    brush.commands.push(Command::SelectFusionHead(None));
                }
            }
        });
        let parts = parts(brush);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for (name, colour) in parts {
                ui.label(RichText::new(format!("■ {name}")).color(colour).small());
            }
        });
        let shares = shares(brush.app, &spliced, at);
        if shares.is_empty() {
            ui.label(RichText::new(brush.say(texts::WAITING)).color(palette.weak));
            return;
        }
        let room = ui.available_size();
        let height = (room.y / shares.len() as f32 - 4.0).clamp(3.0, BAR);
        for (layer, share) in shares.iter().enumerate() {
            bar(ui, brush, (layer, *share), height, &parts);
        }
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(spliced) = &evidence.spliced else { return Vec::new() };
        let shares = shares(app, spliced, position(app, evidence, spliced));
        let axes = [Axis::numbered("layer", shares.len()), Axis::labelled("to", ["picture", "sinks", "text"])];
        vec![Numbers::new("attention", axes, shares.iter().flat_map(|share| of(*share)).collect())]
    }
}

fn of(share: Share) -> [f32; 3] {
    [share.picture, share.sinks, share.text]
}

/// The head that was chosen, if this model has it.
fn head(app: &App, spliced: &Spliced) -> Option<(usize, usize)> {
    app.state.fusion.head.filter(|(layer, head)| *layer < spliced.layers && *head < spliced.heads)
}

/// The shares of the position by layer, or the mean of all text positions behind the picture; of the chosen head, or the mean
/// of all.
fn shares(app: &App, spliced: &Spliced, at: Option<usize>) -> Vec<Share> {
    if spliced.shares.is_none() {
        return Vec::new();
    }
    let head = head(app, spliced).map(|(_, head)| head);
    let behind = spliced.row.iter().rposition(|token| token.of_picture).map_or(0, |last| last + 1);
    let positions: Vec<usize> = at.map_or_else(|| (behind..spliced.row.len()).collect(), |at| vec![at]);
    let of_layer =
        |layer: usize| -> Vec<Share> { positions.iter().filter_map(|at| spliced.share(*at, layer, head)).collect() };
    (0..spliced.layers).map(|layer| Share::mean(&of_layer(layer))).collect()
}

/// The parts with their colours.
fn parts(brush: &Brush<'_>) -> [(&'static str, Color32); 3] {
    let palette = brush.palette();
    [
        (brush.say(projector::TO_PICTURE), palette.accent),
        (brush.say(projector::TO_SINKS), palette.weak),
        (brush.say(projector::TO_TEXT), palette.second),
    ]
}

/// A layer: three parts of one bar, each with its share.
fn bar(ui: &mut Ui, brush: &Brush<'_>, (layer, share): (usize, Share), height: f32, parts: &[(&str, Color32); 3]) {
    let palette = brush.palette();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let small = egui::TextStyle::Small.resolve(ui.style());
    let painter = ui.painter_at(rect);
    let name = format!("{} {}", brush.say(texts::LAYER), layer + 1);
    if height > 11.0 {
        painter.text(rect.left_center(), Align2::LEFT_CENTER, &name, small.clone(), palette.weak);
    }
    let track = rect.with_min_x(rect.left() + LABELS);
    let mut left = track.left();
    let mut said = vec![name.clone()];
    for (value, (name, colour)) in of(share).into_iter().zip(parts) {
        let width = track.width() * value.clamp(0.0, 1.0);
        let part = Rect::from_min_size(pos2(left, track.top()), vec2(width, height));
        painter.rect_filled(part, 0.0, colour.gamma_multiply(0.75));
        if width > 40.0 && height > 12.0 {
            let text = format!("{:.0} %", value * 100.0);
            painter.text(part.center(), Align2::CENTER_CENTER, text, small.clone(), palette.strong);
        }
        said.push(format!("{name} {:.1} %", value * 100.0));
        left += width;
    }
    let said = said.join(" · ");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &said));
    response.on_hover_text(said.clone());
}
