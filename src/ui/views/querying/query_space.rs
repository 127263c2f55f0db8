//! Queries, words and pictures in one space, brought to two dimensions.

use egui::{
    Align2, Button, Color32, FontId, Painter, Pos2, Rect, Role, Sense, Stroke, StrokeKind, TextStyle, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};

use super::super::embedding::axes;
use super::super::parts::pointed;
use super::super::{Brush, View};
use super::query_map::{MARK, mark};
use super::{METHOD, winner};
use crate::app::state::ReductionName;
use crate::app::{App, Command, Light, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::queries::Queries;
use crate::methods::{Evidence, PointKind};
use crate::reduction::{Plane, REDUCTIONS, named};
use crate::ui::texts::{self, Text, querying};
use crate::ui::theme::{SMALL_GAP, ink_on};

/// The view.
pub struct QuerySpaceView;

/// Half the size of a query, and half the side of a picture.
const RADIUS: f32 = 9.0;
const PICTURE: f32 = 15.0;
/// How near the pointer has to be to a point.
const REACH: f32 = 20.0;

/// A point on the screen.
#[derive(Clone, Copy)]
struct Spot {
    /// Its place in the cloud.
    at: usize,
    place: Pos2,
    kind: PointKind,
    thing: Option<Thing>,
}

impl View for QuerySpaceView {
    fn key(&self) -> &'static str {
        "query-space"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/query-space.en.md"),
            include_str!("../../../../assets/help/query-space.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(queries) = evidence.queries.clone() else { return };
        reductions(ui, brush);
        let points = &evidence.cloud.points;
        let Some(plane) = brush.app.plane.clone() else { return };
        if plane.points.len() != points.len() || points.is_empty() {
            return; // the plane of this cloud is still being computed
        }
        let palette = brush.palette();
        let small = TextStyle::Small.resolve(ui.style());
        let (rect, response) = ui.allocate_exact_size(ui.available_size().max(vec2(80.0, 80.0)), Sense::click());
        let label = brush.say(texts::PLOT);
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, label));
        let painter = ui.painter_at(rect);
        let below = pos2(rect.left() + 6.0, rect.bottom() - 4.0);
        let [across, up] = axes(brush, &plane);
        let axes = if up.is_empty() { across } else { format!("{across} → · {up} ↑") };
        painter.text(below, Align2::LEFT_BOTTOM, axes, small.clone(), palette.weak);
        legend(&painter, brush, rect, &small);
        let inner = Rect::from_min_max(rect.min + vec2(30.0, 40.0), rect.max - vec2(30.0, 36.0));
        let spots = spots(brush.app, evidence, &queries, &plane, inner);
        pictures(ui, evidence, brush, &painter, &spots);
        words(evidence, brush, &painter, &spots, &small);
        circles(brush, &painter, &queries, &spots, &small);
        if response.has_focus() {
            painter.rect_stroke(rect, 4.0, Stroke::new(1.5, palette.accent), StrokeKind::Inside);
        }
        let nearest = pointed(&response).and_then(|pointer| {
            let reach = |spot: &&Spot| spot.place.distance(pointer);
            let near = spots.iter().min_by(|one, other| reach(one).total_cmp(&reach(other)))?;
            (reach(&near) < REACH).then_some(*near)
        });
        let Some(spot) = nearest else { return };
        if let Some(thing) = spot.thing {
            brush.hover(thing);
        }
        if response.clicked() {
            response.request_focus();
            match spot.thing {
                Some(Thing::Query(query)) => brush.commands.push(Command::SelectQuery(Some(query))),
                Some(Thing::Words(start, end)) => {
                    brush.commands.push(Command::SelectWords { start, end, extend: false });
                }
                Some(Thing::Picture(_)) => brush.commands.push(Command::SelectPair(spot.thing)),
                _ => {}
            }
        }
        if let Some(point) = points.get(spot.at) {
            response.on_hover_text_at_pointer(&point.label);
        }
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let points = &evidence.cloud.points;
        let kind = |kind: PointKind| match kind {
            PointKind::Picture => "picture",
            PointKind::Text => "text",
            PointKind::Patch => "patch",
            PointKind::Word => "word",
            PointKind::Query => "query",
        };
        let names =
            || Axis::labelled("point", points.iter().map(|point| format!("{}: {}", kind(point.kind), point.label)));
        let width = points.first().map_or(0, |point| point.vector.len());
        let vectors = points.iter().flat_map(|point| point.vector.iter().copied()).collect();
        let mut arrays = vec![Numbers::new("vector", [names(), Axis::numbered("dimension", width)], vectors)];
        if let Some(plane) = app.plane.as_ref().filter(|plane| plane.points.len() == points.len()) {
            let ordered = evidence.cloud.places().into_iter().filter_map(|place| plane.points.get(place));
            #[expect(clippy::cast_possible_truncation, reason = "places on the screen")]
            let places = ordered.flatten().map(|value| *value as f32).collect();
            arrays.push(Numbers::new("place", [names(), Axis::labelled("axis", ["x", "y"])], places));
        }
        arrays
    }
}

/// How the space is brought to two dimensions: the same choice as in the column of contrast.
fn reductions(ui: &mut Ui, brush: &mut Brush<'_>) {
    let state = &brush.app.state.space;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(SMALL_GAP, SMALL_GAP);
        for reduction in REDUCTIONS {
            let name = ReductionName(reduction.key);
            let response = ui.add(Button::selectable(state.reduction == name, reduction.name));
            if response.on_hover_text(reduction.paper).clicked() {
                brush.commands.push(Command::SetReduction(name));
            }
        }
        if named(state.reduction.0).is_some_and(|reduction| reduction.seeded)
            && ui.button(format!("{} ({})", brush.say(texts::NEW_SEED), state.seed)).clicked()
        {
            brush.commands.push(Command::SetSeed(state.seed.wrapping_add(1)));
        }
    });
}

/// Where each point lies inside of `rect`, and what it stands for.
fn spots(app: &App, evidence: &Evidence, queries: &Queries, plane: &Plane, rect: Rect) -> Vec<Spot> {
    let bounds = |axis: usize| {
        let values = plane.points.iter().map(|point| point[axis]);
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        (low, (high - low).max(1e-9))
    };
    let (x, y) = (bounds(0), bounds(1));
    #[expect(clippy::cast_possible_truncation, reason = "places on the screen")]
    let on_screen = |point: &[f64; 2]| {
        let (across, up) = ((point[0] - x.0) / x.1, (point[1] - y.0) / y.1);
        pos2(rect.left() + rect.width() * across as f32, rect.bottom() - rect.height() * up as f32)
    };
    // The queries that take part stand in the cloud in their order, and so do the words of a model for retrieval, which are
    // those of the sentence. The words of a language model are others, some of which the sentence has, too.
    let mut numbers = queries.kept.iter().copied();
    let spans = queries.contrast.iter().flat_map(|contrast| &contrast.words).map(|(span, _)| *span);
    let spans: Vec<(usize, usize)> = spans.collect();
    let words = evidence.cloud.points.iter().filter(|point| point.kind == PointKind::Word).count();
    let in_order = spans.len() == words;
    let mut spans = spans.into_iter();
    let alike = |label: &str| {
        let text = |(start, end): (usize, usize)| app.state.sentence.get(start..end).map(str::trim);
        evidence.tokens.spans.iter().flatten().copied().find(|span| text(*span) == Some(label.trim()))
    };
    let mut found = Vec::new();
    for (at, (point, place)) in evidence.cloud.points.iter().zip(evidence.cloud.places()).enumerate() {
        let thing = match point.kind {
            PointKind::Query => numbers.next().map(Thing::Query),
            PointKind::Word => {
                let span = if in_order { spans.next() } else { alike(&point.label) };
                span.map(|(start, end)| Thing::Words(start, end))
            }
            PointKind::Picture => Some(Thing::Picture(point.pair)),
            PointKind::Text | PointKind::Patch => None,
        };
        if let Some(point_on_plane) = plane.points.get(place) {
            found.push(Spot { at, place: on_screen(point_on_plane), kind: point.kind, thing });
        }
    }
    found
}

fn of_kind<'a>(spots: &'a [Spot], kinds: &'static [PointKind]) -> impl Iterator<Item = &'a Spot> {
    spots.iter().filter(move |spot| kinds.contains(&spot.kind))
}

fn light(brush: &Brush<'_>, spot: &Spot) -> Light {
    spot.thing.map_or(Light::None, |thing| brush.app.light(thing))
}

/// Pictures as small pictures.
fn pictures(ui: &Ui, evidence: &Evidence, brush: &mut Brush<'_>, painter: &Painter, spots: &[Spot]) {
    let palette = brush.palette();
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    for spot in of_kind(spots, &[PointKind::Picture, PointKind::Patch]) {
        let rect = Rect::from_center_size(spot.place, Vec2::splat(PICTURE * 2.0));
        let point = evidence.cloud.points.get(spot.at);
        match point.and_then(|point| Some((point.listed, point.picture.as_ref()?))) {
            Some((listed, picture)) => {
                let texture = brush.textures.thumbnail(ui.ctx(), listed, picture);
                painter.image(texture, rect, whole, Color32::WHITE);
                let usual = Stroke::new(1.0, palette.line);
                let stroke = spot.thing.and_then(|thing| brush.outline(thing)).unwrap_or(usual);
                painter.rect_stroke(rect, 1.0, stroke, StrokeKind::Outside);
            }
            None => {
                painter.circle_filled(spot.place, 4.0, palette.weak);
            }
        }
    }
}

/// Words and texts as points with their names; a name that would cover another one is left out.
fn words(evidence: &Evidence, brush: &Brush<'_>, painter: &Painter, spots: &[Spot], font: &FontId) {
    let palette = brush.palette();
    let mut ordered: Vec<&Spot> = of_kind(spots, &[PointKind::Word, PointKind::Text]).collect();
    ordered.sort_by_key(|spot| std::cmp::Reverse(light(brush, spot)));
    let mut taken: Vec<Rect> = Vec::new();
    for spot in ordered {
        let colour = if light(brush, spot) == Light::None { palette.second } else { palette.strong };
        diamond(painter, spot.place, colour);
        let Some(point) = evidence.cloud.points.get(spot.at) else { continue };
        let galley = painter.layout_no_wrap(short(&point.label), font.clone(), colour);
        let label = Align2::CENTER_TOP.anchor_size(spot.place + vec2(0.0, 5.0), galley.size());
        if taken.iter().all(|other| !other.intersects(label)) {
            painter.galley(label.min, galley, colour);
            taken.push(label);
        }
    }
}

/// Queries as circles with their numbers; the one that is most like the words has its mark.
fn circles(brush: &Brush<'_>, painter: &Painter, queries: &Queries, spots: &[Spot], font: &FontId) {
    let palette = brush.palette();
    let best = winner(brush.app, queries).and_then(|place| queries.kept.get(place)).copied();
    let mut ordered: Vec<&Spot> = of_kind(spots, &[PointKind::Query]).collect();
    ordered.sort_by_key(|spot| light(brush, spot));
    for spot in ordered {
        let Some(Thing::Query(query)) = spot.thing else { continue };
        let stroke = brush.outline(Thing::Query(query)).unwrap_or(Stroke::new(1.0, palette.card));
        painter.circle(spot.place, RADIUS, palette.accent, stroke);
        let number = (query + 1).to_string();
        painter.text(spot.place, Align2::CENTER_CENTER, number, font.clone(), ink_on(palette.accent));
        if best == Some(query) {
            painter.circle_stroke(spot.place, RADIUS + 4.0, Stroke::new(2.0, palette.accent));
            mark(painter, spot.place - Vec2::splat(RADIUS + MARK), palette.accent, palette.card);
        }
    }
}

fn diamond(painter: &Painter, at: Pos2, fill: Color32) {
    let corners = [(0.0, -4.5), (4.5, 0.0), (0.0, 4.5), (-4.5, 0.0)].map(|(x, y)| at + vec2(x, y)).to_vec();
    painter.add(egui::Shape::convex_polygon(corners, fill, Stroke::NONE));
}

/// What is a query and what a word, in the corner.
fn legend(painter: &Painter, brush: &Brush<'_>, rect: Rect, font: &FontId) {
    let palette = brush.palette();
    let text = |at: Pos2, text: Text| {
        painter.text(at, Align2::LEFT_CENTER, brush.say(text), font.clone(), palette.weak).right()
    };
    let at = rect.left_top() + vec2(12.0, 14.0);
    painter.circle_filled(at, 6.0, palette.accent);
    let right = text(at + vec2(11.0, 0.0), querying::QUERIES);
    let next = pos2(right + 18.0, at.y);
    diamond(painter, next, palette.second);
    let right = text(next + vec2(10.0, 0.0), querying::WORDS);
    let next = pos2(right + 18.0, at.y);
    let corner = Rect::from_center_size(next, Vec2::splat(MARK));
    mark(painter, corner.min, palette.accent, palette.card);
    text(next + vec2(11.0, 0.0), querying::WINNER);
}

/// A label that isn't wider than the plot.
fn short(text: &str) -> String {
    const LONGEST: usize = 28;
    if text.chars().count() <= LONGEST {
        return text.trim().to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}
