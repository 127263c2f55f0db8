//! The clouds of all columns beside each other, each in its own space, with the same points lit.

use egui::{Align2, Color32, Pos2, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::fusion::{colour_of, words_in};
use super::parts::{diamond, fitted, pointed};
use super::side_by_side::{Figure, array_name, each};
use super::{Brush, View};
use crate::app::layout::SIDE_BY_SIDE;
use crate::app::{App, ColumnKey, Command, Light, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::{Evidence, PointKind};
use crate::reduction::Plane;
use crate::ui::texts::{self, four_ways};
use crate::ui::theme::title_font;

/// The view.
pub struct FourCloudsView;

/// How near the pointer has to be to a point.
const REACH: f32 = 18.0;
/// Side of a small picture.
const THUMBNAIL: f32 = 18.0;

impl View for FourCloudsView {
    fn key(&self) -> &'static str {
        "four-clouds"
    }

    fn method(&self) -> &'static str {
        SIDE_BY_SIDE
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/four-clouds.en.md"), include_str!("../../../assets/help/four-clouds.zh.md")]
    }

    fn least(&self) -> egui::Vec2 {
        vec2(420.0, 420.0)
    }

    fn show(&self, ui: &mut Ui, _evidence: &Evidence, brush: &mut Brush<'_>) {
        each(ui, brush, Figure { over: 24.0, shape: 1.0 }, cloud);
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let of = |key: ColumnKey| {
            let (evidence, plane) = (app.columns.get(&key)?, app.planes.get(&key)?);
            let points = Points::new(evidence, plane)?;
            let labels = evidence.cloud.points.iter().map(|point| point.label.clone());
            let axes = [Axis::labelled("point", labels), Axis::labelled("axis", ["x", "y"])];
            Some(Numbers::new(format!("{}_place", array_name(app, key)), axes, points.places.concat()))
        };
        app.shown_columns().into_iter().filter_map(of).collect()
    }
}

/// Where the points of a cloud lie, and what each stands for.
struct Points {
    places: Vec<[f32; 2]>,
    things: Vec<Option<Thing>>,
}

impl Points {
    fn new(evidence: &Evidence, plane: &Plane) -> Option<Self> {
        let cloud = &evidence.cloud;
        if plane.points.len() != cloud.points.len() || cloud.points.is_empty() {
            return None; // the plane of this cloud is still being computed
        }
        let words = words_in(evidence);
        let mut counts = [0; 3];
        let mut next = |which: usize| {
            counts[which] += 1;
            counts[which] - 1
        };
        let kept = evidence.queries.as_ref().map(|queries| queries.kept.clone()).unwrap_or_default();
        let things = cloud.points.iter().enumerate().map(|(at, point)| match point.kind {
            PointKind::Patch => Some(Thing::Patch(next(0))),
            PointKind::Query => kept.get(next(1)).map(|query| Thing::Query(*query)),
            PointKind::Picture => Some(Thing::Picture(point.pair)),
            PointKind::Text => Some(Thing::Text(point.pair)),
            PointKind::Word => {
                words.iter().find(|(word, _)| *word == at).map(|(_, (start, end))| Thing::Words(*start, *end))
            }
        });
        let things = things.collect();
        let places = cloud.places().into_iter().map(|place| plane.points[place].map(|value| value as f32)).collect();
        Some(Self { places, things })
    }
}

/// The cloud of one column.
fn cloud(ui: &mut Ui, brush: &mut Brush<'_>, key: ColumnKey) {
    let palette = brush.palette();
    let name = brush.column(key);
    ui.horizontal(|ui| {
        ui.label(RichText::new(&name).font(title_font(14.0)));
        let counts = brush.app.columns.get(&key).map(|evidence| counts(brush, evidence)).unwrap_or_default();
        ui.add(egui::Label::new(RichText::new(counts).color(palette.weak).small()).truncate());
    });
    let (rect, response) = ui.allocate_exact_size(ui.available_size().max(vec2(80.0, 80.0)), Sense::click());
    let label = format!("{} · {name}", brush.say(texts::PLOT));
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &label));
    ui.painter().rect_stroke(rect, 4.0, Stroke::new(1.0, palette.line), StrokeKind::Inside);
    let shown = brush.app.columns.get(&key).cloned().zip(brush.app.planes.get(&key).cloned());
    let points = shown.as_ref().and_then(|(evidence, plane)| Points::new(evidence, plane));
    let (Some((evidence, _)), Some(points)) = (shown, points) else {
        let text = if brush.app.busy { texts::WAITING } else { four_ways::NO_CLOUD };
        let font = egui::TextStyle::Small.resolve(ui.style());
        ui.painter_at(rect).text(rect.center(), Align2::CENTER_CENTER, brush.say(text), font, palette.weak);
        return;
    };
    let places = fitted(&points.places, rect.shrink2(vec2(28.0, 20.0)));
    paint(ui, brush, &evidence, &points, &places, rect);
    let nearest = pointed(&response).and_then(|pointer| {
        let reach = |at: &usize| places[*at].distance(pointer);
        let near = (0..places.len()).min_by(|one, other| reach(one).total_cmp(&reach(other)))?;
        (reach(&near) < REACH).then_some(near)
    });
    let Some(thing) = nearest.and_then(|at| points.things[at]) else { return };
    brush.hover(thing);
    if response.clicked() {
        brush.commands.push(match thing {
            Thing::Words(start, end) => Command::SelectWords { start, end, extend: false },
            Thing::Patch(patch) => Command::SelectPatch(Some(patch)),
            Thing::Query(query) => Command::SelectQuery(Some(query)),
            other => Command::SelectPair(Some(other)),
        });
    }
}

/// How many points of each kind there are.
fn counts(brush: &Brush<'_>, evidence: &Evidence) -> String {
    let kinds = [
        (PointKind::Picture, texts::PICTURES),
        (PointKind::Text, texts::TEXTS),
        (PointKind::Patch, texts::PATCHES),
        (PointKind::Query, texts::querying::MENU),
        (PointKind::Word, four_ways::WORDS),
    ];
    let points = &evidence.cloud.points;
    let of = |(kind, text)| {
        let count = points.iter().filter(|point| point.kind == kind).count();
        (count > 0).then(|| format!("{count} {}", brush.say(text)))
    };
    kinds.into_iter().filter_map(of).collect::<Vec<_>>().join(" · ")
}

/// The points: patches in their own colour, queries as squares, pictures as small pictures, texts as diamonds, words by name.
fn paint(ui: &Ui, brush: &mut Brush<'_>, evidence: &Evidence, points: &Points, places: &[Pos2], rect: Rect) {
    let palette = brush.palette();
    let painter = ui.painter_at(rect);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let light = |at: usize| points.things[at].map_or(Light::None, |thing| brush.app.light(thing));
    let mut order: Vec<usize> = (0..places.len()).collect();
    let lights: Vec<Light> = order.iter().map(|at| light(*at)).collect();
    order.sort_by_key(|at| lights[*at]);
    let mut taken: Vec<Rect> = Vec::new();
    for at in order {
        let (point, place) = (&evidence.cloud.points[at], places[at]);
        let lit = lights[at] != Light::None;
        let stroke = if lit { Stroke::new(2.0, palette.strong) } else { Stroke::NONE };
        match (point.kind, &point.picture) {
            (PointKind::Patch, _) => {
                let patch = match points.things[at] {
                    Some(Thing::Patch(patch)) => patch,
                    _ => at,
                };
                painter.circle(place, 4.0, colour_of(brush.app, evidence, patch), stroke);
            }
            (PointKind::Picture, Some(picture)) => {
                let texture = brush.textures.thumbnail(ui.ctx(), point.listed, picture);
                let half = Rect::from_center_size(place, vec2(THUMBNAIL, THUMBNAIL));
                let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
                painter.image(texture, half, whole, Color32::WHITE);
                let line = if lit { stroke } else { Stroke::new(1.0, palette.accent) };
                painter.rect_stroke(half, 1.0, line, StrokeKind::Outside);
            }
            (PointKind::Query, _) | (PointKind::Picture, None) => {
                let square = Rect::from_center_size(place, vec2(8.0, 8.0));
                painter.rect(square, 1.0, palette.accent, stroke, StrokeKind::Outside);
            }
            (PointKind::Text, _) => diamond(&painter, place, palette.second, stroke),
            (PointKind::Word, _) => {
                painter.circle_filled(place, 3.5, if lit { palette.strong } else { palette.second });
            }
        }
        let is_named = lit && !matches!(point.kind, PointKind::Patch);
        if point.kind == PointKind::Word || is_named {
            let colour = if lit { palette.strong } else { palette.second };
            let text: String = point.label.chars().take(28).collect();
            let galley = painter.layout_no_wrap(text, small.clone(), colour);
            let label = Align2::CENTER_TOP.anchor_size(place + vec2(0.0, 5.0), galley.size());
            if lit || taken.iter().all(|other| !other.intersects(label)) {
                if lit {
                    painter.rect_filled(label.expand(1.0), 2.0, palette.card.gamma_multiply(0.85));
                }
                painter.galley(label.min, galley, colour);
                taken.push(label);
            }
        }
    }
}
