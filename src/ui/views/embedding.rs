//! The embedding space of pictures and captions, brought to two dimensions.

use egui::{RichText, Role, Slider, Ui, WidgetInfo, vec2};

use super::scatter::{self, Spot};
use super::{Brush, View};
use crate::app::state::{Drawn, MOST_SHIFT, ReductionName};
use crate::app::{App, Command, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::pairs::PairFigures;
use crate::methods::{Cloud, Evidence, PointKind};
use crate::reduction::{Plane, REDUCTIONS, named};
use crate::ui::catalogue::drawn_text;
use crate::ui::texts;
use crate::ui::theme::GAP;

/// The view.
pub struct EmbeddingView;

impl View for EmbeddingView {
    fn key(&self) -> &'static str {
        "embedding"
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/embedding.en.md"), include_str!("../../../assets/help/embedding.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let cloud = &evidence.cloud;
        reductions(ui, brush);
        let (Some(figures), Some(plane)) = (brush.app.figures.clone(), brush.app.plane.clone()) else { return };
        shift(ui, brush, &figures);
        super::matrix::figures_line(ui, brush, &figures);
        let places = places(cloud, &plane, &figures);
        if places.len() != cloud.points.len() {
            return; // the plane of this cloud is still being computed
        }
        let own = cloud.pairs().saturating_sub(1);
        let mut spots = Vec::new();
        for (at, point) in cloud.points.iter().enumerate() {
            spots.push(Spot {
                thing: thing(cloud, at),
                at: places[at],
                before: plane.points[at],
                kind: point.kind,
                listed: point.listed,
                own: point.pair == own,
                label: &point.label,
                picture: point.picture.as_ref(),
            });
        }
        scatter::show(ui, brush, &spots, &axes(brush, &plane));
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let cloud = &evidence.cloud;
        let (Some(figures), Some(plane)) = (&app.figures, &app.plane) else { return Vec::new() };
        let kind = |kind: PointKind| if kind == PointKind::Picture { "picture" } else { "text" };
        let names = || cloud.points.iter().map(|point| format!("{}: {}", kind(point.kind), point.label));
        let points = || Axis::labelled("point", names());
        let places = places(cloud, plane, figures);
        #[expect(clippy::cast_possible_truncation, reason = "places on the screen")]
        let flat: Vec<f32> = places.iter().flatten().map(|value| *value as f32).collect();
        let vectors: Vec<f32> = cloud.points.iter().flat_map(|point| point.vector.iter().copied()).collect();
        let width = cloud.points.first().map_or(0, |point| point.vector.len());
        let mut arrays = vec![Numbers::new("vector", [points(), Axis::numbered("dimension", width)], vectors)];
        if places.len() == cloud.points.len() {
            arrays.push(Numbers::new("place", [points(), Axis::labelled("axis", ["x", "y"])], flat));
        }
        arrays.push(Numbers::single("modality_gap", figures.gap));
        arrays.push(Numbers::single("shift", figures.shift));
        arrays
    }
}

/// What a point of the cloud is: pictures stand first, then texts.
fn thing(cloud: &Cloud, at: usize) -> Thing {
    let pairs = cloud.pairs();
    if at < pairs { Thing::Picture(at) } else { Thing::Text(at - pairs) }
}

/// Where each point lies, with the texts moved. A linear plane stays as it is and the moved texts go through it; where
/// there are no axes the plane itself was made with the moved texts.
fn places(cloud: &Cloud, plane: &Plane, figures: &PairFigures) -> Vec<[f64; 2]> {
    let pairs = cloud.pairs();
    match &plane.axes {
        Some(axes) if figures.shift != 0.0 && plane.points.len() == 2 * pairs => {
            let moved = figures.texts.iter().map(|text| axes.project(text));
            plane.points.iter().take(pairs).copied().chain(moved).collect()
        }
        _ => plane.points.clone(),
    }
}

/// What stands at the axes.
pub(super) fn axes(brush: &Brush<'_>, plane: &Plane) -> [String; 2] {
    let axis = |at: usize| match plane.shares.get(at) {
        Some(share) => format!("{} {} ({:.0} %)", brush.say(texts::COMPONENT), at + 1, share * 100.0),
        None if at == 0 => brush.say(texts::NO_AXES).to_owned(),
        None => String::new(),
    };
    [axis(0), axis(1)]
}

fn reductions(ui: &mut Ui, brush: &mut Brush<'_>) {
    let state = &brush.app.state.space;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
        for reduction in REDUCTIONS {
            let name = ReductionName(reduction.key);
            let response = ui.selectable_label(state.reduction == name, reduction.name);
            if response.on_hover_text(reduction.paper).clicked() {
                brush.commands.push(Command::SetReduction(name));
            }
        }
        if named(state.reduction.0).is_some_and(|reduction| reduction.seeded)
            && ui.button(format!("{} ({})", brush.say(texts::NEW_SEED), state.seed)).clicked()
        {
            brush.commands.push(Command::SetSeed(state.seed.wrapping_add(1)));
        }
        ui.separator();
        for drawn in Drawn::ALL {
            if ui.selectable_label(state.drawn == drawn, brush.say(drawn_text(drawn))).clicked() {
                brush.commands.push(Command::SetDrawn(drawn));
            }
        }
        let mut pairs = state.pairs;
        if ui.checkbox(&mut pairs, brush.say(texts::JOIN_PAIRS)).changed() {
            brush.commands.push(Command::JoinPairs(pairs));
        }
    });
}

/// The modality gap as a number, and the slider that moves the texts along it.
fn shift(ui: &mut Ui, brush: &mut Brush<'_>, figures: &PairFigures) {
    let palette = brush.palette();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(GAP, 4.0);
        ui.label(RichText::new(brush.say(texts::GAP)).color(palette.weak));
        ui.label(format!("{:.2}", figures.gap));
        ui.spacing_mut().slider_width = super::matrix::SLIDER;
        let mut shift = figures.shift;
        let name = brush.say(texts::SHIFT);
        ui.label(RichText::new(name).color(palette.weak));
        let slider = Slider::new(&mut shift, -1.0..=MOST_SHIFT).step_by(0.05).fixed_decimals(2);
        let response = ui.add(slider).on_hover_text(brush.say(texts::SHIFT_HINT));
        response.widget_info(|| WidgetInfo {
            role: Role::Slider,
            ..WidgetInfo::slider(true, f64::from(figures.shift), name)
        });
        if response.changed() {
            brush.commands.push(Command::SetShift(shift));
        }
    });
}
