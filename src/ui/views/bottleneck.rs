//! The bottleneck experiment: what is known behind fewer and fewer tokens, and behind learned queries.

use egui::{Color32, RichText, Ui, UiBuilder, vec2};
use egui_plot::{AxisHints, HLine, Line, Plot, Points};

use super::{Brush, View};
use crate::app::App;
use crate::app::bottleneck::{Connector, Figure};
use crate::app::layout::SIDE_BY_SIDE;
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::ui::texts::{Text, bottleneck};
use crate::ui::theme::{GAP, SMALL_GAP, heat, title_font};

/// The view.
pub struct BottleneckView;

/// The families of connectors, with their names and the keys in files.
const FAMILIES: [(&str, Text); 4] = [
    ("projector", bottleneck::PROJECTOR),
    ("pool", bottleneck::POOL),
    ("shuffle", bottleneck::SHUFFLE),
    ("queries", bottleneck::QUERIES),
];
/// Figures beside each other.
const COLUMNS: usize = 3;

impl View for BottleneckView {
    fn key(&self) -> &'static str {
        "bottleneck"
    }

    fn method(&self) -> &'static str {
        SIDE_BY_SIDE
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/bottleneck.en.md"), include_str!("../../../assets/help/bottleneck.zh.md")]
    }

    fn least(&self) -> egui::Vec2 {
        vec2(600.0, 440.0)
    }

    fn show(&self, ui: &mut Ui, _evidence: &Evidence, brush: &mut Brush<'_>) {
        let palette = brush.palette();
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for (at, (_, name)) in FAMILIES.iter().enumerate() {
                ui.label(RichText::new(format!("● {}", brush.say(*name))).color(colour(brush, at)));
            }
            ui.label(RichText::new(brush.say(bottleneck::AXIS)).color(palette.weak).small());
        });
        ui.add_space(SMALL_GAP);
        let space = ui.available_rect_before_wrap();
        let rows = Figure::ALL.len().div_ceil(COLUMNS);
        let size = vec2(
            (space.width() - GAP * (COLUMNS - 1) as f32) / COLUMNS as f32,
            (space.height() - GAP * (rows - 1) as f32) / rows as f32,
        );
        for (at, figure) in Figure::ALL.into_iter().enumerate() {
            let corner = vec2((at % COLUMNS) as f32, (at / COLUMNS) as f32) * (size + vec2(GAP, GAP));
            let rect = egui::Rect::from_min_size(space.min + corner, size);
            plot(&mut ui.new_child(UiBuilder::new().id_salt(at).max_rect(rect)), brush, at, figure);
        }
        ui.advance_cursor_after_rect(space);
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let all = &app.bottleneck;
        let names = all.iter().map(|connector| format!("{}-{}", connector.family, connector.tokens));
        let figures = Figure::ALL.map(|figure| match figure {
            Figure::Answers(kind) => kind,
            Figure::Place => "place",
            Figure::Layout => "layout",
        });
        let values = all.iter().flat_map(|connector| {
            connector.points[app.language_index()].iter().flat_map(|point| match point {
                Some(point) => [point.value, point.interval[0], point.interval[1]].map(|value| value as f32),
                None => [f32::NAN; 3],
            })
        });
        let axes = [
            Axis::labelled("connector", names),
            Axis::labelled("figure", figures),
            Axis::labelled("bound", ["value", "low", "high"]),
        ];
        let values: Vec<f32> = values.collect();
        if values.is_empty() { Vec::new() } else { vec![Numbers::new("bottleneck", axes, values)] }
    }
}

/// Colours that can be told apart: those of the accent, and three from a colour map.
fn colour(brush: &Brush<'_>, family: usize) -> Color32 {
    let palette = brush.palette();
    match family {
        0 => palette.accent,
        1 => heat(crate::app::state::Colours::Viridis, 0.55),
        2 => heat(crate::app::state::Colours::Magma, 0.55),
        _ => palette.second,
    }
}

fn name_of(figure: Figure) -> Text {
    match figure {
        Figure::Answers("colour") => bottleneck::COLOUR,
        Figure::Answers("presence") => bottleneck::PRESENCE,
        Figure::Answers("count") => bottleneck::COUNT,
        Figure::Answers(_) => bottleneck::WHERE,
        Figure::Place => bottleneck::PLACE,
        Figure::Layout => bottleneck::LAYOUT,
    }
}

/// One figure over the number of tokens, with intervals, and what answering without looking reaches.
fn plot(ui: &mut Ui, brush: &Brush<'_>, at: usize, figure: Figure) {
    let palette = brush.palette();
    ui.label(RichText::new(brush.say(name_of(figure))).font(title_font(12.5)));
    let language = brush.app.language_index();
    let of_family = |family: &str| -> Vec<(&Connector, crate::app::bottleneck::Point)> {
        let known = brush.app.bottleneck.iter().filter(|connector| connector.family == family);
        let mut known: Vec<_> = known
            .filter_map(|connector| Some((connector, connector.points[language].get(at).copied().flatten()?)))
            .collect();
        known.sort_by_key(|(connector, _)| connector.tokens);
        known
    };
    let size = ui.available_size();
    // The four numbers stand however narrow a plot is.
    let x = AxisHints::new_x()
        .label_spacing(egui::Rangef::new(8.0, 16.0))
        .formatter(|mark, _| format!("{:.0}", mark.value.exp2()));
    Plot::new(("bottleneck", at))
        .width(size.x)
        .height(size.y)
        .custom_x_axes(vec![x])
        .x_grid_spacer(|_| {
            (0..=6).step_by(2).map(|power| egui_plot::GridMark { value: f64::from(power), step_size: 2.0 }).collect()
        })
        .include_x(-0.4)
        .include_x(6.4)
        .include_y(0.0)
        .include_y(1.0)
        .y_axis_min_width(24.0)
        .show_background(false)
        .allow_scroll(false)
        .allow_drag(false)
        .allow_zoom(false)
        .allow_boxed_zoom(false)
        .show(ui, |plot| {
            let trivial =
                brush.app.bottleneck.iter().find_map(|connector| connector.points[language].get(at)?.as_ref()?.trivial);
            if let Some(trivial) = trivial {
                plot.hline(HLine::new("", trivial).color(palette.weak).width(1.0).allow_hover(false));
            }
            for (which, (family, name)) in FAMILIES.iter().enumerate() {
                let colour = colour(brush, which);
                // Beside each other, so that no interval hides another.
                let aside = 0.07 * (which as f64 - 1.5);
                let known = of_family(family);
                let place = |tokens: usize| (tokens as f64).log2() + aside;
                for (connector, point) in &known {
                    let ends = point.interval.map(|end| [place(connector.tokens), end]).to_vec();
                    plot.line(Line::new("", ends).color(colour).width(1.2).allow_hover(false));
                }
                let places: Vec<[f64; 2]> =
                    known.iter().map(|(connector, point)| [place(connector.tokens), point.value]).collect();
                plot.line(
                    Line::new("", places.clone()).color(colour.gamma_multiply(0.6)).width(1.5).allow_hover(false),
                );
                plot.points(Points::new(brush.say(*name), places).color(colour).radius(4.0));
            }
        });
}
