//! Small parts that several views and panels draw.

use egui::text::{LayoutJob, TextFormat};
use egui::{
    Color32, EventFilter, Key, Label, Modifiers, Painter, Pos2, Rect, Response, Sense, Shape, Stroke, Ui, pos2, vec2,
};

use super::Brush;
use crate::app::state::Colours;
use crate::ui::theme::{heat, signed_heat};

/// Where the pointer is over something, or where it has just clicked: a finger is gone with its tap.
#[must_use]
pub fn pointed(response: &Response) -> Option<Pos2> {
    // Not where a click with the keyboard finds the pointer.
    let clicked = response.clicked() && response.ctx.input(|input| input.pointer.any_click());
    response.hover_pos().or(response.interact_pointer_pos().filter(|_| clicked))
}

/// How far down and to the right the arrow keys lead while something has the focus; they don't move the focus then.
#[must_use]
pub fn arrows(ui: &Ui, response: &Response) -> Option<(isize, isize)> {
    if !response.has_focus() {
        return None;
    }
    let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..Default::default() };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
    let step = ui.input_mut(|input| {
        let mut pressed = |key| isize::from(input.consume_key(Modifiers::NONE, key));
        let right = pressed(Key::ArrowRight) - pressed(Key::ArrowLeft);
        (pressed(Key::ArrowDown) - pressed(Key::ArrowUp), right)
    });
    (step != (0, 0)).then_some(step)
}

/// A label over a bar of length `share` (0 to 1), with `value` at its end; what `stands_out` is marked with the accent's
/// colour.
pub fn bar(ui: &mut Ui, brush: &Brush<'_>, label: &str, share: f32, value: &str, stands_out: bool) -> Response {
    let palette = brush.palette();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::click());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, format!("{label}: {value}")));
    let painter = ui.painter_at(rect);
    let length = rect.width() * share.clamp(0.0, 1.0);
    let fill = if stands_out { palette.accent.gamma_multiply(0.45) } else { palette.raised };
    painter.rect_filled(Rect::from_min_size(rect.min, vec2(length, rect.height())), 3.0, fill);
    if stands_out {
        // A bar without length stands out, too.
        painter.rect_filled(Rect::from_min_size(rect.min, vec2(3.0, rect.height())), 1.0, palette.accent);
    }
    let font = egui::TextStyle::Body.resolve(ui.style());
    let text = painter.layout_no_wrap(value.to_owned(), font.clone(), palette.weak);
    let room = (rect.width() - text.size().x - 18.0).max(1.0);
    painter.galley(pos2(rect.right() - text.size().x - 6.0, rect.top() + 3.0), text, palette.weak);
    let mut job = LayoutJob::simple_singleline(label.to_owned(), font, palette.text);
    job.wrap = egui::text::TextWrapping::truncate_at_width(room);
    let galley = painter.layout_job(job);
    painter.galley(pos2(rect.left() + 6.0, rect.top() + 3.0), galley, palette.text);
    response
}

/// A fact: its name, and its value behind it. One label, so that it is never torn apart where a line of facts wraps.
pub fn fact(ui: &Ui, brush: &Brush<'_>, name: &str, value: &str) -> Label {
    let palette = brush.palette();
    let font = egui::TextStyle::Body.resolve(ui.style());
    let mut job = LayoutJob::default();
    job.append(name, 0.0, TextFormat::simple(font.clone(), palette.weak));
    job.append(value, 5.0, TextFormat::simple(font, palette.text));
    Label::new(job)
}

/// Where points of a plane lie in `rect`, which all of them together fill; the second axis leads up.
#[must_use]
pub fn fitted(points: &[[f32; 2]], rect: Rect) -> Vec<Pos2> {
    let bounds = |axis: usize| {
        let values = points.iter().map(|point| point[axis]);
        let (low, high) = values.fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(value), high.max(value)));
        (low, (high - low).max(1e-9))
    };
    let (x, y) = (bounds(0), bounds(1));
    let place = |point: &[f32; 2]| {
        let (across, up) = ((point[0] - x.0) / x.1, (point[1] - y.0) / y.1);
        pos2(rect.left() + rect.width() * across, rect.bottom() - rect.height() * up)
    };
    points.iter().map(place).collect()
}

/// The sign of a text among points.
pub fn diamond(painter: &Painter, at: Pos2, fill: Color32, stroke: Stroke) {
    let corners = [(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)].map(|(x, y)| at + vec2(x, y)).to_vec();
    painter.add(Shape::convex_polygon(corners, fill, stroke));
}

/// The colours of a colour map, from left to right.
pub fn colour_bar(painter: &Painter, colours: Colours, rect: Rect) {
    bar_of(painter, rect, |share| heat(colours, share));
}

/// The colours of differences, from left to right.
pub fn signed_bar(painter: &Painter, rect: Rect) {
    bar_of(painter, rect, |share| signed_heat(2.0 * share - 1.0));
}

/// Colours from left to right, by how far along they lie.
fn bar_of(painter: &Painter, rect: Rect, colour: impl Fn(f32) -> Color32) {
    const STEPS: usize = 48;
    let width = rect.width() / STEPS as f32;
    for step in 0..STEPS {
        let part = Rect::from_min_size(rect.min + vec2(width * step as f32, 0.0), vec2(width + 0.5, rect.height()));
        painter.rect_filled(part.intersect(rect), 0.0, colour(step as f32 / (STEPS - 1) as f32));
    }
}

/// The colours of a colour map, from the bottom up.
pub fn colour_column(painter: &Painter, colours: Colours, rect: Rect) {
    const STEPS: usize = 48;
    let height = rect.height() / STEPS as f32;
    for step in 0..STEPS {
        let corner = rect.left_bottom() - vec2(0.0, height * (step + 1) as f32);
        let part = Rect::from_min_size(corner, vec2(rect.width(), height + 0.5));
        painter.rect_filled(part.intersect(rect), 0.0, heat(colours, step as f32 / (STEPS - 1) as f32));
    }
}

/// A number with three digits that matter.
#[must_use]
pub fn number(value: f32) -> String {
    let size = value.abs();
    if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 || value == 0.0 {
        format!("{value:.2}")
    } else if size >= 0.001 {
        format!("{value:.4}")
    } else {
        format!("{value:.1e}")
    }
}
