//! What the person gives: picture, text, checkpoint, what to compare with, and how maps are drawn.

use egui::{
    Button, CollapsingHeader, Response, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, TextEdit, Ui,
    WidgetInfo, vec2,
};

use super::comparison;
use crate::app::layout::SIDE_BY_SIDE;
use crate::app::samples::SampleSource;
use crate::app::state::Colours;
use crate::app::{Ask, Command, Light, PictureSource, Scale, Thing};
use crate::models::runtime::{Precision, names};
use crate::ui::catalogue::{colours_key, tooltip};
use crate::ui::texts;
use crate::ui::theme::title_font;
use crate::ui::views::Brush;
use crate::world::Question;

/// Draws the inputs.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>) {
    // The bar has its room whether it is there or not: pictures that grow where it isn't would bring it back.
    let width = ui.available_width() - ui.spacing().scroll.allocated_width();
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.set_max_width(width);
        section(ui, brush, texts::PICTURE);
        samples(ui, brush);
        ui.horizontal_wrapped(|ui| {
            let response = ui.button(brush.say(texts::OPEN));
            let response = response.on_hover_ui(|ui| {
                ui.label(tooltip(ui.ctx(), brush.app, &Command::Ask(Ask::Picture)));
            });
            if response.clicked() {
                brush.commands.push(Command::Ask(Ask::Picture));
            }
            ui.label(RichText::new(brush.say(texts::DROP_HINT)).color(brush.palette().weak).small());
        });
        section(ui, brush, texts::SENTENCE);
        sentence(ui, brush);
        chips(ui, brush);
        questions(ui, brush);
        section(ui, brush, texts::CHECKPOINT);
        checkpoint(ui, brush);
        section(ui, brush, texts::MAP);
        drawing(ui, brush);
        ui.add_space(8.0);
        let title = RichText::new(brush.say(texts::COMPARISON)).font(title_font(14.0));
        CollapsingHeader::new(title).id_salt("comparison").show(ui, |ui| comparison::show(ui, brush));
    });
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
    let side = ((ui.available_width() - gap * (COLUMNS - 1) as f32) / COLUMNS as f32).floor().max(8.0);
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
    let selection = app.state.selected.words;
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
            let fill =
                if inside { palette.accent.gamma_multiply(0.4) } else { word_tint(brush, &evidence.tokens.texts[at]) };
            let response: Response = ui.add(Button::selectable(inside, text).fill(fill));
            if app.light(Thing::Words(start, end)) == Light::Hovered {
                ui.painter().rect_stroke(response.rect, 5.0, Stroke::new(1.5, palette.strong), StrokeKind::Inside);
            }
            if response.hovered() {
                brush.hover(Thing::Words(start, end));
            }
            if response.clicked() {
                let extend = ui.input(|input| input.modifiers.shift);
                brush.commands.push(Command::SelectWords { start, end, extend });
            }
        }
    });
    ui.label(RichText::new(brush.say(texts::WORDS_HINT)).color(palette.weak).small());
}

/// Questions about a scene, whose answers are known, to be asked with a click.
fn questions(ui: &mut Ui, brush: &mut Brush<'_>) {
    let app = brush.app;
    let Some(scene) = app.scene() else { return };
    // Two encoders answer nothing.
    if app.state.method.0 == "contrastive" {
        return;
    }
    ui.label(RichText::new(brush.say(texts::QUESTIONS)).color(brush.palette().weak).small());
    ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
    let asked = scene.questions(app.state.look.language);
    let caption = scene.full_caption(app.state.look.language);
    for text in one_of_each(asked).into_iter().chain([caption]) {
        let chosen = app.state.sentence.trim() == text;
        let button = Button::selectable(chosen, RichText::new(&text).small()).wrap_mode(egui::TextWrapMode::Truncate);
        if ui.add(button).clicked() {
            brush.commands.push(Command::SetSentence(text));
        }
    }
}

/// The first question of each kind.
fn one_of_each(questions: Vec<Question>) -> Vec<String> {
    let mut kinds = Vec::new();
    let mut texts = Vec::new();
    for question in questions {
        if !kinds.contains(&question.kind) {
            kinds.push(question.kind);
            texts.push(question.text);
        }
    }
    texts
}

/// Words that a patch under the pointer lies near to glow: patch -> words.
fn word_tint(brush: &Brush<'_>, token: &str) -> egui::Color32 {
    let palette = brush.palette();
    let Some(Thing::Patch(patch)) = brush.app.hovered else { return palette.raised };
    let Some(evidence) = &brush.app.evidence else { return palette.raised };
    let words = &evidence.patch_words;
    let place = words.words.iter().take(words.from_sentence).position(|word| word == token.trim());
    let score = place.and_then(|place| words.scores.get(patch * words.words.len() + place)).copied().unwrap_or(0.0);
    palette.raised.lerp_to_gamma(palette.second, score.clamp(0.0, 1.0))
}

fn checkpoint(ui: &mut Ui, brush: &mut Brush<'_>) {
    let app = brush.app;
    ui.spacing_mut().item_spacing = vec2(6.0, 6.0);
    ui.horizontal_wrapped(|ui| {
        for choice in
            app.checkpoints.iter().filter(|choice| [choice.method, SIDE_BY_SIDE].contains(&app.state.method.0))
        {
            let chosen = app.checkpoint(choice.method) == Some(choice);
            let button = Button::selectable(chosen, choice.title());
            if ui.add(button).on_hover_text(choice.folder.display().to_string()).clicked() {
                brush.commands.push(Command::SetCheckpoint(choice.folder.clone()));
            }
        }
        if ui.button(brush.say(texts::OPEN_FOLDER)).clicked() {
            brush.commands.push(Command::Ask(Ask::Checkpoint));
        }
    });
    if app.state.method.0 != SIDE_BY_SIDE {
        runtime(ui, brush);
    }
}

/// Where the model of the shown column runs, and how its weights are held.
fn runtime(ui: &mut Ui, brush: &mut Brush<'_>) {
    let method = brush.app.state.method;
    let now = brush.app.runtime(method.0);
    let mut chosen = now.clone();
    let label = |ui: &mut Ui, text| {
        ui.label(RichText::new(brush.say(text)).color(brush.palette().weak).small());
    };
    egui::Grid::new("runtime").num_columns(2).show(ui, |ui| {
        label(ui, texts::RUNS_ON);
        let device = |name: &str| brush.word(&format!("device-{}", name.split(':').next().unwrap_or(name)));
        let names = names();
        // One that was named by hand stays in the list.
        let names = names.iter().copied().chain((!names.contains(&now.device.as_str())).then_some(now.device.as_str()));
        let shown = egui::ComboBox::from_id_salt("device").selected_text(device(&now.device)).show_ui(ui, |ui| {
            for name in names {
                ui.selectable_value(&mut chosen.device, name.to_owned(), device(name));
            }
        });
        let name = brush.say(texts::RUNS_ON);
        shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, name));
        ui.end_row();
        label(ui, texts::WEIGHTS_AS);
        let shown = egui::ComboBox::from_id_salt("precision").selected_text(now.precision.name()).show_ui(ui, |ui| {
            for precision in Precision::ALL {
                ui.selectable_value(&mut chosen.precision, precision, precision.name());
            }
        });
        let name = brush.say(texts::WEIGHTS_AS);
        shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, name));
        shown.response.on_hover_text(brush.say(texts::WEIGHTS_AS_HINT));
    });
    if chosen != now {
        brush.commands.push(Command::SetRuntime(method, chosen));
    }
}

/// How maps are drawn.
fn drawing(ui: &mut Ui, brush: &mut Brush<'_>) {
    let state = brush.app.state.map.clone();
    ui.spacing_mut().item_spacing = vec2(8.0, 6.0);
    let mut opacity = state.opacity;
    ui.horizontal(|ui| {
        let name = brush.say(texts::OPACITY);
        ui.spacing_mut().slider_width = (ui.available_width() * 0.5).clamp(60.0, 140.0);
        let slider = ui.add(egui::Slider::new(&mut opacity, 0.0..=1.0).text(name).show_value(false));
        if slider.changed() {
            brush.commands.push(Command::SetOpacity(opacity));
        }
    });
    ui.horizontal_wrapped(|ui| {
        for (smooth, text) in [(true, texts::SMOOTH), (false, texts::PATCHES)] {
            if ui.add(Button::selectable(state.smooth == smooth, brush.say(text))).clicked() {
                brush.commands.push(Command::SetSmooth(smooth));
            }
        }
    });
    let name = brush.say(texts::COLOURS);
    let shown = brush.word(colours_key(state.colours));
    let response = egui::ComboBox::from_id_salt("colours").selected_text(shown).show_ui(ui, |ui| {
        for colours in Colours::ALL {
            if ui.selectable_label(state.colours == colours, brush.word(colours_key(colours))).clicked() {
                brush.commands.push(Command::SetColours(colours));
            }
        }
    });
    response.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, name));
    let mut shared = state.scale == Scale::Shared;
    let response = ui.checkbox(&mut shared, brush.say(texts::SHARED_SCALE));
    if response.on_hover_text(brush.say(texts::SHARED_SCALE_HINT)).changed() {
        brush.commands.push(Command::SetScale(if shared { Scale::Shared } else { Scale::Own }));
    }
    let mut sinks = state.sinks;
    let response = ui.checkbox(&mut sinks, brush.say(texts::MARK_SINKS));
    if response.on_hover_text(brush.say(texts::SINKS_HINT)).changed() {
        brush.commands.push(Command::MarkSinks(sinks));
    }
}
