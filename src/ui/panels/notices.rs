//! What the person must know before believing a map: errors, cut texts, unknown words, pictures from another world.

use egui::{CornerRadius, Frame, Margin, RichText, Stroke, Ui};

use crate::app::Command;
use crate::ui::texts::{self, Text, what_if};
use crate::ui::views::Brush;

/// Draws the notices, if there are any.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>) {
    if let Some(problem) = brush.app.problem.clone() {
        notice(ui, brush, &problem, Some((texts::DISMISS, Command::DismissProblem)));
    }
    if let Some(warning) = brush.app.warning.clone() {
        notice(ui, brush, &warning, Some((texts::DISMISS, Command::DismissProblem)));
    }
    if let Some(news) = brush.app.news.clone() {
        told(ui, brush, &format!("{} {news}", brush.say(texts::WRITTEN)));
    }
    let changes = brush.app.changes_shown();
    if changes > 0 {
        let text = brush.say(what_if::IS_CHANGED).replace("{count}", &changes.to_string());
        notice(ui, brush, &text, Some((what_if::LEAVE_ALONE, Command::LeaveAlone)));
    }
    let Some(evidence) = &brush.app.evidence else { return };
    if let Some(familiar) = evidence.familiarity.filter(|familiar| familiar.is_strange()) {
        let stop = if brush.app.language_index() == 0 { ". " } else { "。" };
        let text = format!(
            "{} ({} {:.0}; {} {:.0}){stop}{}",
            brush.say(texts::STRANGE),
            brush.say(texts::STRANGE_DISTANCE),
            familiar.distance,
            brush.say(texts::STRANGE_USUAL),
            familiar.usual,
            brush.say(texts::STRANGE_ADVICE),
        );
        notice(ui, brush, &text, None);
    }
    let tokens = &evidence.tokens;
    let unknown = tokens.texts.iter().zip(&tokens.known).filter(|(_, known)| !**known);
    let unknown: Vec<&str> = unknown.map(|(text, _)| text.as_str()).collect();
    if !unknown.is_empty() {
        notice(ui, brush, &format!("{} {}", brush.say(texts::UNKNOWN_WORDS), unknown.join(", ")), None);
    }
    if tokens.cut {
        notice(ui, brush, brush.say(texts::CUT), None);
    }
}

/// Something that went well.
fn told(ui: &mut Ui, brush: &mut Brush<'_>, text: &str) {
    let palette = brush.palette();
    Frame::new()
        .fill(palette.card)
        .stroke(Stroke::new(1.0, palette.line))
        .corner_radius(CornerRadius::same(8))
        .inner_margin(Margin::symmetric(12, 6))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal_wrapped(|ui| {
                ui.label(text);
                if ui.small_button(brush.say(texts::DISMISS)).clicked() {
                    brush.commands.push(Command::DismissProblem);
                }
            });
        });
    ui.add_space(6.0);
}

/// Something to know first, with what can be done about it.
pub(super) fn notice(ui: &mut Ui, brush: &mut Brush<'_>, text: &str, remedy: Option<(Text, Command)>) {
    let palette = brush.palette();
    Frame::new()
        .fill(palette.warning_ground)
        .stroke(Stroke::new(1.0, palette.warning))
        .corner_radius(CornerRadius::same(8))
        .inner_margin(Margin::symmetric(12, 8))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal_wrapped(|ui| {
                ui.label(RichText::new(text).color(palette.warning));
                if let Some((name, command)) = remedy
                    && ui.small_button(brush.say(name)).clicked()
                {
                    brush.commands.push(command);
                }
            });
        });
    ui.add_space(6.0);
}
