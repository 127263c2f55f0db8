//! Numbers of what is under the pointer or selected, and the help of the views.

use egui::{RichText, ScrollArea, Ui};
use egui_commonmark::{CommonMarkCache, CommonMarkViewer};

use crate::attribution::ATTRIBUTIONS;
use crate::methods::{Evidence, METHODS, Scores};
use crate::ui::texts;
use crate::ui::theme::title_font;
use crate::ui::views::{Brush, VIEWS, bar, number};

/// Words and neighbours that are listed.
const LISTED: usize = 8;

/// Draws the inspector.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>, markdown: &mut CommonMarkCache) {
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let evidence = brush.app.evidence.clone();
        if let Some(evidence) = &evidence {
            title(ui, brush.say(texts::DETAILS));
            scores(ui, brush, evidence);
            if let Some(point) = brush.app.hovered_point {
                neighbours(ui, brush, evidence, point);
            } else {
                patch(ui, brush, evidence);
            }
        }
        title(ui, brush.say(texts::HELP));
        let index = brush.app.language_index();
        for view in VIEWS {
            egui::CollapsingHeader::new(RichText::new(view.title()[index]).strong())
                .id_salt(view.key())
                .default_open(view.key() == "heatmap")
                .show(ui, |ui| {
                    ui.push_id(view.key(), |ui| {
                        CommonMarkViewer::new().show(ui, markdown, view.help(brush.app)[index])
                    });
                });
        }
        if let (Some(method), Some(evidence)) = (METHODS.first(), &evidence) {
            egui::CollapsingHeader::new(RichText::new(brush.say(texts::METHOD)).strong()).id_salt("method").show(
                ui,
                |ui| {
                    CommonMarkViewer::new().show(ui, markdown, method.help[index]);
                },
            );
            egui::CollapsingHeader::new(RichText::new(brush.say(texts::LEDGER)).strong()).id_salt("ledger").show(
                ui,
                |ui| {
                    for stage in &evidence.ledger {
                        row(ui, brush, stage.name[index], &stage.shape);
                    }
                },
            );
        }
    });
}

fn title(ui: &mut Ui, text: &str) {
    ui.add_space(10.0);
    ui.label(RichText::new(text).font(title_font(14.0)));
    ui.add_space(2.0);
}

/// A name on the left, a number on the right.
fn row(ui: &mut Ui, brush: &Brush<'_>, name: &str, value: &str) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(name).color(brush.palette().weak));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| ui.label(value));
    });
}

fn scores(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence) {
    let Scores::Similarity { cosines, phrase, factor, .. } = &evidence.scores;
    let sentence = cosines.last().copied().unwrap_or(0.0);
    row(ui, brush, brush.say(texts::COSINE_TEXT), &number(sentence));
    if brush.app.state.selection.is_some() {
        let name = format!("{} “{}”", brush.say(texts::COSINE_PHRASE), evidence.phrase);
        row(ui, brush, &name, &number(*phrase));
    }
    row(ui, brush, brush.say(texts::TEMPERATURE), &number(*factor));
    ui.separator();
}

fn patch(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence) {
    let count = evidence.grid.0 * evidence.grid.1;
    let chosen = brush.app.hovered_patch.or(brush.app.state.patch).filter(|patch| *patch < count);
    let Some(patch) = chosen else {
        ui.label(RichText::new(brush.say(texts::NO_PATCH)).color(brush.palette().weak));
        return;
    };
    let index = brush.app.language_index();
    let (row_of, column_of) = (patch / evidence.grid.1 + 1, patch % evidence.grid.1 + 1);
    ui.label(RichText::new(format!("{} {row_of} · {column_of}", brush.say(texts::PATCH))).strong());
    if let Some(maps) = evidence.maps.get(&evidence.phrase) {
        for attribution in ATTRIBUTIONS {
            if let Some(value) = maps.get(attribution.key).and_then(|map| map.values.get(patch)) {
                row(ui, brush, attribution.title[index], &number(*value));
            }
        }
    }
    ui.add_space(6.0);
    ui.label(RichText::new(brush.say(texts::NEAREST_WORDS)).color(brush.palette().weak).small());
    let ranked = evidence.patch_words.ranked(patch);
    for (word, score) in ranked.into_iter().take(LISTED) {
        let own = word < evidence.patch_words.from_sentence;
        bar(ui, brush, &evidence.patch_words.words[word], score, &number(score), own);
    }
}

fn neighbours(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence, point: usize) {
    let Some(chosen) = evidence.cloud.points.get(point) else { return };
    ui.label(RichText::new(&chosen.label).strong());
    ui.label(RichText::new(brush.say(texts::NEIGHBOURS)).color(brush.palette().weak).small());
    for (other, cosine) in evidence.cloud.neighbours(point).into_iter().take(LISTED) {
        let other = &evidence.cloud.points[other];
        bar(ui, brush, &other.label, cosine, &number(cosine), other.pair == chosen.pair);
    }
}
