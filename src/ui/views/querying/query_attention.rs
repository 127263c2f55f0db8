//! Attention of queries and words among themselves.

use egui::{RichText, ScrollArea, Stroke, StrokeKind, Ui, Vec2, vec2};

use super::super::map_picture::{Overlay, plain};
use super::super::parts::fact;
use super::super::{Brush, View, number};
use super::table::{Frame, head};
use super::{METHOD, look, name, percent, pick, scale};
use crate::app::{App, Command, Scale, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::queries::{Queries, QueryLook};
use crate::ui::texts::{self, querying};
use crate::ui::theme::{LARGE_GAP, SMALL_GAP};

/// The view.
pub struct QueryAttentionView;

/// Sides of a cell.
const LEAST: f32 = 10.0;
const MOST: f32 = 34.0;
/// Room for the names before the rows.
const LABELS: f32 = 66.0;
/// Room for what stands beneath the matrix.
const FACTS: f32 = 72.0;

impl View for QueryAttentionView {
    fn key(&self) -> &'static str {
        "query-attention"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/query-attention.en.md"),
            include_str!("../../../../assets/help/query-attention.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(queries) = evidence.queries.clone() else { return };
        let palette = brush.palette();
        let asked = asked(brush.app, &queries);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(SMALL_GAP, SMALL_GAP);
            let blocks: Vec<usize> = (1..=queries.depth).collect();
            pick(ui, brush, querying::A_BLOCK, &blocks, asked.0, Command::SetQueryBlock);
            let heads: Vec<usize> = (1..=queries.heads).collect();
            let look = look(brush.app, &queries);
            let with_head = |head: Option<usize>| Command::SetQueryLook(QueryLook { head, ..look });
            pick(ui, brush, querying::A_HEAD, &heads, asked.1, with_head);
        });
        let hint = if queries.tokens.is_empty() { querying::NO_WORDS } else { querying::AMONG_HINT };
        ui.label(RichText::new(brush.say(hint)).color(palette.weak).small());
        let Some(values) = queries.among(asked.0, asked.1) else {
            let text = if queries.complete { querying::NOT_KEPT } else { texts::WAITING };
            ui.label(RichText::new(brush.say(text)).color(palette.weak));
            return;
        };
        let names = positions(&queries);
        let count = names.len().max(1) as f32;
        let space = ui.available_size();
        let height = (space.y - FACTS).max(80.0);
        let side = ((space.x - LABELS) / count).min((height - head(&names)) / count).clamp(LEAST, MOST).floor();
        let top = top_of(brush.app, &queries, asked, &values);
        ScrollArea::both().id_salt("cells").max_height(height).auto_shrink([false, true]).show(ui, |ui| {
            matrix(ui, brush, &queries, &names, (&values, top), side);
        });
        ui.add_space(SMALL_GAP);
        ui.horizontal(|ui| scale(ui, brush, top));
        shares(ui, brush, &queries, &values);
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(queries) = &evidence.queries else { return Vec::new() };
        let (block, head) = asked(app, queries);
        let Some(values) = queries.among(block, head) else { return Vec::new() };
        let names = positions(queries);
        let axes = [Axis::labelled("from", names.clone()), Axis::labelled("to", names)];
        let mut arrays = vec![Numbers::new("attention", axes, values.clone())];
        for (from, to, share) in parts(queries, &values) {
            let key = |is_query: bool| if is_query { "queries" } else { "words" };
            arrays.push(Numbers::single(format!("{}_to_{}", key(from), key(to)), share));
        }
        arrays
    }
}

/// The block and the head, as far as this model has them.
fn asked(app: &App, queries: &Queries) -> (Option<usize>, Option<usize>) {
    (app.state.querying.block.filter(|block| *block < queries.depth), look(app, queries).head)
}

/// The names of all positions: numbers of queries, then words.
fn positions(queries: &Queries) -> Vec<String> {
    let numbers = queries.kept.iter().map(|query| (query + 1).to_string());
    numbers.chain(queries.tokens.iter().map(|token| token.trim().to_owned())).collect()
}

/// The value with the brightest colour: the highest of all blocks and heads that could be chosen instead, or of the chosen
/// ones.
fn top_of(app: &App, queries: &Queries, (block, head): (Option<usize>, Option<usize>), own: &[f32]) -> f32 {
    let highest = |values: &[f32]| values.iter().copied().fold(1e-9, f32::max);
    if app.state.map.scale == Scale::Own {
        return highest(own);
    }
    let each = |chosen: Option<usize>, count: usize| -> Vec<Option<usize>> {
        if chosen.is_some() { (0..count).map(Some).collect() } else { vec![None] }
    };
    let mut top = highest(own);
    for block in each(block, queries.depth) {
        for head in each(head, queries.heads) {
            top = queries.among(block, head).map_or(top, |values| top.max(highest(&values)));
        }
    }
    top
}

fn matrix(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    queries: &Queries,
    names: &[String],
    (values, top): (&[f32], f32),
    side: f32,
) {
    let palette = brush.palette();
    let (count, first_word) = (names.len(), queries.kept.len());
    let cell = Vec2::splat(side);
    let frame = Frame { rows: names, columns: names, count, ends: &[], cell, labels: LABELS };
    let cells = frame.place(ui);
    plain(ui, brush, Overlay { values, top, signed: false, name: "query attention" }, (count, count), cells);
    let selected = brush.app.state.querying.query.and_then(|query| queries.place_of(query));
    frame.names(ui, brush, cells, (selected, selected));
    let painter = ui.painter().clone();
    for (row, query) in queries.kept.iter().enumerate() {
        if let Some(stroke) = brush.outline(Thing::Query(*query)) {
            painter.rect_stroke(frame.row(cells, row), 0.0, stroke, StrokeKind::Inside);
            painter.rect_stroke(frame.column(cells, row), 0.0, Stroke::new(1.0, stroke.color), StrokeKind::Inside);
        }
    }
    if first_word < count {
        // Between queries and words.
        let corner = cells.min + Vec2::splat(side * first_word as f32);
        let line = Stroke::new(2.0, palette.second);
        painter.hline(cells.left() - LABELS * 0.5..=cells.right(), corner.y, line);
        painter.vline(corner.x, cells.top() - 10.0..=cells.bottom(), line);
    }
    let touch = frame.touch(ui, brush, cells, brush.say(querying::AMONG), (selected, selected));
    let query_of = |at: usize| queries.kept.get(at).copied();
    if let Some((row, column)) = touch.over
        && let Some(query) = query_of(row).or_else(|| query_of(column?))
    {
        brush.hover(Thing::Query(query));
    }
    if let Some((row, column)) = touch.taken
        && let Some(query) = query_of(row).or_else(|| query_of(column?))
    {
        brush.commands.push(Command::SelectQuery(Some(query)));
    }
    if let Some((row, Some(column))) = touch.over
        && let Some(value) = values.get(row * count + column)
    {
        let called = |at: usize| match query_of(at) {
            Some(query) => name(brush, query),
            None => names.get(at).map_or_else(String::new, |word| format!("“{word}”")),
        };
        let facts = format!("{} → {}\n{}", called(row), called(column), number(*value));
        touch.response.on_hover_text_at_pointer(facts);
    }
}

/// How much of their attention queries and words give to queries and words, as (from queries, to queries, share).
fn parts(queries: &Queries, values: &[f32]) -> Vec<(bool, bool, f32)> {
    let (count, first_word) = (queries.positions(), queries.kept.len());
    let mut parts = Vec::new();
    for from in [true, false] {
        for to in [true, false] {
            let is_meant = |at: usize, is_query: bool| (at < first_word) == is_query;
            let rows = (0..count).filter(|row| is_meant(*row, from)).count();
            let cells =
                values.iter().enumerate().filter(|(at, _)| is_meant(at / count, from) && is_meant(at % count, to));
            let sum: f32 = cells.map(|(_, value)| value).sum();
            if rows > 0 {
                parts.push((from, to, sum / rows as f32));
            }
        }
    }
    parts
}

/// These shares as facts; without words there is nothing to tell apart.
fn shares(ui: &mut Ui, brush: &Brush<'_>, queries: &Queries, values: &[f32]) {
    if queries.tokens.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(LARGE_GAP, SMALL_GAP);
        let called = |is_query: bool| brush.say(if is_query { querying::QUERIES } else { querying::WORDS });
        for (from, to, share) in parts(queries, values) {
            let name = format!("{} → {}", called(from), called(to));
            let fact = fact(ui, brush, &name, &percent(share));
            ui.add(fact.extend());
        }
    });
}
