//! Words against queries: how much each word that is written looks at each query, or how like each word is to it.

use egui::{RichText, ScrollArea, StrokeKind, Ui, Vec2, vec2};

use super::super::map_picture::{Overlay, plain};
use super::super::{Brush, View};
use super::table::{ENDS, Frame, head};
use super::{METHOD, axis, chosen, look, name, number_at, percent, query_step, scale, similarity_text};
use crate::app::{App, Command, Scale, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::queries::Queries;
use crate::ui::texts::{self, querying};
use crate::ui::theme::SMALL_GAP;

/// The view.
pub struct QueryWordsView;

/// Sizes of a cell.
const LEAST: Vec2 = vec2(15.0, 18.0);
const MOST: Vec2 = vec2(34.0, 30.0);
/// Room for the words before the rows.
const LABELS: f32 = 92.0;
/// Room for the scale beneath the matrix.
const SCALE: f32 = 28.0;

/// A row: a word of what was written, or of the sentence.
struct Row {
    name: String,
    step: Option<usize>,
    words: Option<(usize, usize)>,
    /// One a query that takes part, in the order of the checkpoint.
    values: Vec<f32>,
}

impl View for QueryWordsView {
    fn key(&self) -> &'static str {
        "query-words"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/query-words.en.md"),
            include_str!("../../../../assets/help/query-words.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(queries) = evidence.queries.clone() else { return };
        let palette = brush.palette();
        let hint = if queries.contrast.is_some() { querying::WORDS_BY_COSINE } else { querying::WORDS_BY_ATTENTION };
        ui.label(RichText::new(brush.say(hint)).color(palette.weak).small());
        let rows = rows(brush.app, &queries);
        if rows.is_empty() || queries.kept.is_empty() {
            let text = if queries.complete { querying::NO_ROWS } else { texts::WAITING };
            ui.label(RichText::new(brush.say(text)).color(palette.weak));
            return;
        }
        let state = &brush.app.state.querying;
        let order = queries.order(state.order, look(brush.app, &queries), query_step(brush.app, &queries));
        let columns: Vec<String> = order.iter().map(|place| number_at(&queries, *place)).collect();
        let space = ui.available_size();
        let height = (space.y - SCALE).max(80.0);
        let ends = if queries.contrast.is_some() { 0.0 } else { ENDS };
        let cell =
            vec2((space.x - LABELS - ends) / columns.len() as f32, (height - head(&columns)) / rows.len() as f32);
        let cell = cell.clamp(LEAST, MOST).floor();
        let top = rows.iter().flat_map(|row| &row.values).copied().fold(1e-9, f32::max);
        ScrollArea::both().id_salt("cells").max_height(height).auto_shrink([false, true]).show(ui, |ui| {
            matrix(ui, brush, &queries, &rows, (&order, &columns), (cell, top));
        });
        ui.add_space(SMALL_GAP);
        ui.horizontal(|ui| scale(ui, brush, top));
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(queries) = &evidence.queries else { return Vec::new() };
        let rows = rows(app, queries);
        let key = if queries.contrast.is_some() { "cosine" } else { "attention" };
        let axes = [Axis::labelled("word", rows.iter().map(|row| row.name.clone())), axis(queries)];
        vec![Numbers::new(key, axes, rows.into_iter().flat_map(|row| row.values).collect())]
    }
}

fn rows(app: &App, queries: &Queries) -> Vec<Row> {
    let count = queries.kept.len();
    let mut rows = Vec::new();
    if let Some(contrast) = &queries.contrast {
        for (span, cosines) in &contrast.words {
            let word = app.state.sentence.get(span.0..span.1).unwrap_or_default().trim().to_owned();
            rows.push(Row { name: word, step: None, words: Some(*span), values: cosines.clone() });
        }
    } else if let Some(all) = &queries.written_to_queries {
        for (at, (step, values)) in queries.written.iter().zip(all.chunks_exact(count.max(1))).enumerate() {
            let name = step.text.trim().to_owned();
            if !name.is_empty() {
                rows.push(Row { name, step: Some(at), words: step.span, values: values.to_vec() });
            }
        }
    }
    rows.retain(|row| row.values.len() == count);
    rows
}

fn matrix(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    queries: &Queries,
    rows: &[Row],
    (order, columns): (&[usize], &[String]),
    (cell, top): (Vec2, f32),
) {
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let by_cosine = queries.contrast.is_some();
    let ends: Vec<String> =
        if by_cosine { Vec::new() } else { rows.iter().map(|row| percent(row.values.iter().sum())).collect() };
    let count = columns.len();
    let frame = Frame { rows: &names, columns, count, ends: &ends, cell, labels: LABELS };
    let cells = frame.place(ui);
    let is_own = brush.app.state.map.scale == Scale::Own;
    let scaled = |row: &Row| {
        let own = row.values.iter().copied().fold(1e-9, f32::max);
        let top = if is_own { own } else { top };
        let value = |place: &usize| row.values.get(*place).copied().unwrap_or(0.0) / top;
        order.iter().map(value).collect::<Vec<f32>>()
    };
    let values: Vec<f32> = rows.iter().flat_map(scaled).collect();
    plain(
        ui,
        brush,
        Overlay { values: &values, top: 1.0, signed: false, name: "query words" },
        (rows.len(), count),
        cells,
    );
    let at = query_step(brush.app, queries);
    let selected = brush.app.state.selected.words;
    let is_chosen = |row: &Row| {
        if by_cosine { row.words.is_some() && row.words == selected } else { row.step == at }
    };
    let word = rows.iter().position(is_chosen);
    let place = chosen(brush.app, queries);
    let column = order.iter().position(|other| Some(*other) == place);
    frame.names(ui, brush, cells, (word, column));
    let painter = ui.painter().clone();
    if let Some(word) = word {
        let stroke = egui::Stroke::new(1.5, brush.palette().accent);
        painter.rect_stroke(frame.row(cells, word), 0.0, stroke, StrokeKind::Inside);
    }
    let query = |column: usize| order.get(column).and_then(|place| queries.kept.get(*place)).copied();
    for column in 0..count {
        if let Some(stroke) = query(column).and_then(|query| brush.outline(Thing::Query(query))) {
            painter.rect_stroke(frame.column(cells, column), 0.0, stroke, StrokeKind::Inside);
        }
    }
    let touch = frame.touch(ui, brush, cells, brush.say(querying::QUERY_WORDS), (word, column));
    match touch.over {
        Some((_, Some(column))) => {
            if let Some(query) = query(column) {
                brush.hover(Thing::Query(query));
            }
        }
        Some((row, None)) => {
            if let Some((start, end)) = rows.get(row).and_then(|row| row.words) {
                brush.hover(Thing::Words(start, end));
            }
        }
        None => {}
    }
    if let Some((row, column)) = touch.taken
        && let Some(row) = rows.get(row)
    {
        brush.commands.extend(match (column.and_then(query), row.step, row.words) {
            (Some(query), step, words) => Some(Command::SelectQueryWith { query, patch: None, step, words }),
            (None, Some(step), _) => Some(Command::SelectStep(Some(step))),
            (None, None, Some((start, end))) => Some(Command::SelectWords { start, end, extend: false }),
            (None, None, None) => None,
        });
    }
    if let Some((row, Some(column))) = touch.over
        && let (Some(row), Some(query), Some(place)) = (rows.get(row), query(column), order.get(column))
    {
        let value = row.values.get(*place).copied().unwrap_or(0.0);
        let facts = format!("“{}” → {}\n{}", row.name, name(brush, query), similarity_text(queries, value));
        touch.response.on_hover_text_at_pointer(facts);
    }
}
