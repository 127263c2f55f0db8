//! All pictures in the plane: small pictures where there is room, points elsewhere. Only what is in sight is drawn.

use egui::{
    Align2, Color32, Id, Painter, Pos2, Rect, Response, Role, Shape, Stroke, StrokeKind, Ui, Vec2, Vec2b, WidgetInfo,
    pos2, vec2,
};
use egui_plot::PlotPoint;

use crate::app::album::{Album, AlbumPlane, Found};
use crate::app::{Command, PictureSource};
use crate::reduction::Plane;
use crate::ui::texts::album as said;
use crate::ui::views::parts::{arrows, pointed};
use crate::ui::views::scatter::bare;
use crate::ui::views::{Brush, embedding};

/// How near one looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nearer.
    Nearer,
    /// Farther.
    Farther,
    /// As far as all can be seen.
    Whole,
}

/// Side of a small picture, in points, and of the one under the pointer.
const SIDE: f32 = 40.0;
const LARGE: f32 = 156.0;
/// Radius of a point.
const POINT: f32 = 2.5;
/// How strongly small pictures and points are drawn that step back behind what was found.
const BEHIND: f32 = 0.35;
/// Points nearer than this can't be told apart, and one is drawn for all of them.
const GRAIN: f32 = 3.0;
/// How near the pointer has to be to a point.
const REACH: f32 = 9.0;
/// How far outside of what is in sight small pictures still take their room, so that few change when the plane is moved.
const MARGIN: f32 = 4.0 * SIDE;
/// How much nearer a button leads.
const STEP: f32 = 1.5;
/// How far the wheel has to turn for a zoom by e, in points.
const WHEEL: f32 = 240.0;

/// The picture that the pointer is over in the plane, as it was in the last frame.
#[must_use]
pub fn pointed_at(ui: &Ui) -> Option<usize> {
    ui.data(|data| data.get_temp::<Option<usize>>(pointer_id())).flatten()
}

fn pointer_id() -> Id {
    Id::unique("picture of the folder under the pointer")
}

/// Draws the plane into the space that is left; `lit` is a picture that is pointed at elsewhere.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>, album: &Album, lit: Option<usize>, step: Option<Move>) {
    let Some(plane) = &album.plane else { return };
    let found = album.shown(&brush.app.state.album.wanted);
    let (response, transform) = plot(ui, brush, album, plane, step);
    let clip = response.rect.intersect(ui.clip_rect());
    let count = plane.places.len().min(album.pictures.len());
    let place = |[x, y]: &[f32; 2]| transform.position_from_point(&PlotPoint::new(f64::from(*x), f64::from(*y)));
    let places: Vec<Pos2> = plane.places[..count].iter().map(place).collect();
    let best: &[usize] = found.map_or(&[], super::best);
    let chosen = chosen(album, brush).filter(|number| *number < count);
    // The chosen picture and the best have the first right to room.
    let first = chosen.into_iter().chain(best.iter().copied()).filter(|number| *number < count);
    let ready = brush.textures.atlas.filled();
    let laid = Laid::new(&places, first.chain(0..count), ready, clip);
    let under = pointed(&response).and_then(|pointer| laid.at(&places, pointer));
    let walked = walk(ui, &response, &places, clip, best);
    ui.data_mut(|data| data.insert_temp(pointer_id(), under));
    let shown = under.or(walked).or(lit).filter(|number| *number < count);
    let marks = Marks { best, chosen, dims: found.is_some() };
    paint(&ui.painter().with_clip_rect(clip), brush, &places, &laid, &marks);
    if let Some(number) = shown {
        enlarged(ui, brush, album, found, (number, places[number]), clip);
    }
    if response.clicked()
        && let Some(picture) = under.or(walked).and_then(|number| album.pictures.get(number))
    {
        brush.commands.push(Command::OpenPicture(picture.path.clone()));
    }
    let mut name = brush.say(said::PLANE).to_owned();
    if let Some(picture) = shown.and_then(|number| album.pictures.get(number)) {
        name += &format!(" · {}", picture.name());
    }
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
}

/// The number of the picture that all views show, if it is one of the folder.
fn chosen(album: &Album, brush: &Brush<'_>) -> Option<usize> {
    let PictureSource::File(file) = &brush.app.state.picture else { return None };
    album.number_of(file)
}

/// Moving and zooming, with nothing in it.
fn plot(
    ui: &mut Ui,
    brush: &Brush<'_>,
    album: &Album,
    plane: &AlbumPlane,
    step: Option<Move>,
) -> (Response, egui_plot::PlotTransform) {
    let shares = plane.shares.iter().map(|share| f64::from(*share)).collect();
    let axes = embedding::axes(brush, &Plane { points: Vec::new(), shares, axes: None });
    let size = (ui.max_rect().max - ui.cursor().min).max(vec2(60.0, 60.0));
    let ends = |axis: usize| {
        let values = plane.places.iter().map(|place| f64::from(place[axis]));
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        if low <= high { [low, high] } else { [-1.0, 1.0] }
    };
    let (x, y) = (ends(0), ends(1));
    let mut plot = bare(("album", album.id, plane.reduction), size, &axes, brush.palette().weak)
        .set_margin_fraction(vec2(0.06, 0.06))
        .allow_boxed_zoom(false)
        .allow_scroll(false);
    for at in 0..2 {
        plot = plot.include_x(x[at]).include_y(y[at]);
    }
    let shown = plot.show(ui, |plot| {
        let bounds = plot.plot_bounds();
        let middle = PlotPoint::new(
            f64::midpoint(bounds.min()[0], bounds.max()[0]),
            f64::midpoint(bounds.min()[1], bounds.max()[1]),
        );
        match step {
            Some(Move::Nearer) => plot.zoom_bounds(Vec2::splat(STEP), middle),
            Some(Move::Farther) => plot.zoom_bounds(Vec2::splat(1.0 / STEP), middle),
            Some(Move::Whole) => plot.set_auto_bounds(Vec2b::TRUE),
            None => {}
        }
        let turned = plot.ctx().input(|input| if input.modifiers.any() { 0.0 } else { input.smooth_scroll_delta.y });
        if turned != 0.0 && plot.response().hovered() {
            plot.zoom_bounds_around_hovered(Vec2::splat((turned / WHEEL).exp()));
        }
    });
    (shown.response, shown.transform)
}

/// What is drawn how: pictures that have room, and points.
struct Laid {
    pictures: Vec<usize>,
    points: Vec<usize>,
}

impl Laid {
    /// Gives room to pictures in this `order`, none of which covers another, and of the others keeps the points that can be told
    /// apart. The first `ready` pictures can be drawn small.
    fn new(places: &[Pos2], order: impl Iterator<Item = usize>, ready: usize, clip: Rect) -> Self {
        let around = clip.expand(MARGIN);
        let mut room = Grid::new(around, SIDE);
        let mut grains = Grid::new(clip, GRAIN);
        let (mut pictures, mut points) = (Vec::new(), Vec::new());
        let mut laid = vec![false; places.len()];
        for number in order {
            let place = places[number];
            if laid[number] || !around.contains(place) {
                continue;
            }
            laid[number] = true;
            let in_sight = clip.expand(SIDE / 2.0).contains(place);
            if number < ready && room.is_free(place) {
                room.take(place);
                if in_sight {
                    pictures.push(number);
                }
            } else if clip.contains(place) && grains.is_new(place) {
                grains.take(place);
                points.push(number);
            }
        }
        Self { pictures, points }
    }

    /// What is drawn there.
    fn at(&self, places: &[Pos2], pointer: Pos2) -> Option<usize> {
        let square = |number: usize| Rect::from_center_size(places[number], Vec2::splat(SIDE));
        let picture = self.pictures.iter().copied().find(|number| square(*number).contains(pointer));
        let reach = |number: &usize| places[*number].distance(pointer);
        let point = || self.points.iter().copied().min_by(|one, other| reach(one).total_cmp(&reach(other)));
        picture.or_else(|| point().filter(|number| reach(number) < REACH))
    }
}

/// Where in a rectangle something lies already, by cells, each of which has room for one.
struct Grid {
    corner: Pos2,
    side: f32,
    columns: usize,
    cells: Vec<Option<Pos2>>,
}

impl Grid {
    fn new(rect: Rect, side: f32) -> Self {
        let count = |length: f32| (length / side).clamp(0.0, 4000.0) as usize + 1;
        let (columns, rows) = (count(rect.width()), count(rect.height()));
        Self { corner: rect.min, side, columns, cells: vec![None; columns * rows] }
    }

    fn cell(&self, place: Pos2) -> (usize, usize) {
        let at = (place - self.corner) / self.side;
        (at.x.max(0.0) as usize, at.y.max(0.0) as usize)
    }

    fn get(&self, (column, row): (usize, usize)) -> Option<Pos2> {
        if column < self.columns { self.cells.get(row * self.columns + column).copied().flatten() } else { None }
    }

    /// Whether a square of the cells' side at `place` covers no other.
    fn is_free(&self, place: Pos2) -> bool {
        let (column, row) = self.cell(place);
        // What lies in the same cell is nearer than its side; of a crowd, that is all that has to be looked at.
        if self.get((column, row)).is_some() {
            return false;
        }
        let covers = |other: Pos2| (other.x - place.x).abs() < self.side && (other.y - place.y).abs() < self.side;
        let mut near = (row.saturating_sub(1)..=row + 1)
            .flat_map(|row| (column.saturating_sub(1)..=column + 1).map(move |column| (column, row)));
        !near.any(|cell| self.get(cell).is_some_and(covers))
    }

    fn is_new(&self, place: Pos2) -> bool {
        self.get(self.cell(place)).is_none()
    }

    fn take(&mut self, place: Pos2) {
        let (column, row) = self.cell(place);
        let at = row * self.columns + column.min(self.columns - 1);
        if let Some(cell) = self.cells.get_mut(at) {
            *cell = Some(place);
        }
    }
}

/// What stands out.
struct Marks<'a> {
    best: &'a [usize],
    chosen: Option<usize>,
    /// Whether all else steps back.
    dims: bool,
}

fn paint(painter: &Painter, brush: &Brush<'_>, places: &[Pos2], laid: &Laid, marks: &Marks<'_>) {
    let palette = brush.palette();
    let is_best = |number: &usize| marks.best.contains(number);
    let back = if marks.dims { BEHIND } else { 0.75 };
    let colour = palette.accent.gamma_multiply(back);
    let behind = laid.points.iter().filter(|number| !is_best(number));
    // Together: each call of the painter takes its lock and looks up its layer.
    painter.extend(behind.map(|number| Shape::circle_filled(places[*number], POINT, colour)));
    let square = |number: usize| Rect::from_center_size(places[number], Vec2::splat(SIDE - 2.0));
    let tint = |number: usize| {
        let steps_back = marks.dims && !is_best(&number) && marks.chosen != Some(number);
        Color32::WHITE.gamma_multiply(if steps_back { BEHIND } else { 1.0 })
    };
    let pictures = laid.pictures.iter().map(|number| (*number, square(*number), tint(*number)));
    brush.textures.atlas.paint(painter, pictures);
    for number in laid.points.iter().filter(|number| is_best(number)) {
        painter.circle(places[*number], 1.8 * POINT, palette.accent, Stroke::new(1.5, palette.card));
    }
    for number in laid.pictures.iter().copied().filter(is_best) {
        painter.rect_stroke(square(number), 1.0, Stroke::new(2.0, palette.accent), StrokeKind::Outside);
    }
    if let Some(number) = marks.chosen {
        painter.rect_stroke(square(number), 1.0, Stroke::new(2.5, palette.second), StrokeKind::Outside);
    }
}

/// The picture that one is at, large, with its name and cosine.
fn enlarged(
    ui: &Ui,
    brush: &Brush<'_>,
    album: &Album,
    found: Option<&Found>,
    (number, place): (usize, Pos2),
    clip: Rect,
) {
    let palette = brush.palette();
    let painter = ui.painter().with_clip_rect(clip);
    let mark = Rect::from_center_size(place, Vec2::splat(SIDE));
    painter.rect_stroke(mark, 1.0, Stroke::new(2.0, palette.strong), StrokeKind::Inside);
    let Some(picture) = album.pictures.get(number) else { return };
    let cosine = found.and_then(|found| found.cosines.get(number)).map(|cosine| format!(" · {cosine:.3}"));
    let font = egui::TextStyle::Small.resolve(ui.style());
    let text = format!("{}{}", picture.name(), cosine.unwrap_or_default());
    let mut job = egui::text::LayoutJob::simple_singleline(text, font, palette.text);
    job.wrap = egui::text::TextWrapping::truncate_at_width(LARGE);
    let galley = painter.layout_job(job);
    let size = vec2(LARGE, LARGE + galley.size().y + 6.0);
    // Beside the place, on the side where there is room.
    let right = place.x + SIDE / 2.0 + 6.0;
    let left = if right + size.x < clip.right() { right } else { place.x - SIDE / 2.0 - 6.0 - size.x };
    let corner = |low: f32, high: f32, at: f32| at.clamp(low, (high - 4.0).max(low));
    let corner = pos2(
        corner(clip.left() + 4.0, clip.right() - size.x, left),
        corner(clip.top() + 4.0, clip.bottom() - size.y, place.y - size.y / 2.0),
    );
    let card = Rect::from_min_size(corner, size);
    painter.rect(card.expand(4.0), 4.0, palette.card, Stroke::new(1.0, palette.line), StrokeKind::Outside);
    let square = Rect::from_min_size(card.min, Vec2::splat(LARGE));
    brush.textures.atlas.paint(&painter, [(number, square, Color32::WHITE)]);
    let under = Align2::CENTER_TOP.anchor_size(square.center_bottom() + vec2(0.0, 4.0), galley.size());
    painter.galley(under.min, galley, palette.text);
}

/// Where the arrow keys have led, from picture to picture among those in sight, while the plane has the focus.
fn walk(ui: &Ui, response: &Response, places: &[Pos2], clip: Rect, best: &[usize]) -> Option<usize> {
    if !response.has_focus() {
        return None;
    }
    let id = response.id.with("walked");
    let before = ui.data(|data| data.get_temp::<usize>(id)).filter(|number| *number < places.len());
    let Some((down, right)) = arrows(ui, response) else { return before };
    let start = before.or(best.first().copied().filter(|number| *number < places.len()));
    let from = start.map_or(clip.center(), |number| places[number]);
    let way = vec2(right as f32, down as f32);
    let next = places.iter().enumerate().filter(|(_, place)| clip.contains(**place)).filter_map(|(number, place)| {
        let off = *place - from;
        let along = off.dot(way);
        let aside = (off - along * way).length();
        (Some(number) != start && along > 0.0 && aside <= along).then_some((number, along + 2.0 * aside))
    });
    let next = next.min_by(|one, other| one.1.total_cmp(&other.1)).map(|(number, _)| number).or(start);
    if let Some(number) = next {
        ui.data_mut(|data| data.insert_temp(id, number));
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip() -> Rect {
        Rect::from_min_size(pos2(10.0, 20.0), vec2(400.0, 300.0))
    }

    /// Ten thousand places that fill twice the width and height of what is in sight.
    fn places() -> Vec<Pos2> {
        let along = |at: usize, step: f32| (at as f32 * step).fract() * 2.0 - 0.5;
        let place = |at| clip().min + vec2(along(at, 0.618_034), along(at, 0.414_214)) * clip().size();
        (0..10_000).map(place).collect()
    }

    #[test]
    fn small_pictures_cover_no_other_and_the_first_have_room() {
        let places = places();
        let laid = Laid::new(&places, 0..places.len(), 5_000, clip());
        let first = (0..places.len()).find(|number| clip().contains(places[*number])).unwrap();
        assert_eq!(laid.pictures[0], first);
        assert!(laid.pictures.len() > 30 && laid.pictures.iter().all(|number| *number < 5_000));
        let square = |number: &usize| Rect::from_center_size(places[*number], Vec2::splat(SIDE - 0.01));
        for (at, one) in laid.pictures.iter().enumerate() {
            for other in &laid.pictures[..at] {
                assert!(!square(one).intersects(square(other)), "{one} covers {other}");
            }
        }
        assert!(laid.points.iter().all(|number| clip().contains(places[*number])));
        let cells = (clip().width() / GRAIN + 1.0) * (clip().height() / GRAIN + 1.0);
        assert!((laid.points.len() as f32) < cells);
    }

    #[test]
    fn what_lies_apart_is_a_picture_and_what_lies_together_is_one_and_points() {
        let at = |x: f32| clip().min + vec2(x, 50.0);
        let places = [at(50.0), at(50.5), at(60.0), at(50.0 + SIDE), at(-500.0)];
        let laid = Laid::new(&places, 0..5, 5, clip());
        assert_eq!((laid.pictures.clone(), laid.points.clone()), (vec![0, 3], vec![1, 2]));
        assert_eq!(laid.at(&places, at(52.0)), Some(0));
        assert_eq!(laid.at(&places, at(300.0)), None);
        let none_ready = Laid::new(&places, 0..5, 0, clip());
        assert_eq!(none_ready.pictures.len(), 0);
        assert_eq!(none_ready.at(&places, at(59.0)), Some(2));
        let best_first = Laid::new(&places, [2, 0, 1, 2, 3, 4].into_iter(), 5, clip());
        assert_eq!(best_first.pictures, [2]);
    }

    #[test]
    fn odd_places_do_no_harm() {
        let odd = [f32::NAN, f32::INFINITY, -1e30, 1e30, 0.0];
        let places: Vec<Pos2> = odd.iter().flat_map(|x| odd.iter().map(|y| pos2(*x, *y))).collect();
        for clip in [clip(), Rect::NOTHING, Rect::from_min_size(pos2(0.0, 0.0), Vec2::ZERO)] {
            Laid::new(&places, 0..places.len(), places.len(), clip);
        }
    }
}
