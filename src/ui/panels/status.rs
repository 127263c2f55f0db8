//! The line at the bottom, and the bar at the top.

use egui::{Button, RichText, Ui};

use crate::app::{Command, Theme};
use crate::ui::texts;
use crate::ui::theme::title_font;
use crate::ui::views::Brush;
use crate::world::Language;

/// Name, language and theme.
pub fn top(ui: &mut Ui, brush: &mut Brush<'_>) {
    let palette = brush.palette();
    ui.horizontal(|ui| {
        ui.label(RichText::new(texts::PROGRAM).font(title_font(18.0)));
        ui.label(RichText::new(brush.say(texts::CLAIM)).color(palette.weak));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            for (theme, name) in [(Theme::Light, texts::LIGHT), (Theme::Dark, texts::DARK)] {
                let selected = brush.app.state.theme == theme;
                if ui.add(Button::selectable(selected, brush.say(name))).clicked() {
                    brush.commands.push(Command::SetTheme(theme));
                }
            }
            ui.separator();
            for (language, name) in [(Language::Chinese, "中文"), (Language::English, "English")] {
                let selected = brush.app.state.language == language;
                if ui.add(Button::selectable(selected, name)).clicked() {
                    brush.commands.push(Command::SetLanguage(language));
                }
            }
        });
    });
}

/// What the worker does, the model, the picture.
pub fn bottom(ui: &mut Ui, brush: &Brush<'_>) {
    let palette = brush.palette();
    let app = brush.app;
    ui.horizontal(|ui| {
        if app.busy {
            ui.add(egui::Spinner::new().size(12.0));
            ui.label(RichText::new(brush.say(texts::COMPUTING)).small());
        } else {
            ui.label(RichText::new("●").color(palette.accent).small());
            let elapsed = app.elapsed.map(|elapsed| format!(" · {:.0} ms", elapsed.as_secs_f64() * 1000.0));
            let text = format!("{}{}", brush.say(texts::READY), elapsed.unwrap_or_default());
            ui.label(RichText::new(text).small());
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
