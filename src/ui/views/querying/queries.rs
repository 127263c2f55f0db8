//! All queries as small maps over the picture, one of them large.

use egui::{Button, Label, Layout, Rect, RichText, ScrollArea, Sense, Ui, Vec2, vec2};

use super::super::map_picture::{Overlay, draw, interact, shape};
use super::super::parts::fact;
use super::super::{Brush, View};
use super::query_map::{Cells, FOOT, MARK, draw_off, mark};
use super::{
    METHOD, NAMED, Shown, axis, best_words, choices, chosen, cosine, name, percent, scale, similar, similarity_name,
    similarity_text, winner,
};
use crate::app::{App, Command};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::queries::Queries;
use crate::methods::queries::figures::entropy;
use crate::ui::texts::{self, querying};
use crate::ui::theme::{GAP, LARGE_GAP, SMALL_GAP, title_font};

/// The view.
pub struct QueriesView;

/// Widths of a small map, in points.
const LEAST: f32 = 78.0;
const MOST: f32 = 168.0;
/// Space between small maps; the line around a selected one runs in it.
const BETWEEN: f32 = 10.0;
/// The share of the height that the large map takes where the small ones stand beneath it.
const LARGE: f32 = 0.32;
/// A view narrower than this has no room for two columns.
const WIDE: f32 = 480.0;
/// Room for the facts beneath the large map where the small ones stand beside it.
const FACTS: f32 = 190.0;

impl View for QueriesView {
    fn key(&self) -> &'static str {
        "queries"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../../assets/help/queries.en.md"), include_str!("../../../../assets/help/queries.zh.md")]
    }

    fn least(&self) -> Vec2 {
        vec2(300.0, 420.0)
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(queries) = evidence.queries.clone() else { return };
        scores(ui, brush, &queries);
        choices(ui, brush, &queries);
        dropping(ui, brush, &queries);
        let shown = Shown::new(brush.app, &queries);
        let space = ui.available_size();
        // Beside each other where there is room for it, else one above the other.
        if space.x > (space.y * 1.25).max(WIDE) {
            let first = vec2((space.x * 0.36).floor(), space.y);
            let second = vec2(space.x - first.x - LARGE_GAP, space.y);
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = LARGE_GAP;
                let down = Layout::top_down(egui::Align::Min);
                ui.allocate_ui_with_layout(first, down, |ui| {
                    ui.set_width(first.x);
                    let width = first.x.min((first.y - FACTS) / shape(brush)).max(60.0);
                    large(ui, evidence, brush, (&queries, &shown), width);
                });
                ui.allocate_ui_with_layout(second, down, |ui| {
                    ui.set_width(second.x);
                    grid(ui, evidence, brush, &queries, &shown);
                });
            });
        } else {
            let width = (space.x * 0.5).min(space.y * LARGE / shape(brush)).max(60.0);
            ui.horizontal_top(|ui| large(ui, evidence, brush, (&queries, &shown), width));
            grid(ui, evidence, brush, &queries, &shown);
        }
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(queries) = &evidence.queries else { return Vec::new() };
        let shown = Shown::new(app, queries);
        let (rows, columns) = evidence.grid;
        let mass = shown.maps.iter().map(|map| map.iter().sum()).collect();
        let mut arrays = vec![Numbers::new("attention_on_patches", [axis(queries)], mass)];
        if queries.patches() == rows * columns {
            let axes = [axis(queries), Axis::numbered("row", rows), Axis::numbered("column", columns)];
            arrays.push(Numbers::new("maps", axes, shown.maps.concat()));
        }
        if let Some(similar) = similar(app, queries) {
            let key = if queries.contrast.is_some() { "cosine" } else { "attention_of_word" };
            arrays.push(Numbers::new(key, [axis(queries)], similar.to_vec()));
        }
        if let Some((_, cosine)) = queries.contrast_score() {
            arrays.push(Numbers::single("highest_cosine", cosine));
        }
        if let Some((_, matching)) = &queries.matching {
            arrays.push(Numbers::single("matching", *matching));
        }
        arrays
    }
}

/// What comes out: whether the text fits, or what was written.
fn scores(ui: &mut Ui, brush: &Brush<'_>, queries: &Queries) {
    let palette = brush.palette();
    let large = |text: String| RichText::new(text).font(title_font(16.0)).color(palette.accent);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = LARGE_GAP;
        if let Some((_, matching)) = &queries.matching {
            ui.label(large(format!("{} {}", brush.say(texts::MATCHING), percent(*matching))));
        }
        if let Some((query, value)) = queries.contrast_score() {
            let value = format!("{} · {}", cosine(value), name(brush, query));
            let fact = fact(ui, brush, brush.say(querying::CONTRAST_SCORE), &value);
            ui.add(fact.extend());
        }
    });
    let written = crate::methods::written(&queries.written);
    if !written.is_empty() {
        ui.add(Label::new(large(written)).wrap());
    }
}

/// Leaves all queries out but one, or takes all back.
fn dropping(ui: &mut Ui, brush: &mut Brush<'_>, queries: &Queries) {
    let state = &brush.app.state.querying;
    let others = state.query.filter(|query| *query < queries.count).map(|query| queries.others(query));
    let (others, is_whole) = (others.filter(|others| *others != state.dropped), state.dropped.is_empty());
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
        if ui.add_enabled(others.is_some(), Button::new(brush.say(querying::DROP_OTHERS))).clicked()
            && let Some(others) = others
        {
            brush.commands.push(Command::DropQueries(others));
        }
        if ui.add_enabled(!is_whole, Button::new(brush.say(querying::TAKE_ALL_BACK))).clicked() {
            brush.commands.push(Command::DropQueries(Vec::new()));
        }
        let part = format!("{} / {} {}", queries.kept.len(), queries.count, brush.say(querying::TAKE_PART));
        ui.label(RichText::new(part).color(brush.palette().weak));
    });
}

/// One query large, and its facts.
fn large(ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>, (queries, shown): (&Queries, &Shown), width: f32) {
    let Some(place) = chosen(brush.app, queries) else { return };
    let (Some(query), Some(map)) = (queries.kept.get(place).copied(), shown.maps.get(place)) else { return };
    ui.spacing_mut().item_spacing.x = LARGE_GAP;
    let (outer, _) = ui.allocate_exact_size(vec2(width, width * shape(brush)), Sense::hover());
    let overlay = Overlay { values: map, top: shown.top_of(brush.app, map), signed: false, name: "query large" };
    let label = format!("{} {}", brush.say(texts::MAP_PICTURE), name(brush, query));
    if let Some(placed) = draw(ui, evidence, brush, overlay, outer) {
        interact(ui, evidence, brush, placed, overlay.name, &label);
    }
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = SMALL_GAP;
        ui.label(RichText::new(name(brush, query)).font(title_font(15.0)));
        let say = |ui: &mut Ui, name: &str, value: String| {
            let fact = fact(ui, brush, name, &value);
            ui.add(fact.wrap());
        };
        say(ui, brush.say(querying::ON_PATCHES), percent(map.iter().sum()));
        say(ui, brush.say(texts::ENTROPY), format!("{:.2} {}", entropy(map), brush.say(texts::BITS)));
        if let Some(value) = similar(brush.app, queries).and_then(|similar| similar.get(place)) {
            say(ui, &similarity_name(brush, evidence, queries), similarity_text(queries, *value));
        }
        if let Some(share) = queries.matching.as_ref().and_then(|(shares, _)| shares.get(place)) {
            say(ui, brush.say(querying::HOLDS), percent(*share));
        }
        if let Some(moved) = queries.moved.as_ref().and_then(|moved| moved.get(place)) {
            say(ui, brush.say(querying::MOVED), cosine(*moved));
        }
        let words = best_words(brush.app, queries, place).into_iter().take(NAMED);
        let words: Vec<String> = words.map(|(word, value)| format!("{} {}", word.trim(), cosine(value))).collect();
        if !words.is_empty() {
            say(ui, brush.say(querying::NEAREST), words.join(" · "));
        }
        ui.horizontal(|ui| scale(ui, brush, shown.top_of(brush.app, map)));
    });
}

/// How small maps stand: how many beside each other, and how wide each is.
fn arranged(space: Vec2, count: usize, shape: f32) -> (usize, f32) {
    let most_across = (((space.x + BETWEEN) / (LEAST + BETWEEN)) as usize).max(1);
    let width = |across: usize| ((space.x + BETWEEN) / across as f32 - BETWEEN).min(MOST);
    let fits = |across: &usize| {
        let rows = count.div_ceil(*across) as f32;
        (width(*across) * shape + FOOT + BETWEEN) * rows <= space.y
    };
    let across = (1..=most_across).find(fits).unwrap_or(most_across);
    (across, width(across).max(40.0).floor())
}

/// All queries as small maps, those that take no part at the end.
fn grid(ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>, queries: &Queries, shown: &Shown) {
    let app = brush.app;
    let cells = Cells { evidence, queries, shown, similar: similar(app, queries), winner: winner(app, queries) };
    legend(ui, evidence, brush, &cells);
    let off: Vec<usize> = (0..queries.count).filter(|query| queries.place_of(*query).is_none()).collect();
    let count = shown.order.len() + off.len();
    let space = ui.available_size() - Vec2::splat(8.0);
    let shape = shape(brush);
    let (across, width) = arranged(space, count.max(1), shape);
    let cell = vec2(width, width * shape + FOOT);
    let step = cell + Vec2::splat(BETWEEN);
    ScrollArea::vertical().id_salt("queries").auto_shrink(false).show(ui, |ui| {
        let rows = count.div_ceil(across) as f32;
        // Room for the lines around the outermost maps.
        let size = vec2(step.x * across as f32 - BETWEEN, step.y * rows - BETWEEN).max(Vec2::ZERO) + Vec2::splat(8.0);
        let (outer, _) = ui.allocate_exact_size(size, Sense::hover());
        let place_of = |at: usize| {
            let offset = vec2(step.x * (at % across) as f32, step.y * (at / across) as f32);
            Rect::from_min_size(outer.min + Vec2::splat(4.0) + offset, cell)
        };
        for (at, place) in shown.order.iter().enumerate() {
            cells.draw(ui, brush, *place, place_of(at));
        }
        for (at, query) in off.iter().enumerate() {
            draw_off(ui, brush, *query, place_of(shown.order.len() + at));
        }
    });
}

/// What stands beneath each map, and the mark of the one that wins.
fn legend(ui: &mut Ui, evidence: &Evidence, brush: &Brush<'_>, cells: &Cells<'_>) {
    let palette = brush.palette();
    let weak = |text: String| RichText::new(text).color(palette.weak).small();
    let similarity = similarity_name(brush, evidence, cells.queries);
    let hint = match cells.similar {
        Some(_) => format!("{} {} {similarity}", brush.say(querying::BENEATH), brush.say(querying::AND)),
        None => brush.say(querying::BENEATH).to_owned(),
    };
    ui.label(weak(hint));
    if cells.winner.is_some() {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            let (place, _) = ui.allocate_exact_size(Vec2::splat(MARK), Sense::hover());
            mark(ui.painter(), place.min, palette.accent, palette.card);
            ui.label(weak(format!("{} {similarity}", brush.say(querying::HIGHEST))));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_maps_fill_the_width_and_never_get_too_small() {
        for count in [1, 8, 32, 64] {
            for space in [vec2(300.0, 200.0), vec2(480.0, 420.0), vec2(900.0, 600.0), vec2(1500.0, 700.0)] {
                let (across, width) = arranged(space, count, 1.0);
                assert!((LEAST.floor()..=MOST).contains(&width), "{count} in {space:?}: {width}");
                assert!((width + BETWEEN) * across as f32 <= space.x + BETWEEN, "{count} in {space:?}");
            }
        }
        // Where there isn't even room for one.
        assert_eq!(arranged(vec2(10.0, 10.0), 8, 1.0), (1, 40.0));
    }
}
