//! The picture to be changed: stickers of a scene are moved, resized, recoloured, added and taken away; of a photograph,
//! parts are painted over, cut off and shifted.

use egui::{
    Button, Color32, Id, Key, Modifiers, Pos2, Rect, Response, RichText, Role, Sense, Slider, Stroke, StrokeKind,
    TextureOptions, Ui, Vec2, WidgetInfo, pos2, vec2,
};
use image::RgbImage;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::parts::arrows;
use super::{Brush, View};
use crate::app::layout::SIDE_BY_SIDE;
use crate::app::retouch::{Change, kept};
use crate::app::{App, Command, Thing as Lit};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::ui::texts::{self, editor};
use crate::ui::theme::{GAP, SMALL_GAP, of_picture};
use crate::world::{Colour, Language, SIDE, SIZES, Scene, Thing};

/// The view.
pub struct SceneEditorView;

/// Pixels of a scene that an arrow key moves a sticker.
const STEP: i32 = 4;
/// Side of the handle at a sticker's corner, in points.
const HANDLE: f32 = 12.0;
/// Side of a sticker in the list of all, in points.
const SMALL: f32 = 34.0;
/// The brush's radii, as shares of the shorter side.
const RADII: std::ops::RangeInclusive<f32> = 0.02..=0.25;

impl View for SceneEditorView {
    fn key(&self) -> &'static str {
        "scene-editor"
    }

    fn method(&self) -> &'static str {
        SIDE_BY_SIDE
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [
            include_str!("../../../assets/help/scene-editor.en.md"),
            include_str!("../../../assets/help/scene-editor.zh.md"),
        ]
    }

    fn least(&self) -> Vec2 {
        vec2(240.0, 320.0)
    }

    fn show(&self, ui: &mut Ui, _evidence: &Evidence, brush: &mut Brush<'_>) {
        match brush.app.scene() {
            Some(scene) => scene_to_edit(ui, brush, scene),
            None => photograph(ui, brush),
        }
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(scene) = app.scene() else { return Vec::new() };
        let rows = scene.objects.iter().flat_map(|object| [object.x as f32, object.y as f32, object.size as f32]);
        let axes = [Axis::numbered("object", scene.objects.len()), Axis::labelled("place", ["x", "y", "size"])];
        vec![Numbers::new("objects", axes, rows.collect())]
    }
}

/// A scene with its tools.
fn scene_to_edit(ui: &mut Ui, brush: &mut Brush<'_>, scene: &Scene) {
    let selected = brush.app.state.selected.object.filter(|at| *at < scene.objects.len());
    ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
    ui.horizontal_wrapped(|ui| {
        add(ui, brush, scene);
        ui.add_enabled_ui(selected.is_some(), |ui| {
            if ui.button(brush.say(editor::ON_TOP)).clicked()
                && let Some(at) = selected
            {
                set(brush, scene.with_on_top(at));
                brush.commands.push(Command::SelectObject(Some(scene.objects.len() - 1)));
            }
            if ui.button(brush.say(editor::REMOVE)).clicked()
                && let Some(at) = selected
            {
                set(brush, scene.without(at));
                brush.commands.push(Command::SelectObject(None));
            }
        });
    });
    ui.add_space(SMALL_GAP);
    canvas(ui, brush, scene, selected);
    ui.add_space(SMALL_GAP);
    let Some(at) = selected else {
        ui.label(RichText::new(brush.say(editor::SCENE_HINT)).color(brush.palette().weak).small());
        return;
    };
    let object = scene.objects[at];
    let mut size = object.size;
    ui.horizontal(|ui| {
        ui.label(RichText::new(name(object.thing, brush.app.state.look.language)).color(brush.palette().accent));
        ui.spacing_mut().slider_width = (ui.available_width() - 90.0).clamp(60.0, 160.0);
        let slider = ui.add(Slider::new(&mut size, SIZES).text(brush.say(editor::SIZE)).show_value(false));
        if slider.changed() {
            // By keys, each step stands for itself: nothing is released behind it.
            let change = if slider.dragged() { drag } else { set };
            change(brush, scene.with_size(at, size));
        }
    });
    if let Thing::Shape { shape, colour } = object.thing {
        colours(ui, brush, colour, |colour| scene.with_thing(at, Thing::Shape { shape, colour }));
    }
}

/// The scene itself. Every object is a widget of its own, so that keys and screen readers find it.
fn canvas(ui: &mut Ui, brush: &mut Brush<'_>, scene: &Scene, selected: Option<usize>) {
    let room = ui.available_size() - vec2(0.0, 62.0);
    let side = room.x.min(room.y).max(120.0);
    let (space, _) = ui.allocate_exact_size(vec2(ui.available_width(), side), Sense::hover());
    let rect = Rect::from_center_size(space.center(), Vec2::splat(side));
    let background = ui.interact(rect, ui.scope_id().with("ground"), Sense::click());
    if background.clicked() {
        brush.commands.push(Command::SelectObject(None));
    }
    paint(ui, brush, "scene editor", print_of(scene), rect, || scene.draw());
    let zoom = side / SIDE as f32;
    let language = brush.app.state.look.language;
    for (at, object) in scene.objects.iter().enumerate() {
        let corner = rect.min + vec2(object.x as f32, object.y as f32) * zoom;
        let whole = Rect::from_min_size(corner, Vec2::splat(object.size as f32 * zoom));
        let response = ui.interact(whole.intersect(rect), ui.scope_id().with(("object", at)), Sense::click_and_drag());
        let is_selected = selected == Some(at);
        let said = format!("{} · {}, {} · {}", name(object.thing, language), object.x, object.y, object.size);
        response.widget_info(|| WidgetInfo::selected(Role::Button, true, is_selected, &said));
        if response.hovered() {
            brush.hover(Lit::Object(at));
            ui.ctx().set_cursor_icon(egui::CursorIcon::Grab);
        }
        move_by_pointer(ui, brush, scene, at, &response, zoom);
        move_by_keys(ui, brush, scene, at, &response);
        let stroke = brush.outline(Lit::Object(at)).unwrap_or(Stroke::NONE);
        let painter = ui.painter_at(rect.expand(2.0));
        if stroke.width > 0.0 || response.has_focus() {
            let dark = Stroke::new(stroke.width + 2.0, Color32::from_black_alpha(140));
            painter.rect_stroke(whole, 3.0, dark, StrokeKind::Outside);
            let stroke = if response.has_focus() { Stroke::new(2.0, brush.palette().accent) } else { stroke };
            painter.rect_stroke(whole, 3.0, stroke, StrokeKind::Outside);
        }
    }
    if let Some(at) = selected {
        resize(ui, brush, scene, at, rect, zoom);
    }
}

/// Drags a sticker, from where it was taken up: small steps would be lost to rounding otherwise.
fn move_by_pointer(ui: &Ui, brush: &mut Brush<'_>, scene: &Scene, at: usize, response: &Response, zoom: f32) {
    let object = scene.objects[at];
    let start = response.id.with("start");
    if response.clicked() || response.drag_started() {
        brush.commands.push(Command::SelectObject(Some(at)));
        response.request_focus();
    }
    if response.drag_started() {
        let pressed = ui.input(|input| input.pointer.press_origin());
        ui.data_mut(|data| data.insert_temp(start, pressed.map(|at| ([object.x, object.y], at))));
    }
    if response.dragged() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::Grabbing);
    }
    // The pointer may have moved on in the very frame in which it is released.
    if !response.dragged() && !response.drag_stopped() {
        return;
    }
    let from = ui.data(|data| data.get_temp::<Option<([i32; 2], Pos2)>>(start)).flatten();
    let (Some(([x, y], pressed)), Some(pointer)) = (from, response.interact_pointer_pos()) else { return };
    let by = (pointer - pressed) / zoom;
    let moved = scene.with_place(at, x + by.x.round() as i32, y + by.y.round() as i32);
    if moved != *scene {
        drag(brush, moved);
    }
}

/// Arrow keys move a sticker, plus and minus resize it, Delete takes it away.
fn move_by_keys(ui: &Ui, brush: &mut Brush<'_>, scene: &Scene, at: usize, response: &Response) {
    let object = scene.objects[at];
    if let Some((down, right)) = arrows(ui, response) {
        set(brush, scene.with_place(at, object.x + right as i32 * STEP, object.y + down as i32 * STEP));
    }
    if !response.has_focus() {
        return;
    }
    let pressed = |key: Key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
    if pressed(Key::Plus) || pressed(Key::Equals) {
        set(brush, scene.with_size(at, object.size + STEP as u32));
    }
    if pressed(Key::Minus) {
        set(brush, scene.with_size(at, object.size.saturating_sub(STEP as u32)));
    }
    if pressed(Key::Delete) || pressed(Key::Backspace) {
        set(brush, scene.without(at));
        brush.commands.push(Command::SelectObject(None));
    }
}

/// The handle at the lower right corner of the selected sticker.
fn resize(ui: &Ui, brush: &mut Brush<'_>, scene: &Scene, at: usize, rect: Rect, zoom: f32) {
    let object = scene.objects[at];
    let edge = (object.size as f32) * zoom;
    let corner = rect.min + vec2(object.x as f32, object.y as f32) * zoom + Vec2::splat(edge);
    let corner = pos2(corner.x.min(rect.right()), corner.y.min(rect.bottom()));
    let handle = Rect::from_center_size(corner, Vec2::splat(HANDLE));
    let response = ui.interact(handle.expand(3.0), ui.scope_id().with(("handle", at)), Sense::drag());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, brush.say(editor::SIZE)));
    let palette = brush.palette();
    ui.painter().rect(handle.shrink(2.0), 2.0, palette.accent, Stroke::new(1.0, palette.card), StrokeKind::Inside);
    if response.hovered() || response.dragged() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::ResizeNwSe);
    }
    if (response.dragged() || response.drag_stopped())
        && let Some(pointer) = response.interact_pointer_pos()
    {
        let middle = rect.min + (vec2(object.x as f32, object.y as f32) + Vec2::splat(object.size as f32 / 2.0)) * zoom;
        let half = (pointer - middle) / zoom;
        let size = (2.0 * half.x.max(half.y)).max(0.0).round() as u32;
        if size != object.size {
            drag(brush, scene.with_size(at, size));
        }
    }
}

/// The list of everything that can be added.
fn add(ui: &mut Ui, brush: &mut Brush<'_>, scene: &Scene) {
    let response = ui.button(brush.say(editor::ADD));
    let language = brush.app.state.look.language;
    egui::Popup::menu(&response).width(8.0 * (SMALL + SMALL_GAP)).show(|ui| {
        egui::ScrollArea::vertical().max_height(320.0).show(ui, |ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(SMALL_GAP);
            ui.horizontal_wrapped(|ui| {
                for thing in Thing::all() {
                    let (rect, response) = ui.allocate_exact_size(Vec2::splat(SMALL), Sense::click());
                    let name = name(thing, language);
                    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
                    let fill = if response.hovered() { brush.palette().line } else { brush.palette().raised };
                    ui.painter().rect_filled(rect, 4.0, fill);
                    let key = format!("thing {}", thing.index());
                    let texture = brush.textures.get(ui.ctx(), &key, 0, TextureOptions::LINEAR, || icon(thing));
                    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
                    ui.painter().image(texture, rect.shrink(3.0), whole, Color32::WHITE);
                    if response.on_hover_text(name).clicked() {
                        set(brush, scene.with_new(thing));
                        brush.commands.push(Command::SelectObject(Some(scene.objects.len())));
                        ui.close();
                    }
                }
            });
        });
    });
}

/// A thing with transparency around it.
fn icon(thing: Thing) -> egui::ColorImage {
    let side = 2 * SMALL as u32;
    let pixels = thing
        .icon(side)
        .into_iter()
        .map(|[red, green, blue, alpha]| Color32::from_rgba_premultiplied(red, green, blue, alpha));
    egui::ColorImage::new([side as usize; 2], pixels.collect())
}

/// The colours that a shape can have.
fn colours(ui: &mut Ui, brush: &mut Brush<'_>, present: Colour, with: impl Fn(Colour) -> Scene) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = Vec2::splat(SMALL_GAP);
        for colour in Colour::ALL {
            let (rect, response) = ui.allocate_exact_size(Vec2::splat(20.0), Sense::click());
            let name = colour.word(brush.app.state.look.language);
            response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, colour == present, name));
            let palette = brush.palette();
            let line =
                if colour == present { Stroke::new(2.0, palette.accent) } else { Stroke::new(1.0, palette.weak) };
            ui.painter().rect(rect.shrink(1.0), 4.0, of_picture(colour.rgb()), line, StrokeKind::Outside);
            if response.on_hover_text(name).clicked() {
                set(brush, with(colour));
            }
        }
    });
}

/// A photograph, or any other picture whose parts aren't known.
fn photograph(ui: &mut Ui, brush: &mut Brush<'_>) {
    let Some(picture) = brush.app.picture.clone() else { return };
    let (tool_id, radius_id) = (Id::unique("retouch tool"), Id::unique("retouch radius"));
    let mut tool = ui.data(|data| data.get_temp::<Tool>(tool_id)).unwrap_or(Tool::Paint);
    let mut radius = ui.data(|data| data.get_temp::<f32>(radius_id)).unwrap_or(0.08);
    ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
    ui.horizontal_wrapped(|ui| {
        for (which, text) in [(Tool::Paint, editor::PAINT), (Tool::Crop, editor::CROP), (Tool::Shift, editor::SHIFT)] {
            if ui.add(Button::selectable(tool == which, brush.say(text))).clicked() {
                tool = which;
            }
        }
        let changed = !brush.app.state.changes.is_empty();
        if ui.add_enabled(changed, Button::new(brush.say(editor::ORIGINAL))).clicked() {
            brush.commands.push(Command::ForgetChanges);
        }
    });
    if tool == Tool::Paint {
        ui.spacing_mut().slider_width = (ui.available_width() - 90.0).clamp(60.0, 160.0);
        ui.add(Slider::new(&mut radius, RADII).text(brush.say(editor::BRUSH)).show_value(false));
    }
    ui.data_mut(|data| {
        data.insert_temp(tool_id, tool);
        data.insert_temp(radius_id, radius);
    });
    ui.add_space(SMALL_GAP);
    let size = vec2(picture.width() as f32, picture.height() as f32);
    let room = ui.available_size() - vec2(0.0, 40.0);
    let zoom = (room.x / size.x).min(room.y / size.y).max(1e-3);
    let (space, _) = ui.allocate_exact_size(vec2(ui.available_width(), size.y * zoom), Sense::hover());
    let rect = Rect::from_center_size(space.center(), size * zoom);
    let response = ui.interact(rect, ui.scope_id().with("photograph"), Sense::click_and_drag());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, brush.say(texts::PICTURE)));
    let texture = brush.textures.picture(ui.ctx(), "picture", &picture);
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    ui.painter().image(texture, rect, whole, Color32::WHITE);
    let at = |pointer: Pos2| (pointer - rect.min) / rect.size();
    let pointer = response.interact_pointer_pos().or(response.hover_pos());
    match tool {
        Tool::Paint => {
            let reach = radius * rect.width().min(rect.height());
            if let Some(pointer) = pointer {
                ui.painter_at(rect).circle_stroke(pointer, reach, Stroke::new(1.5, brush.palette().accent));
            }
            if let Some(pointer) = response.interact_pointer_pos().filter(|_| response.dragged() || response.clicked())
            {
                let at = at(pointer);
                let change = Change::Paint { at: [kept(at.x), kept(at.y)], radius: kept(radius) };
                brush.commands.push(Command::ChangePicture { change, dragging: response.dragged() });
            }
        }
        Tool::Crop | Tool::Shift => stretch(ui, brush, rect, &response, tool),
    }
    ui.add_space(SMALL_GAP);
    ui.label(RichText::new(brush.say(editor::PHOTOGRAPH_HINT)).color(brush.palette().weak).small());
}

/// What a drag over a photograph does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Paint,
    Crop,
    Shift,
}

/// A drag from one place to another, done when it ends: it cuts out what lies between, or shifts by its length.
fn stretch(ui: &Ui, brush: &mut Brush<'_>, rect: Rect, response: &Response, tool: Tool) {
    let key = response.id.with("start");
    if response.drag_started()
        && let Some(start) = response.interact_pointer_pos()
    {
        ui.data_mut(|data| data.insert_temp(key, start));
    }
    let start = ui.data(|data| data.get_temp::<Pos2>(key));
    let (Some(start), Some(now)) = (start, response.interact_pointer_pos()) else { return };
    let share = |pointer: Pos2| (pointer - rect.min) / rect.size();
    let line = Stroke::new(2.0, brush.palette().accent);
    if response.dragged() {
        match tool {
            Tool::Crop => {
                ui.painter_at(rect).rect_stroke(Rect::from_two_pos(start, now), 0.0, line, StrokeKind::Middle);
            }
            _ => ui.painter_at(rect).arrow(start, now - start, line),
        }
    }
    if response.drag_stopped() {
        let (from, to) = (share(start), share(now));
        let change = match tool {
            Tool::Crop => Change::Crop { to: [from.x, from.y, to.x, to.y].map(kept) },
            _ => Change::Shift { by: [to.x - from.x, to.y - from.y].map(kept) },
        };
        brush.commands.push(Command::ChangePicture { change, dragging: false });
    }
}

/// What a thing is called.
fn name(thing: Thing, language: Language) -> String {
    thing.phrase(language)
}

/// A change that is a step of its own.
fn set(brush: &mut Brush<'_>, scene: Scene) {
    brush.commands.push(Command::SetScene { scene: Box::new(scene), dragging: false });
}

/// A change that goes on until the pointer is released.
fn drag(brush: &mut Brush<'_>, scene: Scene) {
    brush.commands.push(Command::SetScene { scene: Box::new(scene), dragging: true });
}

fn print_of(scene: &Scene) -> u64 {
    let mut hasher = DefaultHasher::new();
    scene.hash(&mut hasher);
    hasher.finish()
}

/// Draws a picture that is made only when its fingerprint has changed.
fn paint(ui: &Ui, brush: &mut Brush<'_>, name: &str, print: u64, rect: Rect, make: impl FnOnce() -> RgbImage) {
    let texture = brush.textures.get(ui.ctx(), name, print, TextureOptions::LINEAR, || {
        let picture = make();
        egui::ColorImage::from_rgb([picture.width() as usize, picture.height() as usize], picture.as_raw())
    });
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    ui.painter().image(texture, rect, whole, Color32::WHITE);
}
