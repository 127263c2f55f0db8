//! Pictures against captions: the table that contrastive training looks at.

use egui::{
    Align2, Color32, Rect, RichText, Role, ScrollArea, Sense, Slider, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2,
    vec2,
};

use super::parts::{arrows, colour_column, pointed};
use super::{Brush, View, number};
use crate::app::state::{LEAST_FACTOR, MOST_FACTOR, Reading};
use crate::app::{App, Command, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::pairs::{Over, PairFigures};
use crate::ui::catalogue::reading_text;
use crate::ui::texts;
use crate::ui::theme::{GAP, LARGE_GAP, heat, ink_on};

/// The view.
pub struct MatrixView;

/// Sides of a cell, in points.
const LEAST_CELL: f32 = 12.0;
const MOST_CELL: f32 = 46.0;
/// From this side on a cell shows its number.
const CELL_WITH_NUMBER: f32 = 27.0;
/// The width of the captions before the rows, as a share of the table's, and in points at most.
const CAPTIONS: f32 = 0.42;
const WIDEST_CAPTION: f32 = 330.0;
/// Length of a slider.
pub(super) const SLIDER: f32 = 84.0;
/// Room for the legend beside the table.
const LEGEND: f32 = 64.0;

impl View for MatrixView {
    fn key(&self) -> &'static str {
        "matrix"
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/matrix.en.md"), include_str!("../../../assets/help/matrix.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(figures) = brush.app.figures.clone() else { return };
        let bias = evidence.scores.bias;
        controls(ui, brush, evidence, &figures);
        figures_line(ui, brush, &figures);
        let values = values(brush.app, &figures, bias);
        let (low, high) = range(brush.app, &values);
        ScrollArea::both().auto_shrink(false).show(ui, |ui| {
            table(ui, evidence, brush, &figures, &values, (low, high));
        });
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(figures) = &app.figures else { return Vec::new() };
        let names = || evidence.scores.texts.iter().cloned();
        let axes = || [Axis::labelled("picture", names()), Axis::labelled("caption", names())];
        let bias = evidence.scores.bias;
        let mut arrays = vec![Numbers::new("cosine", axes(), figures.cosines.clone())];
        if bias.is_some() {
            arrays.push(Numbers::new("sigmoid", axes(), figures.shares(Over::Texts, bias)));
        } else {
            arrays.push(Numbers::new("softmax_over_captions", axes(), figures.shares(Over::Texts, bias)));
            arrays.push(Numbers::new("softmax_over_pictures", axes(), figures.shares(Over::Pictures, bias)));
        }
        arrays.push(Numbers::single("logit_scale", figures.factor));
        arrays.push(Numbers::single("shift", figures.shift));
        arrays.extend(figures.loss.map(|loss| Numbers::single("loss", loss)));
        arrays.push(Numbers::single("text_of_picture", figures.retrieval.text_of_picture));
        arrays.push(Numbers::single("picture_of_text", figures.retrieval.picture_of_text));
        arrays
    }
}

/// What each cell says.
fn values(app: &App, figures: &PairFigures, bias: Option<f32>) -> Vec<f32> {
    match app.state.matrix.reading {
        Reading::Cosine => figures.cosines.clone(),
        Reading::OverTexts => figures.shares(Over::Texts, bias),
        Reading::OverPictures => figures.shares(Over::Pictures, bias),
    }
}

/// The values with the darkest and the brightest colour.
fn range(app: &App, values: &[f32]) -> (f32, f32) {
    if app.state.matrix.reading != Reading::Cosine {
        return (0.0, 1.0);
    }
    let low = values.iter().copied().fold(0.0, f32::min);
    let high = values.iter().copied().fold(low + 1e-6, f32::max);
    (low, high)
}

/// What a cell says, and the temperature.
fn controls(ui: &mut Ui, brush: &mut Brush<'_>, evidence: &Evidence, figures: &PairFigures) {
    let palette = brush.palette();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
        for reading in Reading::ALL {
            let Some(text) = reading_text(reading, evidence.scores.bias.is_some()) else { continue };
            let chosen = brush.app.state.matrix.reading == reading;
            if ui.selectable_label(chosen, brush.say(text)).clicked() {
                brush.commands.push(Command::SetReading(reading));
            }
        }
    });
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(GAP, 4.0);
        ui.spacing_mut().slider_width = SLIDER;
        let mut factor = figures.factor;
        let name = brush.say(texts::FACTOR);
        ui.label(RichText::new(name).color(palette.weak));
        let slider = Slider::new(&mut factor, LEAST_FACTOR..=MOST_FACTOR).logarithmic(true);
        // Shown short, but never rounded: that alone would be a change.
        let slider = slider.custom_formatter(|value, _| format!("{value:.1}"));
        let response = ui.add(slider).on_hover_text(brush.say(texts::TEMPERATURE));
        response.widget_info(|| WidgetInfo::slider(true, f64::from(figures.factor), name));
        if response.changed() {
            brush.commands.push(Command::SetFactor(Some(factor)));
        }
        let changed = brush.app.state.matrix.factor.is_some();
        let hint = format!("{} {}", brush.say(texts::MODELS_FACTOR), number(evidence.scores.factor));
        if ui.add_enabled(changed, egui::Button::new(hint)).clicked() {
            brush.commands.push(Command::SetFactor(None));
        }
    });
}

/// Loss and retrieval over the pairs.
pub(super) fn figures_line(ui: &mut Ui, brush: &Brush<'_>, figures: &PairFigures) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = LARGE_GAP;
        let fact = |ui: &mut Ui, name: &str, value: String| {
            let fact = super::parts::fact(ui, brush, name, &value);
            ui.add(fact.extend())
        };
        if let Some(loss) = figures.loss {
            fact(ui, brush.say(texts::LOSS), number(loss)).on_hover_text(brush.say(texts::LOSS_HINT));
        }
        let found = |share: f32| format!("{:.0} / {}", share * figures.count as f32, figures.count);
        fact(ui, brush.say(texts::TEXT_FOUND), found(figures.retrieval.text_of_picture))
            .on_hover_text(brush.say(texts::TEXT_FOUND_HINT));
        fact(ui, brush.say(texts::PICTURE_FOUND), found(figures.retrieval.picture_of_text))
            .on_hover_text(brush.say(texts::PICTURE_FOUND_HINT));
    });
}

fn table(
    ui: &mut Ui,
    evidence: &Evidence,
    brush: &mut Brush<'_>,
    figures: &PairFigures,
    values: &[f32],
    (low, high): (f32, f32),
) {
    let palette = brush.palette();
    let count = figures.count;
    if count == 0 || values.len() != count * count {
        return;
    }
    let space = ui.available_size();
    // Where it is narrow the captions give way, not the legend.
    let left_over = (space.x - LEGEND - LEAST_CELL * count as f32).max(60.0);
    let room = (space.x * CAPTIONS).min(WIDEST_CAPTION).min(left_over);
    // A row more: over each column stands its picture.
    let side = ((space.x - room - LEGEND) / count as f32).min((space.y - 2.0) / (count + 1) as f32);
    let side = side.clamp(LEAST_CELL, MOST_CELL).floor();
    let size = vec2(room + side * count as f32 + LEGEND, side * (count + 1) as f32);
    let (outer, _) = ui.allocate_exact_size(size, Sense::hover());
    let corner = outer.min + vec2(room, side);
    let cells = Rect::from_min_size(corner, Vec2::splat(side * count as f32));
    let cell = |picture: usize, text: usize| {
        Rect::from_min_size(corner + vec2(side * picture as f32, side * text as f32), Vec2::splat(side))
    };
    let response = ui.interact(cells, ui.scope_id().with("cells"), Sense::click());
    let name = brush.say(texts::MATRIX_OF);
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    let painter = ui.painter().clone();
    let font = egui::FontId::proportional((side * 0.34).clamp(8.0, 12.5));
    for picture in 0..count {
        for text in 0..count {
            let value = values[picture * count + text];
            let rect = cell(picture, text).shrink(0.5);
            let colour = heat(brush.app.state.map.colours, (value - low) / (high - low));
            painter.rect_filled(rect, 1.0, colour);
            if side >= CELL_WITH_NUMBER {
                let digits = format!("{value:.2}").replace("-0.00", "0.00").replacen("0.", ".", 1);
                painter.text(rect.center(), Align2::CENTER_CENTER, digits, font.clone(), ink_on(colour));
            }
        }
    }
    for pair in 0..count {
        let rect = cell(pair, pair);
        for (grow, width, colour) in [(0.0, 3.0, Color32::from_black_alpha(120)), (-0.5, 1.5, palette.second)] {
            painter.rect_stroke(rect.expand(grow), 2.0, Stroke::new(width, colour), StrokeKind::Inside);
        }
    }
    heads(ui, evidence, brush, corner, (side, room), count);
    let at = pointed(&response).map(|pointer| {
        let along = |offset: f32| ((offset / side) as usize).min(count - 1);
        (along(pointer.x - corner.x), along(pointer.y - corner.y))
    });
    if let Some((picture, text)) = at {
        brush.hover(Thing::Cell { picture, text });
        let value = values[picture * count + text];
        let texts = &evidence.scores.texts;
        response.clone().on_hover_ui_at_pointer(|ui| {
            ui.label(RichText::new(number(value)).strong());
            ui.label(format!("{} · {}", brush.say(texts::A_PICTURE), texts[picture]));
            ui.label(format!("{} · {}", brush.say(texts::A_TEXT), texts[text]));
        });
    }
    if response.clicked() {
        response.request_focus();
        let clicked = at.unwrap_or((count - 1, count - 1));
        let cell = Thing::Cell { picture: clicked.0, text: clicked.1 };
        let same = brush.app.state.selected.pair == Some(cell);
        brush.commands.push(Command::SelectPair((!same).then_some(cell)));
    }
    walk(ui, brush, &response, count);
    for picture in 0..count {
        for text in 0..count {
            if let Some(stroke) = brush.outline(Thing::Cell { picture, text }) {
                let whole = matches!(brush.app.hovered.or(brush.app.state.selected.pair), Some(Thing::Cell { .. }));
                let width = if whole { 2.5 } else { 1.0 };
                painter.rect_stroke(cell(picture, text), 1.0, Stroke::new(width, stroke.color), StrokeKind::Inside);
            }
        }
    }
    if response.has_focus() {
        painter.rect_stroke(cells.expand(2.0), 2.0, Stroke::new(1.5, palette.accent), StrokeKind::Outside);
    }
    legend(ui, brush, cells, low, high);
}

/// The colours with their numbers, beside the table.
fn legend(ui: &Ui, brush: &Brush<'_>, cells: Rect, low: f32, high: f32) {
    let palette = brush.palette();
    let bar = Rect::from_min_size(cells.right_top() + vec2(LARGE_GAP, 0.0), vec2(8.0, cells.height().min(140.0)));
    colour_column(ui.painter(), brush.app.state.map.colours, bar);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let beside = bar.right() + 4.0;
    let text = |y: f32, align: Align2, value: f32| {
        ui.painter().text(pos2(beside, y), align, number(value), small.clone(), palette.weak);
    };
    text(bar.top() - 2.0, Align2::LEFT_TOP, high);
    text(bar.bottom() + 2.0, Align2::LEFT_BOTTOM, low);
}

/// Pictures over the columns, captions before the rows.
fn heads(
    ui: &Ui,
    evidence: &Evidence,
    brush: &mut Brush<'_>,
    corner: egui::Pos2,
    (side, room): (f32, f32),
    count: usize,
) {
    let palette = brush.palette();
    let painter = ui.painter().clone();
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    let size = egui::TextStyle::Small.resolve(ui.style()).size.min(side - 2.0).max(4.0);
    for (pair, text) in evidence.scores.texts.iter().enumerate().take(count) {
        let rect = Rect::from_min_size(corner + vec2(side * pair as f32, -side), Vec2::splat(side)).shrink(1.0);
        let point = evidence.cloud.points.get(pair);
        if let Some((listed, picture)) = point.and_then(|point| Some((point.listed, point.picture.as_ref()?))) {
            let texture = brush.textures.thumbnail(ui.ctx(), listed, picture);
            painter.image(texture, rect, whole, Color32::WHITE);
        }
        if let Some(stroke) = brush.outline(Thing::Picture(pair)) {
            painter.rect_stroke(rect, 1.0, stroke, StrokeKind::Outside);
        }
        let stroke = brush.outline(Thing::Text(pair));
        let own = pair + 1 == count;
        let usual = if own { palette.second } else { palette.weak };
        let colour = stroke.map_or(usual, |stroke| stroke.color);
        let mut job = egui::text::LayoutJob::simple_singleline(text.clone(), egui::FontId::proportional(size), colour);
        job.wrap = egui::text::TextWrapping::truncate_at_width((room - 8.0).max(1.0));
        let galley = painter.layout_job(job);
        let at = corner + vec2(-6.0 - galley.size().x, side * (pair as f32 + 0.5) - galley.size().y / 2.0);
        painter.galley(at, galley, colour);
    }
}

/// Arrow keys move the selected cell while the table has the focus.
fn walk(ui: &Ui, brush: &mut Brush<'_>, response: &egui::Response, count: usize) {
    let Some((down, right)) = arrows(ui, response) else { return };
    let (picture, text) = match brush.app.state.selected.pair {
        Some(Thing::Cell { picture, text }) => (picture, text),
        _ => (count - 1, count - 1),
    };
    let moved = |at: usize, by: isize| at.saturating_add_signed(by).min(count - 1);
    let cell = Thing::Cell { picture: moved(picture, right), text: moved(text, down) };
    brush.commands.push(Command::SelectPair(Some(cell)));
}
