//! One picture, the same words, four ways and more: where each column says that they land, on one scale.

use std::collections::BTreeMap;

use egui::{Align2, Button, Label, Rect, RichText, Sense, Ui, pos2, vec2};

use super::faithful::{badge, badge_place};
use super::map_picture::{Overlay, draw, interact, shape};
use super::parts::{colour_bar, signed_bar};
use super::querying::cosine;
use super::side_by_side::{Figure, array_name, each, extra_head, with_adder};
use super::{Brush, View, number};
use crate::app::layout::SIDE_BY_SIDE;
use crate::app::looks::Landed;
use crate::app::state::MethodName;
use crate::app::truth::Fares;
use crate::app::{App, ColumnKey, Command, Scale};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::evidence::Said;
use crate::methods::reading::{Place, Weighting};
use crate::methods::{Evidence, MapKind};
use crate::ui::texts::{self, four_ways};
use crate::ui::theme::{GAP, SMALL_GAP, title_font};

/// The view.
pub struct FourWaysView;

/// Words of a patch that are named.
const NAMED: usize = 4;
/// Height of the lines over a picture.
const HEAD: f32 = 44.0;
/// Height of the lines under a picture; where they are narrow, one more.
const FOOT: [f32; 2] = [58.0, 74.0];
/// Below this width of a column, lines are narrow.
const NARROW: f32 = 260.0;

impl View for FourWaysView {
    fn key(&self) -> &'static str {
        "four-ways"
    }

    fn method(&self) -> &'static str {
        SIDE_BY_SIDE
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/four-ways.en.md"), include_str!("../../../assets/help/four-ways.zh.md")]
    }

    fn least(&self) -> egui::Vec2 {
        vec2(420.0, 420.0)
    }

    fn show(&self, ui: &mut Ui, _evidence: &Evidence, brush: &mut Brush<'_>) {
        let cards: BTreeMap<ColumnKey, Card> =
            brush.app.shown_columns().into_iter().filter_map(|key| Some((key, Card::new(brush.app, key)?))).collect();
        let top = cards.values().map(Card::highest).fold(1e-9, f32::max);
        head(ui, brush, top);
        ui.add_space(SMALL_GAP);
        with_adder(ui, brush, |ui, brush| {
            let figure = Figure { over: HEAD + FOOT[0], shape: shape(brush) };
            each(ui, brush, figure, |ui, brush, key| card(ui, brush, key, cards.get(&key), top));
        });
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let of = |key: ColumnKey| {
            let evidence = app.columns.get(&key)?;
            let axes = vec![Axis::numbered("row", evidence.grid.0), Axis::numbered("column", evidence.grid.1)];
            Some(Numbers::new(array_name(app, key), axes, app.landed(key)?.values))
        };
        app.shown_columns().into_iter().filter_map(of).collect()
    }
}

/// What is drawn of one column: where the words land now, and how that differs from the pinned state.
struct Card {
    now: Landed,
    pinned: Option<Pinned>,
}

/// What was said in a column in the pinned state.
struct Pinned {
    landed: Landed,
    said: Option<Said>,
    /// The shares now less those then, where both have the same patches.
    difference: Option<Vec<f32>>,
}

impl Card {
    fn new(app: &App, key: ColumnKey) -> Option<Self> {
        let now = app.landed(key)?;
        let evidence = app.columns.get(&key)?;
        let pinned = app.pinned.as_deref().and_then(|then| {
            // An extra column may run another method since.
            let before = then.columns.get(&key).filter(|before| before.method == evidence.method)?;
            let landed = then.landed(key)?;
            let difference = || now.shares.iter().zip(&landed.shares).map(|(now, then)| now - then).collect();
            let difference = (before.grid == evidence.grid).then(difference);
            Some(Pinned { said: before.said(), landed, difference })
        });
        Some(Self { now, pinned })
    }

    /// The numbers on the patches, and whether they are differences.
    fn shown(&self) -> (&[f32], bool) {
        match self.pinned.as_ref().and_then(|pinned| pinned.difference.as_deref()) {
            Some(difference) => (difference, true),
            None => (&self.now.shares, false),
        }
    }

    fn highest(&self) -> f32 {
        self.shown().0.iter().fold(0.0, |highest, value| highest.max(value.abs()))
    }
}

/// What a map is called.
pub(super) fn kind_of(brush: &Brush<'_>, kind: MapKind) -> String {
    match kind {
        MapKind::Attribution(key) | MapKind::Asked(key) => brush.word(&format!("attribution-{key}")),
        MapKind::Query => brush.say(four_ways::MAP_OF_QUERY).to_owned(),
        MapKind::Attention(weighting, place) => {
            let how = if weighting == Weighting::Gradient { texts::WEIGHTED } else { texts::RAW };
            let when = if place == Place::Predict { texts::WHILE_PREDICTED } else { texts::WHILE_READ };
            format!("{} · {}", brush.say(how), brush.say(when))
        }
    }
}

/// What a method answers.
fn answer(brush: &Brush<'_>, said: &Said) -> String {
    match said {
        Said::Similar(cosine) => format!("{} {}", brush.say(four_ways::SIMILAR), number(*cosine)),
        Said::Matches(share) => format!("{} {:.0} %", brush.say(texts::MATCHING), share * 100.0),
        Said::Text(text) => format!("“{text}”"),
    }
}

/// The words, a button that pins them, and what the colours mean.
fn head(ui: &mut Ui, brush: &mut Brush<'_>, top: f32) {
    let palette = brush.palette();
    let words = words_of(brush.app);
    let pinned = brush.app.pinned.as_deref().map(words_of);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
    let small = egui::TextStyle::Small.resolve(ui.style());
    let own = brush.app.state.map.scale == Scale::Own;
    let (low, high, what) = match (own, pinned.is_some()) {
        (true, _) => (String::new(), brush.say(texts::OWN_SCALE).to_owned(), four_ways::SHARE_OF_MAP),
        (false, false) => ("0".to_owned(), format!("{:.0} %", top * 100.0), four_ways::SHARE_OF_MAP),
        (false, true) => {
            let bound = format!("{:.0} %", top * 100.0);
            (format!("−{bound}"), format!("+{bound}"), four_ways::DIFFERENCE)
        }
    };
    let painter = ui.painter_at(rect);
    let middle = rect.center().y;
    let mut right = rect.right();
    let put = |right: &mut f32, text: &str| {
        let galley = painter.layout_no_wrap(text.to_owned(), small.clone(), palette.weak);
        *right -= galley.size().x;
        painter.galley(pos2(*right, middle - galley.size().y / 2.0), galley, palette.weak);
        *right -= 6.0;
    };
    put(&mut right, &high);
    let bar = Rect::from_min_max(pos2(right - 120.0, middle - 5.0), pos2(right, middle + 5.0));
    match pinned {
        Some(_) => signed_bar(&painter, bar),
        None => colour_bar(&painter, brush.app.state.map.colours, bar),
    }
    right = bar.left() - 6.0;
    put(&mut right, &low);
    put(&mut right, brush.say(what));
    let (text, command) =
        if pinned.is_some() { (four_ways::UNPIN, Command::Unpin) } else { (four_ways::PIN, Command::Pin) };
    let button = Rect::from_min_max(pos2(right - 76.0, rect.top()), pos2(right - 4.0, rect.bottom()));
    let response = ui.put(button, Button::new(RichText::new(brush.say(text)).small()));
    if response.on_hover_text(brush.say(four_ways::PIN_HINT)).clicked() {
        brush.commands.push(command);
    }
    let said = match pinned {
        Some(pinned) if pinned != words => format!("“{words}” − “{pinned}”"),
        _ => format!("“{words}”"),
    };
    let mut job = egui::text::LayoutJob::simple_singleline(said, title_font(16.0), palette.accent);
    job.wrap = egui::text::TextWrapping::truncate_at_width((button.left() - rect.left() - GAP).max(1.0));
    let galley = painter.layout_job(job);
    painter.galley(pos2(rect.left(), middle - galley.size().y / 2.0), galley, palette.accent);
}

/// The selected words, or the whole sentence.
fn words_of(app: &App) -> String {
    let words = app.state.selected.words.and_then(|(start, end)| app.state.sentence.get(start..end));
    words.unwrap_or(&app.state.sentence).trim().to_owned()
}

/// One column: its name, the picture under its map, and how that fares.
fn card(ui: &mut Ui, brush: &mut Brush<'_>, key: ColumnKey, shown: Option<&Card>, top: f32) {
    let palette = brush.palette();
    let name = brush.column(key);
    let evidence = brush.app.columns.get(&key).cloned();
    let is_narrow = ui.available_width() < NARROW;
    let (mut before, mut kind) = (None, Vec::new());
    match key {
        ColumnKey::Own(method) => {
            let model = evidence.as_ref().map(|evidence| evidence.model.name.clone());
            own_head(ui, brush, method, model.as_deref().filter(|_| !is_narrow));
            before = model.filter(|_| is_narrow);
        }
        ColumnKey::Extra(number) => {
            extra_head(ui, brush, number);
            if let Some(evidence) = &evidence {
                let is_changed = !brush.app.interventions(evidence.method).is_empty();
                kind.extend(is_changed.then(|| brush.say(four_ways::UNCHANGED).to_owned()));
                kind.push(brush.word(&format!("method-{}", evidence.method)));
            }
        }
    }
    let (Some(evidence), Some(shown)) = (evidence, shown) else {
        let (text, colour) = match (brush.app.failures.get(&key), brush.app.column_model(key), key) {
            (Some(failure), ..) => (failure.clone(), palette.warning),
            (None, None, ColumnKey::Own(method)) => (brush.word(&format!("method-{method}-missing")), palette.weak),
            _ => (waiting(brush), palette.weak),
        };
        ui.add(Label::new(RichText::new(text).color(colour)).wrap());
        return;
    };
    kind.push(kind_of(brush, shown.now.kind));
    ui.spacing_mut().interact_size.y = 0.0; // a row of text is no higher than that
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = SMALL_GAP;
        if let Some(model) = before {
            ui.label(RichText::new(model).color(palette.accent).small());
        }
        ui.add(Label::new(RichText::new(kind.join(" · ")).color(palette.weak).small()).truncate());
    });
    let space = ui.available_size();
    let foot_height = FOOT[usize::from(is_narrow)];
    let (outer, _) = ui.allocate_exact_size(vec2(space.x, (space.y - foot_height).max(40.0)), Sense::hover());
    let top = if brush.app.state.map.scale == Scale::Own { shown.highest().max(1e-9) } else { top };
    let (values, signed) = shown.shown();
    let texture = format!("four ways {key:?}");
    let overlay = Overlay { values, top, signed, name: &texture };
    if let Some(placed) = draw(ui, &evidence, brush, overlay, outer) {
        let label = format!("{} · {name}", brush.say(texts::MAP_PICTURE));
        interact(ui, &evidence, brush, placed, &texture, &label);
        // Of differences nothing can be tested.
        if !signed {
            badge(ui, brush, (key, &shown.now), badge_place(placed.picture));
        }
    }
    foot(ui, brush, &evidence, shown, is_narrow);
}

/// The name of a method, which leads to its column, and that of its checkpoint.
fn own_head(ui: &mut Ui, brush: &mut Brush<'_>, method: &'static str, model: Option<&str>) {
    let palette = brush.palette();
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = SMALL_GAP;
        let title = RichText::new(brush.column(method.into())).font(title_font(14.0)).color(palette.text);
        let button = Button::new(title).frame(false).truncate();
        if ui.add(button).on_hover_text(brush.say(four_ways::TO_COLUMN)).clicked() {
            brush.commands.push(Command::SetMethod(MethodName(method)));
        }
        if let Some(model) = model {
            let model = RichText::new(model).font(title_font(12.5)).color(palette.accent);
            ui.add(Label::new(model).truncate());
        }
    });
}

/// Why nothing is there yet.
fn waiting(brush: &Brush<'_>) -> String {
    let text = if brush.app.busy { texts::WAITING } else { four_ways::NO_MAP };
    brush.say(text).to_owned()
}

/// How the map fares, its mass, what the method answers, and the words of the selected patch; what it was in the pinned state
/// stands before what it is now.
fn foot(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence, card: &Card, is_narrow: bool) {
    let palette = brush.palette();
    let size = vec2(ui.available_width(), FOOT[usize::from(is_narrow)] - 6.0);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let painter = ui.painter_at(rect);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let mut x = rect.left();
    let mut facts = Vec::new();
    let pinned = card.pinned.as_ref();
    if let Some(Fares { hit, on_objects, overlap }) = card.now.fares {
        let (word, colour) = if hit { (four_ways::HIT, palette.accent) } else { (four_ways::MISS, palette.warning) };
        let text = format!("{} {}", if hit { "●" } else { "○" }, brush.say(word));
        let font = title_font(13.0);
        x = painter.text(pos2(x, rect.top()), Align2::LEFT_TOP, text, font, colour).right() + GAP;
        let before = pinned.and_then(|pinned| pinned.landed.fares);
        let share = |value: f32| format!("{:.0} %", value * 100.0);
        let on_objects = changed(before.map(|before| share(before.on_objects)), share(on_objects));
        facts.push(format!("{} {on_objects}", brush.say(four_ways::ON_OBJECT)));
        facts.push(format!("{} {overlap:.2}", brush.say(four_ways::OVERLAP)));
    }
    let mass = changed(pinned.map(|pinned| number(pinned.landed.mass())), number(card.now.mass()));
    facts.push(format!("{} {mass}", brush.say(texts::MASS)));
    let line = |text: String, room: f32, colour| {
        let mut job = egui::text::LayoutJob::simple_singleline(text, small.clone(), colour);
        job.wrap = egui::text::TextWrapping::truncate_at_width(room.max(1.0));
        painter.layout_job(job)
    };
    let spoken = facts.join("   ");
    let first = if is_narrow { facts.drain(..1).collect() } else { std::mem::take(&mut facts).join("   ") };
    painter.galley(pos2(x, rect.top() + 1.0), line(first, rect.right() - x, palette.text), palette.text);
    let more = is_narrow.then(|| facts.join("   "));
    let before = pinned.and_then(|pinned| pinned.said.as_ref()).map(|said| answer(brush, said));
    let said = evidence.said().map(|said| changed(before, answer(brush, &said))).unwrap_or_default();
    let patch = match brush.app.hovered {
        Some(crate::app::Thing::Patch(patch)) => Some(patch),
        _ => brush.app.state.selected.patch,
    };
    let words = patch.map(|patch| said_of(brush, evidence, patch)).unwrap_or_default();
    for (at, text) in more.iter().chain([&said, &words]).enumerate() {
        let galley = line(text.clone(), rect.width(), palette.text);
        painter.galley(pos2(rect.left(), rect.top() + 18.0 + 16.0 * at as f32), galley, palette.text);
    }
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, format!("{spoken} {said} {words}")));
    // A long answer is cut above; here it can be read.
    response.on_hover_text(said);
}

/// What something was in the pinned state, if there is one and it was something else, and what it is.
fn changed(before: Option<String>, now: String) -> String {
    match before {
        Some(before) if before != now => format!("{before} → {now}"),
        _ => now,
    }
}

/// The words that a method gives a patch, best first.
fn said_of(brush: &Brush<'_>, evidence: &Evidence, patch: usize) -> String {
    if patch >= evidence.grid.0 * evidence.grid.1 {
        return String::new();
    }
    let ranked = evidence.patch_words.ranked(patch).into_iter().take(NAMED);
    let words = ranked.map(|(word, score)| {
        let word = evidence.patch_words.words.get(word).map_or("", |word| word.trim());
        format!("{word} {}", cosine(score))
    });
    let at = (patch / evidence.grid.1 + 1, patch % evidence.grid.1 + 1);
    format!("{} {}·{}: {}", brush.say(texts::PATCH), at.0, at.1, words.collect::<Vec<_>>().join("   "))
}
