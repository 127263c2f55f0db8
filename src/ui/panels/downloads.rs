//! Published checkpoints to download: what they are, how large, what to look at, and how far a download is.

use egui::{Align, Button, Layout, Modal, ProgressBar, RichText, Role, ScrollArea, TextEdit, Ui, WidgetInfo, vec2};
use std::time::Duration;

use super::notices::notice;
use crate::app::Command;
use crate::app::downloads::UnderWay;
use crate::methods::METHODS;
use crate::models::catalogue::Published;
use crate::models::hub::readable;
use crate::ui::texts::{self, Text, downloads};
use crate::ui::theme::{LARGE_GAP, SMALL_GAP, title_font};
use crate::ui::views::Brush;

/// What was typed.
#[derive(Default)]
pub struct Downloads {
    typed: String,
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
const WIDTH: f32 = 760.0;
/// What stands at the right of a line.
const BUTTONS: f32 = 190.0;
/// What stands above and below the list.
const AROUND: f32 = 260.0;

impl Downloads {
    /// Draws them if they are shown. The palette stands before them.
    pub fn show(&mut self, ui: &mut Ui, brush: &mut Brush<'_>) {
        if brush.app.downloads.under_way.is_some() {
            // A download tells how far it is only who asks.
            ui.ctx().request_repaint_after(BETWEEN_LOOKS);
        }
        if !brush.app.downloads.is_open || brush.app.palette_is_open {
            return;
        }
        let response = Modal::new(egui::Id::unique("downloads")).show(ui.ctx(), |ui| self.contents(ui, brush));
        if response.should_close() {
            brush.commands.push(Command::ToggleDownloads);
        }
    }

    fn contents(&mut self, ui: &mut Ui, brush: &mut Brush<'_>) {
        let app = brush.app;
        let palette = brush.palette();
        let screen = ui.ctx().content_rect();
        ui.set_width(WIDTH.min((screen.width() - 60.0).max(100.0)));
        ui.horizontal(|ui| {
            ui.label(RichText::new(brush.say(downloads::TITLE)).font(title_font(17.0)));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.button(brush.say(downloads::CLOSE)).clicked() {
                    brush.commands.push(Command::ToggleDownloads);
                }
            });
        });
        ui.label(RichText::new(brush.say(downloads::ABOUT)).color(palette.weak).small());
        ui.add_space(SMALL_GAP);
        if let Some(problem) = &app.downloads.problem {
            notice(ui, brush, problem, None);
        }
        self.field(ui, brush);
        ui.separator();
        let height = (screen.height() - AROUND).max(120.0);
        // A window that fits itself to its contents would leave a list that can be scrolled next to nothing.
        let list = ScrollArea::vertical().max_height(height).min_scrolled_height(height).auto_shrink([false, true]);
        list.show(ui, |ui| {
            let others = app.downloads.others();
            if !others.is_empty() {
                heading(ui, brush.say(downloads::OTHERS));
                others.iter().for_each(|name| row(ui, brush, name, None));
            }
            for method in METHODS {
                let fits = |model: &&Published| method.classes.contains(&model.class.as_str());
                let models: Vec<&Published> = app.downloads.known.iter().filter(fits).collect();
                if !models.is_empty() {
                    heading(ui, &brush.word(&format!("method-{}", method.key)));
                    models.iter().for_each(|model| row(ui, brush, &model.name, Some(model)));
                }
            }
        });
    }

    /// Any other name.
    fn field(&mut self, ui: &mut Ui, brush: &mut Brush<'_>) {
        let can_ask = can_ask(brush);
        ui.horizontal(|ui| {
            let name = brush.say(downloads::FIELD);
            let field =
                TextEdit::singleline(&mut self.typed).hint_text(name).desired_width(ui.available_width() - BUTTONS);
            let field = ui.add(field);
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, name));
            let entered = field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
            let typed = self.typed.trim();
            let can_ask = can_ask && !typed.is_empty();
            let button = Button::new(brush.say(downloads::ASK));
            if (ui.add_enabled(can_ask, button).clicked() || entered) && can_ask {
                brush.commands.push(Command::AskHub(typed.to_owned()));
            }
        });
    }
}

/// Whether nothing is under way, and there is a hub.
fn can_ask(brush: &Brush<'_>) -> bool {
    brush.app.downloads.hub.is_some() && brush.app.downloads.under_way.is_none()
}

fn heading(ui: &mut Ui, text: &str) {
    ui.add_space(LARGE_GAP);
    ui.label(RichText::new(text).font(title_font(14.5)));
}

/// A model, with what is known of it if it is in the catalogue.
fn row(ui: &mut Ui, brush: &mut Brush<'_>, name: &str, about: Option<&Published>) {
    let palette = brush.palette();
    let under_way = brush.app.downloads.under_way.as_ref().filter(|under_way| under_way.name == name);
    ui.add_space(SMALL_GAP);
    ui.horizontal(|ui| {
        let width = (ui.available_width() - BUTTONS).max(100.0);
        ui.allocate_ui_with_layout(vec2(width, 0.0), Layout::top_down(Align::Min), |ui| {
            ui.set_width(width);
            ui.spacing_mut().item_spacing.y = 1.0;
            ui.label(RichText::new(name).strong());
            if let Some(about) = about {
                let size = format!("{:.0} M {}", about.parameters as f64 / 1e6, brush.say(texts::PARAMETERS));
                ui.label(RichText::new(format!("{size} · {}", about.licence)).color(palette.weak).small());
                let look = &about.look[brush.app.language_index()];
                ui.add(egui::Label::new(RichText::new(look).small()).wrap());
            }
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| buttons(ui, brush, name, under_way));
    });
    if let Some(under_way) = under_way {
        progress(ui, brush, under_way);
    }
}

/// What can be done with a model.
fn buttons(ui: &mut Ui, brush: &mut Brush<'_>, name: &str, under_way: Option<&UnderWay>) {
    let (app, palette) = (brush.app, brush.palette());
    if under_way.is_some() {
        button(ui, brush, texts::CANCEL, name, true, Command::StopDownload);
    } else if let Some(folder) = app.downloads.here.get(name) {
        if button(ui, brush, downloads::OPEN, name, true, Command::SetCheckpoint(folder.clone())) {
            brush.commands.push(Command::ToggleDownloads);
        }
    } else if let Some(plan) = app.downloads.plans.get(name) {
        match (plan.check_room(), plan.free) {
            (Err(_), Some(free)) => {
                let text = brush.say(downloads::NO_ROOM).replace("{bytes}", &readable(plan.missing));
                let text = text.replace("{free}", &readable(free));
                ui.add(egui::Label::new(RichText::new(text).color(palette.warning).small()).wrap());
            }
            _ => {
                let size = readable(plan.missing);
                let text = brush.say(downloads::LOAD).replace("{bytes}", &size);
                button_named(ui, brush, &text, name, can_ask(brush), Command::Download(name.to_owned()));
            }
        }
    } else {
        button(ui, brush, downloads::ASK, name, can_ask(brush), Command::AskHub(name.to_owned()));
    }
}

fn button(ui: &mut Ui, brush: &mut Brush<'_>, text: Text, name: &str, enabled: bool, command: Command) -> bool {
    button_named(ui, brush, brush.say(text), name, enabled, command)
}

/// A button whose accessible name says what it is about, too.
fn button_named(ui: &mut Ui, brush: &mut Brush<'_>, text: &str, name: &str, enabled: bool, command: Command) -> bool {
    let response = ui.add_enabled(enabled, Button::new(text));
    response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, format!("{text} · {name}")));
    let clicked = response.clicked();
    if clicked {
        brush.commands.push(command);
    }
    clicked
}

/// How far it is, and the time that is left.
fn progress(ui: &mut Ui, brush: &Brush<'_>, under_way: &UnderWay) {
    let palette = brush.palette();
    let Some(progress) = &under_way.progress else {
        ui.horizontal(|ui| {
            ui.spinner();
            ui.label(RichText::new(brush.say(downloads::ASKING)).color(palette.weak).small());
        });
        return;
    };
    let name = brush.say(downloads::LOADING).replace("{name}", &under_way.name);
    let bar = ui.add(ProgressBar::new(under_way.share().unwrap_or(0.0)).desired_height(8.0));
    bar.widget_info(|| WidgetInfo::labeled(Role::ProgressIndicator, true, &name));
    let mut parts = vec![format!("{} / {}", readable(progress.done), readable(progress.all)), progress.file.clone()];
    match (progress.pause, under_way.left()) {
        (Some(pause), _) => {
            parts.push(brush.say(downloads::AGAIN).replace("{seconds}", &pause.as_secs().to_string()));
        }
        (None, Some(left)) => parts.push(format!("{} {}", brush.say(texts::LEFT), readable_time(left))),
        (None, None) => {}
    }
    ui.label(RichText::new(parts.join(" · ")).color(palette.weak).small());
}

/// Minutes and hours where seconds would be many.
fn readable_time(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=99 => format!("{} s", seconds.max(1)),
        seconds @ 100..=5999 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}
