//! What if: heads are switched off, routes of attention cut, patches left out; and what each of them would do.

mod cells;
mod patches;

use egui::{Button, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, vec2};
use std::sync::Arc;

use super::faithful::what_is_held;
use super::parts::signed_bar;
use super::{Brush, View};
use crate::app::effects::{Effects, Stack};
use crate::app::patching::PatchedWords;
use crate::app::{App, Command};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::evidence::Said;
use crate::methods::faithful::rank_correlation;
use crate::methods::interventions::{Ablation, LAST};
use crate::methods::{Evidence, Intervention};
use crate::taps::{Attn, Tower};
use crate::ui::texts::{self, what_if};
use crate::ui::theme::{GAP, SMALL_GAP};
use cells::{Table, heads, routes, width_of};

/// The view, in the column of a method.
pub struct WhatIfView(pub &'static str);

/// A cell of a table, where there is little room and where there is much.
const LEAST: egui::Vec2 = vec2(36.0, 20.0);
const MOST: egui::Vec2 = vec2(58.0, 28.0);
/// From this width on there is much room, and up to this one little, in points.
const WIDE: f32 = 900.0;
const NARROW: f32 = 520.0;
/// Side of a map of patches, in cells' heights.
const MAP: f32 = 4.5;
/// Side of the picture whose patches can be hidden, in cells' heights.
const PICTURE: f32 = 6.5;

impl View for WhatIfView {
    fn key(&self) -> &'static str {
        match self.0 {
            "contrastive" => "what-if",
            "cross-attention" => "what-if-words",
            "querying" => "what-if-queries",
            _ => "what-if-row",
        }
    }

    fn method(&self) -> &'static str {
        self.0
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../../assets/help/what-if.en.md"), include_str!("../../../../assets/help/what-if.zh.md")]
    }

    fn least(&self) -> egui::Vec2 {
        vec2(400.0, 260.0)
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
        controls(ui, brush, evidence);
        standing(ui, brush);
        difference(ui, brush, evidence);
        let effects = brush.app.effects().cloned();
        let Some(parts) = brush.app.parts().map(Arc::clone) else { return };
        let top = effects.as_ref().map_or(1e-9, highest);
        if let Some(effects) = &effects {
            legend(ui, brush, effects, top);
        }
        let room = ((ui.available_width() - NARROW) / (WIDE - NARROW)).clamp(0.0, 1.0);
        let size = (LEAST + (MOST - LEAST) * room).floor();
        ScrollArea::both().auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing = vec2(2.0 * GAP, GAP);
            let table = Table { size, top };
            let side = size.y * PICTURE;
            let both = |ui: &mut Ui| {
                routes(ui, brush, &parts, effects.as_ref(), table);
                patches::hide(ui, brush, evidence, side);
            };
            // Beside each other where there is room for it.
            if ui.available_width() >= cells::width_of_routes(&parts, size) + 2.0 * side {
                ui.horizontal_top(both);
            } else {
                ui.vertical(both);
            }
            let width = |stack: &Stack| width_of(stack, size) + 2.0 * GAP;
            let mut left: Vec<(usize, &Stack)> = parts.stacks.iter().enumerate().rev().collect();
            while !left.is_empty() {
                // As many beside each other as there is room for.
                let mut room = ui.available_width() + 2.0 * GAP;
                let mut first = true;
                ui.horizontal_top(|ui| {
                    while let Some((at, stack)) =
                        left.pop_if(|(_, stack)| std::mem::take(&mut first) || width(stack) <= room)
                    {
                        room -= width(stack);
                        let measured =
                            effects.as_ref().and_then(|effects| Some((effects.whole, effects.heads.get(at)?)));
                        let measured = measured.map(|(whole, held)| (whole, held.as_slice()));
                        heads(ui, brush, &parts, stack, measured, table);
                    }
                });
            }
            if let Some(effects) = &effects {
                patches::patched(ui, brush, evidence, effects, size.y * MAP);
                cells::patched_words(ui, brush, evidence, effects, size);
            }
        });
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(effects) = app.effects() else {
            return vec![Numbers::single("interventions", app.interventions(self.0).len() as f32)];
        };
        let mut arrays = vec![Numbers::single("held_without", effects.whole)];
        for (stack, values) in effects.parts.stacks.iter().zip(&effects.heads) {
            let layers = stack.layers.iter().map(|layer| (layer + 1).to_string());
            let axes = [Axis::labelled("layer", layers), Axis::numbered("head", stack.heads)];
            let kind = if stack.attn == Attn::SelfAttn { "self" } else { "cross" };
            arrays.push(Numbers::new(format!("head_off_{}_{kind}", stack.tower), axes, values.clone()));
        }
        for (route, values) in effects.parts.routes.iter().zip(&effects.routes) {
            let layers = route.layers.iter().map(|layer| (layer + 1).to_string());
            arrays.push(Numbers::new(format!("cut_{}", route.key), [Axis::labelled("layer", layers)], values.clone()));
        }
        if let Some(patched) = &effects.patched {
            let patches = patched.layers.first().map_or(0, Vec::len);
            let axes = [Axis::numbered("layer", patched.layers.len()), Axis::numbered("patch", patches)];
            arrays.push(Numbers::new("patched", axes, patched.layers.concat()));
        }
        if let Some(PatchedWords::Alike { positions, layers, .. }) = &effects.patched_words {
            let positions = positions.iter().map(|at| (at + 1).to_string());
            let axes = [Axis::numbered("layer", layers.len()), Axis::labelled("position", positions)];
            arrays.push(Numbers::new("patched_words", axes, layers.concat()));
        }
        arrays
    }
}

/// What can be asked and changed besides heads and routes.
fn controls(ui: &mut Ui, brush: &mut Brush<'_>, evidence: &Evidence) {
    let app = brush.app;
    let standing = app.interventions(evidence.method);
    let sinks = (what_if::WITHOUT_SINKS, evidence.sinks());
    let selected = (what_if::WITHOUT_PATCH, app.state.selected.patch.into_iter().collect());
    ui.horizontal_wrapped(|ui| {
        for (text, patches) in [sinks, selected] {
            let hidden = Intervention::Hidden { patches };
            let nothing = hidden == Intervention::Hidden { patches: Vec::new() };
            if !nothing && ui.add(Button::selectable(standing.contains(&hidden), brush.say(text))).clicked() {
                brush.commands.push(Command::Intervene(hidden));
            }
        }
        let measure = Button::new(RichText::new(brush.say(what_if::MEASURE)).strong());
        if ui.add_enabled(!app.busy, measure).clicked() {
            brush.commands.push(Command::MeasureEffects);
        }
        let ground = Button::new(brush.say(what_if::WHICH_GROUNDS));
        if ui.add_enabled(!app.busy, ground).on_hover_text(brush.say(what_if::GROUNDING_HINT)).clicked() {
            brush.commands.push(Command::MeasureHeads);
        }
        ui.label(RichText::new(brush.say(what_if::HEADS_BY)).color(brush.palette().weak).small());
        for (ablation, text) in [(Ablation::Zero, what_if::ZERO), (Ablation::Mean, what_if::MEAN)] {
            let is_own = app.state.ablation == ablation;
            let button = ui.add(Button::selectable(is_own, brush.say(text)));
            if button.on_hover_text(brush.say(what_if::HEADS_BY_HINT)).clicked() {
                brush.commands.push(Command::SetAblation(ablation));
            }
        }
        if app.is_measuring_effects() || app.is_measuring_heads() {
            ui.label(RichText::new(brush.say(what_if::MEASURING)).color(brush.palette().weak).small());
        }
    });
}

/// What is changed now, each to be taken back.
fn standing(ui: &mut Ui, brush: &mut Brush<'_>) {
    let app = brush.app;
    let standing = app.interventions(app.state.method.0);
    if standing.is_empty() {
        let text = RichText::new(brush.say(what_if::INTRODUCTION)).color(brush.palette().weak).small();
        ui.add(egui::Label::new(text).wrap());
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
        for intervention in standing {
            let name = name_of(brush, intervention);
            let button = ui.add(Button::selectable(true, format!("{name}  ×")));
            button.widget_info(|| {
                WidgetInfo::labeled(Role::Button, true, format!("{} {name}", brush.say(texts::REMOVE)))
            });
            if button.clicked() {
                brush.commands.push(Command::Intervene(intervention.clone()));
            }
        }
    });
}

/// What the changes do to score, answer and map.
fn difference(ui: &mut Ui, brush: &mut Brush<'_>, evidence: &Evidence) {
    let Some(touched) = brush.app.touched() else { return };
    let [before, after] = touched.holds;
    let what = what_is_held(touched.held);
    let mut parts = vec![format!("{} {before:.2} → {after:.2}", brush.say(what))];
    // Of other answers, the number before says the same.
    if let (Some(Said::Text(before)), Some(Said::Text(after))) = (touched.untouched.said(), evidence.said()) {
        let after = if before == after { String::new() } else { format!(" → “{after}”") };
        parts.push(format!("{} “{before}”{after}", brush.say(what_if::ANSWER)));
    }
    let maps = [&*touched.untouched, evidence].map(|evidence| brush.app.map_in(evidence));
    if let [Some((_, before)), Some((_, after))] = maps {
        let alike = rank_correlation(&before, &after).filter(|alike| alike.is_finite());
        let alike = alike.map_or_else(|| "–".to_owned(), |alike| format!("{alike:.2}"));
        parts.push(brush.say(what_if::MAP).replace("{alike}", &alike));
    }
    ui.add(egui::Label::new(RichText::new(parts.join(" · ")).strong()).wrap());
    ui.add_space(SMALL_GAP);
}

/// What an intervention is called.
fn name_of(brush: &Brush<'_>, intervention: &Intervention) -> String {
    match intervention {
        Intervention::HeadOff { tower, attn, layer, head, by } => {
            let stack = stack_name(brush, *tower, *attn);
            let by = if *by == Ablation::Mean { format!(" ({})", brush.say(what_if::MEAN)) } else { String::new() };
            format!("{stack} · {} · {} {}{by}", layer_name(brush, *layer), brush.say(texts::HEAD), head + 1)
        }
        Intervention::Cut { route, first, last } => {
            let layers = match (first, last) {
                (0, last) if *last == LAST => brush.say(what_if::CUT_EVERYWHERE).to_owned(),
                (first, last) if first == last => layer_name(brush, *first),
                (first, last) => format!("{}–{}", layer_name(brush, *first), last + 1),
            };
            format!("{} · {layers}", brush.word(&format!("route-{route}")))
        }
        Intervention::Hidden { patches } => brush.say(what_if::HIDDEN).replace("{count}", &patches.len().to_string()),
        Intervention::Other(_) => String::new(),
    }
}

/// A layer within a sentence.
fn layer_name(brush: &Brush<'_>, layer: usize) -> String {
    format!("{} {}", brush.say(texts::LAYER).to_lowercase(), layer + 1)
}

fn stack_name(brush: &Brush<'_>, tower: Tower, attn: Attn) -> String {
    let kind = match attn {
        Attn::SelfAttn => what_if::SELF_ATTENTION,
        Attn::CrossAttn => what_if::CROSS_ATTENTION,
    };
    format!("{} · {}", brush.word(&format!("tower-{tower}")), brush.say(kind))
}

/// The largest change that anything makes.
fn highest(effects: &Effects) -> f32 {
    let all = effects.heads.iter().chain(&effects.routes).flatten().chain(&effects.routes_whole);
    all.map(|held| (held - effects.whole).abs()).fold(0.01, f32::max)
}

fn legend(ui: &mut Ui, brush: &Brush<'_>, effects: &Effects, top: f32) {
    let what = brush.say(what_is_held(effects.held));
    let whole = format!("{:.2}", effects.whole);
    let said = brush.say(what_if::COLOURS).replace("{what}", what).replace("{whole}", &whole);
    ui.horizontal(|ui| {
        let weak = brush.palette().weak;
        ui.label(RichText::new(format!("−{top:.2}")).color(weak).small());
        let (rect, _) = ui.allocate_exact_size(vec2(80.0, 8.0), Sense::hover());
        signed_bar(ui.painter(), rect);
        ui.label(RichText::new(format!("+{top:.2}")).color(weak).small());
        ui.add(egui::Label::new(RichText::new(said).color(weak).small()).truncate());
    });
}
