//! The pictures and captions that the person's own pair is compared with.

use egui::{Button, Color32, Rect, RichText, Role, Sense, StrokeKind, TextEdit, Ui, WidgetInfo, pos2, vec2};

use crate::app::{Ask, Command, PictureSource, Thing};
use crate::methods::PointKind;
use crate::ui::texts;
use crate::ui::views::Brush;

const THUMBNAIL: f32 = 30.0;

/// Draws the list.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>) {
    ui.spacing_mut().item_spacing = vec2(6.0, 4.0);
    ui.label(RichText::new(brush.say(texts::COMPARISON_HINT)).color(brush.palette().weak).small());
    ui.horizontal_wrapped(|ui| {
        for (text, command) in [
            (texts::ADD_PRESENT, Command::AddPresent),
            (texts::ADD_PICTURES, Command::Ask(Ask::Compared)),
            (texts::RESET_COMPARISON, Command::ResetComparison),
        ] {
            if ui.add(Button::new(RichText::new(brush.say(text)).small())).clicked() {
                brush.commands.push(command);
            }
        }
    });
    for at in 0..brush.app.state.comparison.len() {
        ui.push_id(at, |ui| line(ui, brush, at));
    }
}

/// One pair: its picture, its caption to be edited, and a way to take it out.
fn line(ui: &mut Ui, brush: &mut Brush<'_>, at: usize) {
    let app = brush.app;
    let Some(compared) = app.state.comparison.get(at) else { return };
    let palette = brush.palette();
    let points = app.evidence.as_ref().map(|evidence| evidence.cloud.points.as_slice()).unwrap_or_default();
    let point = points.iter().find(|point| point.listed == Some(at) && point.kind == PointKind::Picture);
    let thing = point.map(|point| Thing::Picture(point.pair));
    ui.horizontal(|ui| {
        let (rect, response) = ui.allocate_exact_size(vec2(THUMBNAIL, THUMBNAIL), Sense::click());
        let mut caption = app.caption_of(compared);
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Button, true, format!("{} {caption}", brush.say(texts::OPEN_THIS)))
        });
        match point.and_then(|point| point.picture.as_ref()) {
            Some(picture) => {
                let texture = brush.textures.thumbnail(ui.ctx(), Some(at), picture);
                let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
                ui.painter().image(texture, rect, whole, Color32::WHITE);
            }
            None => {
                ui.painter().rect_filled(rect, 3.0, palette.raised);
            }
        }
        if let Some(stroke) = thing.and_then(|thing| brush.outline(thing)) {
            ui.painter().rect_stroke(rect, 2.0, stroke, StrokeKind::Outside);
        }
        if let (true, Some(thing)) = (response.hovered(), thing) {
            brush.hover(thing);
        }
        if response.clicked() {
            brush.commands.push(match &compared.picture {
                PictureSource::Sample(key) => Command::OpenSample(key.clone()),
                PictureSource::File(path) => Command::OpenPicture(path.clone()),
                PictureSource::Scene(scene) => Command::SetScene { scene: scene.clone(), dragging: false },
            });
        }
        let width = (ui.available_width() - 44.0).max(20.0);
        let field = TextEdit::singleline(&mut caption).desired_width(width).font(egui::TextStyle::Small);
        let response = ui.add(field);
        let name = format!("{} {}", brush.say(texts::CAPTION_FIELD), at + 1);
        response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, &name));
        if response.changed() {
            brush.commands.push(Command::SetCaption(at, caption.clone()));
        }
        let remove = ui.add(Button::new(RichText::new("×").small()).min_size(vec2(20.0, 20.0)));
        let name = format!("{} {caption}", brush.say(texts::REMOVE));
        remove.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
        if remove.on_hover_text(brush.say(texts::REMOVE)).clicked() {
            brush.commands.push(Command::RemoveCompared(at));
        }
    });
}
