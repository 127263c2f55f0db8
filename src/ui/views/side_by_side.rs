//! What the views of *side by side* share: cells for the columns, their names, and the menu of extra ones.

use egui::{
    Align, Button, Label, Layout, Popup, Rect, Response, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind,
    TextStyle, Ui, UiBuilder, Vec2, WidgetInfo, epaint::TextShape, pos2, vec2,
};

use super::Brush;
use crate::app::column::MOST_EXTRA;
use crate::app::{App, ColumnKey, Command, ExtraColumn};
use crate::methods::METHODS;
use crate::models::runtime::{Precision, RuntimeName};
use crate::ui::texts::four_ways;
use crate::ui::theme::{GAP, SMALL_GAP, title_font};

/// The least width of a figure, in points; below, there are more rows, to be scrolled over.
const LEAST: f32 = 120.0;
/// Width of what adds a column, in points.
const ADDER: f32 = 28.0;
/// Width of a checkpoint's name in the menu, in points.
const NAME: f32 = 150.0;
/// The most that the menu is high, in points.
const MENU: f32 = 440.0;

impl Brush<'_> {
    /// What a column is called: by its method, an extra one by its checkpoint and precision.
    #[must_use]
    pub(super) fn column(&self, key: ColumnKey) -> String {
        match key {
            ColumnKey::Own(method) => self.word(&format!("method-{method}")),
            ColumnKey::Extra(_) => self.app.column_model(key).map(|column| column.title()).unwrap_or_default(),
        }
    }
}

/// What a column is called in files.
pub(super) fn array_name(app: &App, key: ColumnKey) -> String {
    match (key, app.column_model(key)) {
        (ColumnKey::Extra(number), Some(column)) => {
            let plain = |letter: char| if letter.is_alphanumeric() || "-.".contains(letter) { letter } else { '_' };
            let checkpoint: String = column.checkpoint().chars().map(plain).collect();
            format!("extra{}_{checkpoint}_{}", number + 1, column.precision())
        }
        (ColumnKey::Own(method), _) => method.to_owned(),
        (ColumnKey::Extra(number), None) => format!("extra{}", number + 1),
    }
}

/// What stands in a cell.
#[derive(Clone, Copy)]
pub(super) struct Figure {
    /// Height of what stands over and under it, in points.
    pub(super) over: f32,
    /// Its height as a share of its width.
    pub(super) shape: f32,
}

/// Cells in rows, in which the figures get as large as they can.
struct Cells {
    in_row: usize,
    rows: usize,
    size: Vec2,
}

impl Cells {
    fn new(space: Vec2, count: usize, figure: Figure) -> Self {
        let part = |length: f32, parts: usize| (length - GAP * (parts - 1) as f32) / parts as f32;
        let count = count.max(1);
        let cell = |in_row: usize| vec2(part(space.x, in_row), part(space.y, count.div_ceil(in_row)));
        let width = |in_row: &usize| cell(*in_row).x.min((cell(*in_row).y - figure.over) / figure.shape);
        // Of those that are as good, the one whose rows are as long as each other.
        let best = (1..=count).rev().max_by(|one, other| width(one).total_cmp(&width(other))).unwrap_or(1);
        if width(&best) >= LEAST {
            return Self { in_row: best, rows: count.div_ceil(best), size: cell(best) };
        }
        let in_row = (((space.x + GAP) / (LEAST + GAP)) as usize).clamp(1, count);
        let wide = part(space.x, in_row);
        let size = vec2(wide, figure.over + wide.clamp(1.0, LEAST * 1.5) * figure.shape);
        Self { in_row, rows: count.div_ceil(in_row), size }
    }

    fn height(&self) -> f32 {
        self.rows as f32 * (self.size.y + GAP) - GAP
    }

    fn at(&self, space: Rect, number: usize) -> Rect {
        let place = vec2((number % self.in_row) as f32, (number / self.in_row) as f32);
        Rect::from_min_size(space.min + place * (self.size + Vec2::splat(GAP)), self.size)
    }
}

/// Draws every column into a cell of its own, over all the space there is.
pub(super) fn each(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    figure: Figure,
    mut draw: impl FnMut(&mut Ui, &mut Brush<'_>, ColumnKey),
) {
    let columns = brush.app.shown_columns();
    let space = ui.available_rect_before_wrap();
    let cells = Cells::new(space.size(), columns.len(), figure);
    let mut all = |ui: &mut Ui, space: Rect| {
        for (number, key) in columns.iter().enumerate() {
            let rect = cells.at(space, number);
            let builder = UiBuilder::new().id_salt(key).max_rect(rect).layout(Layout::top_down(Align::Min));
            draw(&mut ui.new_child(builder), brush, *key);
        }
    };
    if cells.height() <= space.height() + 0.5 {
        all(ui, space);
        ui.advance_cursor_after_rect(space);
        return;
    }
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(space.width(), cells.height()), Sense::hover());
        all(ui, rect);
    });
}

/// Takes room at the right for what adds a column, as long as one may be added, and gives the rest.
pub(super) fn with_adder(ui: &mut Ui, brush: &mut Brush<'_>, rest: impl FnOnce(&mut Ui, &mut Brush<'_>)) {
    let space = ui.available_rect_before_wrap();
    if brush.app.state.extra_columns.len() >= MOST_EXTRA {
        rest(ui, brush);
        return;
    }
    let edge = space.right() - ADDER;
    let left = Rect::from_min_max(space.min, pos2(edge - SMALL_GAP, space.bottom()));
    rest(&mut ui.new_child(UiBuilder::new().id_salt("columns").max_rect(left)), brush);
    adder(ui, brush, Rect::from_min_max(pos2(edge, space.top()), space.max));
    ui.advance_cursor_after_rect(space);
}

/// A narrow column whose menu adds another.
fn adder(ui: &mut Ui, brush: &mut Brush<'_>, rect: Rect) {
    let palette = brush.palette();
    let text = brush.say(four_ways::ADD_COLUMN);
    let response = ui.interact(rect, ui.scope_id().with("add column"), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, text));
    let colour = if response.hovered() || response.has_focus() { palette.accent } else { palette.weak };
    let painter = ui.painter_at(rect);
    painter.rect_stroke(rect, 4.0, Stroke::new(1.0, colour.gamma_multiply(0.6)), StrokeKind::Inside);
    let galley = painter.layout_no_wrap(format!("+  {text}"), TextStyle::Small.resolve(ui.style()), colour);
    let size = galley.size();
    let corner = rect.center() + vec2(-size.y / 2.0, size.x / 2.0);
    painter.add(TextShape::new(corner, galley, colour).with_angle(-std::f32::consts::FRAC_PI_2));
    let response = response.on_hover_text(brush.say(four_ways::ADD_COLUMN_HINT));
    let chosen = menu(&response, brush, None);
    brush.commands.extend(chosen.map(Command::AddColumn));
}

/// The name of an extra column, whose menu puts something else there, and what takes it away.
pub(super) fn extra_head(ui: &mut Ui, brush: &mut Brush<'_>, number: usize) {
    let Some(column) = brush.app.state.extra_columns.get(&number).cloned() else { return };
    let name = brush.column(ColumnKey::Extra(number));
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = SMALL_GAP;
        let title = RichText::new(&name).font(title_font(14.0)).color(brush.palette().accent);
        let room = (ui.available_width() - 30.0).max(20.0);
        let button = Button::new(title).frame(false).truncate();
        let response = ui.scope(|ui| {
            ui.set_max_width(room);
            ui.add(button)
        });
        let response = response.inner.on_hover_text(brush.say(four_ways::SET_COLUMN_HINT));
        let chosen = menu(&response, brush, Some(&column));
        brush.commands.extend(chosen.map(|chosen| Command::SetColumn(number, chosen)));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let remove = ui.add(Button::new(RichText::new("×").small()).min_size(vec2(20.0, 20.0)));
            let text = format!("{} {name}", brush.say(four_ways::REMOVE_COLUMN));
            remove.widget_info(|| WidgetInfo::labeled(Role::Button, true, &text));
            if remove.on_hover_text(&text).clicked() {
                brush.commands.push(Command::RemoveColumn(number));
            }
        });
    });
}

/// All checkpoints by their method, each in every precision; what was clicked.
fn menu(response: &Response, brush: &Brush<'_>, chosen: Option<&ExtraColumn>) -> Option<ExtraColumn> {
    let mut clicked = None;
    Popup::menu(response).show(|ui| {
        ScrollArea::vertical().max_height(MENU).show(ui, |ui| {
            for entry in METHODS {
                let mut choices = brush.app.checkpoints.iter().filter(|choice| choice.method == entry.key).peekable();
                if choices.peek().is_none() {
                    continue;
                }
                let name = brush.word(&format!("method-{}", entry.key));
                ui.label(RichText::new(name).color(brush.palette().weak).small());
                for choice in choices {
                    ui.horizontal(|ui| {
                        ui.spacing_mut().item_spacing.x = 2.0;
                        let title = choice.title();
                        ui.add_sized(vec2(NAME, 20.0), Label::new(&title).truncate().halign(Align::LEFT));
                        for precision in Precision::ALL {
                            let device = match chosen {
                                Some(column) => column.runtime.device.clone(),
                                None => brush.app.runtime(entry.key).device,
                            };
                            let column = ExtraColumn {
                                method: entry.key.to_owned(),
                                checkpoint: choice.name.clone(),
                                runtime: RuntimeName { device, precision },
                            };
                            let button = ui.add(Button::selectable(chosen == Some(&column), precision.name()));
                            let name = format!("{title} · {}", precision.name());
                            button.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
                            if button.clicked() {
                                clicked = Some(column);
                                ui.close();
                            }
                        }
                    });
                }
                ui.add_space(SMALL_GAP);
            }
        });
    });
    clicked
}
