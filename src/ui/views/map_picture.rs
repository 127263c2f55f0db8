//! A picture under a map: drawn once, for every view that lays numbers over patches.

use egui::{
    Color32, ColorImage, Rect, Response, Role, Sense, Stroke, StrokeKind, TextureOptions, Ui, WidgetInfo, pos2, vec2,
};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Brush;
use crate::app::{Command, Thing};
use crate::methods::Evidence;
use crate::ui::theme::{heat, signed_veil, veil};

/// A map over the picture.
#[derive(Clone, Copy)]
pub struct Overlay<'a> {
    /// A number for each patch, row by row.
    pub values: &'a [f32],
    /// The value that gets the brightest colour; zero and less get the darkest.
    pub top: f32,
    /// Whether the values are differences, of which those below zero have colours of their own.
    pub signed: bool,
    /// A name for its texture.
    pub name: &'a str,
}

/// Where things were drawn.
#[derive(Clone, Copy)]
pub struct Placed {
    /// The whole picture.
    pub picture: Rect,
    /// What the model sees of it.
    pub seen: Rect,
}

/// Height of the picture as a share of its width.
#[must_use]
pub fn shape(brush: &Brush<'_>) -> f32 {
    let picture = brush.app.picture.as_ref();
    picture.map_or(1.0, |picture| picture.height() as f32 / picture.width().max(1) as f32)
}

/// Draws picture and map into the middle of `outer`.
pub fn draw(ui: &Ui, evidence: &Evidence, brush: &mut Brush<'_>, overlay: Overlay<'_>, outer: Rect) -> Option<Placed> {
    let pixels = brush.app.picture.as_ref()?;
    let size = vec2(pixels.width() as f32, pixels.height() as f32);
    let zoom = (outer.width() / size.x).min(outer.height() / size.y);
    let picture = Rect::from_center_size(outer.center(), size * zoom);
    let [left, upper, right, lower] = evidence.seen;
    let seen = Rect::from_min_max(picture.min + vec2(left, upper) * zoom, picture.min + vec2(right, lower) * zoom);
    let texture = brush.textures.picture(ui.ctx(), "picture", pixels);
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    let painter = ui.painter_at(outer);
    painter.image(texture, picture, whole, Color32::WHITE);
    let state = &brush.app.state.map;
    let options = if state.smooth { TextureOptions::LINEAR } else { TextureOptions::NEAREST };
    let (rows, columns) = evidence.grid;
    if overlay.values.len() != rows * columns {
        return Some(Placed { picture, seen });
    }
    let make = || {
        let colour = |value: &f32| {
            let share = value / overlay.top;
            if overlay.signed { signed_veil(share, state.opacity) } else { veil(state.colours, share, state.opacity) }
        };
        ColorImage::new([columns, rows], overlay.values.iter().map(colour).collect())
    };
    let look = [overlay.top, state.opacity, f32::from(u8::from(state.smooth)), f32::from(state.colours as u8)];
    let key = format!("map {} {}", overlay.name, overlay.signed);
    let overlay = brush.textures.get(ui.ctx(), &key, fingerprint(overlay.values, &look), options, make);
    let inside = seen.intersect(picture);
    let part = Rect::from_min_max(
        pos2((inside.left() - seen.left()) / seen.width(), (inside.top() - seen.top()) / seen.height()),
        pos2((inside.right() - seen.left()) / seen.width(), (inside.bottom() - seen.top()) / seen.height()),
    );
    painter.image(overlay, inside, part, Color32::WHITE);
    // What the model doesn't see is greyed out.
    let unseen = brush.palette().ground.gamma_multiply(0.75);
    for rect in [
        Rect::from_min_max(picture.min, pos2(inside.left(), picture.bottom())),
        Rect::from_min_max(pos2(inside.right(), picture.top()), picture.max),
        Rect::from_min_max(pos2(inside.left(), picture.top()), pos2(inside.right(), inside.top())),
        Rect::from_min_max(pos2(inside.left(), inside.bottom()), pos2(inside.right(), picture.bottom())),
    ] {
        if rect.width() > 0.5 && rect.height() > 0.5 {
            painter.rect_filled(rect, 0.0, unseen);
        }
    }
    Some(Placed { picture, seen })
}

/// A small map without the picture: rows of colours.
pub fn plain(ui: &Ui, brush: &mut Brush<'_>, overlay: Overlay<'_>, (rows, columns): (usize, usize), rect: Rect) {
    if overlay.values.len() != rows * columns || overlay.values.is_empty() {
        return;
    }
    let colours = brush.app.state.map.colours;
    let make = || {
        let colour = |value: &f32| heat(colours, value / overlay.top);
        ColorImage::new([columns, rows], overlay.values.iter().map(colour).collect())
    };
    let key = format!("plain {}", overlay.name);
    let print = fingerprint(overlay.values, &[overlay.top, f32::from(colours as u8)]);
    let texture = brush.textures.get(ui.ctx(), &key, print, TextureOptions::NEAREST, make);
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    ui.painter().image(texture, rect, whole, Color32::WHITE);
}

/// Lets the person point at patches, select them by clicks and walk over them with the arrow keys; draws what is lit, the
/// lines of the grid, and the marks of sinks.
///
/// `label` says the words as well, and changes with them; `name` stays, and with it the focus.
pub fn interact(
    ui: &Ui,
    evidence: &Evidence,
    brush: &mut Brush<'_>,
    placed: Placed,
    name: &str,
    label: &str,
) -> Response {
    let Placed { picture, seen } = placed;
    let (rows, columns) = evidence.grid;
    let response = ui.interact(seen.intersect(picture), ui.scope_id().with(("patches", name)), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, label));
    let painter = ui.painter_at(picture.expand(1.0));
    if !brush.app.state.map.smooth {
        let line = Stroke::new(0.5, Color32::from_white_alpha(40));
        for row in 1..rows {
            painter.hline(seen.x_range(), seen.top() + seen.height() * row as f32 / rows as f32, line);
        }
        for column in 1..columns {
            painter.vline(seen.left() + seen.width() * column as f32 / columns as f32, seen.y_range(), line);
        }
    }
    if brush.app.state.map.sinks {
        for patch in evidence.sinks() {
            let rect = patch_rect(seen, evidence.grid, patch).shrink(2.0);
            for (width, colour) in [(3.0, Color32::from_black_alpha(160)), (1.5, brush.palette().second)] {
                painter.line_segment([rect.left_top(), rect.right_bottom()], Stroke::new(width, colour));
                painter.line_segment([rect.right_top(), rect.left_bottom()], Stroke::new(width, colour));
            }
        }
    }
    let at = super::parts::pointed(&response).map(|pointer| {
        let along = |offset: f32, length: f32, count: usize| {
            ((offset / length * count as f32) as usize).min(count.saturating_sub(1))
        };
        let row = along(pointer.y - seen.top(), seen.height(), rows);
        row * columns + along(pointer.x - seen.left(), seen.width(), columns)
    });
    if let Some(patch) = at {
        brush.hover(Thing::Patch(patch));
    }
    let selected = brush.app.state.selected.patch;
    if response.clicked() {
        // A click with the pointer means the patch under it; one with the keyboard, the middle.
        let clicked = at.or(Some((rows / 2) * columns + columns / 2));
        brush.commands.push(Command::SelectPatch(clicked.filter(|_| clicked != selected)));
        response.request_focus();
    }
    walk(ui, brush, &response, evidence.grid);
    for patch in 0..rows * columns {
        if let Some(stroke) = brush.outline(Thing::Patch(patch)) {
            let rect = patch_rect(seen, evidence.grid, patch);
            let dark = Stroke::new(stroke.width + 1.5, Color32::from_black_alpha(160));
            painter.rect_stroke(rect, 2.0, dark, StrokeKind::Inside);
            painter.rect_stroke(rect, 2.0, stroke, StrokeKind::Inside);
        }
    }
    if response.has_focus() {
        painter.rect_stroke(picture, 0.0, Stroke::new(2.0, brush.palette().accent), StrokeKind::Inside);
    }
    response
}

/// Arrow keys move the selected patch while the picture has the focus.
fn walk(ui: &Ui, brush: &mut Brush<'_>, response: &Response, (rows, columns): (usize, usize)) {
    let Some((down, right)) = super::parts::arrows(ui, response).filter(|_| rows * columns > 0) else { return };
    let patch = brush.app.state.selected.patch.unwrap_or((rows / 2) * columns + columns / 2).min(rows * columns - 1);
    let moved = |at: usize, by: isize, count: usize| at.saturating_add_signed(by).min(count - 1);
    let row = moved(patch / columns, down, rows);
    brush.commands.push(Command::SelectPatch(Some(row * columns + moved(patch % columns, right, columns))));
}

/// Where a patch lies inside of `seen`.
#[must_use]
pub fn patch_rect(seen: Rect, (rows, columns): (usize, usize), patch: usize) -> Rect {
    let size = vec2(seen.width() / columns as f32, seen.height() / rows as f32);
    let (row, column) = (patch / columns, patch % columns);
    Rect::from_min_size(seen.min + vec2(column as f32 * size.x, row as f32 * size.y), size)
}

/// Of everything that a map's texture hangs on: its values, and how they are drawn.
pub fn fingerprint(values: &[f32], look: &[f32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for value in values.iter().chain(look) {
        value.to_bits().hash(&mut hasher);
    }
    hasher.finish()
}
