//! Words inside of patches: the picture as a grid of the words that its patches are nearest to.

use egui::{Align2, Button, Color32, FontId, Rect, RichText, ScrollArea, Ui, UiBuilder, vec2};

use super::super::fusion::depth_slider;
use super::super::map_picture::{Overlay, Placed, draw, interact, patch_rect};
use super::super::{Brush, View, bar, number};
use super::{METHOD, depth, is_selected, patch};
use crate::app::{App, Command};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::spliced::{Depth, PatchReading};
use crate::ui::texts::{self, projector};
use crate::ui::theme::{GAP, SMALL_GAP, title_font};

/// The view.
pub struct PatchWordsView;

/// Width of the list beside the picture.
const LIST: f32 = 190.0;
/// Sides of a patch in which a word can be read, in points.
const LEAST: f32 = 17.0;
/// Sizes of the words.
const LARGEST: f32 = 15.0;
const SMALLEST: f32 = 6.5;

impl View for PatchWordsView {
    fn key(&self) -> &'static str {
        "patch-words"
    }

    fn method(&self) -> &'static str {
        METHOD
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../../assets/help/patch-words.en.md"),
            include_str!("../../../../assets/help/patch-words.zh.md"),
        ]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(spliced) = evidence.spliced.clone() else { return };
        depth_slider(ui, brush, spliced.layers, 0);
        readings(ui, brush);
        ui.add_space(SMALL_GAP);
        let Some(depth) = spliced.depth(depth(brush.app, &spliced)) else {
            ui.label(RichText::new(brush.say(texts::WAITING)).color(brush.palette().weak));
            return;
        };
        let space = ui.available_rect_before_wrap();
        let is_wide = space.width() > space.height() + LIST * 0.4;
        let (of_picture, of_list) = if is_wide {
            let edge = space.right() - LIST;
            (space.with_max_x(edge - GAP), space.with_min_x(edge))
        } else {
            let edge = space.top() + (space.width()).min(space.height() * 0.7);
            (space.with_max_y(edge), space.with_min_y(edge + GAP))
        };
        picture(ui, evidence, brush, depth, of_picture);
        list(&mut ui.new_child(UiBuilder::new().max_rect(of_list)), brush, depth);
        ui.advance_cursor_after_rect(space);
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(spliced) = &evidence.spliced else { return Vec::new() };
        let Some(depth) = spliced.depth(depth(app, spliced)) else { return Vec::new() };
        let reading = app.state.projector.reading;
        let patches = 0..evidence.grid.0 * evidence.grid.1;
        let best = patches.map(|patch| depth.words(patch, reading).first());
        let axis =
            Axis::labelled("patch", best.clone().map(|near| near.map_or_else(String::new, |near| near.0.clone())));
        let scores = best.map(|near| near.map_or(0.0, |near| near.1)).collect();
        vec![Numbers::new("nearest_word", [axis], scores)]
    }
}

/// Chooses how a patch is read.
fn readings(ui: &mut Ui, brush: &mut Brush<'_>) {
    let chosen = brush.app.state.projector.reading;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
        let all = [(PatchReading::Cosine, projector::NEAREST), (PatchReading::Lens, projector::LENS)];
        for (reading, text) in all {
            if ui.add(Button::selectable(chosen == reading, brush.say(text))).clicked() {
                brush.commands.push(Command::SetPatchReading(reading));
            }
        }
    });
}

/// The picture with a word in each patch.
fn picture(ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>, depth: &Depth, outer: Rect) {
    let reading = brush.app.state.projector.reading;
    let patches = evidence.grid.0 * evidence.grid.1;
    let scores: Vec<f32> =
        (0..patches).map(|patch| depth.words(patch, reading).first().map_or(0.0, |near| near.1)).collect();
    let overlay = Overlay { values: &scores, top: 1.0, signed: false, name: "patch words" };
    let Some(placed) = draw(ui, evidence, brush, overlay, outer) else { return };
    let name = brush.say(projector::PATCH_WORDS);
    interact(ui, evidence, brush, placed, "patch words", name);
    words(ui, evidence, brush, depth, placed);
}

fn words(ui: &Ui, evidence: &Evidence, brush: &Brush<'_>, depth: &Depth, Placed { picture, seen }: Placed) {
    let side = patch_rect(seen, evidence.grid, 0).width();
    if side < LEAST {
        return; // the list beside says the words of one patch
    }
    let palette = brush.palette();
    let reading = brush.app.state.projector.reading;
    let painter = ui.painter_at(picture);
    for patch in 0..evidence.grid.0 * evidence.grid.1 {
        let Some((word, score)) = depth.words(patch, reading).first() else { continue };
        let cell = patch_rect(seen, evidence.grid, patch);
        let stands_out = is_selected(brush, word);
        // What is hardly nearer than anything else is hardly said.
        let ink = if stands_out { palette.ground } else { Color32::WHITE };
        let ink = ink.gamma_multiply(0.45 + 0.55 * score.clamp(0.0, 1.0));
        let layout = |size: f32| painter.layout_no_wrap(word.clone(), FontId::proportional(size), ink);
        let whole = layout(LARGEST);
        let room = side - 3.0;
        let size = (LARGEST * room / whole.size().x.max(1.0)).clamp(SMALLEST, LARGEST.min(side * 0.45).max(SMALLEST));
        let galley = layout(size);
        let rect = Align2::CENTER_CENTER.anchor_size(cell.center(), galley.size());
        let scrim = if stands_out { palette.second } else { Color32::from_black_alpha(150) };
        painter.with_clip_rect(cell).rect_filled(rect.expand2(vec2(2.0, 0.5)), 2.0, scrim);
        painter.with_clip_rect(cell).galley(rect.min, galley, ink);
    }
}

/// The words of one patch.
fn list(ui: &mut Ui, brush: &mut Brush<'_>, depth: &Depth) {
    let palette = brush.palette();
    let reading = brush.app.state.projector.reading;
    let Some(patch) = patch(brush.app) else {
        ui.label(RichText::new(brush.say(projector::PATCH_HINT)).color(palette.weak));
        return;
    };
    let title = if reading == PatchReading::Cosine { texts::NEAREST_WORDS } else { projector::LENS_OF };
    ui.label(RichText::new(brush.say(title)).font(title_font(14.0)));
    ScrollArea::vertical().id_salt("words of a patch").auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 3.0;
        for (word, score) in depth.words(patch, reading) {
            let value =
                if reading == PatchReading::Cosine { number(*score) } else { format!("{:.1} %", score * 100.0) };
            bar(ui, brush, word, *score, &value, is_selected(brush, word));
        }
    });
}
