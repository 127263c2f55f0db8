//! The bar at the top: name, menus, language and theme.

use egui::containers::menu::{MenuBar, SubMenuButton};
use egui::{Button, RichText, Ui};

use crate::app::{Command, Theme};
use crate::ui::catalogue::{Entry, Menu, catalogue, tooltip};
use crate::ui::texts::{self, name_of};
use crate::ui::theme::title_font;
use crate::ui::views::Brush;
use crate::world::Language;

/// Draws the bar.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>) {
    MenuBar::new().ui(ui, |ui| {
        ui.label(RichText::new(texts::PROGRAM).font(title_font(16.0)));
        ui.add_space(8.0);
        for menu in Menu::ALL {
            ui.menu_button(brush.say(menu.title()), |ui| contents(ui, brush, menu));
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            for (theme, name) in [(Theme::Light, texts::LIGHT), (Theme::Dark, texts::DARK)] {
                let chosen = brush.app.state.look.theme == theme;
                switch(ui, brush, brush.say(name), chosen, Command::SetTheme(theme));
            }
            ui.separator();
            for language in [Language::Chinese, Language::English] {
                let [_, name] = name_of(language);
                let chosen = brush.app.state.look.language == language;
                switch(ui, brush, name, chosen, Command::SetLanguage(language));
            }
        });
    });
}

fn switch(ui: &mut Ui, brush: &mut Brush<'_>, name: &str, chosen: bool, command: Command) {
    let response = ui.add(Button::selectable(chosen, name));
    let response = response.on_hover_ui(|ui| {
        ui.label(tooltip(ui.ctx(), brush.app, &command));
    });
    if response.clicked() {
        brush.commands.push(command);
    }
}

/// The entries of a menu; those of a submenu stand together, where the first of them stands.
fn contents(ui: &mut Ui, brush: &mut Brush<'_>, menu: Menu) {
    let entries: Vec<Entry> = catalogue(brush.app).into_iter().filter(|entry| entry.menu == menu).collect();
    let mut drawn: Vec<&str> = Vec::new();
    for entry in &entries {
        match &entry.submenu {
            None => item(ui, brush, entry),
            Some(submenu) if !drawn.contains(&submenu.as_str()) => {
                drawn.push(submenu);
                SubMenuButton::new(submenu.as_str()).ui(ui, |ui| {
                    egui::ScrollArea::vertical().max_height(520.0).show(ui, |ui| {
                        for entry in entries.iter().filter(|entry| entry.submenu.as_ref() == Some(submenu)) {
                            item(ui, brush, entry);
                        }
                    });
                });
            }
            Some(_) => {}
        }
    }
}

fn item(ui: &mut Ui, brush: &mut Brush<'_>, entry: &Entry) {
    if entry.apart {
        ui.separator();
    }
    // Inside of a submenu its name needn't be said again.
    let shown = entry.submenu.as_ref().and_then(|submenu| entry.title.strip_prefix(&format!("{submenu} · ")));
    let mut button = Button::selectable(entry.chosen == Some(true), shown.unwrap_or(&entry.title))
        .wrap_mode(egui::TextWrapMode::Extend);
    if let Some(keys) = entry.keys {
        button = button.shortcut_text(ui.ctx().format_shortcut(&keys));
    }
    let response = ui.add_enabled(entry.enabled, button);
    let clicked = response.clicked();
    if let Some(reason) = &entry.reason {
        response.on_disabled_hover_text(reason);
    }
    if clicked {
        brush.commands.push(entry.command.clone());
        ui.close();
    }
}
