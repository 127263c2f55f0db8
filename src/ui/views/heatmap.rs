//! The picture under the map of the selected words.

use egui::{
    Align2, Color32, ColorImage, Rect, Role, Sense, Stroke, StrokeKind, TextureOptions, Ui, WidgetInfo, pos2, vec2,
};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Brush, View, number};
use crate::app::{App, Command, Layer, Scale};
use crate::attribution::{ATTRIBUTIONS, Attribution, named};
use crate::methods::{Evidence, Heatmap};
use crate::ui::texts::{self, Text};
use crate::ui::theme::{heat, title_font, veil};

/// The view.
pub struct HeatmapView;

/// Height of the legend under the picture.
const LEGEND: f32 = 44.0;
/// Height of the strip of small maps, with its title.
const STRIP: f32 = 148.0;

impl View for HeatmapView {
    fn key(&self) -> &'static str {
        "heatmap"
    }

    fn title(&self) -> Text {
        texts::HEATMAP
    }

    fn help(&self, app: &App) -> Text {
        named(app.layer().0).map_or([""; 2], |attribution| attribution.help)
    }

    fn share_of_height(&self) -> f32 {
        1.0
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(maps) = evidence.maps.get(&evidence.phrase) else { return };
        let Some(attribution) = named(brush.app.layer().0) else { return };
        let Some(map) = maps.get(attribution.key) else { return };
        let palette = brush.palette();
        let index = brush.app.language_index();
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            ui.label(
                egui::RichText::new(format!("“{}”", evidence.phrase)).font(title_font(15.0)).color(palette.accent),
            );
            ui.label(egui::RichText::new(attribution.title[index]).color(palette.weak));
        });
        let space = ui.available_size();
        // As large as the width allows, unless the height is less; what is left over stays below.
        let height = (space.y - LEGEND - STRIP).min(space.x * picture_shape(brush)).max(120.0);
        let picture_space = vec2(space.x, height);
        let top = scale_of(evidence, brush.app, attribution, map);
        large_map(ui, evidence, brush, attribution, map, picture_space, top);
        legend(ui, brush, attribution, map, top);
        strip(ui, evidence, brush);
    }
}

/// Height of the picture as a share of its width.
fn picture_shape(brush: &Brush<'_>) -> f32 {
    let picture = brush.app.picture.as_ref();
    picture.map_or(1.0, |picture| picture.height() as f32 / picture.width().max(1) as f32)
}

/// The value that gets the brightest colour; zero and less get the darkest.
fn scale_of(evidence: &Evidence, app: &App, attribution: &Attribution, map: &Heatmap) -> f32 {
    let top = match app.state.scale {
        Scale::Own => map.range().1,
        Scale::Shared => {
            let all = evidence.maps.values().filter_map(|maps| maps.get(attribution.key));
            all.map(|map| map.range().1).fold(f32::MIN, f32::max)
        }
    };
    top.max(1e-9)
}

/// Where a patch lies inside of `seen`.
fn patch_rect(seen: Rect, (rows, columns): (usize, usize), patch: usize) -> Rect {
    let size = vec2(seen.width() / columns as f32, seen.height() / rows as f32);
    let (row, column) = (patch / columns, patch % columns);
    Rect::from_min_size(seen.min + vec2(column as f32 * size.x, row as f32 * size.y), size)
}

fn large_map(
    ui: &mut Ui,
    evidence: &Evidence,
    brush: &mut Brush<'_>,
    attribution: &Attribution,
    map: &Heatmap,
    space: egui::Vec2,
    top: f32,
) {
    let (outer, _) = ui.allocate_exact_size(space, Sense::hover());
    let Some((picture, seen)) = draw(ui, evidence, brush, attribution, map, outer, top, "large") else { return };
    let palette = brush.palette();
    let response = ui.interact(seen, ui.scope_id().with("map"), Sense::click());
    let label = format!("{} {}", brush.say(texts::MAP_PICTURE), evidence.phrase);
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &label));
    let painter = ui.painter_at(picture.expand(1.0));
    if !brush.app.state.smooth {
        let line = Stroke::new(0.5, Color32::from_white_alpha(40));
        for row in 1..evidence.grid.0 {
            let y = seen.top() + seen.height() * row as f32 / evidence.grid.0 as f32;
            painter.hline(seen.x_range(), y, line);
        }
        for column in 1..evidence.grid.1 {
            let x = seen.left() + seen.width() * column as f32 / evidence.grid.1 as f32;
            painter.vline(x, seen.y_range(), line);
        }
    }
    let at = response.hover_pos().map(|pointer| {
        let along = |offset: f32, length: f32, count: usize| ((offset / length * count as f32) as usize).min(count - 1);
        let row = along(pointer.y - seen.top(), seen.height(), evidence.grid.0);
        let column = along(pointer.x - seen.left(), seen.width(), evidence.grid.1);
        row * evidence.grid.1 + column
    });
    if at != brush.app.hovered_patch {
        brush.commands.push(Command::HoverPatch(at));
    }
    if response.clicked() {
        let same = at == brush.app.state.patch;
        brush.commands.push(Command::SelectPatch(at.filter(|_| !same)));
    }
    for (patch, width) in [(brush.app.state.patch, 2.5), (at, 1.5)] {
        if let Some(patch) = patch {
            let rect = patch_rect(seen, evidence.grid, patch);
            painter.rect_stroke(
                rect,
                2.0,
                Stroke::new(width + 1.5, Color32::from_black_alpha(160)),
                StrokeKind::Inside,
            );
            painter.rect_stroke(rect, 2.0, Stroke::new(width, palette.accent), StrokeKind::Inside);
        }
    }
}

/// Draws picture and map into the middle of `outer`; gives the places of the picture and of what the model sees.
#[expect(clippy::too_many_arguments, reason = "one drawing for the large map and the small ones")]
fn draw(
    ui: &Ui,
    evidence: &Evidence,
    brush: &mut Brush<'_>,
    attribution: &Attribution,
    map: &Heatmap,
    outer: Rect,
    top: f32,
    name: &str,
) -> Option<(Rect, Rect)> {
    let pixels = brush.app.picture.as_ref()?;
    let size = vec2(pixels.width() as f32, pixels.height() as f32);
    let zoom = (outer.width() / size.x).min(outer.height() / size.y);
    let picture = Rect::from_center_size(outer.center(), size * zoom);
    let [left, upper, right, lower] = evidence.seen;
    let seen = Rect::from_min_max(picture.min + vec2(left, upper) * zoom, picture.min + vec2(right, lower) * zoom);
    let texture = brush.textures.picture(ui.ctx(), "picture", pixels);
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    let painter = ui.painter_at(outer);
    painter.image(texture, picture, whole, Color32::WHITE);
    let smooth = brush.app.state.smooth;
    let opacity = brush.app.state.opacity;
    let options = if smooth { TextureOptions::LINEAR } else { TextureOptions::NEAREST };
    let (rows, columns) = evidence.grid;
    let fingerprint = fingerprint(map, top, opacity, smooth);
    let key = format!("map {name} {}", attribution.key);
    let overlay = brush.textures.get(ui.ctx(), &key, fingerprint, options, || {
        let colours = map.values.iter().map(|value| veil(value / top, opacity));
        ColorImage::new([columns, rows], colours.collect())
    });
    let inside = seen.intersect(picture);
    let part = Rect::from_min_max(
        pos2((inside.left() - seen.left()) / seen.width(), (inside.top() - seen.top()) / seen.height()),
        pos2((inside.right() - seen.left()) / seen.width(), (inside.bottom() - seen.top()) / seen.height()),
    );
    painter.image(overlay, inside, part, Color32::WHITE);
    // What the model doesn't see is greyed out.
    let unseen = brush.palette().ground.gamma_multiply(0.75);
    for rect in [
        Rect::from_min_max(picture.min, pos2(inside.left(), picture.bottom())),
        Rect::from_min_max(pos2(inside.right(), picture.top()), picture.max),
        Rect::from_min_max(pos2(inside.left(), picture.top()), pos2(inside.right(), inside.top())),
        Rect::from_min_max(pos2(inside.left(), inside.bottom()), pos2(inside.right(), picture.bottom())),
    ] {
        if rect.width() > 0.5 && rect.height() > 0.5 {
            painter.rect_filled(rect, 0.0, unseen);
        }
    }
    Some((picture, seen))
}

fn fingerprint(map: &Heatmap, top: f32, opacity: f32, smooth: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    for value in map.values.iter().chain([&top, &opacity]) {
        value.to_bits().hash(&mut hasher);
    }
    smooth.hash(&mut hasher);
    hasher.finish()
}

/// The colours with their numbers, and the map's absolute numbers.
fn legend(ui: &mut Ui, brush: &Brush<'_>, attribution: &Attribution, map: &Heatmap, top: f32) {
    let palette = brush.palette();
    let index = brush.app.language_index();
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), LEGEND - 8.0), Sense::hover());
    let painter = ui.painter_at(rect);
    let bar = Rect::from_min_size(rect.min + vec2(0.0, 4.0), vec2((rect.width() * 0.42).min(220.0), 10.0));
    const STEPS: usize = 48;
    for step in 0..STEPS {
        let width = bar.width() / STEPS as f32;
        let part = Rect::from_min_size(bar.min + vec2(width * step as f32, 0.0), vec2(width + 0.5, bar.height()));
        painter.rect_filled(part, 0.0, heat(step as f32 / (STEPS - 1) as f32));
    }
    let small = egui::TextStyle::Small.resolve(ui.style());
    let below = bar.bottom() + 3.0;
    painter.text(pos2(bar.left(), below), Align2::LEFT_TOP, "0", small.clone(), palette.weak);
    painter.text(pos2(bar.right(), below), Align2::RIGHT_TOP, number(top), small.clone(), palette.weak);
    let peak = map.peak().map_or(0.0, |(_, value)| value);
    let facts =
        format!("{} {}   {} {}", brush.say(texts::PEAK), number(peak), brush.say(texts::MASS), number(map.mass()));
    let beside = bar.right() + 16.0;
    painter.text(pos2(beside, bar.top() - 4.0), Align2::LEFT_TOP, facts, small.clone(), palette.text);
    painter.text(pos2(beside, below), Align2::LEFT_TOP, attribution.unit[index], small, palette.weak);
}

/// The same words by every other attribution; a click brings one to the front.
fn strip(ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
    let Some(maps) = evidence.maps.get(&evidence.phrase) else { return };
    let palette = brush.palette();
    let index = brush.app.language_index();
    ui.label(egui::RichText::new(brush.say(texts::ALL_MAPS)).color(palette.weak).small());
    let count = ATTRIBUTIONS.len() as f32;
    let shape = picture_shape(brush);
    let gap = 10.0;
    let width = ((ui.available_width() - gap * (count - 1.0)) / count).min(STRIP - 44.0);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = gap;
        for attribution in ATTRIBUTIONS {
            let Some(map) = maps.get(attribution.key) else { continue };
            let height = (width * shape).clamp(width * 0.4, width);
            let (rect, response) = ui.allocate_exact_size(vec2(width, height + 20.0), Sense::click());
            let selected = brush.app.layer().0 == attribution.key;
            let title = attribution.title[index];
            response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, selected, title));
            let square = Rect::from_min_size(rect.min, vec2(width, height));
            let top = scale_of(evidence, brush.app, attribution, map);
            draw(ui, evidence, brush, attribution, map, square, top, "small");
            let colour = if selected { palette.text } else { palette.weak };
            let galley =
                ui.painter().layout(title.to_owned(), egui::TextStyle::Small.resolve(ui.style()), colour, width + gap);
            let at = pos2(square.center().x - galley.size().x.min(width + gap) / 2.0, square.bottom() + 4.0);
            ui.painter().galley(at, galley, colour);
            if selected || response.hovered() {
                let stroke = Stroke::new(2.0, if selected { palette.accent } else { palette.weak });
                ui.painter().rect_stroke(square.expand(2.0), 4.0, stroke, StrokeKind::Outside);
            }
            if response.clicked() {
                brush.commands.push(Command::SetLayer(Layer(attribution.key)));
            }
        }
    });
}
