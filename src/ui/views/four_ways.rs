//! One picture, the same words, four ways: where each method says that they land, on one scale.

use egui::{Align, Align2, Layout, Rect, RichText, Sense, Ui, UiBuilder, pos2, vec2};

use super::fusion::{asked, map_of_all, place};
use super::map_picture::{Overlay, draw, interact};
use super::parts::colour_bar;
use super::querying::{best_query, cosine};
use super::{Brush, View, number};
use crate::app::layout::SIDE_BY_SIDE;
use crate::app::state::MethodName;
use crate::app::truth::Fares;
use crate::app::{App, Command, Scale};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::queries::QueryLook;
use crate::methods::reading::{Place, Weighting};
use crate::methods::{Evidence, METHODS, MethodEntry};
use crate::ui::texts::{self, four_ways};
use crate::ui::theme::{GAP, SMALL_GAP, title_font};

/// The view.
pub struct FourWaysView;

/// Words of a patch that are named.
const NAMED: usize = 4;
/// Height of the lines under a picture.
const FOOT: f32 = 46.0;

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
        let landed: Vec<(&MethodEntry, Option<Landed>)> =
            METHODS.iter().map(|method| (method, Landed::new(brush, method.key))).collect();
        let top = landed.iter().filter_map(|(_, landed)| landed.as_ref()).map(Landed::highest).fold(1e-9, f32::max);
        head(ui, brush, top);
        ui.add_space(SMALL_GAP);
        let space = ui.available_rect_before_wrap();
        // In one row where that makes the pictures larger.
        let columns = if space.width() > 2.4 * space.height() { 4 } else { 2 };
        let rows = METHODS.len().div_ceil(columns);
        let size = vec2(
            (space.width() - GAP * (columns - 1) as f32) / columns as f32,
            (space.height() - GAP * (rows - 1) as f32) / rows as f32,
        );
        for (at, (method, landed)) in landed.iter().enumerate() {
            let (row, column) = ((at / columns) as f32, (at % columns) as f32);
            let corner = space.min + vec2(column * (size.x + GAP), row * (size.y + GAP));
            let builder = UiBuilder::new()
                .id_salt(method.key)
                .max_rect(Rect::from_min_size(corner, size))
                .layout(Layout::top_down(Align::Min));
            card(&mut ui.new_child(builder), brush, method, landed.as_ref(), top);
        }
        ui.advance_cursor_after_rect(space);
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let of = |method: &MethodEntry| {
            let evidence = app.columns.get(method.key)?;
            let axes = vec![Axis::numbered("row", evidence.grid.0), Axis::numbered("column", evidence.grid.1)];
            Some(Numbers::new(method.key, axes, map_of(app, evidence)?.0))
        };
        METHODS.iter().filter_map(of).collect()
    }
}

/// Where the words land in the eyes of one method.
struct Landed {
    /// The share of the map's positive mass on each patch.
    shares: Vec<f32>,
    /// The sum of the map.
    mass: f32,
    /// What the map is.
    what: String,
    /// How it fares, where the truth is known.
    fares: Option<Fares>,
}

impl Landed {
    fn new(brush: &Brush<'_>, method: &str) -> Option<Self> {
        let evidence = brush.app.columns.get(method)?;
        let (values, what) = map_of(brush.app, evidence)?;
        let positive: f32 = values.iter().map(|value| value.max(0.0)).sum();
        let what = what.iter().map(|key| brush.word(key)).collect::<Vec<_>>().join(" · ");
        Some(Self {
            shares: values.iter().map(|value| value.max(0.0) / positive.max(1e-12)).collect(),
            mass: values.iter().sum(),
            what,
            fares: brush.app.truth().and_then(|truth| truth.fares(&values, evidence.seen, evidence.grid)),
        })
    }

    fn highest(&self) -> f32 {
        self.shares.iter().copied().fold(0.0, f32::max)
    }
}

/// The map of the selected words in the eyes of a method, and the keys of what it is called.
fn map_of(app: &App, evidence: &Evidence) -> Option<(Vec<f32>, Vec<String>)> {
    if let Some(queries) = &evidence.queries {
        let query = best_query(app, queries)?;
        return Some((queries.map(query, QueryLook::default())?, vec![four_ways::MAP_OF_QUERY.0.to_owned()]));
    }
    if let Some(reading) = &evidence.reading {
        let (line, steps, _) = asked(app, reading)?;
        let weighting = app.state.fusion.weighting;
        let how = if weighting == Weighting::Gradient { texts::WEIGHTED } else { texts::RAW };
        let when = if place(app, line) == Place::Predict { texts::WHILE_PREDICTED } else { texts::WHILE_READ };
        return Some((map_of_all(app, reading, line, &steps, weighting)?, vec![how.0.to_owned(), when.0.to_owned()]));
    }
    let map = evidence.maps.get(app.phrase(evidence))?.get(app.layer().0)?;
    Some((map.values.clone(), vec![format!("attribution-{}", app.layer().0)]))
}

/// The words, and what the colours mean.
fn head(ui: &mut Ui, brush: &Brush<'_>, top: f32) {
    let palette = brush.palette();
    let words = brush.app.state.selected.words.and_then(|(start, end)| brush.app.state.sentence.get(start..end));
    let words = words.unwrap_or(&brush.app.state.sentence).trim();
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
    let small = egui::TextStyle::Small.resolve(ui.style());
    let painter = ui.painter_at(rect);
    let high = match brush.app.state.map.scale {
        Scale::Shared => format!("{:.0} %", top * 100.0),
        Scale::Own => brush.say(texts::OWN_SCALE).to_owned(),
    };
    let high = painter.layout_no_wrap(high, small.clone(), palette.weak);
    let mut right = rect.right() - high.size().x;
    let middle = rect.center().y;
    painter.galley(pos2(right, middle - high.size().y / 2.0), high, palette.weak);
    let bar = Rect::from_min_max(pos2(right - 126.0, middle - 5.0), pos2(right - 6.0, middle + 5.0));
    colour_bar(&painter, brush.app.state.map.colours, bar);
    right = bar.left() - 6.0;
    for text in ["0", brush.say(four_ways::SHARE_OF_MAP)] {
        let galley = painter.layout_no_wrap(text.to_owned(), small.clone(), palette.weak);
        right -= galley.size().x;
        painter.galley(pos2(right, middle - galley.size().y / 2.0), galley, palette.weak);
        right -= 6.0;
    }
    let mut job = egui::text::LayoutJob::simple_singleline(format!("“{words}”"), title_font(16.0), palette.accent);
    job.wrap = egui::text::TextWrapping::truncate_at_width((right - rect.left() - GAP).max(1.0));
    let galley = painter.layout_job(job);
    painter.galley(pos2(rect.left(), middle - galley.size().y / 2.0), galley, palette.accent);
}

/// One method: its name, the picture under its map, and how that fares.
fn card(ui: &mut Ui, brush: &mut Brush<'_>, method: &'static MethodEntry, landed: Option<&Landed>, top: f32) {
    let palette = brush.palette();
    let name = brush.word(&format!("method-{}", method.key));
    let evidence = brush.app.columns.get(method.key).cloned();
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = SMALL_GAP;
        let title = RichText::new(&name).font(title_font(14.0)).color(palette.text);
        if ui.add(egui::Button::new(title).frame(false)).on_hover_text(brush.say(four_ways::TO_COLUMN)).clicked() {
            brush.commands.push(Command::SetMethod(MethodName(method.key)));
        }
        if let Some(evidence) = &evidence {
            let model = RichText::new(&evidence.model.name).font(title_font(12.5)).color(palette.accent);
            ui.add(egui::Label::new(model).truncate());
        }
    });
    let (Some(evidence), Some(landed)) = (evidence, landed) else {
        let missing = brush.app.checkpoint(method.key).is_none();
        let text = if missing { brush.word(&format!("method-{}-missing", method.key)) } else { waiting(brush) };
        ui.add(egui::Label::new(RichText::new(text).color(palette.weak)).wrap());
        return;
    };
    ui.add(egui::Label::new(RichText::new(&landed.what).color(palette.weak).small()).truncate());
    let space = ui.available_size();
    let (outer, _) = ui.allocate_exact_size(vec2(space.x, (space.y - FOOT).max(40.0)), Sense::hover());
    let top = if brush.app.state.map.scale == Scale::Own { landed.highest().max(1e-9) } else { top };
    let overlay = Overlay { values: &landed.shares, top, name: &format!("four ways {}", method.key) };
    if let Some(placed) = draw(ui, &evidence, brush, overlay, outer) {
        let label = format!("{} · {name}", brush.say(texts::MAP_PICTURE));
        interact(ui, &evidence, brush, placed, method.key, &label);
    }
    foot(ui, brush, &evidence, landed);
}

/// Why nothing is there yet.
fn waiting(brush: &Brush<'_>) -> String {
    let text = if brush.app.busy { texts::WAITING } else { four_ways::NO_MAP };
    brush.say(text).to_owned()
}

/// How the map fares, its mass, and the words of the selected patch.
fn foot(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence, landed: &Landed) {
    let palette = brush.palette();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), FOOT - 6.0), Sense::hover());
    let painter = ui.painter_at(rect);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let mut x = rect.left();
    let mut facts = Vec::new();
    if let Some(Fares { hit, on_objects, overlap }) = landed.fares {
        let (word, colour) = if hit { (four_ways::HIT, palette.accent) } else { (four_ways::MISS, palette.warning) };
        let text = format!("{} {}", if hit { "●" } else { "○" }, brush.say(word));
        let font = title_font(13.0);
        x = painter.text(pos2(x, rect.top()), Align2::LEFT_TOP, text, font, colour).right() + GAP;
        facts.push(format!("{} {:.0} %", brush.say(four_ways::ON_OBJECT), on_objects * 100.0));
        facts.push(format!("{} {overlap:.2}", brush.say(four_ways::OVERLAP)));
    }
    facts.push(format!("{} {}", brush.say(texts::MASS), number(landed.mass)));
    let line = |text: String, room: f32, colour| {
        let mut job = egui::text::LayoutJob::simple_singleline(text, small.clone(), colour);
        job.wrap = egui::text::TextWrapping::truncate_at_width(room.max(1.0));
        painter.layout_job(job)
    };
    let facts = facts.join("   ");
    painter.galley(pos2(x, rect.top() + 1.0), line(facts.clone(), rect.right() - x, palette.text), palette.text);
    let patch = match brush.app.hovered {
        Some(crate::app::Thing::Patch(patch)) => Some(patch),
        _ => brush.app.state.selected.patch,
    };
    let words = patch.map(|patch| said(brush, evidence, patch)).unwrap_or_default();
    let said = line(words.clone(), rect.width(), palette.text);
    painter.galley(pos2(rect.left(), rect.top() + 20.0), said, palette.text);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, format!("{facts} {words}")));
}

/// The words that a method gives a patch, best first.
fn said(brush: &Brush<'_>, evidence: &Evidence, patch: usize) -> String {
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
