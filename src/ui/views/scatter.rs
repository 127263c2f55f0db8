//! Points in a plane: pictures as small pictures, texts as words, lines between pairs.

use egui::{
    Align2, AsIdSalt, Color32, Pos2, Rect, RichText, Role, Stroke, StrokeKind, Ui, Vec2, Vec2b, WidgetInfo, pos2, vec2,
};
use egui_plot::{Line, Plot, PlotPoint, Points};
use std::sync::Arc;

use super::Brush;
use super::parts::diamond;
use crate::app::state::Drawn;
use crate::app::{Command, Light, Thing};
use crate::methods::PointKind;
use crate::ui::texts;

/// A point to be drawn.
pub struct Spot<'a> {
    /// What it stands for.
    pub thing: Thing,
    /// Where it lies.
    pub at: [f64; 2],
    /// Where it lay before the texts were moved.
    pub before: [f64; 2],
    /// A picture or a text.
    pub kind: PointKind,
    /// The place of its pair in the person's list; none for the own pair.
    pub listed: Option<usize>,
    /// Whether that is the person's own.
    pub own: bool,
    /// What it is called.
    pub label: &'a str,
    /// The picture, for a picture.
    pub picture: Option<&'a Arc<image::RgbImage>>,
}

/// Sides of small pictures, in points.
const SMALL: f32 = 30.0;
const SMALLEST: f32 = 16.0;
/// How much larger the person's own picture is.
const OWN: f32 = 1.4;
/// How near the pointer has to be to a point.
const REACH: f32 = 22.0;
/// Beyond this many points pictures and words would only cover each other.
const MOST_DETAILED: usize = 240;
/// Letters of a label.
const LONGEST: usize = 36;

/// A plane without grid, numbers and ground: only what its axes are is said, beside them.
pub(in crate::ui) fn bare(id: impl AsIdSalt, size: Vec2, axes: &[String; 2], ink: Color32) -> Plot<'static> {
    let name = |text: &String| RichText::new(text).color(ink).small();
    Plot::new(id)
        .width(size.x)
        .height(size.y)
        .data_aspect(1.0)
        .show_grid(Vec2b::FALSE)
        .show_axes(Vec2b::TRUE)
        .x_axis_label(name(&axes[0]))
        .y_axis_label(name(&axes[1]))
        .x_axis_formatter(|_, _| String::new())
        .y_axis_formatter(|_, _| String::new())
        .y_axis_min_width(4.0)
        .show_background(false)
        .show_x(false)
        .show_y(false)
}

/// Draws the points into the space that is left.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>, spots: &[Spot<'_>], axes: &[String; 2]) {
    let palette = brush.palette();
    let state = &brush.app.state.space;
    let (reduction, seed, join) = (state.reduction.0, state.seed, state.pairs);
    // What the view was given: a line above that is too long for it must not widen the plot.
    let size = (ui.max_rect().max - ui.cursor().min).max(vec2(60.0, 60.0));
    let response = bare(("space", reduction, seed), size, axes, palette.weak)
        .set_margin_fraction(vec2(0.09, 0.09))
        .allow_scroll(false)
        .show(ui, |plot| {
            // Not to be seen: they set what is in sight, which stays while the texts move.
            let all = spots.iter().flat_map(|spot| [spot.at, spot.before]).collect::<Vec<_>>();
            plot.points(Points::new("", all).radius(0.0).color(Color32::TRANSPARENT).allow_hover(false));
            if join {
                for (picture, text) in pairs(spots) {
                    let lit = [picture, text].iter().any(|spot| brush.app.light(spot.thing) != Light::None);
                    let colour = if lit {
                        palette.accent
                    } else if picture.own {
                        palette.text
                    } else {
                        palette.line
                    };
                    let width = if lit || picture.own { 2.0 } else { 1.2 };
                    plot.line(Line::new("", vec![picture.at, text.at]).color(colour).width(width).allow_hover(false));
                }
            }
            cell_line(brush, spots).into_iter().for_each(|ends| {
                plot.line(Line::new("", ends).color(palette.strong).width(2.0).allow_hover(false));
            });
        });
    let name = brush.say(texts::PLOT);
    response.response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    let transform = response.transform;
    let place = |spot: &Spot<'_>| transform.position_from_point(&PlotPoint::from(spot.at));
    paint(ui, brush, spots, &place, response.response.rect);
    let pointer = super::parts::pointed(&response.response);
    let nearest = pointer.and_then(|pointer| {
        let reach = |spot: &&Spot<'_>| place(spot).distance(pointer);
        let best = spots.iter().min_by(|a, b| reach(a).total_cmp(&reach(b)))?;
        (reach(&best) < REACH).then_some(best.thing)
    });
    if let Some(thing) = nearest {
        brush.hover(thing);
    }
    if response.response.clicked() {
        let same = nearest.is_some() && nearest == brush.app.state.selected.pair;
        brush.commands.push(Command::SelectPair(nearest.filter(|_| !same)));
    }
}

/// Pictures with their texts.
fn pairs<'a, 'b>(spots: &'a [Spot<'b>]) -> impl Iterator<Item = (&'a Spot<'b>, &'a Spot<'b>)> {
    let (pictures, texts) = spots.split_at(spots.len() / 2);
    pictures.iter().zip(texts)
}

/// The ends of the line between picture and text of a lit cell.
fn cell_line(brush: &Brush<'_>, spots: &[Spot<'_>]) -> Option<Vec<[f64; 2]>> {
    let Some(Thing::Cell { picture, text }) = brush.app.hovered.or(brush.app.state.selected.pair) else { return None };
    let find = |thing: Thing| spots.iter().find(|spot| spot.thing == thing).map(|spot| spot.at);
    Some(vec![find(Thing::Picture(picture))?, find(Thing::Text(text))?])
}

/// Paints the points, those that are lit on top with their labels.
fn paint(ui: &Ui, brush: &mut Brush<'_>, spots: &[Spot<'_>], place: &impl Fn(&Spot<'_>) -> Pos2, clip: Rect) {
    let palette = brush.palette();
    let painter = ui.painter().with_clip_rect(clip.intersect(ui.clip_rect()));
    let detailed = spots.len() <= MOST_DETAILED;
    let drawn = brush.app.state.space.drawn;
    legend(&painter, brush, clip, &font_of(ui));
    let mut order: Vec<&Spot<'_>> = spots.iter().collect();
    order.sort_by_key(|spot| (brush.app.light(spot.thing), spot.own, spot.kind));
    let font = font_of(ui);
    let mut labels: Vec<(Pos2, &str, Color32)> = Vec::new();
    for spot in order {
        let at = place(spot);
        let stroke = brush.outline(spot.thing);
        let is_picture = spot.kind == PointKind::Picture;
        let half = if !is_picture || drawn != Drawn::Thumbnails || !detailed {
            6.0
        } else {
            (clip.size().min_elem() * 0.08).clamp(SMALLEST, SMALL) * if spot.own { OWN } else { 1.0 } / 2.0
        };
        match spot.picture.filter(|_| half > 6.0) {
            Some(picture) => {
                let texture = brush.textures.thumbnail(ui.ctx(), spot.listed, picture);
                let rect = Rect::from_center_size(at, Vec2::splat(half * 2.0));
                let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
                painter.image(texture, rect, whole, Color32::WHITE);
                let usual = Stroke::new(if spot.own { 2.0 } else { 1.0 }, palette.accent);
                painter.rect_stroke(rect, 1.0, stroke.unwrap_or(usual), StrokeKind::Outside);
            }
            None if is_picture => {
                painter.circle(at, 4.0, palette.accent, stroke.unwrap_or(Stroke::NONE));
            }
            None => diamond(&painter, at, palette.second, stroke.unwrap_or(Stroke::NONE)),
        }
        let words = drawn == Drawn::Words && !is_picture && detailed;
        // What only holds a selected word is ringed, but not named: there may be many.
        let named = brush.app.light(spot.thing) == Light::Hovered
            || brush.app.state.selected.pair.is_some_and(|pair| pair.touches(spot.thing));
        if named || words || spot.own && !is_picture {
            let colour = stroke.map_or(if spot.own { palette.text } else { palette.weak }, |stroke| stroke.color);
            labels.push((at + vec2(0.0, half + 2.0), spot.label, colour));
        }
    }
    // The most important come last; a label that would cover a more important one is left out.
    let mut taken: Vec<Rect> = Vec::new();
    for (at, text, colour) in labels.into_iter().rev() {
        let galley = painter.layout_no_wrap(short(text), font.clone(), colour);
        let rect = place_label(clip, at, galley.size());
        if taken.iter().any(|other| other.intersects(rect)) {
            continue;
        }
        painter.rect_filled(rect.expand(2.0), 3.0, palette.card.gamma_multiply(0.85));
        painter.galley(rect.min, galley, colour);
        taken.push(rect);
    }
}

fn font_of(ui: &Ui) -> egui::FontId {
    egui::TextStyle::Small.resolve(ui.style())
}

/// What is a picture and what a text, in the corner.
fn legend(painter: &egui::Painter, brush: &Brush<'_>, clip: Rect, font: &egui::FontId) {
    let palette = brush.palette();
    let at = clip.left_top() + vec2(10.0, 10.0);
    painter.circle_filled(at, 4.0, palette.accent);
    let text = |at: Pos2, text| painter.text(at, Align2::LEFT_CENTER, brush.say(text), font.clone(), palette.weak);
    let right = text(at + vec2(9.0, 0.0), texts::PICTURES).right();
    let next = pos2(right + 14.0, at.y);
    diamond(painter, next, palette.second, Stroke::NONE);
    text(next + vec2(9.0, 0.0), texts::TEXTS);
}

/// Where a label under a point stands: inside of the plot.
fn place_label(clip: Rect, at: Pos2, size: Vec2) -> Rect {
    let rect = Align2::CENTER_TOP.anchor_size(at, size);
    let right = (clip.right() - 4.0 - rect.right()).min(0.0);
    let left = (clip.left() + 4.0 - rect.left()).max(0.0);
    rect.translate(vec2(if left > 0.0 { left } else { right }, (clip.bottom() - 4.0 - rect.bottom()).min(0.0)))
}

/// A label that isn't wider than the plot.
fn short(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}
