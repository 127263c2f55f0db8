//! What each latent of the resampler holds: Flamingo's words see the picture through these alone.

use egui::{Align2, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2};

use super::super::map_picture::{Overlay, plain};
use super::super::{Brush, View, number};
use super::METHOD;
use crate::app::{App, Command, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::ui::texts;

/// The view.
pub struct LatentsView;

const LEAST: f32 = 36.0;
const GAP: f32 = 6.0;
const FOOT: f32 = 14.0;

impl View for LatentsView {
    fn key(&self) -> &'static str {
        "latents"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../../assets/help/latents.en.md"), include_str!("../../../../assets/help/latents.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(reading) = evidence.reading.clone() else { return };
        let palette = brush.palette();
        let Some(latents) = reading.latents.clone() else {
            ui.label(RichText::new(brush.say(texts::NO_LATENTS)).color(palette.weak));
            return;
        };
        ui.label(RichText::new(brush.say(texts::LATENTS_HINT)).color(palette.weak).small());
        let (rows, columns) = evidence.grid;
        let patches = (rows * columns).max(1);
        let count = latents.len() / patches;
        let space = ui.available_size();
        let across = (1..=count).find(|across| {
            let side = space.x / *across as f32 - GAP;
            (side + FOOT + GAP) * count.div_ceil(*across) as f32 <= space.y || side <= LEAST
        });
        let across = across.unwrap_or(1);
        let side = (space.x / across as f32 - GAP).max(LEAST).floor();
        let top = latents.iter().copied().fold(1e-9, f32::max);
        let small = egui::TextStyle::Small.resolve(ui.style());
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            let step = vec2(side + GAP, side + GAP + FOOT);
            let size = vec2(step.x * across as f32, step.y * count.div_ceil(across) as f32);
            let (outer, _) = ui.allocate_exact_size(size, Sense::hover());
            let painter = ui.painter().clone();
            for (latent, map) in latents.chunks_exact(patches).enumerate() {
                let offset = vec2(step.x * (latent % across) as f32, step.y * (latent / across) as f32);
                let rect = Rect::from_min_size(outer.min + offset, Vec2::splat(side));
                let response = ui.interact(rect, ui.scope_id().with(("latent", latent)), Sense::click());
                let name = format!("{} {}", brush.say(texts::LATENT), latent + 1);
                response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
                let key = format!("latent {latent}");
                plain(ui, brush, Overlay { values: map, top, signed: false, name: &key }, (rows, columns), rect);
                let peak = (0..patches).max_by(|a, b| map[*a].total_cmp(&map[*b])).unwrap_or(0);
                let foot = pos2(rect.center().x, rect.bottom() + 1.0);
                painter.text(foot, Align2::CENTER_TOP, (latent + 1).to_string(), small.clone(), palette.weak);
                if response.hovered() {
                    brush.hover(Thing::Patch(peak));
                }
                if response.hovered() || response.has_focus() {
                    painter.rect_stroke(rect, 2.0, Stroke::new(2.0, palette.strong), StrokeKind::Outside);
                }
                if response.clicked() {
                    brush.commands.push(Command::SelectPatch(Some(peak)));
                }
                response.on_hover_text(format!("{name}\n{} {}", brush.say(texts::PEAK), number(map[peak])));
            }
        });
    }

    fn numbers(&self, evidence: &Evidence, _app: &App) -> Vec<Numbers> {
        let latents = evidence.reading.as_ref().and_then(|reading| reading.latents.clone());
        let Some(latents) = latents else { return Vec::new() };
        let (rows, columns) = evidence.grid;
        let axes = [
            Axis::numbered("latent", latents.len() / (rows * columns).max(1)),
            Axis::numbered("row", rows),
            Axis::numbered("column", columns),
        ];
        vec![Numbers::new("latents", axes, latents.to_vec())]
    }
}
