//! Patches that nobody looks at, brushed away in the picture; and what the states of another picture's patches do.

use egui::{Color32, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2};

use crate::app::Command;
use crate::app::effects::{Effects, Patched};
use crate::methods::{Evidence, Intervention};
use crate::ui::texts::{self, what_if};
use crate::ui::theme::{signed_heat, title_font};
use crate::ui::views::Brush;
use crate::ui::views::map_picture::{Overlay, draw, patch_rect, shape};
use crate::ui::views::parts::arrows;

/// The picture under its map, over which a brush hides patches from all attention, or shows them again.
pub(super) fn hide(ui: &mut Ui, brush: &mut Brush<'_>, evidence: &Evidence, side: f32) {
    let palette = brush.palette();
    let (rows, columns) = evidence.grid;
    let hidden = hidden(brush.app.interventions(evidence.method));
    ui.vertical(|ui| {
        let title = ui.label(RichText::new(brush.say(what_if::BRUSH)).font(title_font(13.0)));
        title.on_hover_text(brush.say(what_if::BRUSH_HINT));
        let (outer, _) = ui.allocate_exact_size(vec2(side / shape(brush).max(0.2), side), Sense::hover());
        let landed = brush.app.landed(evidence.method);
        let (values, top) = landed.as_ref().map_or((&[][..], 1.0), |landed| (&landed.shares, landed.highest()));
        let name = format!("what if {}", evidence.method);
        let overlay = Overlay { values, top: top.max(1e-9), signed: false, name: &name };
        let Some(placed) = draw(ui, evidence, brush, overlay, outer) else { return };
        let seen = placed.seen;
        let id = ui.scope_id().with("brushed");
        let response = ui.interact(seen.intersect(placed.picture), id, Sense::click_and_drag());
        let said = format!("{} · {}", brush.say(what_if::BRUSH), hidden.len());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &said));
        let along = |offset: f32, length: f32, count: usize| {
            ((offset / length * count as f32).max(0.0) as usize).min(count.saturating_sub(1))
        };
        let patch_at = |pointer: egui::Pos2| {
            let row = along(pointer.y - seen.top(), seen.height(), rows);
            row * columns + along(pointer.x - seen.left(), seen.width(), columns)
        };
        let at = response.interact_pointer_pos().map(patch_at);
        let mut brushed: Vec<usize> = ui.data(|data| data.get_temp(id)).unwrap_or_default();
        if response.dragged() {
            // A stroke begins where the pointer was pressed, which is only known to be one once it has moved.
            let pressed = ui.input(|input| input.pointer.press_origin()).map(patch_at);
            for patch in pressed.into_iter().chain(at) {
                if !brushed.contains(&patch) {
                    brushed.push(patch);
                }
            }
            ui.data_mut(|data| data.insert_temp(id, brushed.clone()));
        }
        let painter = ui.painter_at(placed.picture);
        for patch in (0..rows * columns).filter(|patch| hidden.contains(patch) != brushed.contains(patch)) {
            let rect = patch_rect(seen, evidence.grid, patch).shrink(0.5);
            painter.rect_filled(rect, 0.0, Color32::from_black_alpha(200));
            painter.line_segment([rect.left_bottom(), rect.right_top()], Stroke::new(1.5, palette.warning));
        }
        if let Some((down, right)) = arrows(ui, &response).filter(|_| rows * columns > 0) {
            let patch = brush.app.state.selected.patch.unwrap_or(0).min(rows * columns - 1);
            let moved = |at: usize, by: isize, count: usize| at.saturating_add_signed(by).min(count - 1);
            let row = moved(patch / columns, down, rows);
            brush.commands.push(Command::SelectPatch(Some(row * columns + moved(patch % columns, right, columns))));
        }
        if response.has_focus() {
            painter.rect_stroke(placed.picture, 0.0, Stroke::new(2.0, palette.accent), StrokeKind::Inside);
            if let Some(patch) = brush.app.state.selected.patch {
                let rect = patch_rect(seen, evidence.grid, patch);
                painter.rect_stroke(rect, 1.0, Stroke::new(2.0, palette.strong), StrokeKind::Inside);
            }
        }
        if response.clicked() {
            // A click with the keyboard means the selected patch.
            let clicked = at.or(brush.app.state.selected.patch);
            brushed = clicked.into_iter().collect();
            response.request_focus();
        }
        if response.drag_stopped() || response.clicked() {
            ui.data_mut(|data| data.remove::<Vec<usize>>(id));
            let all = (0..rows * columns).filter(|patch| hidden.contains(patch) != brushed.contains(patch));
            brush.commands.push(Command::HidePatches(all.collect()));
        }
        response.on_hover_text(brush.say(what_if::BRUSH_HINT));
    });
}

/// The patches that nobody looks at.
fn hidden(standing: &[Intervention]) -> Vec<usize> {
    let patches = standing.iter().filter_map(|standing| match standing {
        Intervention::Hidden { patches } => Some(patches),
        _ => None,
    });
    patches.flatten().copied().collect()
}

/// What the states of the pinned picture do, patch by patch behind each block.
pub(super) fn patched(ui: &mut Ui, brush: &mut Brush<'_>, evidence: &Evidence, effects: &Effects, side: f32) {
    let palette = brush.palette();
    let Some(Patched { whole, layers }) = &effects.patched else {
        let text = RichText::new(brush.say(what_if::PIN_FIRST)).color(palette.weak).small();
        ui.add(egui::Label::new(text).wrap());
        return;
    };
    let (rows, columns) = evidence.grid;
    let change = |held: &f32| held - effects.whole;
    let top = layers.iter().flatten().map(|held| change(held).abs()).fold((whole - effects.whole).abs(), f32::max);
    let top = top.max(1e-6);
    ui.vertical(|ui| {
        let title = brush.say(what_if::PATCHED);
        let title = title.replace("{whole}", &format!("{whole:.2}")).replace("{top}", &format!("{top:.2}"));
        ui.label(RichText::new(&title).font(title_font(13.0)));
        ui.horizontal_wrapped(|ui| {
            for (layer, values) in layers.iter().enumerate() {
                ui.vertical(|ui| {
                    let name = format!("{} {}", brush.say(texts::LAYER), layer + 1);
                    ui.label(RichText::new(&name).color(palette.weak).small());
                    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::hover());
                    let tile = vec2(rect.width() / columns.max(1) as f32, rect.height() / rows.max(1) as f32);
                    for (patch, held) in values.iter().enumerate() {
                        let offset = vec2((patch % columns.max(1)) as f32, (patch / columns.max(1)) as f32) * tile;
                        let tile = Rect::from_min_size(rect.min + offset, tile);
                        ui.painter().rect_filled(tile.shrink(0.5), 0.0, signed_heat(change(held) / top));
                    }
                    let strongest = values.iter().enumerate();
                    let strongest =
                        strongest.max_by(|one, other| change(one.1).abs().total_cmp(&change(other.1).abs()));
                    let said = strongest.map_or(name.clone(), |(patch, held)| {
                        let (row, column) = (patch / columns.max(1) + 1, patch % columns.max(1) + 1);
                        format!("{name} · {} {row}·{column}: {:+.3}", brush.say(texts::PATCH), change(held))
                    });
                    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &said));
                    response.on_hover_text(said);
                });
            }
        });
    });
}
