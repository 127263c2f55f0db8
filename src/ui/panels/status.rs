//! The line at the bottom: what the worker does, the model, the picture.

use egui::{ProgressBar, RichText, Ui};

use crate::app::Command;
use crate::ui::texts::{self, downloads};
use crate::ui::views::Brush;

/// Work that takes longer than this says how long it still takes.
const WORTH_SAYING: f32 = 0.5;

/// Draws the line.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>) {
    let palette = brush.palette();
    let app = brush.app;
    ui.horizontal(|ui| {
        if app.busy {
            busy(ui, brush);
        } else {
            ui.label(RichText::new("●").color(palette.accent).small());
            let elapsed = app.elapsed.map(|elapsed| format!(" · {:.0} ms", elapsed.as_secs_f64() * 1000.0));
            let text = format!("{}{}", brush.say(texts::READY), elapsed.unwrap_or_default());
            ui.label(RichText::new(text).small());
        }
        if !app.downloads.is_open {
            download(ui, brush);
        }
        if let Some(evidence) = &app.evidence {
            let model = &evidence.model;
            let text = format!(
                "{} · {} · {:.1} M {}",
                model.name,
                model.class,
                model.parameters as f64 / 1e6,
                brush.say(texts::PARAMETERS)
            );
            ui.label(RichText::new(text).small().color(palette.weak));
        }
        if let Some(picture) = &app.picture {
            let text = format!("{} · {} × {}", app.picture_name, picture.width(), picture.height());
            ui.label(RichText::new(text).small().color(palette.weak));
        }
    });
}

/// How far a download is that goes on while its list is closed; a click opens that again.
fn download(ui: &mut Ui, brush: &mut Brush<'_>) {
    let Some(under_way) = &brush.app.downloads.under_way else { return };
    let name = brush.say(downloads::LOADING).replace("{name}", &under_way.name);
    let text = match under_way.share() {
        Some(share) => format!("{name} · {:.0} %", share * 100.0),
        None => name,
    };
    if ui.small_button(text).clicked() {
        brush.commands.push(Command::ToggleDownloads);
    }
}

/// How far the work is, the time left, and a way to stop it.
fn busy(ui: &mut Ui, brush: &mut Brush<'_>) {
    ui.label(RichText::new("○").small());
    ui.label(RichText::new(brush.say(texts::COMPUTING)).small());
    let Some(progress) = brush.app.progress else { return };
    if progress.since.elapsed().as_secs_f32() < WORTH_SAYING {
        return;
    }
    ui.ctx().request_repaint_after(std::time::Duration::from_millis(250));
    let name = brush.say(texts::COMPUTING);
    let response = ui.add(ProgressBar::new(progress.share).desired_width(120.0).desired_height(8.0));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::ProgressIndicator, true, name));
    if let Some(left) = progress.left() {
        ui.label(RichText::new(format!("{} {:.0} s", brush.say(texts::LEFT), left.as_secs_f32().ceil())).small());
    }
    if ui.small_button(brush.say(texts::CANCEL)).clicked() {
        brush.commands.push(Command::Cancel);
    }
}
