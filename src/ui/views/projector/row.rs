//! The row as the language model reads it: text tokens, and the patches of the picture where that stands.

use egui::{
    Align2, Color32, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, TextStyle, Ui, WidgetInfo, pos2, vec2,
};

use super::super::map_picture::patch_rect;
use super::super::{Brush, View, number};
use super::{METHOD, position, thing};
use crate::app::{App, Command, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::spliced::RowToken;
use crate::ui::texts::projector;
use crate::ui::theme::SMALL_GAP;

/// The view.
pub struct RowView;

/// Side of a patch, and height of a token, in points.
const SIDE: f32 = 30.0;
/// Height of the bar of the longest vector.
const BAR: f32 = 16.0;

impl View for RowView {
    fn key(&self) -> &'static str {
        "row"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../../assets/help/row.en.md"), include_str!("../../../../assets/help/row.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(spliced) = evidence.spliced.clone() else { return };
        let palette = brush.palette();
        let count = |of_picture: bool| spliced.row.iter().filter(|token| token.of_picture == of_picture).count();
        let facts = [(projector::OF_PICTURE, count(true)), (projector::OF_TEXT, count(false))];
        let facts = facts.map(|(text, count)| format!("{} {count}", brush.say(text))).join("   ");
        ui.label(RichText::new(facts).color(palette.text));
        ui.label(RichText::new(brush.say(projector::ROW_HINT)).color(palette.weak).small());
        ui.add_space(SMALL_GAP);
        let top = spliced.row.iter().map(|token| token.norm).fold(1e-9, f32::max);
        let chosen = position(brush.app, evidence, &spliced);
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing = vec2(3.0, 8.0);
                for (at, token) in spliced.row.iter().enumerate() {
                    one(ui, brush, evidence, (at, token), top, chosen == Some(at));
                }
            });
        });
    }

    fn numbers(&self, evidence: &Evidence, _app: &App) -> Vec<Numbers> {
        let Some(spliced) = &evidence.spliced else { return Vec::new() };
        let name =
            |token: &RowToken| token.patch.map_or_else(|| token.text.clone(), |patch| format!("patch {}", patch + 1));
        let axis = Axis::labelled("position", spliced.row.iter().map(name));
        vec![Numbers::new("length", [axis], spliced.row.iter().map(|token| token.norm).collect())]
    }
}

/// A position of the row: what stands there, and beneath it how long its vector is.
fn one(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    evidence: &Evidence,
    (at, token): (usize, &RowToken),
    top: f32,
    chosen: bool,
) {
    let palette = brush.palette();
    let font = TextStyle::Body.resolve(ui.style());
    let colour = if token.span.is_none() { palette.weak } else { palette.text };
    let galley = ui.painter().layout_no_wrap(token.text.trim().to_owned(), font, colour);
    let width = if token.of_picture { SIDE } else { (galley.size().x + 12.0).max(SIDE * 0.6) };
    let (rect, response) = ui.allocate_exact_size(vec2(width, SIDE + BAR + 3.0), Sense::click());
    let what = thing(token);
    let label = format!("{}: {}", at + 1, token.text.trim());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &label));
    let body = Rect::from_min_size(rect.min, vec2(width, SIDE));
    match token.patch {
        Some(patch) => crop(ui, brush, evidence, patch, body),
        None => {
            let fill = if chosen { palette.accent.gamma_multiply(0.4) } else { palette.raised };
            ui.painter().rect_filled(body, 4.0, fill);
            let place = Align2::CENTER_CENTER.anchor_size(body.center(), galley.size());
            ui.painter().galley(place.min, galley, colour);
        }
    }
    let height = BAR * (token.norm / top).clamp(0.0, 1.0);
    let bar = Rect::from_min_size(pos2(rect.left() + 2.0, body.bottom() + 3.0), vec2(width - 4.0, height));
    let ink = if token.of_picture { palette.accent } else { palette.second };
    ui.painter().rect_filled(bar, 1.0, ink.gamma_multiply(0.7));
    let outline = what.and_then(|thing| brush.outline(thing));
    let focus = response.has_focus().then_some(Stroke::new(2.0, palette.strong));
    if let Some(stroke) = outline.or(focus) {
        ui.painter().rect_stroke(body, 3.0, stroke, StrokeKind::Inside);
    }
    if let (true, Some(thing)) = (response.hovered(), what) {
        brush.hover(thing);
    }
    if response.clicked() {
        match what {
            Some(Thing::Patch(patch)) => {
                let is_selected = brush.app.state.selected.patch == Some(patch);
                brush.commands.push(Command::SelectPatch((!is_selected).then_some(patch)));
            }
            Some(Thing::Words(start, end)) => {
                brush.commands.push(Command::SelectWords { start, end, extend: false });
            }
            _ => {}
        }
    }
    response.on_hover_text(format!("{label}\n{} {}", brush.say(projector::LENGTH), number(token.norm)));
}

/// The patch as it is in the picture.
fn crop(ui: &Ui, brush: &mut Brush<'_>, evidence: &Evidence, patch: usize, rect: Rect) {
    let Some(picture) = brush.app.picture.clone() else { return };
    let [left, upper, right, lower] = evidence.seen;
    let seen = Rect::from_min_max(pos2(left, upper), pos2(right, lower));
    let part = patch_rect(seen, evidence.grid, patch);
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let part = Rect::from_min_max(
        pos2(part.left() / width, part.top() / height),
        pos2(part.right() / width, part.bottom() / height),
    );
    let texture = brush.textures.picture(ui.ctx(), "picture", &picture);
    ui.painter().image(texture, rect, part, Color32::WHITE);
}
