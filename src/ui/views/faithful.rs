//! Whether maps are true: what becomes of the words when patches are hidden, or shown, in the map's order.

use egui::{Button, Rect, RichText, Role, Sense, Stroke, Ui, WidgetInfo, vec2};
use egui_plot::{Line, LineStyle, Plot};

use super::map_picture::{Overlay, draw};
use super::side_by_side::{Figure, array_name, each};
use super::{Brush, View};
use crate::app::layout::SIDE_BY_SIDE;
use crate::app::looks::Landed;
use crate::app::testing::Tested;
use crate::app::{App, ColumnKey, Command};
use crate::attribution::hiding::Fill;
use crate::export::numbers::{Axis, Numbers};
use crate::methods::faithful::{Curve, Faithfulness, Order, rank_correlation, step_at};
use crate::methods::sanity::Shuffled;
use crate::methods::{Claim, Evidence, Measure};
use crate::ui::texts::{self, Text, faithful};
use crate::ui::theme::{GAP, Palette, SMALL_GAP, title_font};

/// The view.
pub struct FaithfulView;

/// The share of patches that the sentence is about.
const SAID: f32 = 0.2;
/// Height of the plots in the inspector, in points.
const LOW: f32 = 96.0;

impl View for FaithfulView {
    fn key(&self) -> &'static str {
        "faithful"
    }

    fn method(&self) -> &'static str {
        SIDE_BY_SIDE
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/faithful.en.md"), include_str!("../../../assets/help/faithful.zh.md")]
    }

    fn least(&self) -> egui::Vec2 {
        vec2(560.0, 440.0)
    }

    fn show(&self, ui: &mut Ui, _evidence: &Evidence, brush: &mut Brush<'_>) {
        ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
        controls(ui, brush);
        if !is_tested(brush.app) {
            waiting(ui, brush);
            return;
        }
        legend(ui, brush);
        ui.add_space(SMALL_GAP);
        each(ui, brush, Figure { over: 120.0, shape: 0.4 }, |cell, brush, key| {
            cell.label(RichText::new(brush.column(key)).font(title_font(13.0)));
            match brush.app.landed(key) {
                Some(landed) => match brush.app.tested(key, &landed) {
                    Some(tested) => {
                        let tested = tested.clone();
                        result(cell, brush, &tested, None);
                    }
                    None if brush.app.is_testing() => waiting(cell, brush),
                    None => {}
                },
                None => {
                    cell.label(RichText::new(brush.say(texts::four_ways::NO_MAP)).color(brush.palette().weak));
                }
            }
        });
    }

    fn has_something(&self, app: &App) -> bool {
        is_tested(app)
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let of = |key: ColumnKey| {
            let landed = app.landed(key)?;
            let tested = &app.tested(key, &landed)?.faithfulness;
            let steps = tested.deletion.first()?.values.len();
            let orders = tested.deletion.iter().map(|curve| order_key(curve.order));
            let axes = [
                Axis::labelled("what", ["deletion", "insertion"]),
                Axis::labelled("order", orders),
                Axis::numbered("step", steps),
            ];
            let curves = tested.deletion.iter().chain(&tested.insertion);
            Some(Numbers::new(array_name(app, key), axes, curves.flat_map(|curve| curve.values.clone()).collect()))
        };
        let all: Vec<Numbers> = app.shown_columns().into_iter().filter_map(of).collect();
        if all.is_empty() { vec![Numbers::single("tested", 0.0)] } else { all }
    }
}

/// Whether any of the maps that are shown was tested.
fn is_tested(app: &App) -> bool {
    let is_tested = |key| app.landed(key).is_some_and(|landed| app.tested(key, &landed).is_some());
    app.shown_columns().into_iter().any(is_tested)
}

fn order_key(order: Order) -> &'static str {
    match order {
        Order::Map => "map",
        Order::Random => "random",
        Order::Object => "object",
    }
}

/// The test of the map of the one method that is shown, for the inspector.
pub fn section(ui: &mut Ui, brush: &mut Brush<'_>, method: &'static str) {
    let Some(landed) = brush.app.landed(method) else { return };
    controls(ui, brush);
    match brush.app.tested(method, &landed) {
        Some(tested) => {
            let tested = tested.clone();
            legend(ui, brush);
            result(ui, brush, &tested, Some(LOW));
        }
        None => waiting(ui, brush),
    }
}

/// The button, and what hidden patches are filled with.
fn controls(ui: &mut Ui, brush: &mut Brush<'_>) {
    ui.horizontal_wrapped(|ui| {
        let can = !brush.app.busy && brush.app.evidence.is_some();
        let button = Button::new(RichText::new(brush.say(faithful::TEST)).strong());
        if ui.add_enabled(can, button).on_hover_text(brush.say(faithful::INTRODUCTION)).clicked() {
            brush.commands.push(Command::TestMaps);
        }
        fills(ui, brush);
    });
}

/// What stands in the place of hidden patches.
pub(super) fn fills(ui: &mut Ui, brush: &mut Brush<'_>) {
    for fill in Fill::ALL {
        let text = match fill {
            Fill::Mean => faithful::FILL_MEAN,
            Fill::Blur => faithful::FILL_BLUR,
        };
        if ui.add(Button::selectable(brush.app.state.fill == fill, brush.say(text))).clicked() {
            brush.commands.push(Command::SetFill(fill));
        }
    }
}

/// Side of the button on a map, in points.
const BADGE: f32 = 22.0;

/// Where on a picture the button lies.
pub(super) fn badge_place(picture: Rect) -> Rect {
    Rect::from_min_size(picture.right_top() + vec2(-BADGE - 4.0, 4.0), egui::Vec2::splat(BADGE))
}

/// A button on a map that asks whether it is true; then what came of it.
pub(super) fn badge(ui: &Ui, brush: &mut Brush<'_>, (key, landed): (impl Into<ColumnKey>, &Landed), place: Rect) {
    let key = key.into();
    let palette = brush.palette();
    let name = format!("{} {}", brush.say(faithful::QUESTION), landed.kind.key());
    let response = ui.interact(place, ui.scope_id().with(("badge", &name)), Sense::click());
    let (sign, colour, said) = match brush.app.tested(key, landed) {
        None => ("?", palette.text, brush.say(faithful::INTRODUCTION).to_owned()),
        Some(tested) => {
            let (text, sign, colour) = verdict_in_words(&palette, &tested.faithfulness);
            (sign, colour, format!("{}\n{sign} {}", sentence(brush, tested), brush.say(text)))
        }
    };
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{name}: {said}")));
    let is_lit = response.hovered() || response.has_focus();
    let line = Stroke::new(if is_lit { 2.0 } else { 1.0 }, if is_lit { palette.accent } else { palette.weak });
    let radius = place.width() / 2.0;
    ui.painter().circle(place.center(), radius, palette.ground, line);
    let font = title_font(13.0);
    ui.painter().text(place.center(), egui::Align2::CENTER_CENTER, sign, font, colour);
    if response.clicked() && !brush.app.busy {
        brush.commands.push(Command::TestMap(key, landed.kind));
    }
    response.on_hover_text(format!("{}\n{said}", brush.say(faithful::QUESTION)));
}

/// The verdict with its sign and colour.
fn verdict_in_words(palette: &Palette, faithfulness: &Faithfulness) -> (Text, &'static str, egui::Color32) {
    match verdict(faithfulness) {
        2 => (faithful::BETTER, "●", palette.accent),
        1 => (faithful::MIXED, "○", palette.text),
        _ => (faithful::NO_BETTER, "○", palette.warning),
    }
}

fn waiting(ui: &mut Ui, brush: &Brush<'_>) {
    let text = if brush.app.is_testing() { faithful::TESTING } else { faithful::INTRODUCTION };
    ui.add(egui::Label::new(RichText::new(brush.say(text)).color(brush.palette().weak).small()).wrap());
}

fn legend(ui: &mut Ui, brush: &Brush<'_>) {
    ui.horizontal_wrapped(|ui| {
        for order in [Order::Map, Order::Random, Order::Object] {
            let name = RichText::new(format!("— {}", brush.say(order_text(order))));
            ui.label(name.color(stroke(brush, order).color).small());
        }
    });
}

fn order_text(order: Order) -> Text {
    match order {
        Order::Map => faithful::BY_MAP,
        Order::Random => faithful::BY_CHANCE,
        Order::Object => faithful::BY_OBJECT,
    }
}

fn stroke(brush: &Brush<'_>, order: Order) -> Stroke {
    let palette = brush.palette();
    match order {
        Order::Map => Stroke::new(2.5, palette.accent),
        Order::Random => Stroke::new(1.5, palette.weak),
        Order::Object => Stroke::new(1.5, palette.second),
    }
}

/// The sentence, the verdict, and both plots; as high as there is room, or as `height` says.
fn result(ui: &mut Ui, brush: &mut Brush<'_>, tested: &Tested, height: Option<f32>) {
    let palette = brush.palette();
    let faithfulness = &tested.faithfulness;
    ui.add(egui::Label::new(sentence(brush, tested)).wrap());
    let (text, sign, colour) = verdict_in_words(&palette, faithfulness);
    ui.label(RichText::new(format!("{sign} {}", brush.say(text))).color(colour).small());
    if let Some(said) = sane(brush, tested) {
        ui.add(egui::Label::new(RichText::new(said).color(palette.weak).small()).wrap())
            .on_hover_text(brush.say(faithful::SANITY_HINT));
    }
    let values = || faithfulness.deletion.iter().chain(&faithfulness.insertion).flat_map(|curve| &curve.values);
    let low = values().copied().fold(0.0f32, f32::min);
    let high = values().copied().fold(f32::MIN, f32::max);
    let is_low = height.is_some();
    let height = height.unwrap_or_else(|| (ui.available_height() - 20.0).max(40.0));
    // The map of occlusion stands beside the plots, or below them.
    let side = if is_low { 0.0 } else { height.min(ui.available_width() / 3.2) };
    let width = (ui.available_width() - side - GAP * if is_low { 1.0 } else { 2.0 }) / 2.0;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = GAP;
        let both = [(faithful::HIDDEN, &faithfulness.deletion), (faithful::SHOWN, &faithfulness.insertion)];
        for (at, (title, curves)) in both.into_iter().enumerate() {
            ui.vertical(|ui| {
                ui.set_width(width);
                ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = SMALL_GAP;
                    ui.label(RichText::new(brush.say(title)).color(palette.weak).small());
                    for curve in curves {
                        let area = format!("{:.2}", curve.area());
                        ui.label(RichText::new(area).color(stroke(brush, curve.order).color).small());
                    }
                });
                plot(ui, brush, (at, tested.test.column.key), curves, [low, high], (height, is_low));
            });
        }
        if !is_low {
            ui.vertical(|ui| {
                ui.set_width(side);
                occluded(ui, brush, tested, vec2(side, height));
            });
        }
    });
    if is_low {
        let width = ui.available_width();
        occluded(ui, brush, tested, vec2(width, width.min(180.0)));
    }
}

/// Each patch by what hiding it alone takes away, and how far the map ranks patches as this does.
fn occluded(ui: &mut Ui, brush: &mut Brush<'_>, tested: &Tested, size: egui::Vec2) {
    let (key, Some(values)) = (tested.test.column.key, &tested.faithfulness.occlusion) else { return };
    let Some(evidence) = brush.app.evidence_of(key) else { return };
    let alike = rank_correlation(values, &tested.test.map).map_or(String::new(), |alike| format!(" · ρ {alike:.2}"));
    let title = format!("{}{alike}", brush.say(faithful::OCCLUSION));
    let text = RichText::new(&title).color(brush.palette().weak).small();
    let label = ui.add(egui::Label::new(text).truncate());
    label.on_hover_text(brush.say(faithful::OCCLUSION_HINT));
    let (outer, response) = ui.allocate_exact_size(size, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &title));
    let top = values.iter().map(|value| value.abs()).fold(1e-9, f32::max);
    let name = format!("occlusion {key:?}");
    draw(ui, evidence, brush, Overlay { values, top, signed: true, name: &name }, outer);
}

fn plot(
    ui: &mut Ui,
    brush: &Brush<'_>,
    salt: (usize, ColumnKey),
    curves: &[Curve],
    [low, high]: [f32; 2],
    (height, is_low): (f32, bool),
) {
    Plot::new(("faithful", salt))
        .height(height)
        .show_axes([!is_low, true])
        .include_x(0.0)
        .include_x(1.0)
        .include_y(f64::from(low))
        .include_y(f64::from(high))
        .show_background(false)
        .allow_scroll(false)
        .allow_drag(false)
        .allow_zoom(false)
        .allow_boxed_zoom(false)
        .x_axis_formatter(|mark, _| format!("{:.0} %", mark.value * 100.0))
        .show(ui, |plot| {
            // The map's own line lies on top.
            for curve in curves.iter().rev() {
                let last = curve.values.len().saturating_sub(1).max(1) as f64;
                let points: Vec<[f64; 2]> =
                    curve.values.iter().enumerate().map(|(at, value)| [at as f64 / last, f64::from(*value)]).collect();
                let stroke = stroke(brush, curve.order);
                let line = Line::new("", points).color(stroke.color).width(stroke.width);
                let dashed = curve.order == Order::Object;
                plot.line(if dashed { line.style(LineStyle::dashed_loose()) } else { line });
            }
        });
}

/// How far the map stays with shuffled weights, if that was tried.
fn sane(brush: &Brush<'_>, tested: &Tested) -> Option<String> {
    let stages = tested.sanity.iter().map(|(stage, alike)| {
        let name = match stage {
            Shuffled::Blocks(count) => brush.say(faithful::BLOCKS).replace("{count}", &count.to_string()),
            Shuffled::All => brush.say(faithful::ALL_WEIGHTS).to_owned(),
        };
        format!("{name} ρ {}", alike.map_or_else(|| "–".to_owned(), |alike| format!("{alike:.2}")))
    });
    let stages: Vec<String> = stages.collect();
    (!stages.is_empty()).then(|| format!("{} {}", brush.say(faithful::SANITY), stages.join(" · ")))
}

/// In how many of both ways the map does better than chance.
pub(super) fn verdict(faithfulness: &Faithfulness) -> usize {
    let area = |curves: &[Curve], order| Faithfulness::of(curves, order).map_or(0.0, Curve::area);
    let sooner = area(&faithfulness.deletion, Order::Map) < area(&faithfulness.deletion, Order::Random);
    let higher = area(&faithfulness.insertion, Order::Map) > area(&faithfulness.insertion, Order::Random);
    usize::from(sooner) + usize::from(higher)
}

/// What it is that tells how strongly a model holds to a claim.
pub(super) fn what_is_held(held: (Claim, Measure)) -> Text {
    match held {
        (_, Measure::Cosine) => faithful::COSINE,
        (_, Measure::Matching) => faithful::MATCHING,
        (Claim::Written, Measure::Probability) => faithful::OF_ANSWER,
        (Claim::Words(_), Measure::Probability) => faithful::PROBABILITY,
    }
}

/// What hiding a fifth of the patches does.
fn sentence(brush: &Brush<'_>, tested: &Tested) -> String {
    let faithfulness = &tested.faithfulness;
    let of = |order| Faithfulness::of(&faithfulness.deletion, order);
    let at = |order, share| of(order).and_then(|curve| curve.at(share)).unwrap_or(0.0);
    let values = of(Order::Map).map_or(0, |curve| curve.values.len());
    let share = step_at(SAID, values) as f32 / values.saturating_sub(1).max(1) as f32;
    let what = what_is_held((tested.test.claim, tested.measure));
    brush
        .say(faithful::SENTENCE)
        .replace("{share}", &format!("{:.0}", share * 100.0))
        .replace("{what}", brush.say(what))
        .replace("{whole}", &format!("{:.2}", at(Order::Map, 0.0)))
        .replace("{map}", &format!("{:.2}", at(Order::Map, SAID)))
        .replace("{random}", &format!("{:.2}", at(Order::Random, SAID)))
}
