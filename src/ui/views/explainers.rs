//! Several explanations of the same words beside each other, on one scale, with how far they agree and how each fares.

use egui::{
    Align, Button, Grid, Layout, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};

use super::faithful::{badge, badge_place, fills, verdict};
use super::four_ways::kind_of;
use super::map_picture::{Overlay, draw, interact, shape};
use super::parts::colour_bar;
use super::{Brush, View};
use crate::app::explained::MOST_BESIDE;
use crate::app::looks::Landed;
use crate::app::testing::Tested;
use crate::app::{App, Command, Scale};
use crate::attribution::{ATTRIBUTIONS, explainer, named};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::faithful::{Curve, Faithfulness, Order, rank_correlation};
use crate::methods::{Evidence, MapKind};
use crate::ui::texts::{self, explainers, faithful, four_ways};
use crate::ui::theme::{GAP, SMALL_GAP, title_font};

/// The view, in the column of a method.
pub struct ExplainersView(pub &'static str);

/// A picture lower than this can't be read.
const LEAST_PICTURE: f32 = 90.0;
/// Height of a line of the table.
const LINE: f32 = 21.0;
/// So much larger pictures have to become in one row more.
const WORTH: f32 = 1.3;
/// Height of a tile's title.
const TITLE: f32 = 20.0;

impl View for ExplainersView {
    fn key(&self) -> &'static str {
        match self.0 {
            "contrastive" => "explainers",
            "cross-attention" => "explainers-words",
            "querying" => "explainers-queries",
            _ => "explainers-row",
        }
    }

    fn method(&self) -> &'static str {
        self.0
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/explainers.en.md"), include_str!("../../../assets/help/explainers.zh.md")]
    }

    fn least(&self) -> egui::Vec2 {
        vec2(460.0, 380.0)
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        ui.spacing_mut().item_spacing = vec2(SMALL_GAP, SMALL_GAP);
        let shown = Shown::all(brush.app, self.0);
        choice(ui, brush, self.0, &shown);
        let top = shown.iter().filter_map(|shown| shown.landed.as_ref()).map(Landed::highest).fold(1e-9, f32::max);
        controls(ui, brush, &shown, top);
        let space = ui.available_rect_before_wrap();
        let table = LINE * (shown.len() + 2) as f32 + GAP;
        let room = vec2(space.width(), space.height() - table);
        // In one row, unless in several the pictures are much larger.
        let sizes = (1..=3).map(|rows| (rows, size_of_tile(room, (rows, shown.len()), shape(brush))));
        let (rows, size) =
            sizes.reduce(|best, next| if next.1.y > WORTH * best.1.y { next } else { best }).unwrap_or((1, room));
        let columns = shown.len().div_ceil(rows).max(1);
        for (at, one) in shown.iter().enumerate() {
            let place = vec2((at % columns) as f32, (at / columns) as f32) * (size + vec2(GAP, GAP));
            let rect = Rect::from_min_size(space.min + place, size);
            let builder = UiBuilder::new().id_salt(at).max_rect(rect).layout(Layout::top_down(Align::Min));
            tile(&mut ui.new_child(builder), evidence, brush, (self.0, at, one), top);
        }
        let height = rows as f32 * (size.y + GAP);
        ui.advance_cursor_after_rect(Rect::from_min_size(space.min, vec2(space.width(), height)));
        ScrollArea::both().id_salt("table").auto_shrink(false).show(ui, |ui| agreement(ui, brush, &shown));
    }

    fn has_something(&self, app: &App) -> bool {
        Shown::all(app, self.0).iter().any(|shown| shown.landed.is_some())
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let axes = || [Axis::numbered("row", evidence.grid.0), Axis::numbered("column", evidence.grid.1)];
        let of = |shown: Shown| Some(Numbers::new(shown.kind.key(), axes(), shown.landed?.values));
        Shown::all(app, self.0).into_iter().filter_map(of).collect()
    }
}

/// How large a tile can be, its title included, in so many rows.
fn size_of_tile(room: egui::Vec2, (rows, count): (usize, usize), shape: f32) -> egui::Vec2 {
    let columns = count.div_ceil(rows).max(1) as f32;
    let width = (room.x - GAP * (columns - 1.0)) / columns;
    let height = room.y / rows as f32 - GAP - TITLE;
    vec2(width, (width * shape).min(height).max(LEAST_PICTURE) + TITLE)
}

/// One of the explanations that stand beside each other.
struct Shown {
    kind: MapKind,
    landed: Option<Landed>,
    tested: Option<Tested>,
}

impl Shown {
    fn all(app: &App, method: &'static str) -> Vec<Self> {
        let of = |kind| {
            let landed = app.landed_by(method, kind);
            let tested = landed.as_ref().and_then(|landed| app.tested(method, landed)).cloned();
            Self { kind, landed, tested }
        };
        app.explanations_beside(method).into_iter().map(of).collect()
    }
}

/// All explanations that there are: a click shows one beside the others, or no longer.
fn choice(ui: &mut Ui, brush: &mut Brush<'_>, method: &'static str, shown: &[Shown]) {
    let here = brush.app.explanations(method);
    ui.horizontal_wrapped(|ui| {
        for kind in &here {
            let is_shown = shown.iter().any(|shown| shown.kind == *kind);
            let can = if is_shown { shown.len() > 1 } else { shown.len() < MOST_BESIDE };
            let name = kind_of(brush, *kind);
            let button = ui.add_enabled(can, Button::selectable(is_shown, RichText::new(name).small()));
            let hint = if is_shown { explainers::HIDE } else { explainers::SHOW };
            if button.on_hover_text(brush.say(hint)).clicked() {
                brush.commands.push(Command::ToggleExplanation(kind.key()));
            }
        }
        // Those of other models, and why they aren't here.
        let others = ATTRIBUTIONS.iter().filter(|other| here.iter().all(|kind| kind.key() != other.key));
        let others: Vec<String> = others.map(|other| brush.word(&format!("attribution-{}", other.key))).collect();
        if !others.is_empty() {
            let reason = format!("{}\n{}", others.join(", "), brush.word(&format!("no-attribution-{method}")));
            let name = RichText::new(brush.say(explainers::NOT_HERE)).small();
            ui.add_enabled(false, Button::selectable(false, name)).on_disabled_hover_text(reason);
        }
    });
}

/// What can be asked, and what the colours mean.
fn controls(ui: &mut Ui, brush: &mut Brush<'_>, shown: &[Shown], top: f32) {
    let palette = brush.palette();
    ui.horizontal_wrapped(|ui| {
        let is_missing = shown.iter().any(|shown| shown.landed.is_none());
        let ask = Button::new(RichText::new(brush.say(explainers::ASK)).strong());
        if ui.add_enabled(!brush.app.busy && is_missing, ask).on_hover_text(brush.say(explainers::ASK_HINT)).clicked() {
            brush.commands.push(Command::Explain);
        }
        let test = Button::new(RichText::new(brush.say(explainers::TEST_ALL)));
        let can = !brush.app.busy && shown.iter().any(|shown| shown.landed.is_some());
        if ui.add_enabled(can, test).on_hover_text(brush.say(faithful::INTRODUCTION)).clicked() {
            brush.commands.push(Command::TestExplanations);
        }
        fills(ui, brush);
        if brush.app.is_explaining() || brush.app.is_testing() {
            let text = if brush.app.is_testing() { faithful::TESTING } else { explainers::ASKING };
            ui.label(RichText::new(brush.say(text)).color(palette.weak).small());
        }
        legend(ui, brush, top);
    });
}

/// What the colours mean, in one piece: where there is no room for it behind the buttons, it stands below them.
fn legend(ui: &mut Ui, brush: &Brush<'_>, top: f32) {
    const BAR: egui::Vec2 = vec2(60.0, 10.0);
    let weak = brush.palette().weak;
    let own = brush.app.state.map.scale == Scale::Own;
    let high = if own { brush.say(texts::OWN_SCALE).to_owned() } else { format!("{:.0} %", top * 100.0) };
    let small = egui::TextStyle::Small.resolve(ui.style());
    let line = |text: String| ui.painter().layout_no_wrap(text, small.clone(), weak);
    let spoken = format!("{}: 0 – {high}", brush.say(four_ways::SHARE_OF_MAP));
    let (name, high) = (line(brush.say(four_ways::SHARE_OF_MAP).to_owned()), line(high));
    let width = name.size().x + BAR.x + high.size().x + 3.0 * SMALL_GAP;
    let (rect, response) = ui.allocate_exact_size(vec2(width, ui.spacing().interact_size.y), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &spoken));
    let middle = |height: f32| rect.center().y - height / 2.0;
    let mut x = rect.left() + SMALL_GAP;
    let (name_width, name_height) = (name.size().x, name.size().y);
    ui.painter().galley(pos2(x, middle(name_height)), name, weak);
    x += name_width + SMALL_GAP;
    let bar = Rect::from_min_size(pos2(x, middle(BAR.y)), BAR);
    colour_bar(ui.painter(), brush.app.state.map.colours, bar);
    ui.painter().galley(pos2(bar.right() + SMALL_GAP, middle(high.size().y)), high, weak);
}

/// One explanation: its name, and the picture under its map.
fn tile(
    ui: &mut Ui,
    evidence: &Evidence,
    brush: &mut Brush<'_>,
    (method, at, shown): (&'static str, usize, &Shown),
    top: f32,
) {
    let palette = brush.palette();
    let name = kind_of(brush, shown.kind);
    let title = RichText::new(format!("{}  {name}", at + 1)).font(title_font(12.5)).color(palette.text);
    ui.add(egui::Label::new(title).truncate().sense(Sense::hover())).on_hover_ui(|ui| explained(ui, brush, shown.kind));
    // A square from the left, so that pictures stand below their names.
    let room = ui.available_rect_before_wrap();
    let outer = Rect::from_min_size(room.min, egui::Vec2::splat(room.width().min(room.height())));
    let Some(landed) = &shown.landed else {
        ui.painter().rect_stroke(outer, 3.0, Stroke::new(1.0, palette.weak), StrokeKind::Inside);
        let place = Rect::from_center_size(outer.center(), vec2(outer.width() - GAP, 28.0));
        let mut inside = ui.new_child(
            UiBuilder::new()
                .id_salt("ask")
                .max_rect(place)
                .layout(Layout::centered_and_justified(egui::Direction::LeftToRight)),
        );
        if brush.app.is_explaining() {
            inside.label(RichText::new(brush.say(explainers::ASKING)).color(palette.weak).small());
            return;
        }
        let ask = Button::new(RichText::new(brush.say(explainers::ASK)).small());
        if inside.add_enabled(!brush.app.busy, ask).on_hover_text(brush.say(explainers::ASK_HINT)).clicked() {
            brush.commands.push(Command::Explain);
        }
        return;
    };
    let top = if brush.app.state.map.scale == Scale::Own { landed.highest().max(1e-9) } else { top };
    let overlay = Overlay { values: &landed.shares, top, signed: false, name: &format!("explainer {method} {at}") };
    if let Some(placed) = draw(ui, evidence, brush, overlay, outer) {
        let label = format!("{} · {name}", brush.say(texts::MAP_PICTURE));
        interact(ui, evidence, brush, placed, shown.kind.key(), &label);
        badge(ui, brush, (method, landed), badge_place(placed.picture));
    }
}

/// What a map is, in what its numbers are, and where it was published.
fn explained(ui: &mut Ui, brush: &Brush<'_>, kind: MapKind) {
    ui.set_max_width(420.0);
    ui.label(RichText::new(kind_of(brush, kind)).strong());
    let (MapKind::Attribution(key) | MapKind::Asked(key)) = kind else { return };
    ui.label(RichText::new(brush.word(&format!("attribution-{key}-unit"))).color(brush.palette().weak));
    let help = named(key).map(|attribution| attribution.help);
    let asked = explainer(key).map(|explainer| explainer.help);
    let help = if matches!(kind, MapKind::Asked(_)) { asked.or(help) } else { help.or(asked) };
    if let Some(help) = help {
        ui.label(help[brush.app.language_index()].replace("**", "").trim());
    }
}

/// How each fares, and how far each two of them rank patches alike.
fn agreement(ui: &mut Ui, brush: &Brush<'_>, shown: &[Shown]) {
    let palette = brush.palette();
    let knows = shown.iter().any(|shown| shown.landed.as_ref().is_some_and(|landed| landed.fares.is_some()));
    let is_tested = shown.iter().any(|shown| shown.tested.is_some());
    let small = |text: String| RichText::new(text).small();
    Grid::new("agreement").striped(true).spacing(vec2(GAP * 1.5, 3.0)).min_row_height(LINE - 4.0).show(ui, |ui| {
        ui.label("");
        let head = |ui: &mut Ui, text: &str, hint: &str| {
            ui.label(small(text.to_owned()).color(palette.weak)).on_hover_text(hint);
        };
        if knows {
            head(ui, brush.say(four_ways::ON_OBJECT), brush.say(explainers::ON_OBJECT_HINT));
        }
        if is_tested {
            head(ui, brush.say(faithful::HIDDEN), brush.say(explainers::HIDDEN_HINT));
            head(ui, brush.say(faithful::SHOWN), brush.say(explainers::SHOWN_HINT));
            head(ui, brush.say(explainers::SHUFFLED), brush.say(faithful::SANITY_HINT));
        }
        for at in 0..shown.len() {
            head(ui, &format!("ρ {}", at + 1), brush.say(explainers::RHO_HINT));
        }
        ui.end_row();
        for (at, one) in shown.iter().enumerate() {
            ui.label(small(format!("{}  {}", at + 1, kind_of(brush, one.kind))).color(palette.text));
            let nothing = || small("–".to_owned()).color(palette.weak);
            if knows {
                match one.landed.as_ref().and_then(|landed| landed.fares) {
                    Some(fares) => {
                        let (sign, word, colour) = if fares.hit {
                            ("●", four_ways::HIT, palette.accent)
                        } else {
                            ("○", four_ways::MISS, palette.warning)
                        };
                        let share = fares.on_objects * 100.0;
                        ui.label(small(format!("{sign} {} {share:.0} %", brush.say(word))).color(colour));
                    }
                    None => {
                        ui.label(nothing());
                    }
                }
            }
            if is_tested {
                let areas = one.tested.as_ref().map(|tested| areas(&tested.faithfulness));
                for which in 0..2 {
                    match areas {
                        Some(both) => {
                            let [own, chance] = both[which];
                            let better = if which == 0 { own < chance } else { own > chance };
                            let colour = if better { palette.accent } else { palette.warning };
                            let text = small(format!("{own:.2}")).color(colour);
                            ui.label(text).on_hover_text(format!("{} {chance:.2}", brush.say(faithful::BY_CHANCE)));
                        }
                        None => {
                            ui.label(nothing());
                        }
                    }
                }
            }
            if is_tested {
                let stays = one.tested.as_ref().and_then(|tested| tested.sanity.last()?.1);
                match stays {
                    Some(stays) => {
                        let colour = if stays > 0.8 { palette.warning } else { palette.text };
                        ui.label(small(format!("{stays:.2}")).color(colour));
                    }
                    None => {
                        ui.label(nothing());
                    }
                }
            }
            for (other_at, other) in shown.iter().enumerate() {
                let both = one.landed.as_ref().zip(other.landed.as_ref()).filter(|_| other_at != at);
                let alike = both.and_then(|(one, other)| rank_correlation(&one.values, &other.values));
                match alike {
                    Some(alike) => {
                        let colour = if alike < 0.3 { palette.warning } else { palette.text };
                        ui.label(small(format!("{alike:.2}")).color(colour));
                    }
                    None => {
                        ui.label(nothing());
                    }
                }
            }
            ui.end_row();
        }
    });
    let verdicts = shown.iter().filter_map(|shown| shown.tested.as_ref()).map(|tested| verdict(&tested.faithfulness));
    let (count, good) = verdicts.fold((0, 0), |(count, good), verdict| (count + 1, good + usize::from(verdict == 2)));
    if count > 0 {
        let said = brush.say(explainers::VERDICT).replace("{good}", &good.to_string());
        ui.label(small(said.replace("{count}", &count.to_string())).color(palette.weak));
    }
}

/// The areas of the map and of chance, while patches are hidden and while they are shown.
fn areas(faithfulness: &Faithfulness) -> [[f32; 2]; 2] {
    [&faithfulness.deletion, &faithfulness.insertion].map(|curves| {
        [Order::Map, Order::Random].map(|order| Faithfulness::of(curves, order).map_or(f32::NAN, Curve::area))
    })
}
