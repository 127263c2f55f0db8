//! Tables of what can be switched off: heads by layer, and routes by layer.

use egui::{Align2, Rect, Response, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::{layer_name, name_of, stack_name};
use crate::app::Command;
use crate::app::effects::{Effects, Parts, Stack};
use crate::app::patching::PatchedWords;
use crate::methods::interventions::{Ablation, LAST};
use crate::methods::{Evidence, Intervention, Route};
use crate::ui::texts::what_if;
use crate::ui::theme::{GAP, ink_on, signed_heat, title_font};
use crate::ui::views::Brush;

/// Between two cells.
const BETWEEN: egui::Vec2 = vec2(3.0, 3.0);
/// Room for the numbers of layers and heads, and for the name of a route.
const RULER: f32 = 22.0;
const NAME: f32 = 190.0;
/// Room for what an attention is called.
const TITLE: f32 = 224.0;

/// How tables are drawn.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// The size of a cell.
    pub size: egui::Vec2,
    /// The change that gets the strongest colour.
    pub top: f32,
}

/// What a cell says.
struct Cell<'a> {
    name: &'a str,
    is_off: bool,
    /// What switching it off alone would do, if that was measured.
    effect: Option<f32>,
    /// How well the head grounds, if that was measured, and whether no other does better.
    grounding: Option<(f32, bool)>,
}

/// A cell that switches something: its colour and number say what that would do, or how well it grounds.
fn cell(ui: &mut Ui, brush: &Brush<'_>, rect: Rect, cell: &Cell<'_>, table: Table, sense: Sense) -> Response {
    let palette = brush.palette();
    let response = ui.interact(rect, ui.scope_id().with(cell.name), sense);
    let mut said = cell.name.to_owned();
    if let Some(effect) = cell.effect {
        said = format!("{said}: {effect:+.3}");
    }
    if let Some((share, _)) = cell.grounding {
        said = format!("{said} · {} {share:.2}", brush.say(what_if::GROUNDING));
    }
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, cell.is_off, &said));
    let matters = cell.effect.filter(|effect| effect.abs() >= 0.005);
    let ground = matters.map_or(palette.raised, |effect| signed_heat(effect / table.top));
    let painter = ui.painter();
    painter.rect_filled(rect, 2.0, ground);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let (text, ink) = match (cell.effect, cell.grounding) {
        // Of what is off already there is nothing to say.
        _ if cell.is_off => (String::new(), palette.weak),
        (Some(effect), _) if matters.is_some() => (format!("{effect:+.2}"), ink_on(ground)),
        (Some(_), _) => ("0".to_owned(), palette.weak),
        (None, Some((share, true))) => (format!("{share:.2}"), palette.accent),
        (None, Some((share, false))) => (format!("{share:.2}"), palette.weak),
        (None, None) => (String::new(), palette.weak),
    };
    let text = text.replace("0.", ".").replace('-', "−");
    painter.text(rect.center(), Align2::CENTER_CENTER, text, small, ink);
    if cell.is_off {
        let line = Stroke::new(2.0, palette.warning);
        painter.line_segment([rect.left_bottom(), rect.right_top()], line);
        painter.rect_stroke(rect, 2.0, line, StrokeKind::Inside);
    } else if response.hovered() || response.has_focus() {
        painter.rect_stroke(rect, 2.0, Stroke::new(2.0, palette.strong), StrokeKind::Inside);
    }
    response.on_hover_text(said)
}

/// The routes of attention, each with its blocks. Dragged over, they are cut in a window of blocks.
pub(super) fn routes(ui: &mut Ui, brush: &mut Brush<'_>, parts: &Parts, effects: Option<&Effects>, table: Table) {
    if parts.routes.is_empty() {
        return;
    }
    let palette = brush.palette();
    let small = egui::TextStyle::Small.resolve(ui.style());
    let most = parts.routes.iter().flat_map(|route| &route.layers).max().map_or(0, |layer| layer + 1);
    let (size, step) = (table.size, table.size + BETWEEN);
    ui.vertical(|ui| {
        let title = ui.label(RichText::new(brush.say(what_if::ROUTES)).font(title_font(13.0)));
        title.on_hover_text(brush.say(what_if::ROUTES_HINT));
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
            let place = |layer: usize| Rect::from_min_size(pos2(corner.x + step.x * layer as f32, y), size);
            for (at, layer) in route.layers.iter().copied().enumerate() {
                let held = effects.and_then(|effects| effects.routes.get(row)?.get(at));
                let name = format!("{name} · {}", layer_name(brush, layer));
                let covering = covering(brush, route, layer);
                let shown = Cell { name: &name, is_off: covering.is_some(), effect: change(held), grounding: None };
                let response = cell(ui, brush, place(layer), &shown, table, Sense::click_and_drag());
                let nearest = |x: f32| {
                    let distance = |layer: &usize| (place(*layer).center().x - x).abs();
                    route.layers.iter().copied().min_by(|one, other| distance(one).total_cmp(&distance(other)))
                };
                let over = response.interact_pointer_pos().and_then(|pointer| nearest(pointer.x));
                if let (true, Some(over)) = (response.dragged(), over) {
                    let window = place(layer).union(place(over)).expand(2.0);
                    ui.painter().rect_stroke(window, 3.0, Stroke::new(2.0, palette.warning), StrokeKind::Outside);
                }
                let window = |other: usize| cut(route, layer.min(other), layer.max(other));
                if let (true, Some(over)) = (response.drag_stopped(), over) {
                    brush.commands.push(Command::Intervene(window(over)));
                } else if response.clicked() {
                    let extended = ui.input(|input| input.modifiers.shift).then(|| last_cut(brush, route)).flatten();
                    match (extended, covering) {
                        // From where it is cut to here.
                        (Some((standing, first, last)), _) => {
                            brush.commands.push(Command::Intervene(standing));
                            let wider = cut(route, first.min(layer), last.max(layer));
                            brush.commands.push(Command::Intervene(wider));
                        }
                        (None, Some(covering)) => brush.commands.push(Command::Intervene(covering)),
                        (None, None) => brush.commands.push(Command::Intervene(window(layer))),
                    }
                }
            }
            let last = route.layers.last().copied().unwrap_or(0);
            // A route of one block is cut everywhere by its only cell.
            if last == 0 {
                continue;
            }
            let held = effects.and_then(|effects| effects.routes_whole.get(row));
            let rect = Rect::from_min_size(pos2(corner.x + step.x * most as f32 + GAP, y), size);
            let everywhere = format!("{name} · {}", brush.say(what_if::CUT_EVERYWHERE));
            let whole = cut(route, 0, LAST);
            let shown = Cell {
                name: &everywhere,
                is_off: standing(brush).contains(&whole),
                effect: change(held),
                grounding: None,
            };
            if cell(ui, brush, rect, &shown, table, Sense::click()).clicked() {
                brush.commands.push(Command::Intervene(whole));
            }
        }
    });
}

/// What the states of the pinned text do, position by position behind each block.
pub(super) fn patched_words(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    evidence: &Evidence,
    effects: &Effects,
    size: egui::Vec2,
) {
    let palette = brush.palette();
    let (whole, positions, length, layers) = match &effects.patched_words {
        Some(PatchedWords::Alike { whole, positions, length, layers }) => (whole, positions, *length, layers),
        Some(PatchedWords::Unlike(here, there)) => {
            let said = brush.say(what_if::UNLIKE_TEXTS).replace("{here}", &here.to_string());
            let text = RichText::new(said.replace("{there}", &there.to_string())).color(palette.weak).small();
            ui.add(egui::Label::new(text).wrap());
            return;
        }
        None => return,
    };
    // What stands at a position: in a row with patches, of the row; else the text's own token, where they are as many.
    let row: Vec<&str> = match &evidence.spliced {
        Some(spliced) => spliced.row.iter().map(|token| token.text.as_str()).collect(),
        None => evidence.tokens.texts.iter().map(String::as_str).collect(),
    };
    let name = |at: usize| match row.get(at).filter(|_| row.len() == length) {
        Some(text) => text.trim().to_owned(),
        None => (at + 1).to_string(),
    };
    let change = |held: &f32| held - effects.whole;
    let top = layers.iter().flatten().map(|held| change(held).abs()).fold((whole - effects.whole).abs(), f32::max);
    let table = Table { size, top: top.max(1e-6) };
    let (step, small) = (size + BETWEEN, egui::TextStyle::Small.resolve(ui.style()));
    ui.vertical(|ui| {
        let title = brush.say(what_if::PATCHED_WORDS).replace("{whole}", &format!("{whole:.2}"));
        ui.label(RichText::new(title).font(title_font(13.0)));
        let all = vec2(RULER + step.x * positions.len() as f32, RULER + step.y * layers.len() as f32);
        let (outer, _) = ui.allocate_exact_size(all, Sense::hover());
        let corner = outer.min + vec2(RULER, RULER);
        for (column, at) in positions.iter().enumerate() {
            let place = corner + vec2(step.x * column as f32, -4.0);
            let mut job = egui::text::LayoutJob::simple_singleline(name(*at), small.clone(), palette.weak);
            job.wrap = egui::text::TextWrapping::truncate_at_width(size.x);
            let galley = ui.painter().layout_job(job);
            ui.painter().galley(place - vec2(0.0, galley.size().y), galley, palette.weak);
        }
        for (layer, values) in layers.iter().enumerate() {
            let at = corner + vec2(-6.0, step.y * layer as f32 + size.y / 2.0);
            ui.painter().text(at, Align2::RIGHT_CENTER, (layer + 1).to_string(), small.clone(), palette.weak);
            for (column, held) in values.iter().enumerate() {
                let rect = Rect::from_min_size(corner + vec2(step.x * column as f32, step.y * layer as f32), size);
                let word = positions.get(column).map(|at| name(*at)).unwrap_or_default();
                let name = format!("{} · “{word}” · {}", layer_name(brush, layer), column + 1);
                let shown = Cell { name: &name, is_off: false, effect: Some(change(held)), grounding: None };
                cell(ui, brush, rect, &shown, table, Sense::hover());
            }
        }
    });
}

fn standing<'a>(brush: &'a Brush<'_>) -> &'a [Intervention] {
    brush.app.interventions(brush.app.state.method.0)
}

/// The first of what stands that cuts a route in this layer.
fn covering(brush: &Brush<'_>, route: &Route, layer: usize) -> Option<Intervention> {
    let covers = |standing: &&Intervention| match standing {
        Intervention::Cut { route: key, first, last } => key == route.key && (*first..=*last).contains(&layer),
        _ => false,
    };
    standing(brush).iter().find(covers).cloned()
}

/// What cuts a route that was asked for last, with its first and last layer.
fn last_cut(brush: &Brush<'_>, route: &Route) -> Option<(Intervention, usize, usize)> {
    let window = |standing: &Intervention| match standing {
        Intervention::Cut { route: key, first, last } if key == route.key && *last != LAST => {
            Some((standing.clone(), *first, *last))
        }
        _ => None,
    };
    standing(brush).iter().rev().find_map(window)
}

fn cut(route: &Route, first: usize, last: usize) -> Intervention {
    Intervention::Cut { route: route.key.to_owned(), first, last }
}

/// Room for the routes, with their names and the cell of all blocks.
pub(super) fn width_of_routes(parts: &Parts, size: egui::Vec2) -> f32 {
    let most = parts.routes.iter().flat_map(|route| &route.layers).max().map_or(0, |layer| layer + 1);
    NAME + (size.x + BETWEEN.x) * (most + 1) as f32 + GAP
}

/// Room for the heads of one attention, and for its name.
pub(super) fn width_of(stack: &Stack, size: egui::Vec2) -> f32 {
    (RULER + (size.x + BETWEEN.x) * stack.heads as f32).max(TITLE)
}

/// The heads of one attention, layers from top to bottom.
pub(super) fn heads(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    parts: &Parts,
    stack: &Stack,
    measured: Option<(f32, &[f32])>,
    table: Table,
) {
    let palette = brush.palette();
    let small = egui::TextStyle::Small.resolve(ui.style());
    let (size, step) = (table.size, table.size + BETWEEN);
    let grounding = brush.app.grounding(parts, stack);
    let best = grounding.map_or(0.0, |shares| shares.iter().copied().fold(0.0, f32::max));
    let title = stack_name(brush, stack.tower, stack.attn);
    ui.vertical(|ui| {
        ui.set_width(width_of(stack, size));
        ui.add(egui::Label::new(RichText::new(&title).font(title_font(13.0))).truncate());
        if grounding.is_some() && measured.is_none() {
            let text = RichText::new(brush.say(what_if::GROUNDING)).color(palette.weak).small();
            ui.add(egui::Label::new(text).truncate());
        }
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
                let off = |by| Intervention::HeadOff { tower, attn, layer, head, by };
                let at = row * stack.heads + head;
                // Whatever stands in its place, it is off.
                let ways = [Ablation::Zero, Ablation::Mean].map(off);
                let there = standing(brush).iter().find(|standing| ways.contains(standing)).cloned();
                let shown = Cell {
                    name: &name_of(brush, &off(Ablation::Zero)),
                    is_off: there.is_some(),
                    effect: measured.and_then(|(whole, values)| Some(values.get(at)? - whole)),
                    grounding: grounding.and_then(|shares| shares.get(at)).map(|share| (*share, *share == best)),
                };
                if cell(ui, brush, rect, &shown, table, Sense::click()).clicked() {
                    let next = there.unwrap_or_else(|| off(brush.app.state.ablation));
                    brush.commands.push(Command::Intervene(next));
                }
            }
        }
    });
}
