//! What a picture costs a language model that reads it as words, and what it would cost in the other ways.

use egui::{Align2, Color32, Grid, Label, Rect, RichText, ScrollArea, Sense, Ui, pos2, vec2};

use super::super::{Brush, View, number};
use super::METHOD;
use crate::app::{App, ColumnKey};
use crate::export::numbers::Numbers;
use crate::methods::Evidence;
use crate::methods::cost::PictureCost;
use crate::methods::spliced::Cost;
use crate::ui::texts::{self, projector};
use crate::ui::theme::{GAP, SMALL_GAP, title_font};

/// The view.
pub struct PictureCostView;

/// Width from which on the table of the four ways has room for what its vectors are, in points.
const ROOMY: f32 = 700.0;
/// Height of the bar of the context.
const BAR: f32 = 30.0;

impl View for PictureCostView {
    fn key(&self) -> &'static str {
        "picture-cost"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/picture-cost.en.md"),
            include_str!("../../../../assets/help/picture-cost.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(cost) = evidence.spliced.as_ref().and_then(|spliced| spliced.cost) else {
            ui.label(RichText::new(brush.say(texts::WAITING)).color(brush.palette().weak));
            return;
        };
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            context(ui, brush, cost);
            ui.add_space(GAP);
            table(ui, brush, cost);
            ui.add_space(GAP);
            ways(ui, brush, evidence, cost);
        });
    }

    fn numbers(&self, evidence: &Evidence, _app: &App) -> Vec<Numbers> {
        let Some(cost) = evidence.spliced.as_ref().and_then(|spliced| spliced.cost) else { return Vec::new() };
        vec![
            Numbers::single("positions_of_picture", cost.picture as f32),
            Numbers::single("positions_of_text", cost.text as f32),
            Numbers::single("context", cost.context as f32),
            Numbers::single("milliseconds_with_picture", cost.with_picture),
            Numbers::single("milliseconds_without_picture", cost.without_picture),
            Numbers::single("milliseconds_of_seeing", cost.seeing),
            Numbers::single("bytes_kept_for_picture", cost.kept_for_picture as f32),
            Numbers::single("bytes_kept_for_text", cost.kept_for_text as f32),
        ]
    }
}

/// The context as a bar: picture, text, and what is left.
fn context(ui: &mut Ui, brush: &Brush<'_>, cost: Cost) {
    let palette = brush.palette();
    let all = cost.context.max(cost.picture + cost.text).max(1) as f32;
    let share = cost.picture as f32 / all;
    let text = format!("{} {:.0} %", brush.say(projector::SHARE_OF_CONTEXT), share * 100.0);
    ui.label(RichText::new(text).font(title_font(15.0)).color(palette.accent));
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), BAR), Sense::hover());
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, 3.0, palette.raised);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let parts: [(usize, Color32); 2] = [(cost.picture, palette.accent), (cost.text, palette.second)];
    let mut left = rect.left();
    for (count, colour) in parts {
        let width = rect.width() * count as f32 / all;
        let part = Rect::from_min_size(pos2(left, rect.top()), vec2(width, BAR));
        painter.rect_filled(part, 3.0, colour.gamma_multiply(0.75));
        if width > 24.0 {
            painter.text(part.center(), Align2::CENTER_CENTER, count.to_string(), small.clone(), palette.strong);
        }
        left += width;
    }
    let free = cost.context.saturating_sub(cost.picture + cost.text);
    if rect.right() - left > 40.0 {
        let place = pos2((left + rect.right()) / 2.0, rect.center().y);
        let text = format!("{} {free}", brush.say(projector::FREE));
        painter.text(place, Align2::CENTER_CENTER, text, small, palette.weak);
    }
    let said = format!("{} / {} / {free}", cost.picture, cost.text);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &said));
}

/// Positions, time and memory.
fn table(ui: &mut Ui, brush: &Brush<'_>, cost: Cost) {
    let palette = brush.palette();
    let milliseconds = |value: f32| format!("{} ms", number(value));
    let kibibytes = |bytes: usize| format!("{} KiB", number(bytes as f32 / 1024.0));
    let rows = [
        (projector::PASS_WITH, milliseconds(cost.with_picture)),
        (projector::PASS_WITHOUT, milliseconds(cost.without_picture)),
        (projector::SEEING, milliseconds(cost.seeing)),
        (projector::KEPT_FOR_PICTURE, kibibytes(cost.kept_for_picture)),
        (projector::KEPT_FOR_TEXT, kibibytes(cost.kept_for_text)),
    ];
    Grid::new("cost").num_columns(2).spacing(vec2(GAP * 1.5, 5.0)).show(ui, |ui| {
        for (name, value) in rows {
            ui.label(RichText::new(brush.say(name)).color(palette.weak));
            ui.label(RichText::new(value).color(palette.text));
            ui.end_row();
        }
    });
}

/// The same picture in the four ways, with the checkpoints that the columns run.
fn ways(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence, cost: Cost) {
    let palette = brush.palette();
    ui.label(RichText::new(brush.say(projector::IN_FOUR_WAYS)).font(title_font(14.0)));
    ui.add_space(SMALL_GAP);
    let own = PictureCost {
        model: evidence.model.name.clone(),
        vectors: cost.picture,
        width: cost.width,
        seeing: cost.seeing,
        reading: cost.with_picture,
        ..PictureCost::default()
    };
    let notes = [
        ("projector", projector::COST_PROJECTOR),
        ("contrastive", projector::COST_CONTRASTIVE),
        ("cross-attention", projector::COST_FUSION),
        ("querying", projector::COST_QUERYING),
    ];
    let milliseconds = |value: f32| format!("{} ms", number(value));
    // What the vectors are stands beside the figures where there is room for it, and else under the pointer.
    let roomy = ui.available_width() > ROOMY;
    Grid::new("ways").num_columns(5).spacing(vec2(GAP * 1.5, 5.0)).show(ui, |ui| {
        let heads =
            ["", brush.say(projector::MET), brush.say(projector::TIME_SEEING), brush.say(projector::TIME_READING)];
        for head in heads {
            ui.label(RichText::new(head).color(palette.weak).small());
        }
        ui.end_row();
        for (way, note) in notes {
            let measured = brush.app.costs.iter().find(|(key, _)| *key == ColumnKey::Own(way)).map(|(_, cost)| cost);
            // A large model isn't opened again: its own figures stand there.
            let measured = measured.or((way == METHOD).then_some(&own));
            let cells = measured.map_or_else(
                || [brush.say(projector::NOT_MEASURED).to_owned(), String::new(), String::new()],
                |cost| {
                    let met = format!("{} × {}", cost.vectors, cost.width);
                    [met, milliseconds(cost.seeing), milliseconds(cost.reading)]
                },
            );
            ui.vertical(|ui| {
                let name = RichText::new(brush.word(&format!("method-{way}"))).color(palette.text);
                ui.add(Label::new(name).extend()).on_hover_text(brush.say(note));
                let model = measured.map_or("", |cost| cost.model.as_str());
                ui.add(Label::new(RichText::new(model).color(palette.weak).small()).extend());
            });
            for (cell, colour) in cells.into_iter().zip([palette.accent, palette.text, palette.text]) {
                ui.add(Label::new(RichText::new(cell).color(colour)).extend());
            }
            if roomy {
                ui.add(Label::new(RichText::new(brush.say(note)).color(palette.weak).small()).extend());
            }
            ui.end_row();
        }
    });
}
