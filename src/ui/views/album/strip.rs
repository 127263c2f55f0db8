//! What was found: the best pictures in a row, each with its cosine.

use egui::{Align2, Color32, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2};

use super::{best, plane};
use crate::app::Command;
use crate::app::album::Album;
use crate::ui::views::Brush;

/// Side of a picture of the strip, and the height of the line under it.
const SIDE: f32 = 64.0;
const LINE: f32 = 16.0;

/// Draws the strip if something is searched for and found; gives the picture that the pointer is over.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>, album: &Album) -> Option<usize> {
    let app = brush.app;
    let found = album.shown(&app.state.album.wanted)?;
    let palette = brush.palette();
    let pointed = plane::pointed_at(ui);
    let mut lit = None;
    let area = ScrollArea::horizontal().id_salt("album strip").auto_shrink([false, true]);
    area.show(ui, |ui| {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            for &number in best(found) {
                let Some(picture) = album.pictures.get(number) else { continue };
                let (rect, response) = ui.allocate_exact_size(vec2(SIDE, SIDE + LINE), Sense::click());
                let cosine = format!("{:.3}", found.cosines[number]);
                let label = format!("{} · {cosine}", picture.name());
                response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &label));
                if !ui.is_rect_visible(rect) {
                    continue;
                }
                let square = Rect::from_min_size(rect.min, vec2(SIDE, SIDE)).shrink(2.0);
                brush.textures.atlas.paint(ui.painter(), [(number, square, Color32::WHITE)]);
                let is_lit = response.hovered() || response.has_focus();
                let stroke = if is_lit || pointed == Some(number) {
                    Stroke::new(2.0, palette.strong)
                } else {
                    Stroke::new(1.0, palette.accent)
                };
                ui.painter().rect_stroke(square, 2.0, stroke, StrokeKind::Outside);
                let font = egui::TextStyle::Small.resolve(ui.style());
                ui.painter().text(rect.center_bottom(), Align2::CENTER_BOTTOM, cosine, font, palette.text);
                if is_lit {
                    lit = Some(number);
                }
                if response.on_hover_text(label).clicked() {
                    brush.commands.push(Command::OpenPicture(picture.path.clone()));
                }
            }
        });
    });
    lit
}
