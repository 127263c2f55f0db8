//! The three masks of a querying transformer: who of queries and words may see whom, and for which loss.

use egui::{Button, Id, Rect, RichText, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2, vec2};

use super::super::{Brush, View};
use super::table::{Frame, head};
use super::{METHOD, name};
use crate::app::state::MaskName;
use crate::app::{App, Command, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::models::q_former::{QFormerMask, allowed};
use crate::ui::catalogue::mask_text;
use crate::ui::texts::{self, Text, querying};
use crate::ui::theme::{GAP, LARGE_GAP, SMALL_GAP, title_font};

/// The view.
pub struct QueryMasksView;

/// Sides of a cell.
const LEAST: f32 = 12.0;
const MOST: f32 = 46.0;
/// Room for the names before the rows.
const LABELS: f32 = 66.0;
/// Room for the sentences beneath the picture.
const SENTENCES: f32 = 96.0;
/// Queries of the example, where the evidence has no words.
const QUERIES: usize = 4;
/// Seconds for which each row is shown while it plays.
const PACE: f64 = 0.8;

/// Who stands in the picture: queries first, then words.
struct Positions {
    /// The queries, as numbered in the checkpoint.
    queries: Vec<usize>,
    words: Vec<String>,
}

impl Positions {
    /// Those of the evidence, or an example where it has none.
    fn new(app: &App, evidence: &Evidence) -> Self {
        let queries =
            evidence.queries.as_ref().filter(|queries| !queries.kept.is_empty() && !queries.tokens.is_empty());
        match queries {
            Some(queries) => Self {
                queries: queries.kept.clone(),
                words: queries.tokens.iter().map(|token| token.trim().to_owned()).collect(),
            },
            None => {
                let example = texts::say(app.state.look.language, querying::MASK_EXAMPLE.0);
                Self { queries: (0..QUERIES).collect(), words: example.split_whitespace().map(str::to_owned).collect() }
            }
        }
    }

    fn count(&self) -> usize {
        self.queries.len() + self.words.len()
    }

    /// Numbers of queries and words, as they stand at the sides.
    fn names(&self) -> Vec<String> {
        let numbers = self.queries.iter().map(|query| (query + 1).to_string());
        numbers.chain(self.words.iter().cloned()).collect()
    }

    /// Who may see whom, row by row.
    fn allowed(&self, mask: MaskName) -> Vec<bool> {
        let mask = match mask {
            MaskName::Contrast => QFormerMask::Unimodal,
            MaskName::Matching => QFormerMask::Bidirectional,
            MaskName::Generation => QFormerMask::Causal,
        };
        allowed(mask, self.queries.len(), self.words.len())
    }
}

impl View for QueryMasksView {
    fn key(&self) -> &'static str {
        "query-masks"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/query-masks.en.md"),
            include_str!("../../../../assets/help/query-masks.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let palette = brush.palette();
        let positions = Positions::new(brush.app, evidence);
        let count = positions.count();
        if count == 0 {
            return;
        }
        let mask = brush.app.state.querying.mask;
        let play = ui.scope_id().with("play");
        let at = playing(ui, play, count);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(SMALL_GAP, SMALL_GAP);
            for other in MaskName::ALL {
                if ui.add(Button::selectable(mask == other, brush.say(mask_text(other)))).clicked() {
                    brush.commands.push(Command::SetMask(other));
                }
            }
            ui.add_space(GAP);
            let text = if at.is_some() { querying::STOP } else { querying::PLAY };
            if ui.button(brush.say(text)).clicked() {
                start_or_stop(ui, play, at.is_some());
            }
        });
        ui.label(RichText::new(brush.say(loss_text(mask))).color(palette.text));
        let names = positions.names();
        let space = ui.available_size();
        let height = (space.y - SENTENCES).max(80.0);
        let room = vec2(space.x - LABELS, height - head(&names));
        let side = (room.min_elem() / count as f32).clamp(LEAST, MOST).floor();
        let mut pointed = None;
        ScrollArea::both().id_salt("cells").max_height(height).auto_shrink([false, true]).show(ui, |ui| {
            pointed = cells(ui, brush, &positions, &names, (mask, at), side);
        });
        ui.add_space(GAP);
        // The row that plays, else the one under the pointer.
        let text = match at.or(pointed) {
            Some(row) => sentence(brush, &positions, mask, row),
            None => brush.say(querying::MASK_HINT).to_owned(),
        };
        ui.label(RichText::new(text).font(title_font(14.0)).color(palette.accent));
        legend(ui, brush);
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let positions = Positions::new(app, evidence);
        let one = |mask: MaskName, name: &str| {
            let axes = [Axis::labelled("from", positions.names()), Axis::labelled("to", positions.names())];
            let values = positions.allowed(mask).into_iter().map(|seen| f32::from(u8::from(seen))).collect();
            Numbers::new(name, axes, values)
        };
        vec![
            one(MaskName::Contrast, "contrast"),
            one(MaskName::Matching, "matching"),
            one(MaskName::Generation, "generation"),
        ]
    }
}

/// The row that plays now, if one does; asks for the next frame only then, so that all else stays still.
fn playing(ui: &Ui, play: Id, count: usize) -> Option<usize> {
    let began: f64 = ui.ctx().data(|data| data.get_temp(play))?;
    let passed = (ui.input(|input| input.time) - began).max(0.0);
    let row = (passed / PACE) as usize;
    if row >= count {
        ui.ctx().data_mut(|data| data.remove::<f64>(play));
        return None;
    }
    let left = PACE - passed % PACE;
    ui.ctx().request_repaint_after_secs(left as f32);
    Some(row)
}

fn start_or_stop(ui: &Ui, play: Id, is_playing: bool) {
    let now = ui.input(|input| input.time);
    ui.ctx().data_mut(|data| {
        if is_playing {
            data.remove::<f64>(play);
        } else {
            data.insert_temp(play, now);
        }
    });
    ui.ctx().request_repaint();
}

/// Draws who may see whom; gives the row under the pointer.
fn cells(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    positions: &Positions,
    names: &[String],
    (mask, at): (MaskName, Option<usize>),
    side: f32,
) -> Option<usize> {
    let palette = brush.palette();
    let (count, first_word) = (positions.count(), positions.queries.len());
    let allowed = positions.allowed(mask);
    let frame = Frame { rows: names, columns: names, count, ends: &[], cell: Vec2::splat(side), labels: LABELS };
    let cells = frame.place(ui);
    let selected = brush.app.state.querying.query;
    let selected = positions.queries.iter().position(|query| Some(*query) == selected);
    frame.names(ui, brush, cells, (at.or(selected), None));
    let painter = ui.painter().clone();
    for (place, seen) in allowed.iter().enumerate() {
        let (row, column) = (place / count, place % count);
        let corner = cells.min + vec2(side * column as f32, side * row as f32);
        let cell = Rect::from_min_size(corner, Vec2::splat(side)).shrink((side * 0.07).max(1.0));
        // Queries and words that are seen have colours of their own; what isn't seen is hollow.
        let colour = if column < first_word { palette.accent } else { palette.second };
        let is_ahead = at.is_some_and(|at| row > at);
        if *seen && !is_ahead {
            painter.rect_filled(cell, 2.0, colour);
        } else {
            painter.rect_stroke(cell, 2.0, Stroke::new(1.0, palette.line), StrokeKind::Inside);
        }
    }
    if first_word > 0 && first_word < count {
        let line = Stroke::new(2.0, palette.weak);
        let corner = cells.min + Vec2::splat(side * first_word as f32);
        painter.hline(cells.left() - LABELS * 0.5..=cells.right(), corner.y, line);
        painter.vline(corner.x, cells.top() - 10.0..=cells.bottom(), line);
    }
    if let Some(row) = at {
        let stroke = Stroke::new(2.0, palette.strong);
        painter.rect_stroke(frame.row(cells, row), 2.0, stroke, StrokeKind::Outside);
    }
    for (row, query) in positions.queries.iter().enumerate() {
        if let Some(stroke) = brush.outline(Thing::Query(*query)) {
            painter.rect_stroke(frame.row(cells, row), 2.0, stroke, StrokeKind::Outside);
        }
    }
    let touch = frame.touch(ui, brush, cells, brush.say(querying::MASK_OF), (selected, None));
    let query_of = |row: usize| positions.queries.get(row).copied();
    let row = touch.over.map(|(row, _)| row);
    if let Some(query) = row.and_then(query_of) {
        brush.hover(Thing::Query(query));
    }
    if let Some(query) = touch.taken.and_then(|(row, _)| query_of(row)) {
        brush.commands.push(Command::SelectQuery(Some(query)));
    }
    row
}

/// What each loss is for.
fn loss_text(mask: MaskName) -> Text {
    match mask {
        MaskName::Contrast => querying::CONTRAST_LOSS,
        MaskName::Matching => querying::MATCHING_LOSS,
        MaskName::Generation => querying::GENERATION_LOSS,
    }
}

/// Who one of them sees, in a sentence.
fn sentence(brush: &Brush<'_>, positions: &Positions, mask: MaskName, row: usize) -> String {
    let first_word = positions.queries.len();
    let who = match positions.queries.get(row) {
        Some(query) => name(brush, *query),
        None => format!("“{}”", positions.words.get(row - first_word).map_or("", String::as_str)),
    };
    let sees = match (mask, row < first_word) {
        (MaskName::Contrast | MaskName::Generation, true) => querying::SEES_QUERIES,
        (MaskName::Contrast, false) => querying::SEES_WORDS,
        (MaskName::Matching, _) => querying::SEES_ALL,
        (MaskName::Generation, false) => querying::SEES_BEFORE,
    };
    format!("{who} {}", brush.say(sees))
}

/// What filled and hollow cells mean.
fn legend(ui: &mut Ui, brush: &Brush<'_>) {
    let palette = brush.palette();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(6.0, SMALL_GAP);
        let signs = [
            (Some(palette.accent), querying::SEES_A_QUERY),
            (Some(palette.second), querying::SEES_A_WORD),
            (None, querying::SEES_NOT),
        ];
        for (fill, text) in signs {
            let (rect, _) = ui.allocate_exact_size(vec2(12.0, 12.0), Sense::hover());
            match fill {
                Some(fill) => ui.painter().rect_filled(rect, 2.0, fill),
                None => ui.painter().rect_stroke(rect, 2.0, Stroke::new(1.0, palette.weak), StrokeKind::Inside),
            };
            ui.label(RichText::new(brush.say(text)).color(palette.weak).small());
            ui.add_space(LARGE_GAP);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_generated_text_see_what_is_before_them() {
        let words = ["a", "cat"].map(str::to_owned).to_vec();
        let positions = Positions { queries: vec![0, 3], words };
        assert_eq!(positions.names(), ["1", "4", "a", "cat"]);
        let seen = positions.allowed(MaskName::Generation);
        assert_eq!(seen[8..12], [true, true, true, false]);
        assert_eq!(positions.allowed(MaskName::Contrast)[..4], [true, true, false, false]);
        assert!(positions.allowed(MaskName::Matching).into_iter().all(|seen| seen));
    }
}
