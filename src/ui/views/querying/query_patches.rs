//! Both directions at once: a row for each query, a column for each patch; and how much of the picture all queries see.

use egui::{RichText, ScrollArea, Stroke, StrokeKind, Ui, Vec2, vec2};

use super::super::map_picture::{Overlay, plain};
use super::super::parts::fact;
use super::super::{Brush, View, number};
use super::table::{ENDS, Frame};
use super::{METHOD, Shown, axis, choices, chosen, name, number_at, percent, scale};
use crate::app::{App, Command, Scale, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::queries::Queries;
use crate::methods::queries::figures::Figures;
use crate::ui::texts::{self, querying};
use crate::ui::theme::{LARGE_GAP, SMALL_GAP};

/// The view.
pub struct QueryPatchesView;

/// Heights of a row.
const LEAST: f32 = 12.0;
const MOST: f32 = 24.0;
/// Room for the numbers of the queries.
const LABELS: f32 = 34.0;
/// Room for what stands beneath the matrix.
const FIGURES: f32 = 78.0;

impl View for QueryPatchesView {
    fn key(&self) -> &'static str {
        "query-patches"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/query-patches.en.md"),
            include_str!("../../../../assets/help/query-patches.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(queries) = evidence.queries.clone() else { return };
        choices(ui, brush, &queries);
        ui.label(RichText::new(brush.say(querying::QUERY_PATCHES_HINT)).color(brush.palette().weak).small());
        let shown = Shown::new(brush.app, &queries);
        let (rows, patches) = (shown.order.len(), queries.patches());
        if rows == 0 || patches == 0 {
            return;
        }
        let space = ui.available_size();
        let height = (space.y - FIGURES).max(80.0);
        let line = (height / rows as f32).clamp(LEAST, MOST).floor();
        // A patch is never narrower than a point; where there are more, they are scrolled over.
        let cell = vec2(((space.x - LABELS - ENDS) / patches as f32).max(1.0), line);
        ScrollArea::both().id_salt("cells").max_height(height).auto_shrink([false, true]).show(ui, |ui| {
            matrix(ui, evidence, brush, &queries, &shown, cell);
        });
        ui.add_space(SMALL_GAP);
        ui.horizontal(|ui| scale(ui, brush, shown.top));
        figures(ui, brush, &shown);
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(queries) = &evidence.queries else { return Vec::new() };
        let shown = Shown::new(app, queries);
        let axes = [axis(queries), Axis::numbered("patch", queries.patches())];
        let mass = shown.maps.iter().map(|map| map.iter().sum()).collect();
        let mut arrays = vec![
            Numbers::new("maps", axes, shown.maps.concat()),
            Numbers::new("attention_on_patches", [axis(queries)], mass),
        ];
        if let Some(figures) = Figures::of(&shown.maps) {
            arrays.push(Numbers::single("coverage", figures.coverage));
            arrays.push(Numbers::single("mean_entropy_bits", figures.entropy));
            arrays.extend(figures.overlap.map(|overlap| Numbers::single("mean_overlap", overlap)));
            arrays.push(Numbers::single("effective_rank", figures.rank));
        }
        arrays
    }
}

fn matrix(ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>, queries: &Queries, shown: &Shown, cell: Vec2) {
    let palette = brush.palette();
    let patches = queries.patches();
    let map = |row: usize| shown.order.get(row).and_then(|place| shown.maps.get(*place));
    let query = |row: usize| shown.order.get(row).and_then(|place| queries.kept.get(*place)).copied();
    let names: Vec<String> = shown.order.iter().map(|place| number_at(queries, *place)).collect();
    let maps = || (0..shown.order.len()).filter_map(map);
    let ends: Vec<String> = maps().map(|map| percent(map.iter().sum())).collect();
    let frame = Frame { rows: &names, columns: &[], count: patches, ends: &ends, cell, labels: LABELS };
    let cells = frame.place(ui);
    let is_own = brush.app.state.map.scale == Scale::Own;
    // On its own scale each row is measured against its highest value.
    let scaled = |map: &Vec<f32>| {
        let top = if is_own { shown.top_of(brush.app, map) } else { 1.0 };
        map.iter().map(|value| value / top).collect::<Vec<f32>>()
    };
    let values: Vec<f32> = maps().flat_map(scaled).collect();
    let top = if is_own { 1.0 } else { shown.top };
    let size = (shown.order.len(), patches);
    plain(ui, brush, Overlay { values: &values, top, signed: false, name: "query patches" }, size, cells);
    let large = chosen(brush.app, queries).and_then(|place| shown.order.iter().position(|other| *other == place));
    let patch = match brush.app.hovered {
        Some(Thing::Patch(patch)) => Some(patch),
        _ => brush.app.state.selected.patch,
    };
    let patch = patch.filter(|patch| *patch < patches);
    frame.names(ui, brush, cells, (large, None));
    let painter = ui.painter().clone();
    for row in 0..shown.order.len() {
        if let Some(stroke) = query(row).and_then(|query| brush.outline(Thing::Query(query))) {
            painter.rect_stroke(frame.row(cells, row), 0.0, stroke, StrokeKind::Inside);
        }
    }
    if let Some(patch) = patch {
        let column = frame.column(cells, patch);
        painter.rect_stroke(column, 0.0, Stroke::new(1.5, palette.strong), StrokeKind::Outside);
    }
    let touch = frame.touch(ui, brush, cells, brush.say(querying::QUERY_PATCHES), (large, patch));
    match touch.over {
        Some((_, Some(patch))) => brush.hover(Thing::Patch(patch)),
        Some((row, None)) => {
            if let Some(query) = query(row) {
                brush.hover(Thing::Query(query));
            }
        }
        None => {}
    }
    if let Some((row, column)) = touch.taken
        && let Some(query) = query(row)
    {
        brush.commands.push(Command::SelectQueryWith { query, patch: column, step: None, words: None });
    }
    if let Some((row, Some(column))) = touch.over
        && let (Some(query), Some(value)) = (query(row), map(row).and_then(|map| map.get(column)))
    {
        let columns = evidence.grid.1.max(1);
        let patch = format!("{} {} · {}", brush.say(texts::PATCH), column / columns + 1, column % columns + 1);
        touch.response.on_hover_text_at_pointer(format!("{} → {patch}\n{}", name(brush, query), number(*value)));
    }
}

/// How much of the picture all queries see, and how different they are.
fn figures(ui: &mut Ui, brush: &Brush<'_>, shown: &Shown) {
    let Some(figures) = Figures::of(&shown.maps) else { return };
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(LARGE_GAP, SMALL_GAP);
        let overlap = figures.overlap.map_or_else(|| "–".to_owned(), |overlap| format!("{overlap:.2}"));
        let facts = [
            (querying::COVERAGE, querying::COVERAGE_HINT, percent(figures.coverage)),
            (
                querying::MEAN_ENTROPY,
                querying::MEAN_ENTROPY_HINT,
                format!("{:.2} {}", figures.entropy, brush.say(texts::BITS)),
            ),
            (querying::OVERLAP, querying::OVERLAP_HINT, overlap),
            (querying::RANK, querying::RANK_HINT, format!("{:.1} / {}", figures.rank, shown.maps.len())),
        ];
        for (text, hint, value) in facts {
            let fact = fact(ui, brush, brush.say(text), &value);
            ui.add(fact.extend()).on_hover_text(brush.say(hint));
        }
    });
}
