//! The attention explorer: every layer and head of a tower as a small map, one of them large.

use egui::{Align2, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2};

use super::map_picture::{Overlay, draw, interact, plain, shape};
use super::{Brush, View, number};
use crate::app::thing::TowerName;
use crate::app::{App, Command, Scale, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::attention::AttentionStack;
use crate::ui::texts;
use crate::ui::theme::{GAP, title_font};

/// The view.
pub struct AttentionView;

/// Sides of a small map, in points.
const LEAST: f32 = 14.0;
const MOST: f32 = 112.0;
/// Room for the numbers of layers and heads.
const RULER: f32 = 20.0;
/// From this side on a small map has its entropy beneath it.
const WITH_NUMBER: f32 = 40.0;
const NUMBER: f32 = 14.0;

/// Where the queries come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Query {
    /// One position.
    At(usize),
    /// The mean over all of them.
    Mean,
}

impl View for AttentionView {
    fn key(&self) -> &'static str {
        "attention"
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/attention.en.md"), include_str!("../../../assets/help/attention.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let tower = brush.app.state.attention.tower;
        let query = query(brush.app, evidence);
        towers(ui, brush, evidence, tower, query);
        let Some(stack) = evidence.attention_of(tower.tower()) else { return };
        let space = ui.available_size().max(Vec2::splat(3.0 * GAP));
        // Beside each other where there is room for it, else one above the other.
        let wide = space.x > space.y * 0.85;
        let first = if wide { vec2(space.x * 0.48, space.y) } else { vec2(space.x, space.y * 0.5) };
        let second = if wide { vec2(space.x - first.x - GAP, space.y) } else { vec2(space.x, space.y - first.y - GAP) };
        let parts = |ui: &mut Ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(GAP);
            ui.allocate_ui(first, |ui| {
                ui.set_min_size(first);
                ScrollArea::both().id_salt("heads").auto_shrink(false).show(ui, |ui| {
                    overview(ui, brush, stack, tower, query, first);
                });
            });
            ui.allocate_ui(second, |ui| enlarged(ui, evidence, brush, stack, tower, query, second));
        };
        if wide {
            ui.horizontal_top(parts);
        } else {
            ui.vertical(parts);
        }
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let tower = app.state.attention.tower;
        let Some(stack) = evidence.attention_of(tower.tower()) else { return Vec::new() };
        let (layer, head) = chosen(app, stack);
        let names: Vec<String> = (0..stack.positions).map(|at| position(evidence, stack, tower, at)).collect();
        let heads = || [Axis::numbered("layer", stack.layers), Axis::numbered("head", stack.heads)];
        let mut arrays = vec![
            Numbers::new("entropy_bits", heads(), stack.entropy.clone()),
            Numbers::new("mean_distance", heads(), stack.distance.clone()),
        ];
        if let Some(pattern) = stack.head(layer, head) {
            let axes = [Axis::labelled("query", names.clone()), Axis::labelled("key", names)];
            let name = format!("pattern_layer{}_head{}", layer + 1, head + 1);
            arrays.push(Numbers::new(name, axes, pattern));
        }
        arrays
    }
}

/// The layer and the head that are shown large.
fn chosen(app: &App, stack: &AttentionStack) -> (usize, usize) {
    let last = stack.layers.saturating_sub(1);
    let state = &app.state.attention;
    (state.layer.unwrap_or(last).min(last), state.head.min(stack.heads.saturating_sub(1)))
}

/// The query whose attention the small maps of the vision tower show: the selected patch, else the class token, else the
/// mean of all.
fn query(app: &App, evidence: &Evidence) -> Query {
    let Some(stack) = evidence.attention_of(TowerName::Vision.tower()) else { return Query::Mean };
    match app.state.selected.patch {
        Some(patch) if patch + stack.leading < stack.positions => Query::At(patch + stack.leading),
        _ if stack.leading > 0 => Query::At(0),
        _ => Query::Mean,
    }
}

/// What a position is called.
fn position(evidence: &Evidence, stack: &AttentionStack, tower: TowerName, at: usize) -> String {
    match tower {
        TowerName::Text => {
            evidence.tokens.texts.get(at).map_or_else(|| format!("[{at}]"), |token| token.trim().to_owned())
        }
        TowerName::Vision if at < stack.leading => "class".to_owned(),
        TowerName::Vision => {
            let (patch, columns) = (at - stack.leading, evidence.grid.1.max(1));
            format!("{}·{}", patch / columns + 1, patch % columns + 1)
        }
    }
}

fn row(stack: &AttentionStack, layer: usize, head: usize, query: Query) -> Option<Vec<f32>> {
    match query {
        Query::At(at) => stack.row(layer, head, at),
        Query::Mean => stack.mean(layer, head).map(<[f32]>::to_vec),
    }
}

/// What a small map shows: of a picture the patches that the query attends to, of a text the whole matrix.
fn values(stack: &AttentionStack, tower: TowerName, layer: usize, head: usize, query: Query) -> Option<Vec<f32>> {
    match tower {
        TowerName::Vision => row(stack, layer, head, query)?.get(stack.leading..).map(<[f32]>::to_vec),
        TowerName::Text => stack.head(layer, head),
    }
}

/// The value with the brightest colour, one for all heads or each head's own.
fn top_of(app: &App, stack: &AttentionStack, tower: TowerName, query: Query, own: &[f32]) -> f32 {
    let highest = |values: &[f32]| values.iter().copied().fold(1e-9, f32::max);
    if app.state.map.scale == Scale::Own || tower == TowerName::Text {
        return highest(own);
    }
    let heads = (0..stack.layers).flat_map(|layer| (0..stack.heads).map(move |head| (layer, head)));
    heads
        .filter_map(|(layer, head)| values(stack, tower, layer, head, query))
        .map(|own| highest(&own))
        .fold(1e-9, f32::max)
}

fn towers(ui: &mut Ui, brush: &mut Brush<'_>, evidence: &Evidence, tower: TowerName, query: Query) {
    let palette = brush.palette();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
        for (other, text) in [(TowerName::Vision, texts::VISION_TOWER), (TowerName::Text, texts::TEXT_TOWER)] {
            if ui.selectable_label(tower == other, brush.say(text)).clicked() {
                brush.commands.push(Command::SetTower(other));
            }
        }
        if tower == TowerName::Vision {
            ui.separator();
            ui.label(RichText::new(brush.say(texts::QUERY)).color(palette.weak));
            let has_class = evidence.attention_of(tower.tower()).is_some_and(|stack| stack.leading > 0);
            let usual = brush.say(if has_class { texts::CLASS_ROW } else { texts::MEAN_ROW });
            let patch = brush.app.state.selected.patch.filter(|_| query != Query::Mean);
            if ui.selectable_label(patch.is_none(), usual).clicked() {
                brush.commands.push(Command::SelectPatch(None));
            }
            if let Some(patch) = patch {
                let columns = evidence.grid.1.max(1);
                let name = format!("{} {} · {}", brush.say(texts::PATCH), patch / columns + 1, patch % columns + 1);
                let _ = ui.selectable_label(true, name);
            }
        }
    });
    ui.label(RichText::new(brush.say(texts::ATTENTION_HINT)).color(palette.weak).small());
    // Only where it makes a difference: a small model's patterns always fit.
    let Some(stack) = evidence.attention_of(tower.tower()) else { return };
    let all = stack.layers * stack.heads * stack.positions.pow(2) * 2;
    if all > (CEILINGS[0] as usize) << 20 {
        ceiling(ui, brush, all);
    }
}

/// What the patterns may take, in megabytes.
const CEILINGS: [u32; 5] = [32, 128, 512, 2048, 8192];

/// How much of the patterns is kept, of `all` bytes.
fn ceiling(ui: &mut Ui, brush: &mut Brush<'_>, all: usize) {
    let now = brush.app.state.attention.ceiling;
    ui.horizontal_wrapped(|ui| {
        let text = format!("{} ({} MB)", brush.say(texts::KEEP_ATTENTION), all >> 20);
        ui.label(RichText::new(text).color(brush.palette().weak).small());
        let mut chosen = now;
        let shown = egui::ComboBox::from_id_salt("ceiling").selected_text(format!("{now} MB")).show_ui(ui, |ui| {
            for most in CEILINGS {
                ui.selectable_value(&mut chosen, most, format!("{most} MB"));
            }
        });
        let name = brush.say(texts::KEEP_ATTENTION);
        shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, name));
        shown.response.on_hover_text(brush.say(texts::KEEP_ATTENTION_HINT));
        if chosen != now {
            brush.commands.push(Command::SetAttentionCeiling(chosen));
        }
    });
}

/// All layers, from top to bottom, with all heads, from left to right.
fn overview(ui: &mut Ui, brush: &mut Brush<'_>, stack: &AttentionStack, tower: TowerName, query: Query, space: Vec2) {
    let palette = brush.palette();
    let (layers, heads) = (stack.layers.max(1), stack.heads.max(1));
    let gap = 4.0;
    let side = ((space.x - RULER) / heads as f32 - gap).min((space.y - RULER) / layers as f32 - gap - NUMBER);
    let with_number = side >= WITH_NUMBER;
    let foot = if with_number { NUMBER } else { 0.0 };
    let side = if with_number { side } else { side + NUMBER.min((space.y - RULER) / layers as f32 * 0.2) };
    let side = side.clamp(LEAST, MOST).floor();
    let step = vec2(side + gap, side + gap + foot);
    let size = vec2(RULER + step.x * heads as f32, RULER + step.y * layers as f32);
    let (outer, _) = ui.allocate_exact_size(size, Sense::hover());
    let small = egui::TextStyle::Small.resolve(ui.style());
    let painter = ui.painter().clone();
    let corner = outer.min + vec2(RULER, RULER);
    for head in 0..heads {
        let at = corner + vec2(step.x * head as f32 + side / 2.0, -4.0);
        painter.text(at, Align2::CENTER_BOTTOM, (head + 1).to_string(), small.clone(), palette.weak);
    }
    let (own_layer, own_head) = chosen(brush.app, stack);
    let shared =
        values(stack, tower, own_layer, own_head, query).map(|own| top_of(brush.app, stack, tower, query, &own));
    for layer in 0..layers {
        let at = corner + vec2(-8.0, step.y * layer as f32 + side / 2.0);
        painter.text(at, Align2::RIGHT_CENTER, (layer + 1).to_string(), small.clone(), palette.weak);
        for head in 0..heads {
            let rect =
                Rect::from_min_size(corner + vec2(step.x * head as f32, step.y * layer as f32), Vec2::splat(side));
            let response = ui.interact(rect, ui.scope_id().with((layer, head)), Sense::click());
            let is_own = (layer, head) == (own_layer, own_head);
            let name = format!("{} {} · {} {}", brush.say(texts::LAYER), layer + 1, brush.say(texts::HEAD), head + 1);
            response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, is_own, &name));
            painter.rect_filled(rect, 2.0, palette.raised);
            if let Some(own) = values(stack, tower, layer, head, query) {
                let one_scale = brush.app.state.map.scale == Scale::Shared && tower == TowerName::Vision;
                let top = shared.filter(|_| one_scale).unwrap_or_else(|| own.iter().copied().fold(1e-9, f32::max));
                let grid = grid(brush, stack, tower);
                plain(
                    ui,
                    brush,
                    Overlay { values: &own, top, signed: false, name: &format!("head {layer} {head}") },
                    grid,
                    rect,
                );
            }
            let at = layer * heads + head;
            let (entropy, distance) = (stack.entropy.get(at), stack.distance.get(at));
            if let (true, Some(entropy)) = (with_number, entropy) {
                let foot = pos2(rect.center().x, rect.bottom() + 1.0);
                painter.text(foot, Align2::CENTER_TOP, format!("{entropy:.1}"), small.clone(), palette.weak);
            }
            let lit = brush.app.hovered == Some(Thing::Head { layer, head });
            if is_own || lit || response.has_focus() {
                let colour = if is_own { palette.accent } else { palette.strong };
                painter.rect_stroke(rect, 2.0, Stroke::new(2.0, colour), StrokeKind::Outside);
            }
            if response.hovered() {
                brush.hover(Thing::Head { layer, head });
            }
            if response.clicked() {
                brush.commands.push(Command::SelectHead { layer, head });
            }
            if let (Some(entropy), Some(distance)) = (entropy, distance) {
                response.on_hover_ui(|ui| {
                    ui.label(RichText::new(&name).strong());
                    ui.label(facts(brush, tower, *entropy, *distance));
                });
            }
        }
    }
}

/// Entropy and mean distance of a head, with their units.
pub(in crate::ui) fn facts(brush: &Brush<'_>, tower: TowerName, entropy: f32, distance: f32) -> String {
    let unit = brush.say(if tower == TowerName::Vision { texts::IN_PATCHES } else { texts::IN_TOKENS });
    format!(
        "{} {entropy:.2} {} · {} {distance:.2} {unit}",
        brush.say(texts::ENTROPY),
        brush.say(texts::BITS),
        brush.say(texts::DISTANCE),
    )
}

fn grid(brush: &Brush<'_>, stack: &AttentionStack, tower: TowerName) -> (usize, usize) {
    match tower {
        TowerName::Vision => brush.app.evidence.as_ref().map_or((0, 0), |evidence| evidence.grid),
        TowerName::Text => (stack.positions, stack.positions),
    }
}

fn enlarged(
    ui: &mut Ui,
    evidence: &Evidence,
    brush: &mut Brush<'_>,
    stack: &AttentionStack,
    tower: TowerName,
    query: Query,
    space: Vec2,
) {
    let palette = brush.palette();
    let (layer, head) = chosen(brush.app, stack);
    ui.vertical(|ui| {
        let name = format!("{} {} · {} {}", brush.say(texts::LAYER), layer + 1, brush.say(texts::HEAD), head + 1);
        ui.label(RichText::new(&name).font(title_font(13.5)));
        let at = layer * stack.heads + head;
        if let (Some(entropy), Some(distance)) = (stack.entropy.get(at), stack.distance.get(at)) {
            ui.label(RichText::new(facts(brush, tower, *entropy, *distance)).color(palette.weak).small());
        }
        let Some(own) = values(stack, tower, layer, head, query) else {
            ui.label(RichText::new(brush.say(texts::LAYER_IS_COMING)).color(palette.weak));
            return;
        };
        let top = top_of(brush.app, stack, tower, query, &own);
        let room = vec2(space.x, ui.available_height().max(60.0));
        match tower {
            TowerName::Vision => {
                let caption = ui.text_style_height(&egui::TextStyle::Small) + 8.0;
                let height = (room.y - caption).min(room.x * shape(brush)).max(40.0);
                let (outer, _) = ui.allocate_exact_size(vec2(room.x, height), Sense::hover());
                let overlay = Overlay { values: &own, top, signed: false, name: "attention" };
                if let Some(placed) = draw(ui, evidence, brush, overlay, outer) {
                    interact(ui, evidence, brush, placed, overlay.name, &name);
                }
                let mass: f32 = own.iter().sum();
                let all: f32 = row(stack, layer, head, query).map_or(0.0, |row| row.iter().sum());
                let mut line = format!("0 – {}   {} {}", number(top), brush.say(texts::MASS), number(mass));
                if stack.leading > 0 {
                    line += &format!("   {} {}", brush.say(texts::CLASS_TOKEN), number(all - mass));
                }
                ui.label(RichText::new(line).color(palette.weak).small());
            }
            TowerName::Text => tokens(ui, evidence, brush, stack, &own, top, room),
        }
    });
}

/// The matrix of a text: queries from top to bottom, keys from left to right.
fn tokens(
    ui: &mut Ui,
    evidence: &Evidence,
    brush: &mut Brush<'_>,
    stack: &AttentionStack,
    own: &[f32],
    top: f32,
    room: Vec2,
) {
    let palette = brush.palette();
    let count = stack.positions.max(1);
    let names: Vec<String> = (0..count).map(|at| position(evidence, stack, TowerName::Text, at)).collect();
    let labels = 62.0f32.min(room.x * 0.25);
    let side = ((room.x - labels) / count as f32).min((room.y - labels) / count as f32).clamp(3.0, 34.0);
    let usual = egui::TextStyle::Small.resolve(ui.style()).size;
    // Not taller than a row.
    let small = egui::FontId::proportional(usual.min(side));
    let (outer, _) = ui.allocate_exact_size(Vec2::splat(labels + side * count as f32), Sense::hover());
    let cells = Rect::from_min_size(outer.min + Vec2::splat(labels), Vec2::splat(side * count as f32));
    plain(ui, brush, Overlay { values: own, top, signed: false, name: "tokens" }, (count, count), cells);
    let response = ui.interact(cells, ui.scope_id().with("tokens"), Sense::click());
    let name = brush.say(texts::TEXT_TOWER);
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    let painter = ui.painter().clone();
    let words =
        |at: usize| evidence.tokens.spans.get(at).copied().flatten().map(|(start, end)| Thing::Words(start, end));
    for (at, token) in names.iter().enumerate() {
        if side < 8.0 {
            break;
        }
        let stroke = words(at).and_then(|words| brush.outline(words));
        let colour = stroke.map_or(palette.weak, |stroke| stroke.color);
        let middle = cells.min + Vec2::splat(side * (at as f32 + 0.5));
        let mut job = egui::text::LayoutJob::simple_singleline(token.clone(), small.clone(), colour);
        job.wrap = egui::text::TextWrapping::truncate_at_width((labels - 6.0).max(1.0));
        let galley = painter.layout_job(job);
        let size = galley.size();
        let left = pos2(cells.left() - 5.0 - size.x, middle.y - size.y / 2.0);
        painter.galley(left, std::sync::Arc::clone(&galley), colour);
        let over = pos2(middle.x - size.y / 2.0, cells.top() - 5.0);
        painter.add(egui::epaint::TextShape::new(over, galley, colour).with_angle(-std::f32::consts::FRAC_PI_2));
        if let Some(stroke) = stroke {
            let line =
                Rect::from_min_size(pos2(cells.left(), cells.top() + side * at as f32), vec2(cells.width(), side));
            painter.rect_stroke(line, 0.0, Stroke::new(1.0, stroke.color), StrokeKind::Inside);
        }
    }
    let at = super::parts::pointed(&response).map(|pointer| {
        let along = |offset: f32| ((offset / side) as usize).min(count - 1);
        (along(pointer.y - cells.top()), along(pointer.x - cells.left()))
    });
    let Some((query, key)) = at else { return };
    if let Some(words) = words(query) {
        brush.hover(words);
    }
    let share = own.get(query * count + key).copied().unwrap_or(0.0);
    if response.clicked()
        && let Some(Thing::Words(start, end)) = words(query)
    {
        brush.commands.push(Command::SelectWords { start, end, extend: false });
    }
    response.on_hover_ui_at_pointer(|ui| {
        ui.label(RichText::new(number(share)).strong());
        ui.label(format!(
            "{} “{}” → {} “{}”",
            brush.say(texts::QUERY),
            names[query],
            brush.say(texts::KEY),
            names[key]
        ));
    });
}
