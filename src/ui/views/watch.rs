//! A small model that learns from scratch while a person watches: loss, matrix, clouds and a map.

use egui::{
    Align2, Button, Color32, ColorImage, Rect, RichText, Role, Sense, Slider, Stroke, TextureOptions, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};
use egui_plot::{Line, Plot, VLine};

use super::map_picture::fingerprint;
use super::parts::{colour_bar, diamond, fitted};
use super::{Brush, View, number};
use crate::app::layout::SIDE_BY_SIDE;
use crate::app::learning::{Learning, Seen, Setting};
use crate::app::{App, Command};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::training::live::{LearnerKind, Stage};
use crate::training::recorded::Head;
use crate::ui::texts::{self, Text, watch};
use crate::ui::theme::{GAP, SMALL_GAP, heat, title_font, veil};

/// The view.
pub struct WatchView;

/// How long each look of a recorded run is shown while it plays, in seconds.
const FRAME: f64 = 0.2;
/// Learning rates and temperatures that the sliders offer.
const RATES: std::ops::RangeInclusive<f64> = 1e-5..=2e-2;
const TEMPERATURES: std::ops::RangeInclusive<f32> = 0.01..=1.0;

impl View for WatchView {
    fn key(&self) -> &'static str {
        "watch"
    }

    fn method(&self) -> &'static str {
        SIDE_BY_SIDE
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/watch.en.md"), include_str!("../../../assets/help/watch.zh.md")]
    }

    fn least(&self) -> egui::Vec2 {
        vec2(560.0, 460.0)
    }

    fn show(&self, ui: &mut Ui, _evidence: &Evidence, brush: &mut Brush<'_>) {
        ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
        let Some(learning) = &brush.app.learning else {
            begin(ui, brush);
            return;
        };
        match &learning.recorded {
            Some(run) => recorded_controls(ui, brush, learning, run),
            None => controls(ui, brush, learning),
        }
        if let Some(problem) = &learning.problem {
            ui.label(RichText::new(problem).color(brush.palette().warning));
        }
        let (Some(stage), Some(seen)) = (&learning.stage, learning.seen()) else {
            ui.label(RichText::new(brush.say(texts::WAITING)).color(brush.palette().weak));
            return;
        };
        scrub(ui, brush, learning, seen);
        let space = ui.available_rect_before_wrap();
        let size = (space.size() - vec2(GAP, GAP)) / 2.0;
        let cell =
            |column: f32, row: f32| Rect::from_min_size(space.min + vec2(column, row) * (size + vec2(GAP, GAP)), size);
        let mut within = |rect: Rect, salt: &str, draw: &mut dyn FnMut(&mut Ui, &mut Brush<'_>)| {
            draw(&mut ui.new_child(UiBuilder::new().id_salt(salt).max_rect(rect)), brush);
        };
        within(cell(0.0, 0.0), "loss", &mut |ui, brush| loss(ui, brush, learning, seen));
        within(cell(1.0, 0.0), "matrix", &mut |ui, brush| matrix(ui, brush, stage, seen));
        within(cell(0.0, 1.0), "clouds", &mut |ui, brush| clouds(ui, brush, stage, seen));
        within(cell(1.0, 1.0), "map", &mut |ui, brush| map(ui, brush, stage, seen));
        ui.advance_cursor_after_rect(space);
    }

    fn has_something(&self, app: &App) -> bool {
        app.learning.is_some()
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(learning) = &app.learning else { return vec![Numbers::single("steps", 0.0)] };
        let steps = Axis::labelled("step", learning.steps.iter().map(|step| step.step.to_string()));
        let values = learning.steps.iter().flat_map(|step| [step.loss, step.accuracy]).collect();
        let mut arrays = vec![Numbers::new("learning", [steps, Axis::labelled("what", ["loss", "accuracy"])], values)];
        if let (Some(stage), Some(seen)) = (&learning.stage, learning.seen()) {
            let axes = [Axis::numbered("picture", stage.pictures.len()), Axis::labelled("text", stage.texts.clone())];
            arrays.push(Numbers::new("cosine", axes, seen.look.cosines.clone()));
        }
        arrays
    }
}

fn kind_text(kind: LearnerKind) -> Text {
    match kind {
        LearnerKind::Contrast => watch::CONTRAST,
        LearnerKind::Queries => watch::QUERIES,
    }
}

/// What can be watched.
fn begin(ui: &mut Ui, brush: &mut Brush<'_>) {
    ui.add(egui::Label::new(RichText::new(brush.say(watch::INTRODUCTION)).color(brush.palette().text)).wrap());
    ui.add_space(GAP);
    for kind in LearnerKind::ALL {
        if ui.button(RichText::new(brush.say(kind_text(kind))).strong()).clicked() {
            let setting = Setting { kind, rate: kind.usual_rate(), ..Setting::default() };
            brush.commands.push(Command::Learn(setting));
        }
    }
    ui.add_space(GAP);
    for name in brush.app.recordings.iter() {
        if ui.button(format!("{} {name}", brush.say(watch::RECORDED))).clicked() {
            brush.commands.push(Command::ShowRecording(name.clone()));
        }
    }
}

/// What can be done with a recorded run: play it, or leave it.
fn recorded_controls(ui: &mut Ui, brush: &mut Brush<'_>, learning: &Learning, run: &Head) {
    let id = ui.scope_id().with("playing since");
    let last = learning.looks.len().saturating_sub(1);
    let at = learning.shown.unwrap_or(last);
    let mut since = ui.data(|data| data.get_temp::<Option<f64>>(id)).flatten();
    ui.horizontal_wrapped(|ui| {
        if ui
            .button(RichText::new(brush.say(if since.is_some() { watch::PAUSE } else { watch::PLAY })).strong())
            .clicked()
        {
            since = if since.is_some() { None } else { Some(ui.input(|input| input.time)) };
            if since.is_some() && at == last {
                brush.commands.push(Command::ShowLook(Some(0)));
            }
        }
        for name in brush.app.recordings.iter() {
            if ui.add(Button::selectable(*name == run.recipe, name)).clicked() {
                brush.commands.push(Command::ShowRecording(name.clone()));
            }
        }
        if ui.button(brush.say(watch::END)).clicked() {
            brush.commands.push(Command::EndLearning);
        }
        let [steps, pictures] = [run.steps, run.batch].map(|count| count.to_string());
        let of = brush.say(watch::OF_A_RUN).replace("{steps}", &steps).replace("{pictures}", &pictures);
        ui.label(RichText::new(of).color(brush.palette().weak).small());
    });
    if let Some(then) = since {
        let now = ui.input(|input| input.time);
        if at >= last && then < now {
            since = None;
        } else if now - then >= FRAME {
            brush.commands.push(Command::ShowLook(Some(at + 1)));
            since = Some(now);
        }
        ui.ctx().request_repaint_after_secs(FRAME as f32);
    }
    ui.data_mut(|data| data.insert_temp(id, since));
}

/// Start, pause, step, begin anew; rate and temperature.
fn controls(ui: &mut Ui, brush: &mut Brush<'_>, learning: &Learning) {
    let setting = learning.setting;
    ui.horizontal_wrapped(|ui| {
        for kind in LearnerKind::ALL {
            let chosen = setting.kind == kind;
            if ui.add(Button::selectable(chosen, brush.say(kind_text(kind)))).clicked() && !chosen {
                brush.commands.push(Command::Learn(Setting { kind, rate: kind.usual_rate(), ..setting }));
            }
        }
        ui.separator();
        let text = if setting.runs { watch::PAUSE } else { watch::GO_ON };
        if ui.button(RichText::new(brush.say(text)).strong()).clicked() {
            brush.commands.push(Command::RunLearning(!setting.runs));
        }
        if ui.button(brush.say(watch::STEP)).clicked() {
            brush.commands.push(Command::StepLearning);
        }
        if ui.button(brush.say(watch::AGAIN)).on_hover_text(brush.say(watch::AGAIN_HINT)).clicked() {
            brush.commands.push(Command::Learn(setting));
        }
        let other = format!("{} {}", brush.say(watch::OTHER_SEED), setting.seed + 1);
        if ui.button(other).clicked() {
            brush.commands.push(Command::Learn(Setting { seed: setting.seed + 1, ..setting }));
        }
        if ui.button(brush.say(watch::END)).clicked() {
            brush.commands.push(Command::EndLearning);
        }
    });
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().slider_width = 110.0;
        let mut rate = setting.rate;
        let slider = Slider::new(&mut rate, RATES).logarithmic(true).text(brush.say(watch::RATE));
        if ui.add(slider.custom_formatter(|value, _| format!("{value:.0e}"))).changed() {
            brush.commands.push(Command::SetLearningRate(rate));
        }
        let now = learning.looks.last().map_or(0.07, |seen| seen.look.temperature);
        let mut temperature = now;
        let slider = Slider::new(&mut temperature, TEMPERATURES).logarithmic(true).text(brush.say(watch::TEMPERATURE));
        if ui.add(slider.custom_formatter(|value, _| format!("{value:.3}"))).changed() {
            brush.commands.push(Command::SetLearningTemperature(temperature));
        }
    });
}

/// Where in the run one looks.
fn scrub(ui: &mut Ui, brush: &mut Brush<'_>, learning: &Learning, seen: &Seen) {
    let last = learning.looks.len().saturating_sub(1);
    let mut at = learning.shown.unwrap_or(last).min(last);
    ui.horizontal(|ui| {
        ui.spacing_mut().slider_width = (ui.available_width() - 190.0).clamp(80.0, 420.0);
        let slider = ui.add(Slider::new(&mut at, 0..=last).show_value(false));
        slider.widget_info(|| WidgetInfo::labeled(Role::Slider, true, brush.say(watch::SCRUB)));
        if slider.changed() {
            brush.commands.push(Command::ShowLook((at < last).then_some(at)));
        }
        ui.label(format!("{} {}", brush.say(watch::STEPS), seen.step));
        if learning.recorded.is_none() && learning.shown.is_some() && ui.small_button(brush.say(watch::NOW)).clicked() {
            brush.commands.push(Command::ShowLook(None));
        }
    });
}

fn heading(ui: &mut Ui, brush: &Brush<'_>, text: Text, value: &str) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(brush.say(text)).font(title_font(13.0)));
        ui.label(RichText::new(value).color(brush.palette().weak).small());
    });
}

/// The loss, step by step.
fn loss(ui: &mut Ui, brush: &Brush<'_>, learning: &Learning, seen: &Seen) {
    let palette = brush.palette();
    let shown = learning.steps.iter().rev().find(|step| step.step <= seen.step);
    let last = shown.map_or_else(String::new, |step| {
        format!("{} · {} {:.0} %", number(step.loss), brush.say(watch::RIGHT), step.accuracy * 100.0)
    });
    heading(ui, brush, watch::LOSS, &last);
    let points = |smooth: f64| {
        let mut mean = None;
        let of = |step: &crate::training::live::Stepped, mean: &mut Option<f64>| {
            let loss = f64::from(step.loss);
            let now = mean.map_or(loss, |mean| mean * smooth + loss * (1.0 - smooth));
            *mean = Some(now);
            [step.step as f64, now]
        };
        learning.steps.iter().map(|step| of(step, &mut mean)).collect::<Vec<_>>()
    };
    // What is recorded are means over several steps.
    let smooth = if learning.recorded.is_some() { 0.5 } else { 0.9 };
    let size = ui.available_size();
    let plot = Plot::new("watched loss")
        .width(size.x)
        .height(size.y)
        .include_y(0.0)
        .include_x(20.0)
        .show_background(false)
        .allow_scroll(false)
        .allow_drag(false)
        .allow_zoom(false);
    plot.show(ui, |plot| {
        plot.vline(VLine::new("", seen.step as f64).color(palette.second).width(1.5));
        plot.line(Line::new("", points(0.0)).color(palette.accent.gamma_multiply(0.35)).width(1.0));
        plot.line(Line::new("", points(smooth)).color(palette.accent).width(2.0));
    });
}

/// Every picture against every text: the diagonal lights up.
fn matrix(ui: &mut Ui, brush: &Brush<'_>, stage: &Stage, seen: &Seen) {
    let count = stage.texts.len();
    let right = (0..count).filter(|picture| {
        let row = seen.look.cosines.get(picture * count..(picture + 1) * count).unwrap_or_default();
        (0..row.len()).max_by(|one, other| row[*one].total_cmp(&row[*other])) == Some(*picture)
    });
    heading(ui, brush, watch::MATRIX, &format!("{} {} / {count}", brush.say(watch::RIGHT), right.count()));
    let space = ui.available_rect_before_wrap();
    let side = space.width().min(space.height()).max(60.0);
    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, brush.say(watch::MATRIX)));
    let (low, high) =
        seen.look.cosines.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let cell = side / count.max(1) as f32;
    for (at, cosine) in seen.look.cosines.iter().enumerate() {
        let corner = rect.min + vec2((at % count) as f32, (at / count) as f32) * cell;
        let colour = heat(brush.app.state.map.colours, (cosine - low) / (high - low).max(1e-6));
        ui.painter().rect_filled(Rect::from_min_size(corner, vec2(cell - 1.0, cell - 1.0)), 1.0, colour);
    }
    if let Some(pointer) = response.hover_pos() {
        let along = |offset: f32| ((offset / cell) as usize).min(count.saturating_sub(1));
        let (picture, text) = (along(pointer.y - rect.top()), along(pointer.x - rect.left()));
        let cosine = seen.look.cosines.get(picture * count + text).copied().unwrap_or(0.0);
        let (picture, text) = (stage.texts.get(picture), stage.texts.get(text));
        if let (Some(picture), Some(text)) = (picture, text) {
            let said = format!("{} “{picture}”\n“{text}”: {cosine:.2}", brush.say(texts::A_PICTURE));
            response.on_hover_text(said);
        }
    }
    let bar = Rect::from_min_size(
        pos2(rect.right() + GAP, rect.bottom() - 10.0),
        vec2((space.right() - rect.right() - 2.0 * GAP).clamp(0.0, 90.0), 8.0),
    );
    if bar.width() > 30.0 {
        colour_bar(ui.painter(), brush.app.state.map.colours, bar);
        let font = egui::TextStyle::Small.resolve(ui.style());
        let weak = brush.palette().weak;
        ui.painter().text(bar.left_top(), Align2::LEFT_BOTTOM, format!("{low:.2}"), font.clone(), weak);
        ui.painter().text(bar.right_top(), Align2::RIGHT_BOTTOM, format!("{high:.2}"), font, weak);
    }
}

/// Pictures and texts in the plane: the two clouds draw together.
fn clouds(ui: &mut Ui, brush: &mut Brush<'_>, stage: &Stage, seen: &Seen) {
    let palette = brush.palette();
    let count = stage.pictures.len();
    let mean: f32 =
        (0..count).filter_map(|at| seen.look.cosines.get(at * count + at)).sum::<f32>() / count.max(1) as f32;
    heading(ui, brush, watch::CLOUDS, &format!("{} {mean:.2}", brush.say(watch::OWN_PAIRS)));
    let (rect, response) = ui.allocate_exact_size(ui.available_size().max(vec2(60.0, 60.0)), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, brush.say(texts::PLOT)));
    let painter = ui.painter_at(rect);
    painter.rect_stroke(rect, 4.0, Stroke::new(1.0, palette.line), egui::StrokeKind::Inside);
    let inner = rect.shrink(18.0);
    let places = fitted(&seen.plane, inner);
    if places.len() != 2 * count {
        return;
    }
    for at in 0..count {
        painter.line_segment([places[at], places[count + at]], Stroke::new(1.0, palette.line));
    }
    for at in 0..count {
        let name = format!("watched {at}");
        let texture = brush.textures.picture(ui.ctx(), &name, &stage.pictures[at]);
        let square = Rect::from_center_size(places[at], vec2(24.0, 24.0));
        painter.image(texture, square, Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0)), Color32::WHITE);
        diamond(&painter, places[count + at], palette.second, Stroke::NONE);
    }
}

/// Where the words land in the first picture: the map sharpens.
fn map(ui: &mut Ui, brush: &mut Brush<'_>, stage: &Stage, seen: &Seen) {
    heading(ui, brush, watch::MAP, &format!("“{}”", stage.phrase));
    let Some(picture) = stage.pictures.first() else { return };
    let space = ui.available_rect_before_wrap();
    let side = space.width().min(space.height()).max(60.0);
    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, brush.say(watch::MAP)));
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    let texture = brush.textures.picture(ui.ctx(), "watched 0", picture);
    ui.painter().image(texture, rect, whole, Color32::WHITE);
    let map = &seen.look.map;
    let grid = map.len().isqrt();
    if grid == 0 || grid * grid != map.len() {
        return;
    }
    let state = &brush.app.state.map;
    let (low, high) = map.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let (colours, opacity, options) =
        (state.colours, state.opacity, if state.smooth { TextureOptions::LINEAR } else { TextureOptions::NEAREST });
    let make = || {
        let colour = |value: &f32| veil(colours, (value - low) / (high - low).max(1e-6), opacity);
        ColorImage::new([grid, grid], map.iter().map(colour).collect())
    };
    let look = [opacity, f32::from(u8::from(state.smooth)), f32::from(colours as u8)];
    let print = fingerprint(map, &look);
    let overlay = brush.textures.get(ui.ctx(), "watched map", print, options, make);
    ui.painter().image(overlay, rect, whole, Color32::WHITE);
}
