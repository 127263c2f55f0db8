//! What the person gives: picture, text, checkpoint, and how maps are drawn.

use egui::{
    Button, Key, Modifiers, Response, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, TextEdit, Ui, WidgetInfo,
    vec2,
};

use crate::app::samples::SampleSource;
use crate::app::{Command, PictureSource, Scale};
use crate::ui::texts;
use crate::ui::theme::title_font;
use crate::ui::views::Brush;

/// What only the window can do: ask for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// For a picture.
    Picture,
    /// For the folder of a checkpoint.
    Checkpoint,
}

/// Draws the inputs; says what the person wants to be asked for.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>) -> Option<Ask> {
    let mut ask = None;
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        section(ui, brush, texts::PICTURE);
        samples(ui, brush);
        ui.horizontal(|ui| {
            if ui.button(brush.say(texts::OPEN)).clicked() {
                ask = Some(Ask::Picture);
            }
            ui.label(RichText::new(brush.say(texts::DROP_HINT)).color(brush.palette().weak).small());
        });
        section(ui, brush, texts::SENTENCE);
        sentence(ui, brush);
        chips(ui, brush);
        section(ui, brush, texts::CHECKPOINT);
        if checkpoint(ui, brush) {
            ask = Some(Ask::Checkpoint);
        }
        section(ui, brush, texts::MAP);
        drawing(ui, brush);
    });
    ask
}

fn section(ui: &mut Ui, brush: &Brush<'_>, title: texts::Text) {
    ui.add_space(10.0);
    ui.label(RichText::new(brush.say(title)).font(title_font(14.0)));
    ui.add_space(2.0);
}

/// The sample menu: a grid of small pictures.
fn samples(ui: &mut Ui, brush: &mut Brush<'_>) {
    const COLUMNS: usize = 4;
    let gap = 6.0;
    let side = ((ui.available_width() - gap * (COLUMNS - 1) as f32) / COLUMNS as f32).floor();
    let app = brush.app;
    let palette = brush.palette();
    ui.spacing_mut().item_spacing = vec2(gap, gap);
    for row in app.samples.chunks(COLUMNS) {
        ui.horizontal(|ui| {
            for sample in row {
                let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::click());
                let caption = sample.captions[app.language_index()].as_str();
                let selected = app.state.picture == PictureSource::Sample(sample.key.clone());
                response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, selected, caption));
                let make = || {
                    let picture = sample.picture().unwrap_or_else(|_| image::RgbImage::new(1, 1));
                    square(&picture)
                };
                let name = format!("sample {}", sample.key);
                let options = egui::TextureOptions::LINEAR;
                let texture = brush.textures.get(ui.ctx(), &name, 0, options, make);
                let whole = egui::Rect::from_min_max(egui::pos2(0.0, 0.0), egui::pos2(1.0, 1.0));
                ui.painter().image(texture, rect, whole, egui::Color32::WHITE);
                if selected || response.hovered() {
                    let stroke = Stroke::new(2.0, if selected { palette.accent } else { palette.weak });
                    ui.painter().rect_stroke(rect.expand(1.0), 3.0, stroke, StrokeKind::Outside);
                }
                let hint = match &sample.source {
                    SampleSource::Scene(_) => caption.to_owned(),
                    SampleSource::Photograph(_) => format!("{} · {caption}", sample.key),
                };
                if response.on_hover_text(hint).clicked() {
                    brush.commands.push(Command::OpenSample(sample.key.clone()));
                }
            }
        });
    }
}

/// The middle of a picture as a small square.
fn square(picture: &image::RgbImage) -> egui::ColorImage {
    const SIDE: u32 = 128;
    let side = picture.width().min(picture.height());
    let (left, top) = ((picture.width() - side) / 2, (picture.height() - side) / 2);
    let middle = image::imageops::crop_imm(picture, left, top, side, side).to_image();
    let small = image::imageops::resize(&middle, SIDE, SIDE, image::imageops::FilterType::Triangle);
    egui::ColorImage::from_rgb([SIDE as usize, SIDE as usize], small.as_raw())
}

fn sentence(ui: &mut Ui, brush: &mut Brush<'_>) {
    let mut text = brush.app.state.sentence.clone();
    let field = TextEdit::multiline(&mut text)
        .id_salt("sentence")
        .desired_rows(2)
        .desired_width(f32::INFINITY)
        .margin(vec2(8.0, 6.0))
        .return_key(None);
    let response = ui.add(field);
    let name = brush.say(texts::SENTENCE_FIELD);
    response.widget_info(|| WidgetInfo::labeled(Role::MultilineTextInput, true, name));
    if response.changed() {
        brush.commands.push(Command::SetSentence(text));
    }
}

/// The tokens of the sentence, to be selected.
fn chips(ui: &mut Ui, brush: &mut Brush<'_>) {
    let app = brush.app;
    let palette = brush.palette();
    let Some(evidence) = &app.evidence else { return };
    let selection = app.state.selection;
    ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
    ui.horizontal_wrapped(|ui| {
        let all = Button::selectable(selection.is_none(), brush.say(texts::WHOLE_TEXT));
        if ui.add(all).clicked() {
            brush.commands.push(Command::SelectSentence);
        }
        let tokens = &evidence.tokens;
        for (at, span) in tokens.spans.iter().enumerate() {
            let Some((start, end)) = *span else { continue };
            let inside = selection.is_some_and(|(from, to)| from <= start && end <= to);
            let mut text = RichText::new(tokens.texts[at].trim());
            if !tokens.known[at] {
                text = text.color(palette.warning).strikethrough();
            }
            let response: Response = ui.add(Button::selectable(inside, text).fill(if inside {
                palette.accent.gamma_multiply(0.4)
            } else {
                palette.raised
            }));
            if response.clicked() {
                let extend = ui.input(|input| input.modifiers.shift);
                brush.commands.push(Command::SelectWords { start, end, extend });
            }
        }
    });
    ui.label(RichText::new(brush.say(texts::WORDS_HINT)).color(palette.weak).small());
}

/// Says whether a folder is to be asked for.
fn checkpoint(ui: &mut Ui, brush: &mut Brush<'_>) -> bool {
    let app = brush.app;
    ui.spacing_mut().item_spacing = vec2(6.0, 6.0);
    let mut ask = false;
    ui.horizontal_wrapped(|ui| {
        for choice in &app.checkpoints {
            let selected = app.state.checkpoint.as_ref() == Some(&choice.folder);
            let button = Button::selectable(selected, &choice.name);
            if ui.add(button).on_hover_text(choice.folder.display().to_string()).clicked() {
                brush.commands.push(Command::SetCheckpoint(choice.folder.clone()));
            }
        }
        ask = ui.button(brush.say(texts::OPEN_FOLDER)).clicked();
    });
    ask
}

/// How maps are drawn.
fn drawing(ui: &mut Ui, brush: &mut Brush<'_>) {
    let state = &brush.app.state;
    ui.spacing_mut().item_spacing = vec2(8.0, 6.0);
    let mut opacity = state.opacity;
    let name = brush.say(texts::OPACITY);
    let slider = ui.add(egui::Slider::new(&mut opacity, 0.0..=1.0).text(name).show_value(false));
    if slider.changed() {
        brush.commands.push(Command::SetOpacity(opacity));
    }
    ui.horizontal(|ui| {
        for (smooth, text) in [(true, texts::SMOOTH), (false, texts::PATCHES)] {
            if ui.add(Button::selectable(state.smooth == smooth, brush.say(text))).clicked() {
                brush.commands.push(Command::SetSmooth(smooth));
            }
        }
    });
    let mut shared = state.scale == Scale::Shared;
    let response = ui.checkbox(&mut shared, brush.say(texts::SHARED_SCALE));
    if response.on_hover_text(brush.say(texts::SHARED_SCALE_HINT)).changed() {
        brush.commands.push(Command::SetScale(if shared { Scale::Shared } else { Scale::Own }));
    }
}

/// Turns files that were dropped onto the window into commands.
pub fn dropped(ui: &Ui, commands: &mut Vec<Command>) {
    let files = ui.input(|input| input.raw.dropped_files.clone());
    // One picture at a time: the last of several.
    let Some(file) = files.last() else { return };
    let path = file.path().to_path_buf();
    commands.push(if path.is_dir() { Command::SetCheckpoint(path) } else { Command::OpenPicture(path) });
}

/// Keyboard: Escape selects the whole text again.
pub fn shortcuts(ui: &Ui, commands: &mut Vec<Command>) -> Option<Ask> {
    if ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Escape)) {
        commands.extend([Command::SelectSentence, Command::SelectPatch(None)]);
    }
    let open = ui.input_mut(|input| input.consume_key(Modifiers::COMMAND, Key::O));
    open.then_some(Ask::Picture)
}
