//! What each column takes: vectors, parameters, operations, memory, time; as a table whose cells are bars.

use egui::{Align2, Rect, RichText, ScrollArea, Sense, Ui, WidgetInfo, pos2, vec2};

use super::side_by_side::array_name;
use super::{Brush, View, number};
use crate::app::layout::SIDE_BY_SIDE;
use crate::app::{App, ColumnKey};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::cost::PictureCost;
use crate::ui::texts::{Text, ledger};
use crate::ui::theme::{GAP, SMALL_GAP, title_font};

/// The view.
pub struct LedgerView;

/// Height of a row, in points.
const ROW: f32 = 34.0;
/// Width of the names, in points.
const NAMES: f32 = 150.0;

/// One line of the table: its key for files, its name, and its value.
struct Line {
    key: &'static str,
    name: Text,
    value: fn(&PictureCost, usize) -> f32,
    written: fn(f32) -> String,
}

const LINES: &[Line] = &[
    Line { key: "text_tokens", name: ledger::TOKENS, value: |_, tokens| tokens as f32, written: whole },
    Line { key: "vectors_met", name: ledger::VECTORS, value: |cost, _| cost.vectors as f32, written: whole },
    Line { key: "numbers_of_each", name: ledger::WIDTH, value: |cost, _| cost.width as f32, written: whole },
    Line { key: "trained", name: ledger::TRAINED, value: |cost, _| cost.trained as f32, written: parameters },
    Line { key: "frozen", name: ledger::FROZEN, value: |cost, _| cost.frozen as f32, written: parameters },
    Line {
        key: "operations_seeing",
        name: ledger::SEEING,
        value: |cost, _| cost.operations[0] as f32,
        written: operations,
    },
    Line {
        key: "operations_reading",
        name: ledger::READING,
        value: |cost, _| cost.operations[1] as f32,
        written: operations,
    },
    Line { key: "bytes", name: ledger::MEMORY, value: |cost, _| cost.bytes as f32, written: bytes },
    Line { key: "ms_seeing", name: ledger::TIME_SEEING, value: |cost, _| cost.seeing, written: milliseconds },
    Line { key: "ms_reading", name: ledger::TIME_READING, value: |cost, _| cost.reading, written: milliseconds },
];

fn whole(value: f32) -> String {
    format!("{value:.0}")
}

fn parameters(value: f32) -> String {
    if value >= 1e9 { format!("{} G", number(value / 1e9)) } else { format!("{} M", number(value / 1e6)) }
}

fn operations(value: f32) -> String {
    if value >= 1e9 { format!("{} GFLOP", number(value / 1e9)) } else { format!("{} MFLOP", number(value / 1e6)) }
}

fn bytes(value: f32) -> String {
    format!("{} MiB", number(value / (1 << 20) as f32))
}

fn milliseconds(value: f32) -> String {
    format!("{} ms", number(value))
}

impl View for LedgerView {
    fn key(&self) -> &'static str {
        "ledger"
    }

    fn method(&self) -> &'static str {
        SIDE_BY_SIDE
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/ledger.en.md"), include_str!("../../../assets/help/ledger.zh.md")]
    }

    fn least(&self) -> egui::Vec2 {
        vec2(560.0, 300.0)
    }

    fn show(&self, ui: &mut Ui, _evidence: &Evidence, brush: &mut Brush<'_>) {
        let palette = brush.palette();
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
            let columns = brush.app.shown_columns();
            let count = columns.len() as f32;
            let width = (ui.available_width() - NAMES - GAP * count) / count;
            ui.horizontal(|ui| {
                ui.allocate_exact_size(vec2(NAMES, 40.0), Sense::hover());
                for key in &columns {
                    ui.allocate_ui(vec2(width, 40.0), |ui| {
                        ui.set_width(width);
                        ui.vertical(|ui| {
                            let (name, below) = match (key, brush.app.column_model(*key)) {
                                (ColumnKey::Extra(_), Some(column)) => (column.checkpoint(), column.precision()),
                                _ => {
                                    let model = cost_of(brush.app, *key).map_or("…", |cost| cost.model.as_str());
                                    (brush.column(*key), model)
                                }
                            };
                            ui.add(egui::Label::new(RichText::new(name).font(title_font(13.0))).truncate());
                            ui.add(egui::Label::new(RichText::new(below).color(palette.accent).small()).truncate());
                        });
                    });
                }
            });
            for line in LINES {
                self::line(ui, brush, line, &columns, width);
            }
            ui.add_space(GAP);
            stages(ui, brush, &columns, width);
        });
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let mut known = app.shown_columns();
        known.retain(|key| cost_of(app, *key).is_some());
        let axes = [
            Axis::labelled("column", known.iter().map(|key| array_name(app, *key))),
            Axis::labelled("what", LINES.iter().map(|line| line.key)),
        ];
        let values = known.iter().flat_map(|key| LINES.iter().filter_map(|line| value(app, *key, line)));
        let values: Vec<f32> = values.collect();
        if values.is_empty() { Vec::new() } else { vec![Numbers::new("ledger", axes, values)] }
    }
}

fn cost_of(app: &App, key: ColumnKey) -> Option<&PictureCost> {
    app.costs.iter().find(|(known, _)| *known == key).map(|(_, cost)| cost)
}

fn value(app: &App, key: ColumnKey, line: &Line) -> Option<f32> {
    let tokens = app.columns.get(&key).map_or(0, |evidence| evidence.tokens.ids.len());
    Some((line.value)(cost_of(app, key)?, tokens))
}

/// A row: its name, and for each column its number over a bar, as long as its share of the highest.
fn line(ui: &mut Ui, brush: &Brush<'_>, line: &Line, columns: &[ColumnKey], width: f32) {
    let palette = brush.palette();
    let values: Vec<Option<f32>> = columns.iter().map(|key| value(brush.app, *key, line)).collect();
    let top = values.iter().flatten().copied().fold(1e-9, f32::max);
    ui.horizontal(|ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(NAMES, ROW), Sense::hover());
        let font = egui::TextStyle::Small.resolve(ui.style());
        let galley = ui.painter().layout(brush.say(line.name).to_owned(), font, palette.weak, NAMES);
        ui.painter().galley(pos2(rect.left(), rect.center().y - galley.size().y / 2.0), galley, palette.weak);
        for (key, value) in columns.iter().zip(values) {
            let (rect, response) = ui.allocate_exact_size(vec2(width, ROW), Sense::hover());
            let text = value.map_or_else(|| "…".to_owned(), line.written);
            let said = format!("{} · {}: {text}", brush.column(*key), brush.say(line.name));
            response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, &said));
            let painter = ui.painter_at(rect);
            let font = egui::TextStyle::Body.resolve(ui.style());
            painter.text(rect.left_top() + vec2(0.0, 3.0), Align2::LEFT_TOP, text, font, palette.text);
            let bar =
                Rect::from_min_max(pos2(rect.left(), rect.bottom() - 9.0), pos2(rect.right(), rect.bottom() - 3.0));
            painter.rect_filled(bar, 2.0, palette.raised);
            let share = value.unwrap_or(0.0) / top;
            let filled = Rect::from_min_size(bar.min, vec2(bar.width() * share, bar.height()));
            painter.rect_filled(filled, 2.0, palette.accent.gamma_multiply(0.8));
        }
    });
}

/// The shapes from stage to stage, below each column.
fn stages(ui: &mut Ui, brush: &Brush<'_>, columns: &[ColumnKey], width: f32) {
    let palette = brush.palette();
    ui.horizontal_top(|ui| {
        ui.allocate_ui(vec2(NAMES, 20.0), |ui| {
            ui.set_width(NAMES);
            ui.label(RichText::new(brush.say(ledger::STAGES)).color(palette.weak).small());
        });
        for key in columns {
            ui.allocate_ui(vec2(width, 20.0), |ui| {
                ui.set_width(width);
                ui.vertical(|ui| {
                    ui.spacing_mut().item_spacing.y = 2.0;
                    let Some(evidence) = brush.app.columns.get(key) else { return };
                    for stage in &evidence.ledger {
                        let name = brush.word(&format!("stage-{}", stage.key));
                        ui.add(egui::Label::new(RichText::new(name).color(palette.weak).small()).truncate());
                        ui.add(egui::Label::new(RichText::new(&stage.shape).color(palette.text)).truncate());
                    }
                });
            });
        }
    });
}
