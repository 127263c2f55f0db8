//! What each query says: the words that it stands for, whether it holds the text a match, and how far an instruction moved
//! it.

use egui::text::{LayoutJob, TextFormat, TextWrapping};
use egui::{
    Align2, Button, Rect, RichText, Role, ScrollArea, Sense, StrokeKind, TextStyle, Ui, WidgetInfo, pos2, vec2,
};

use super::super::{Brush, View};
use super::{METHOD, NAMED, axis, best_words, cosine, look, name, number_at, percent, query_step};
use crate::app::{App, Command, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::queries::Queries;
use crate::ui::texts::querying;
use crate::ui::theme::{GAP, SMALL_GAP};

/// The view.
pub struct QuerySaysView;

/// Height of a row.
const ROW: f32 = 26.0;
/// Room for the number of a query, and for its bar.
const LABELS: f32 = 34.0;
const BAR: f32 = 112.0;

/// Bars beside the words: what they are called, one value a query, and the value of the longest bar.
struct Bars<'a> {
    title: String,
    values: &'a [f32],
    top: f32,
}

impl View for QuerySaysView {
    fn key(&self) -> &'static str {
        "query-says"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/query-says.en.md"),
            include_str!("../../../../assets/help/query-says.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(queries) = evidence.queries.clone() else { return };
        if queries.moved.is_some() {
            instructions(ui, brush);
        }
        let bars = bars(brush, &queries);
        heads(ui, brush, &queries, bars.as_ref());
        let order =
            queries.order(brush.app.state.querying.order, look(brush.app, &queries), query_step(brush.app, &queries));
        ScrollArea::vertical().id_salt("rows").auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            for place in order {
                row(ui, brush, &queries, place, bars.as_ref());
            }
        });
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(queries) = &evidence.queries else { return Vec::new() };
        let mut arrays = Vec::new();
        if let Some((shares, _)) = &queries.matching {
            arrays.push(Numbers::new("matching", [axis(queries)], shares.clone()));
        }
        if let Some(moved) = &queries.moved {
            arrays.push(Numbers::new("moved", [axis(queries)], moved.clone()));
        }
        for place in 0..queries.kept.len() {
            let words = best_words(app, queries, place);
            let axis = Axis::labelled("word", words.iter().map(|(word, _)| word.clone()));
            let cosines = words.iter().map(|(_, cosine)| *cosine).collect();
            arrays.push(Numbers::new(format!("words_of_query_{}", number_at(queries, place)), [axis], cosines));
        }
        arrays
    }
}

/// What the present instruction is compared with, and what else it can be compared with.
fn instructions(ui: &mut Ui, brush: &mut Brush<'_>) {
    let state = &brush.app.state;
    let compared = state.querying.compared.as_deref().map(str::trim);
    let sentence = state.sentence.trim();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
        let this = Button::new(brush.say(querying::COMPARE_THIS));
        let can_be = !sentence.is_empty() && compared != Some(sentence);
        if ui.add_enabled(can_be, this).clicked() {
            brush.commands.push(Command::CompareInstruction(Some(sentence.to_owned())));
        }
        if ui.add_enabled(compared.is_some(), Button::new(brush.say(querying::COMPARE_NONE))).clicked() {
            brush.commands.push(Command::CompareInstruction(None));
        }
        let text = match compared {
            Some(compared) => format!("{} “{compared}”", brush.say(querying::COMPARED_WITH)),
            None => brush.say(querying::COMPARED_WITH_NONE).to_owned(),
        };
        ui.label(RichText::new(text).color(brush.palette().weak)).on_hover_text(brush.say(querying::MOVED_HINT));
    });
}

/// The bars that this model has: probabilities are measured against one, all else against the highest.
fn bars<'a>(brush: &Brush<'_>, queries: &'a Queries) -> Option<Bars<'a>> {
    if let Some((shares, _)) = &queries.matching {
        return Some(Bars { title: brush.say(querying::HOLDS).to_owned(), values: shares, top: 1.0 });
    }
    let moved = queries.moved.as_ref()?;
    let top = moved.iter().copied().fold(1e-6, f32::max);
    let title = format!("{} 0 – {}", brush.say(querying::MOVED), cosine(top));
    Some(Bars { title, values: moved, top })
}

/// What stands in the columns.
fn heads(ui: &mut Ui, brush: &Brush<'_>, queries: &Queries, bars: Option<&Bars<'_>>) {
    let palette = brush.palette();
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 18.0), Sense::hover());
    let painter = ui.painter_at(rect);
    let small = TextStyle::Small.resolve(ui.style());
    let write = |x: f32, text: &str| {
        painter.text(pos2(x, rect.center().y), Align2::LEFT_CENTER, text, small.clone(), palette.weak);
    };
    let words = if queries.says.is_empty() { querying::SENTENCE_WORDS } else { querying::NEAREST_HEAD };
    write(rect.left() + LABELS, brush.say(words));
    if let Some(bars) = bars {
        write(rect.right() - BAR, &bars.title);
    }
}

/// A query: its number, its words, its bar.
fn row(ui: &mut Ui, brush: &mut Brush<'_>, queries: &Queries, place: usize, bars: Option<&Bars<'_>>) {
    let Some(query) = queries.kept.get(place).copied() else { return };
    let palette = brush.palette();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
    let is_selected = brush.app.state.querying.query == Some(query);
    let words = best_words(brush.app, queries, place);
    let named: Vec<(&str, String)> =
        words.iter().take(NAMED).map(|(word, value)| (word.trim(), cosine(*value))).collect();
    let said: Vec<String> = named.iter().map(|(word, value)| format!("{word} {value}")).collect();
    let label = format!("{}: {}", name(brush, query), said.join(", "));
    response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, is_selected, &label));
    let painter = ui.painter_at(rect);
    if is_selected || response.hovered() {
        painter.rect_filled(rect, 4.0, palette.raised);
    }
    let (body, small) = (TextStyle::Body.resolve(ui.style()), TextStyle::Small.resolve(ui.style()));
    let middle = rect.center().y;
    let number = (query + 1).to_string();
    painter.text(pos2(rect.left() + 6.0, middle), Align2::LEFT_CENTER, number, body.clone(), palette.weak);
    let mut job = LayoutJob::default();
    for (at, (word, value)) in named.iter().enumerate() {
        let before = if at == 0 { 0.0 } else { 14.0 };
        let colour = if at == 0 { palette.text } else { palette.weak };
        job.append(word, before, TextFormat::simple(body.clone(), colour));
        job.append(value, 4.0, TextFormat::simple(small.clone(), palette.weak));
    }
    let room = rect.width() - LABELS - if bars.is_some() { BAR + GAP } else { 0.0 };
    job.wrap = TextWrapping::truncate_at_width(room.max(1.0));
    let galley = painter.layout_job(job);
    painter.galley(pos2(rect.left() + LABELS, middle - galley.size().y / 2.0), galley, palette.text);
    if let Some(bars) = bars
        && let Some(value) = bars.values.get(place)
    {
        let corner = pos2(rect.right() - BAR, rect.top() + 4.0);
        let track = Rect::from_min_size(corner, vec2(BAR - 4.0, rect.height() - 8.0));
        painter.rect_filled(track, 3.0, palette.line);
        let length = track.width() * (value / bars.top).clamp(0.0, 1.0);
        let fill = palette.accent.gamma_multiply(0.55);
        painter.rect_filled(Rect::from_min_size(track.min, vec2(length, track.height())), 3.0, fill);
        let text = if queries.matching.is_some() { percent(*value) } else { cosine(*value) };
        painter.text(pos2(track.left() + 6.0, middle), Align2::LEFT_CENTER, text, small, palette.text);
    }
    if let Some(stroke) = brush.outline(Thing::Query(query)) {
        painter.rect_stroke(rect, 4.0, stroke, StrokeKind::Inside);
    }
    if response.has_focus() {
        painter.rect_stroke(rect, 4.0, egui::Stroke::new(2.0, palette.strong), StrokeKind::Inside);
    }
    if response.hovered() {
        brush.hover(Thing::Query(query));
    }
    if response.clicked() {
        brush.commands.push(Command::SelectQuery((!is_selected).then_some(query)));
    }
}
