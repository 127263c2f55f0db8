//! Both directions at once: a row for each word, a column for each patch; and for the chosen patch the words that ask for it.

use egui::{Align2, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::super::map_picture::{Overlay, plain};
use super::super::{Brush, View, bar, number};
use super::{Of, is_word, map_of, name, weightings};
use crate::app::{App, Command, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::reading::{LineKind, Reading};
use crate::ui::texts;
use crate::ui::theme::GAP;

/// The view.
pub struct WordPatchesView(pub Of);

/// Room for the words beside the matrix.
const LABELS: f32 = 96.0;

/// A row: the step counted over all texts, its name, its span, its map.
struct Row {
    step: usize,
    name: String,
    span: Option<(usize, usize)>,
    map: Vec<f32>,
}

impl View for WordPatchesView {
    fn key(&self) -> &'static str {
        self.0.pick("word-patches", "row-patches")
    }

    fn method(&self) -> &'static str {
        self.0.method()
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/word-patches.en.md"),
            include_str!("../../../../assets/help/word-patches.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(reading) = evidence.reading.clone() else { return };
        weightings(ui, brush);
        let rows = rows(brush.app, &reading);
        let patches = rows.first().map_or(0, |row| row.map.len());
        if patches == 0 {
            return;
        }
        let patch = match brush.app.hovered {
            Some(Thing::Patch(patch)) => Some(patch),
            _ => brush.app.state.selected.patch,
        };
        let space = ui.available_size();
        let share = if space.y > 260.0 { 0.62 } else { 1.0 };
        matrix(ui, brush, &rows, patches, space.y * share, patch);
        if share < 1.0 {
            ui.add_space(GAP);
            askers(ui, brush, evidence, &rows, patch);
        }
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(reading) = &evidence.reading else { return Vec::new() };
        let rows = rows(app, reading);
        let patches = rows.first().map_or(0, |row| row.map.len());
        let axes = [Axis::labelled("word", rows.iter().map(|row| row.name.clone())), Axis::numbered("patch", patches)];
        vec![Numbers::new("maps", axes, rows.into_iter().flat_map(|row| row.map).collect())]
    }
}

fn rows(app: &App, reading: &Reading) -> Vec<Row> {
    let weighting = app.state.fusion.weighting;
    let mut rows = Vec::new();
    for (step, (which, at, of)) in reading.steps().enumerate() {
        let line = &reading.lines[which];
        if !is_word(of) || line.kind == LineKind::Written && !of.is_written {
            continue;
        }
        if let Some(map) = map_of(app, reading, line, at, weighting) {
            rows.push(Row { step, name: name(of).to_owned(), span: of.span, map });
        }
    }
    let longest = rows.iter().map(|row| row.map.len()).max().unwrap_or(0);
    rows.retain(|row| row.map.len() == longest);
    rows
}

fn matrix(ui: &mut Ui, brush: &mut Brush<'_>, rows: &[Row], patches: usize, height: f32, patch: Option<usize>) {
    let palette = brush.palette();
    let width = (ui.available_width() - LABELS).max(60.0);
    let line = (height / rows.len().max(1) as f32).clamp(8.0, 26.0);
    ScrollArea::vertical().id_salt("matrix").max_height(height).auto_shrink(false).show(ui, |ui| {
        let (outer, _) = ui.allocate_exact_size(vec2(LABELS + width, line * rows.len() as f32), Sense::hover());
        let cells = Rect::from_min_max(pos2(outer.left() + LABELS, outer.top()), outer.max);
        let values: Vec<f32> = rows.iter().flat_map(|row| row.map.iter().copied()).collect();
        let top = values.iter().copied().fold(1e-9, f32::max);
        plain(
            ui,
            brush,
            Overlay { values: &values, top, signed: false, name: "word patches" },
            (rows.len(), patches),
            cells,
        );
        let response = ui.interact(cells, ui.scope_id().with("cells"), Sense::click());
        let label = brush.say(texts::WORD_PATCHES);
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, label));
        let chosen = brush.app.evidence.as_ref().and_then(|evidence| evidence.reading.clone());
        let chosen = chosen.and_then(|reading| brush.app.step(&reading));
        let painter = ui.painter().clone();
        let small = egui::FontId::proportional(egui::TextStyle::Small.resolve(ui.style()).size.min(line));
        for (at, row) in rows.iter().enumerate() {
            let middle = cells.top() + line * (at as f32 + 0.5);
            let is_chosen = chosen == Some(row.step);
            let colour = if is_chosen { palette.accent } else { palette.text };
            painter.text(pos2(cells.left() - 6.0, middle), Align2::RIGHT_CENTER, &row.name, small.clone(), colour);
            if is_chosen {
                let rect = Rect::from_min_size(pos2(cells.left(), cells.top() + line * at as f32), vec2(width, line));
                painter.rect_stroke(rect, 0.0, Stroke::new(1.5, palette.accent), StrokeKind::Inside);
            }
        }
        if let Some(patch) = patch.filter(|patch| *patch < patches) {
            let step = cells.width() / patches as f32;
            let rect = Rect::from_min_size(
                pos2(cells.left() + step * patch as f32, cells.top()),
                vec2(step.max(2.0), cells.height()),
            );
            painter.rect_stroke(rect, 0.0, Stroke::new(1.5, palette.strong), StrokeKind::Outside);
        }
        let pointed = super::super::parts::pointed(&response).map(|pointer| {
            let row = ((pointer.y - cells.top()) / line) as usize;
            let patch = ((pointer.x - cells.left()) / cells.width() * patches as f32) as usize;
            (row.min(rows.len() - 1), patch.min(patches - 1))
        });
        let Some((row, patch)) = pointed else { return };
        brush.hover(Thing::Patch(patch));
        let row = &rows[row];
        if response.clicked() {
            brush.commands.push(Command::SelectLook { step: row.step, words: row.span, patch: Some(patch) });
        }
        response.on_hover_text_at_pointer(format!("{}  {}", row.name, number(row.map[patch])));
    });
}

/// The words that ask for a patch, the strongest first.
fn askers(ui: &mut Ui, brush: &mut Brush<'_>, evidence: &Evidence, rows: &[Row], patch: Option<usize>) {
    let palette = brush.palette();
    let Some(patch) = patch else {
        ui.label(RichText::new(brush.say(texts::WHO_ASKS_HINT)).color(palette.weak).small());
        return;
    };
    let columns = evidence.grid.1.max(1);
    let name = format!(
        "{} {} · {}: {}",
        brush.say(texts::PATCH),
        patch / columns + 1,
        patch % columns + 1,
        brush.say(texts::WHO_ASKS)
    );
    ui.label(RichText::new(name).strong());
    let mut ranked: Vec<(&Row, f32)> = rows.iter().filter_map(|row| Some((row, *row.map.get(patch)?))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top = ranked.first().map_or(1e-9, |(_, value)| value.max(1e-9));
    ScrollArea::vertical().id_salt("askers").auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 4.0;
        for (row, value) in ranked {
            let response = bar(ui, brush, &row.name, value / top, &number(value), false);
            if response.clicked() {
                brush.commands.push(Command::SelectLook { step: row.step, words: row.span, patch: None });
            }
        }
    });
}
