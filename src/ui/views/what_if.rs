//! What if: heads are switched off, routes of attention cut, patches left out; and what each of them would do.

use egui::{Align2, Button, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use std::sync::Arc;

use super::faithful::what_is_held;
use super::parts::signed_bar;
use super::{Brush, View};
use crate::app::effects::{Effects, Parts, Patched, Stack};
use crate::app::{App, Command};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::evidence::Said;
use crate::methods::faithful::rank_correlation;
use crate::methods::interventions::LAST;
use crate::methods::{Evidence, Intervention, Route};
use crate::taps::{Attn, Tower};
use crate::ui::texts::{self, what_if};
use crate::ui::theme::{GAP, SMALL_GAP, ink_on, signed_heat, title_font};

/// The view, in the column of a method.
pub struct WhatIfView(pub &'static str);

/// A cell of a table, where there is little room and where there is much.
const LEAST: egui::Vec2 = vec2(36.0, 20.0);
const MOST: egui::Vec2 = vec2(58.0, 28.0);
/// From this width on there is much room, and up to this one little, in points.
const WIDE: f32 = 900.0;
const NARROW: f32 = 520.0;
/// Between two cells.
const BETWEEN: egui::Vec2 = vec2(3.0, 3.0);
/// Room for the numbers of layers and heads, and for the name of a route.
const RULER: f32 = 22.0;
const NAME: f32 = 190.0;
/// Room for what an attention is called.
const TITLE: f32 = 224.0;
/// Side of a map of patches, in cells' heights.
const MAP: f32 = 4.5;

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
        [include_str!("../../../assets/help/what-if.en.md"), include_str!("../../../assets/help/what-if.zh.md")]
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
            routes(ui, brush, &parts, effects.as_ref(), (size, top));
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
                        heads(ui, brush, stack, measured.map(|(whole, held)| (whole, held.as_slice())), (size, top));
                    }
                });
            }
            if let Some(effects) = &effects {
                patched(ui, brush, evidence, effects, size.y * MAP);
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
        if app.is_measuring_effects() {
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
        Intervention::HeadOff { tower, attn, layer, head } => {
            let stack = stack_name(brush, *tower, *attn);
            format!("{stack} · {} · {} {}", layer_name(brush, *layer), brush.say(texts::HEAD), head + 1)
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

/// A cell that switches something: its colour and number say what that would do.
fn cell(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    rect: Rect,
    (intervention, name): (Intervention, String),
    (effect, top): (Option<f32>, f32),
) {
    let palette = brush.palette();
    let response = ui.interact(rect, ui.scope_id().with(&name), Sense::click());
    let is_off = brush.app.interventions(brush.app.state.method.0).contains(&intervention);
    let said = effect.map_or_else(|| name.clone(), |effect| format!("{name}: {effect:+.3}"));
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, is_off, &said));
    let matters = effect.filter(|effect| effect.abs() >= 0.005);
    let ground = matters.map_or(palette.raised, |effect| signed_heat(effect / top));
    let painter = ui.painter();
    painter.rect_filled(rect, 2.0, ground);
    // Of what is off already there is nothing to say.
    if let Some(effect) = effect.filter(|_| !is_off) {
        let ink = if matters.is_some() { ink_on(ground) } else { palette.weak };
        let small = egui::TextStyle::Small.resolve(ui.style());
        let text = if matters.is_some() { format!("{effect:+.2}") } else { "0".to_owned() };
        let text = text.replace("0.", ".").replace('-', "−");
        painter.text(rect.center(), Align2::CENTER_CENTER, text, small, ink);
    }
    if is_off {
        let line = Stroke::new(2.0, palette.warning);
        painter.line_segment([rect.left_bottom(), rect.right_top()], line);
        painter.rect_stroke(rect, 2.0, line, StrokeKind::Inside);
    } else if response.hovered() || response.has_focus() {
        painter.rect_stroke(rect, 2.0, Stroke::new(2.0, palette.strong), StrokeKind::Inside);
    }
    if response.clicked() {
        brush.commands.push(Command::Intervene(intervention));
    }
    response.on_hover_text(said);
}

/// The routes of attention, each with its blocks.
fn routes(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    parts: &Parts,
    effects: Option<&Effects>,
    (size, top): (egui::Vec2, f32),
) {
    if parts.routes.is_empty() {
        return;
    }
    let palette = brush.palette();
    let small = egui::TextStyle::Small.resolve(ui.style());
    let most = parts.routes.iter().flat_map(|route| &route.layers).max().map_or(0, |layer| layer + 1);
    let step = size + BETWEEN;
    ui.vertical(|ui| {
        ui.label(RichText::new(brush.say(what_if::ROUTES)).font(title_font(13.0)));
        let all = vec2(NAME + step.x * (most + 1) as f32 + GAP, RULER + step.y * parts.routes.len() as f32);
        let (outer, _) = ui.allocate_exact_size(all, Sense::hover());
        let corner = outer.min + vec2(NAME, RULER);
        for layer in 0..=most {
            let whole = layer == most;
            let left = corner.x + step.x * layer as f32 + if whole { GAP } else { 0.0 };
            let at = pos2(left + size.x / 2.0, corner.y - 4.0);
            let name = if whole { brush.say(what_if::ALL_BLOCKS).to_owned() } else { (layer + 1).to_string() };
            ui.painter().text(at, Align2::CENTER_BOTTOM, name, small.clone(), palette.weak);
        }
        for (row, route) in parts.routes.iter().enumerate() {
            let y = corner.y + step.y * row as f32;
            let name = brush.word(&format!("route-{}", route.key));
            let body = egui::TextStyle::Body.resolve(ui.style());
            let at = pos2(outer.left(), y + size.y / 2.0);
            ui.painter().text(at, Align2::LEFT_CENTER, &name, body, palette.text);
            let change = |held: Option<&f32>| effects.and_then(|effects| Some(held? - effects.whole));
            for (at, layer) in route.layers.iter().copied().enumerate() {
                let held = effects.and_then(|effects| effects.routes.get(row)?.get(at));
                let rect = Rect::from_min_size(pos2(corner.x + step.x * layer as f32, y), size);
                let name = format!("{name} · {}", layer_name(brush, layer));
                cell(ui, brush, rect, (cut(route, layer, layer), name), (change(held), top));
            }
            let held = effects.and_then(|effects| effects.routes_whole.get(row));
            let rect = Rect::from_min_size(pos2(corner.x + step.x * most as f32 + GAP, y), size);
            let everywhere = format!("{name} · {}", brush.say(what_if::CUT_EVERYWHERE));
            let last = route.layers.last().copied().unwrap_or(0);
            // A route of one block is cut everywhere by its only cell.
            if last > 0 {
                cell(ui, brush, rect, (cut(route, 0, LAST), everywhere), (change(held), top));
            }
        }
    });
}

fn cut(route: &Route, first: usize, last: usize) -> Intervention {
    Intervention::Cut { route: route.key.to_owned(), first, last }
}

/// Room for the heads of one attention, and for its name.
fn width_of(stack: &Stack, size: egui::Vec2) -> f32 {
    (RULER + (size.x + BETWEEN.x) * stack.heads as f32).max(TITLE)
}

/// The heads of one attention, layers from top to bottom.
fn heads(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    stack: &Stack,
    measured: Option<(f32, &[f32])>,
    (size, top): (egui::Vec2, f32),
) {
    let palette = brush.palette();
    let small = egui::TextStyle::Small.resolve(ui.style());
    let step = size + BETWEEN;
    let title = stack_name(brush, stack.tower, stack.attn);
    ui.vertical(|ui| {
        ui.set_width(width_of(stack, size));
        ui.add(egui::Label::new(RichText::new(&title).font(title_font(13.0))).truncate());
        let all = vec2(RULER + step.x * stack.heads as f32, RULER + step.y * stack.layers.len() as f32);
        let (outer, _) = ui.allocate_exact_size(all, Sense::hover());
        let corner = outer.min + vec2(RULER, RULER);
        for head in 0..stack.heads {
            let at = corner + vec2(step.x * head as f32 + size.x / 2.0, -4.0);
            ui.painter().text(at, Align2::CENTER_BOTTOM, (head + 1).to_string(), small.clone(), palette.weak);
        }
        for (row, layer) in stack.layers.iter().copied().enumerate() {
            let at = corner + vec2(-6.0, step.y * row as f32 + size.y / 2.0);
            ui.painter().text(at, Align2::RIGHT_CENTER, (layer + 1).to_string(), small.clone(), palette.weak);
            for head in 0..stack.heads {
                let rect = Rect::from_min_size(corner + vec2(step.x * head as f32, step.y * row as f32), size);
                let (tower, attn) = (stack.tower, stack.attn);
                let off = Intervention::HeadOff { tower, attn, layer, head };
                let name = name_of(brush, &off);
                let effect = measured.and_then(|(whole, values)| Some(values.get(row * stack.heads + head)? - whole));
                cell(ui, brush, rect, (off, name), (effect, top));
            }
        }
    });
}

/// What the states of the pinned picture do, patch by patch behind each block.
fn patched(ui: &mut Ui, brush: &mut Brush<'_>, evidence: &Evidence, effects: &Effects, side: f32) {
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
