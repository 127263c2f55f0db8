//! The views of words that look at the picture: by cross-attention, or at patches that stand in their own row.

mod cross_heads;
mod expected;
mod gates;
mod latents;
mod mixing;
mod word_patches;
mod words;

pub use cross_heads::CrossHeadsView;
pub use expected::ExpectedView;
pub use gates::GatesView;
pub use latents::LatentsView;
pub use mixing::MixingView;
pub(in crate::ui::views) use mixing::{colour_of, words_in};
pub use word_patches::WordPatchesView;
pub use words::WordsView;

use egui::{Button, RichText, Role, Slider, Ui, WidgetInfo};

use super::Brush;
use crate::app::looks::{asked, map_of, map_of_all, place, shown};
use crate::app::{App, Command, Scale};
use crate::methods::reading::{Place, Reading, Step, Weighting};
use crate::ui::texts::{self, projector};

/// The key of the method in whose column those stand that no other has.
const METHOD: &str = "cross-attention";

/// In whose column a view stands: words look at pictures in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Cross-attention.
    Fusion,
    /// Self-attention of a row in which patches stand as words.
    Projector,
}

impl Of {
    /// What belongs to this column.
    fn pick<T>(self, fusion: T, projector: T) -> T {
        match self {
            Self::Fusion => fusion,
            Self::Projector => projector,
        }
    }

    /// The key of the method.
    fn method(self) -> &'static str {
        self.pick(METHOD, "projector")
    }
}

/// The value with the brightest colour: the highest of the map, or of the maps of all words.
fn top_of(app: &App, reading: &Reading, weighting: Weighting, own: &[f32]) -> f32 {
    let highest = |values: &[f32]| values.iter().copied().fold(1e-9, f32::max);
    if app.state.map.scale == Scale::Own {
        return highest(own);
    }
    let mut top = highest(own);
    for line in &reading.lines {
        for (at, step) in line.steps.iter().enumerate() {
            if is_word(step)
                && let Some(map) = map_of(app, reading, line, at, weighting)
            {
                top = top.max(highest(&map));
            }
        }
    }
    top
}

/// Whether a token is a word that the person or the model wrote, and no special token or given prompt.
fn is_word(step: &Step) -> bool {
    step.span.is_some() || step.is_written
}

/// Chooses where words are looked at, and how attention is weighted.
fn choices(ui: &mut Ui, brush: &mut Brush<'_>, reading: &Reading) {
    let state = brush.app.state.fusion.clone();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = egui::vec2(4.0, 4.0);
        if reading.predicts {
            for (place, text) in [(Place::Predict, texts::WHILE_PREDICTED), (Place::Read, texts::WHILE_READ)] {
                if ui.add(Button::selectable(state.place == place, brush.say(text))).clicked() {
                    brush.commands.push(Command::SetPlace(place));
                }
            }
            ui.separator();
        }
        let (layer, head) = state.head.unwrap_or_default();
        let name = match state.head {
            None => brush.say(texts::ALL_HEADS).to_owned(),
            Some(_) => {
                format!("{} {} · {} {}", brush.say(texts::LAYER), layer + 1, brush.say(texts::HEAD), head + 1)
            }
        };
        ui.label(RichText::new(name).color(brush.palette().weak));
        if state.head.is_some() && ui.small_button(brush.say(texts::ALL_HEADS)).clicked() {
            brush.commands.push(Command::SelectFusionHead(None));
        }
    });
}

/// Chooses how attention is weighted.
fn weightings(ui: &mut Ui, brush: &mut Brush<'_>) {
    let chosen = brush.app.state.fusion.weighting;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = egui::vec2(4.0, 4.0);
        for (weighting, text) in [(Weighting::Gradient, texts::WEIGHTED), (Weighting::Raw, texts::RAW)] {
            if ui.add(Button::selectable(chosen == weighting, brush.say(text))).clicked() {
                brush.commands.push(Command::SetWeighting(weighting));
            }
        }
    });
}

/// Chooses the layer whose states are looked at, from what enters the first block to what leaves the `last`; `usual` is meant
/// where none was chosen.
pub(in crate::ui::views) fn depth_slider(ui: &mut Ui, brush: &mut Brush<'_>, last: usize, usual: usize) {
    let mut layer = brush.app.state.fusion.layer.unwrap_or(usual).min(last);
    let before = layer;
    ui.horizontal(|ui| {
        ui.spacing_mut().slider_width = (ui.available_width() * 0.5).clamp(60.0, 260.0);
        ui.label(RichText::new(brush.say(texts::LAYER)).color(brush.palette().weak));
        let slider = ui.add(Slider::new(&mut layer, 0..=last).show_value(false));
        let name = brush.say(texts::HIDDEN_LAYER);
        slider.widget_info(|| WidgetInfo::labeled(Role::Slider, true, name));
        // In the row of a projector the input is the projector's output.
        let is_row = brush.app.state.method.0 == Of::Projector.method();
        ui.label(match (layer, is_row) {
            (0, true) => brush.say(projector::AT_PROJECTOR).to_owned(),
            (_, true) => format!("{} {layer}", brush.say(projector::BEHIND_BLOCK)),
            (_, false) => layer.to_string(),
        });
    });
    if layer != before {
        brush.commands.push(Command::SetHiddenLayer(Some(layer)));
    }
}

/// What a step is called.
fn name(step: &Step) -> &str {
    step.text.trim()
}
