//! The picture under the map of the selected words.

use egui::{Align2, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::faithful::{badge, badge_place};
use super::map_picture::{Overlay, draw, interact, shape};
use super::{Brush, View, number};
use crate::app::{App, Command, Layer, Scale};
use crate::attribution::{ATTRIBUTIONS, Attribution, named};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::faithful::rank_correlation;
use crate::methods::{Evidence, Heatmap, MapKind};
use crate::ui::texts;
use crate::ui::theme::{GAP, SMALL_GAP, title_font};

/// The view.
pub struct HeatmapView;

/// Height of the legend under the picture.
const LEGEND: f32 = 40.0;
/// Height of the strip of small maps, with its title: at least this, and what the picture leaves over.
const STRIP: f32 = 124.0;
/// Height of the name and of the figures under a small map.
const CAPTION: f32 = 34.0;
/// A small map narrower than this has no room for its name.
const LEAST_WIDTH: f32 = 88.0;
/// A picture lower than this isn't worth a strip beneath it.
const LEAST_PICTURE: f32 = 120.0;

impl View for HeatmapView {
    fn key(&self) -> &'static str {
        "heatmap"
    }

    fn help(&self, app: &App) -> [&'static str; 2] {
        named(app.layer().0).map_or([""; 2], |attribution| attribution.help)
    }

    fn least(&self) -> egui::Vec2 {
        // It scales down.
        vec2(200.0, 160.0)
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let phrase = brush.app.phrase(evidence).to_owned();
        let Some(maps) = evidence.maps.get(&phrase) else { return };
        let state = &brush.app.state.map;
        let shown = std::iter::once(state.layer).chain(state.beside.filter(|other| *other != state.layer));
        let shown: Vec<(&Attribution, &Heatmap)> =
            shown.filter_map(|layer| Some((named(layer.0)?, maps.get(layer.0)?))).collect();
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = SMALL_GAP;
            let text = RichText::new(format!("“{phrase}”")).font(title_font(15.0)).color(brush.palette().accent);
            ui.add_sized(vec2((ui.available_width() - 160.0).max(20.0), 24.0), |ui: &mut Ui| {
                ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                    ui.add(egui::Label::new(text).truncate())
                })
                .inner
            });
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| beside(ui, brush));
        });
        let space = ui.available_size();
        let count = shown.len().max(1) as f32;
        let width = ((space.x - GAP * (count - 1.0)) / count).max(40.0);
        let title = ui.text_style_height(&egui::TextStyle::Body) + SMALL_GAP;
        let strip_height = if width_of_row(space.x, 1) < LEAST_WIDTH { STRIP + CAPTION * 2.0 } else { STRIP };
        let with_strip = space.y - LEGEND - strip_height - title;
        let has_strip = with_strip >= LEAST_PICTURE;
        // As large as the width allows, unless the height is less; what is left over stays below.
        let height = if has_strip { with_strip } else { space.y - LEGEND - title };
        let height = height.min(width * shape(brush)).max(40.0);
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for (attribution, map) in shown {
                ui.vertical(|ui| {
                    ui.set_width(width);
                    let name = brush.word(&format!("attribution-{}", attribution.key));
                    ui.label(RichText::new(&name).color(brush.palette().weak));
                    let (outer, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
                    let top = scale_of(evidence, brush.app, attribution, map);
                    let overlay = Overlay {
                        values: &map.values,
                        top,
                        signed: false,
                        name: &format!("large {}", attribution.key),
                    };
                    if let Some(placed) = draw(ui, evidence, brush, overlay, outer) {
                        let label = format!("{} {phrase} · {name}", brush.say(texts::MAP_PICTURE));
                        interact(ui, evidence, brush, placed, attribution.key, &label);
                        let kind = MapKind::Attribution(attribution.key);
                        if let Some(landed) = brush.app.landed_by(evidence.method, kind) {
                            badge(ui, brush, (evidence.method, &landed), badge_place(placed.picture));
                        }
                    }
                    legend(ui, brush, attribution, map, top);
                });
            }
        });
        if has_strip {
            strip(ui, evidence, brush, maps);
        }
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(maps) = evidence.maps.get(app.phrase(evidence)) else { return Vec::new() };
        let axes = || vec![Axis::numbered("row", evidence.grid.0), Axis::numbered("column", evidence.grid.1)];
        let map = |(key, map): (&&'static str, &Heatmap)| Numbers::new(*key, axes(), map.values.clone());
        let mut arrays: Vec<Numbers> = maps.iter().map(map).collect();
        if !evidence.norms.is_empty() {
            arrays.push(Numbers::new("norm", axes(), evidence.norms.clone()));
        }
        arrays
    }
}

/// Chooses a second map beside the first: the raw cosine beside the corrected one, say.
fn beside(ui: &mut Ui, brush: &mut Brush<'_>) {
    let state = &brush.app.state.map;
    let name = brush.say(texts::BESIDE);
    let title = |brush: &Brush<'_>, layer: Layer| brush.word(&format!("attribution-{}", layer.0));
    let shown = match state.beside {
        Some(layer) => title(brush, layer),
        None => brush.say(texts::NO_BESIDE).to_owned(),
    };
    let response = egui::ComboBox::from_id_salt("beside").selected_text(shown).show_ui(ui, |ui| {
        if ui.selectable_label(state.beside.is_none(), brush.say(texts::NO_BESIDE)).clicked() {
            brush.commands.push(Command::SetBeside(None));
        }
        for attribution in ATTRIBUTIONS {
            let layer = Layer(attribution.key);
            if ui.selectable_label(state.beside == Some(layer), title(brush, layer)).clicked() {
                brush.commands.push(Command::SetBeside(Some(layer)));
            }
        }
    });
    response.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, name));
    response.response.on_hover_text(name);
}

/// The value that gets the brightest colour; zero and less get the darkest.
fn scale_of(evidence: &Evidence, app: &App, attribution: &Attribution, map: &Heatmap) -> f32 {
    let top = match app.state.map.scale {
        Scale::Own => map.range().1,
        Scale::Shared => {
            let all = evidence.maps.values().filter_map(|maps| maps.get(attribution.key));
            all.map(|map| map.range().1).fold(f32::MIN, f32::max)
        }
    };
    top.max(1e-9)
}

/// The colours with their numbers, and the map's absolute numbers.
fn legend(ui: &mut Ui, brush: &Brush<'_>, attribution: &Attribution, map: &Heatmap, top: f32) {
    let palette = brush.palette();
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), LEGEND - 6.0), Sense::hover());
    let painter = ui.painter_at(rect);
    let width = (rect.width() * 0.42).min(200.0);
    let bar = Rect::from_min_size(rect.min + vec2(0.0, 4.0), vec2(width, 10.0));
    super::parts::colour_bar(&painter, brush.app.state.map.colours, bar);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let below = bar.bottom() + 3.0;
    painter.text(pos2(bar.left(), below), Align2::LEFT_TOP, "0", small.clone(), palette.weak);
    painter.text(pos2(bar.right(), below), Align2::RIGHT_TOP, number(top), small.clone(), palette.weak);
    let peak = map.peak().map_or(0.0, |(_, value)| value);
    let facts =
        format!("{} {}   {} {}", brush.say(texts::PEAK), number(peak), brush.say(texts::MASS), number(map.mass()));
    let beside = bar.right() + GAP;
    let room = (rect.right() - beside).max(1.0);
    let line = |text: String, colour| {
        let mut job = egui::text::LayoutJob::simple_singleline(text, small.clone(), colour);
        job.wrap = egui::text::TextWrapping::truncate_at_width(room);
        painter.layout_job(job)
    };
    painter.galley(pos2(beside, bar.top() - 4.0), line(facts, palette.text), palette.text);
    let unit = brush.word(&format!("attribution-{}-unit", attribution.key));
    painter.galley(pos2(beside, below), line(unit, palette.weak), palette.weak);
}

/// The same words by every attribution; a click brings one to the front.
fn strip(ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>, maps: &crate::methods::WordMaps) {
    let palette = brush.palette();
    ui.label(RichText::new(brush.say(texts::ALL_MAPS)).color(palette.weak).small());
    let shown: Vec<(&Attribution, &Heatmap)> =
        ATTRIBUTIONS.iter().filter_map(|attribution| Some((attribution, maps.get(attribution.key)?))).collect();
    let space = ui.available_size();
    // In one row, or in two where a name wouldn't fit under its map.
    let rows = if width_of_row(space.x, 1) < LEAST_WIDTH { 2 } else { 1 };
    let width = width_of_row(space.x, rows);
    let room = (space.y / rows as f32 - CAPTION - GAP).max(1.0);
    let picture = vec2(width, width * shape(brush));
    let picture = picture * (room / picture.y).clamp(0.0, 1.0);
    ui.spacing_mut().item_spacing = egui::Vec2::splat(GAP);
    for row in shown.chunks(shown.len().div_ceil(rows).max(1)) {
        ui.horizontal(|ui| {
            for (attribution, map) in row {
                small_map(ui, evidence, brush, attribution, (map, maps), width, picture);
            }
        });
    }
}

/// Width of a map of the strip, in one row or in several.
fn width_of_row(space: f32, rows: usize) -> f32 {
    let count = ATTRIBUTIONS.len().div_ceil(rows).max(1) as f32;
    ((space - GAP * (count - 1.0)) / count).max(1.0)
}

/// How far the map ranks patches as the chosen one does (Spearman's ρ), and where the truth is known, whether it hits.
fn figures_of(evidence: &Evidence, brush: &Brush<'_>, maps: &crate::methods::WordMaps, map: &Heatmap) -> String {
    let chosen = maps.get(brush.app.layer().0);
    let alike = chosen.and_then(|chosen| rank_correlation(&chosen.values, &map.values));
    let fares = brush.app.truth().and_then(|truth| truth.fares(&map.values, evidence.seen, evidence.grid));
    let hit = fares.map(|fares| if fares.hit { "●" } else { "○" });
    let parts = [hit.map(str::to_owned), alike.map(|alike| format!("ρ {alike:.2}"))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// One map of the strip, with its name under it.
fn small_map(
    ui: &mut Ui,
    evidence: &Evidence,
    brush: &mut Brush<'_>,
    attribution: &Attribution,
    (map, maps): (&Heatmap, &crate::methods::WordMaps),
    width: f32,
    picture: egui::Vec2,
) {
    let palette = brush.palette();
    let (rect, response) = ui.allocate_exact_size(vec2(width, picture.y + CAPTION), Sense::click());
    let selected = brush.app.layer().0 == attribution.key;
    let title = brush.word(&format!("attribution-{}", attribution.key));
    response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, selected, &title));
    let place = Rect::from_min_size(pos2(rect.center().x - picture.x / 2.0, rect.top()), picture);
    let top = scale_of(evidence, brush.app, attribution, map);
    let name = format!("small {}", attribution.key);
    draw(ui, evidence, brush, Overlay { values: &map.values, top, signed: false, name: &name }, place);
    let colour = if selected { palette.text } else { palette.weak };
    let font = egui::TextStyle::Small.resolve(ui.style());
    let mut job = egui::text::LayoutJob::simple_singleline(title.clone(), font, colour);
    job.wrap = egui::text::TextWrapping::truncate_at_width(width + GAP - 2.0);
    let galley = ui.painter().layout_job(job);
    let left = rect.center().x - galley.size().x / 2.0;
    ui.painter().galley(pos2(left, place.bottom() + 4.0), galley, colour);
    let figures = figures_of(evidence, brush, maps, map);
    let font = egui::TextStyle::Small.resolve(ui.style());
    let below = pos2(rect.center().x, place.bottom() + CAPTION / 2.0 + 1.0);
    ui.painter().text(below, Align2::CENTER_TOP, &figures, font, palette.weak);
    if selected || response.hovered() || response.has_focus() {
        let colour = if selected { palette.accent } else { palette.weak };
        ui.painter().rect_stroke(place.expand(1.0), 3.0, Stroke::new(2.0, colour), StrokeKind::Outside);
    }
    let mouse = response.on_hover_text(format!(
        "{title}\n{}\n{}",
        brush.say(texts::STRIP_FIGURES),
        brush.say(texts::STRIP_HINT)
    ));
    if mouse.clicked() {
        brush.commands.push(Command::SetLayer(Layer(attribution.key)));
    }
    if mouse.secondary_clicked() {
        brush.commands.push(Command::SetBeside(Some(Layer(attribution.key))));
    }
}
