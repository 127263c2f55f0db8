//! The views of learned queries that look at the picture.

mod queries;
mod query_attention;
mod query_map;
mod query_masks;
mod query_patches;
mod query_says;
mod query_space;
mod query_words;
mod table;

pub use queries::QueriesView;
pub use query_attention::QueryAttentionView;
pub use query_masks::QueryMasksView;
pub use query_patches::QueryPatchesView;
pub use query_says::QuerySaysView;
pub use query_space::QuerySpaceView;
pub use query_words::QueryWordsView;

use egui::{Button, ComboBox, RichText, Role, Sense, Ui, WidgetInfo, vec2};

use super::parts::colour_bar;
use super::{Brush, number};
use crate::app::looks::{chosen, query_step, similar, winner};
use crate::app::{App, Command, Scale, Thing};
use crate::export::numbers::Axis;
use crate::methods::Evidence;
use crate::methods::queries::{Queries, QueryLook, QueryOrder};
use crate::ui::catalogue::order_text;
use crate::ui::texts::{self, Text, querying};
use crate::ui::theme::SMALL_GAP;

/// The key of the method in whose column they stand.
const METHOD: &str = "querying";
/// The words of a query that are named.
const NAMED: usize = 5;

/// What several views draw: the maps of all queries, and in which order.
struct Shown {
    /// Places among the queries that take part, in the chosen order.
    order: Vec<usize>,
    /// The map of each place.
    maps: Vec<Vec<f32>>,
    /// The highest value of all maps.
    top: f32,
}

impl Shown {
    fn new(app: &App, queries: &Queries) -> Self {
        let look = look(app, queries);
        let map = |place: usize| queries.map(place, look).unwrap_or_default();
        let maps: Vec<Vec<f32>> = (0..queries.kept.len()).map(map).collect();
        let top = maps.iter().flatten().copied().fold(1e-9, f32::max);
        Self { order: queries.order(app.state.querying.order, look, query_step(app, queries)), maps, top }
    }

    /// The value of a map with the brightest colour: one for all maps, or the map's own highest.
    fn top_of(&self, app: &App, map: &[f32]) -> f32 {
        match app.state.map.scale {
            Scale::Shared => self.top,
            Scale::Own => map.iter().copied().fold(1e-9, f32::max),
        }
    }
}

/// Whose maps are shown, as far as this model has them.
fn look(app: &App, queries: &Queries) -> QueryLook {
    let look = app.state.querying.look;
    QueryLook {
        layer: look.layer.filter(|layer| *layer < queries.layers.len()),
        head: look.head.filter(|head| *head < queries.heads),
    }
}

/// The words that queries are compared with.
fn compared(app: &App, evidence: &Evidence, queries: &Queries) -> String {
    if queries.contrast.is_some() {
        if let (Some(Thing::Words(start, end)), Some(contrast)) = (app.hovered, &queries.contrast)
            && contrast.words.iter().any(|(span, _)| *span == (start, end))
            && let Some(word) = app.state.sentence.get(start..end)
        {
            return word.trim().to_owned();
        }
        return evidence.phrase.clone();
    }
    let step = query_step(app, queries).and_then(|step| queries.written.get(step));
    step.map_or_else(String::new, |step| step.text.trim().to_owned())
}

/// What the number is called that says how like the words a query is.
fn similarity_name(brush: &Brush<'_>, evidence: &Evidence, queries: &Queries) -> String {
    let words = compared(brush.app, evidence, queries);
    let what = if queries.contrast.is_some() { texts::COSINE_PHRASE } else { querying::ATTENTION_OF };
    format!("{} “{words}”", brush.say(what))
}

/// That number: a cosine, or a share of attention.
fn similarity_text(queries: &Queries, value: f32) -> String {
    if queries.contrast.is_some() { cosine(value) } else { percent(value) }
}

/// A cosine, or a share.
pub(in crate::ui::views) fn cosine(value: f32) -> String {
    format!("{value:.2}").replace("-0.00", "0.00")
}

/// The words that a query stands for, with their cosines, nearest first: those that it says to the language model, or those
/// of the sentence.
#[must_use]
pub(in crate::ui) fn best_words(app: &App, queries: &Queries, place: usize) -> Vec<(String, f32)> {
    if let Some(says) = queries.says.get(place) {
        return says.clone();
    }
    let Some(contrast) = &queries.contrast else { return Vec::new() };
    let word = |(span, cosines): &((usize, usize), Vec<f32>)| {
        let text = app.state.sentence.get(span.0..span.1)?;
        Some((text.trim().to_owned(), *cosines.get(place)?))
    };
    let mut words: Vec<(String, f32)> = contrast.words.iter().filter_map(word).collect();
    words.sort_by(|one, other| other.1.total_cmp(&one.1));
    // The same word at two places of the sentence is one and the same text for contrast.
    words.dedup_by(|one, other| one.0 == other.0);
    words
}

/// What a query is called: numbers begin at one, as everywhere on the screen.
fn name(brush: &Brush<'_>, query: usize) -> String {
    format!("{} {}", brush.say(querying::A_QUERY), query + 1)
}

/// The number of the query at a place.
fn number_at(queries: &Queries, place: usize) -> String {
    queries.kept.get(place).map_or_else(String::new, |query| (query + 1).to_string())
}

/// The axis of the queries that take part.
fn axis(queries: &Queries) -> Axis {
    Axis::labelled("query", queries.kept.iter().map(|query| (query + 1).to_string()))
}

fn percent(share: f32) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Chooses layer and head of the maps, and the order of the queries.
fn choices(ui: &mut Ui, brush: &mut Brush<'_>, queries: &Queries) {
    let look = look(brush.app, queries);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(SMALL_GAP, SMALL_GAP);
        let layers: Vec<usize> = queries.layers.iter().map(|layer| layer + 1).collect();
        let with_layer = |layer: Option<usize>| Command::SetQueryLook(QueryLook { layer, ..look });
        pick(ui, brush, texts::LAYER, &layers, look.layer, with_layer);
        let heads: Vec<usize> = (1..=queries.heads).collect();
        let with_head = |head: Option<usize>| Command::SetQueryLook(QueryLook { head, ..look });
        pick(ui, brush, querying::A_HEAD, &heads, look.head, with_head);
        for order in QueryOrder::ALL {
            let is_chosen = brush.app.state.querying.order == order;
            if ui.add(Button::selectable(is_chosen, brush.say(order_text(order)))).clicked() {
                brush.commands.push(Command::SetQueryOrder(order));
            }
        }
    });
}

/// Chooses one of several, which are called by their numbers, or the mean of all.
fn pick(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    title: Text,
    numbers: &[usize],
    chosen: Option<usize>,
    command: impl Fn(Option<usize>) -> Command,
) {
    let (title, mean) = (brush.say(title), brush.say(querying::MEAN));
    let named = |at: Option<usize>| match at.and_then(|at| numbers.get(at)) {
        Some(number) => format!("{title} {number}"),
        None => format!("{title}: {mean}"),
    };
    let response = ComboBox::from_id_salt(title).selected_text(named(chosen)).width(96.0).show_ui(ui, |ui| {
        for at in std::iter::once(None).chain((0..numbers.len()).map(Some)) {
            if ui.selectable_label(at == chosen, named(at)).clicked() {
                brush.commands.push(command(at));
            }
        }
    });
    response.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, title));
}

/// The colours of maps with their numbers, on one line.
fn scale(ui: &mut Ui, brush: &Brush<'_>, top: f32) {
    let small = |text: String| RichText::new(text).color(brush.palette().weak).small();
    let is_own = brush.app.state.map.scale == Scale::Own;
    ui.spacing_mut().item_spacing.x = 6.0;
    ui.label(small("0".to_owned()));
    let (bar, _) = ui.allocate_exact_size(vec2(96.0, 10.0), Sense::hover());
    colour_bar(ui.painter(), brush.app.state.map.colours, bar);
    let high = if is_own { brush.say(texts::OWN_SCALE).to_owned() } else { number(top) };
    ui.label(small(high));
}
