//! The whole screen: the same for the window, the board and the tests.

use egui::{CentralPanel, Context, Frame, Margin, Panel, Ui};
use egui_commonmark::CommonMarkCache;

use super::catalogue::catalogue;
use super::columns;
use super::formulas::Formulas;
use super::palette::Palette;
use super::panels::downloads::Downloads;
use super::panels::{bar, inputs, inspector, lesson, notices, status};
use super::textures::Textures;
use super::views::Brush;
use crate::app::album::holds_pictures;
use crate::app::{App, Ask, Command, Theme};

/// What is kept between frames: textures, laid-out texts and what is being typed; nothing that a person chose.
#[derive(Default)]
pub struct Screen {
    textures: Textures,
    markdown: CommonMarkCache,
    formulas: Formulas,
    palette: Palette,
    downloads: Downloads,
    /// How wide the panels were when the pointer was last pressed.
    widths: [f32; 2],
}

impl Screen {
    /// Draws one frame; gives the commands that the person's input means.
    pub fn show(&mut self, ui: &mut Ui, app: &App) -> Vec<Command> {
        look(ui.ctx(), app);
        let mut commands = Vec::new();
        given(ui, &mut commands);
        keys(ui, app, &mut commands);
        let mut brush = Brush { app, textures: &mut self.textures, commands: &mut commands };
        let palette = brush.palette();
        let framed = |x: i8, y: i8| Frame::new().fill(palette.card).inner_margin(Margin::symmetric(x, y));
        Panel::top("top").frame(framed(12, 6)).show(ui, |ui| bar::show(ui, &mut brush));
        Panel::bottom("status").frame(framed(12, 4)).show(ui, |ui| status::show(ui, &mut brush));
        let side = Frame::new().fill(palette.card).inner_margin(Margin { left: 12, right: 12, top: 0, bottom: 8 });
        // A narrow window leaves the middle more than a third.
        let most = (ui.available_width() * 0.32).max(150.0);
        let usual = ui.available_width() * 0.2;
        let desk = &app.desk;
        let inputs = Panel::left("inputs")
            .frame(side)
            .default_size(desk.inputs_width.min(usual))
            .size_range(150.0..=most)
            .show(ui, |ui| inputs::show(ui, &mut brush));
        let inspector = Panel::right("inspector")
            .frame(side)
            .default_size(desk.inspector_width.min(usual))
            .size_range(150.0..=most)
            .show(ui, |ui| match app.lesson() {
                Some(open) => lesson::show(ui, &mut brush, &mut self.markdown, &self.formulas, open),
                None => inspector::show(ui, &mut brush, &mut self.markdown),
            });
        let middle = Frame::new().fill(palette.ground).inner_margin(Margin::same(12));
        CentralPanel::default().frame(middle).show(ui, |ui| {
            notices::show(ui, &mut brush);
            columns::show(ui, &mut brush);
        });
        self.downloads.show(ui, &mut brush);
        self.palette.show(ui, &mut brush);
        let widths = [inputs.response.rect.width(), inspector.response.rect.width()];
        if ui.input(|input| input.pointer.any_pressed()) {
            self.widths = widths;
        }
        if ui.input(|input| input.pointer.any_released()) {
            commands.push(Command::Settle);
            // Only what the person drags is kept, not what a narrow window enforces.
            let [inputs, inspector] = widths;
            if widths.iter().zip(self.widths).any(|(now, before)| (now - before).abs() > 1.0) {
                commands.push(Command::SetDesk { inputs, inspector, window: None });
            }
        }
        hover(app, &mut commands);
        commands
    }
}

/// The pointer is over what was last said in this frame; where nothing was said, it has left.
fn hover(app: &App, commands: &mut Vec<Command>) {
    let over = |command: &Command| if let Command::Hover(thing) = command { *thing } else { None };
    let now = commands.iter().rev().find_map(over);
    commands.retain(|command| !matches!(command, Command::Hover(_)));
    if now != app.hovered {
        commands.push(Command::Hover(now));
    }
}

/// Theme and size as the state has them.
fn look(ctx: &Context, app: &App) {
    let look = &app.state.look;
    ctx.set_theme(match look.theme {
        Theme::Light => egui::Theme::Light,
        Theme::Dark => egui::Theme::Dark,
    });
    if (ctx.zoom_factor() - look.zoom).abs() > 1e-3 {
        ctx.set_zoom_factor(look.zoom);
    }
}

/// Turns files that were dropped onto the window, and pictures that were pasted, into commands.
fn given(ui: &Ui, commands: &mut Vec<Command>) {
    let (files, pasted) = ui.input(|input| {
        let pasted = input.events.iter().find_map(|event| match event {
            egui::Event::PasteImage(picture) => Some(std::sync::Arc::clone(picture)),
            _ => None,
        });
        (input.raw.dropped_files.clone(), pasted)
    });
    // One picture at a time: the last of several.
    if let Some(file) = files.last() {
        let path = file.path().to_path_buf();
        let is_session = path.extension().is_some_and(|ending| ending == "json");
        commands.push(match path.is_dir() {
            true if holds_pictures(&path) => Command::OpenAlbum(path),
            true => Command::SetCheckpoint(path),
            false if is_session => Command::OpenSession(path),
            false => Command::OpenPicture(path),
        });
    }
    if let Some(picture) = pasted {
        let [width, height] = picture.size;
        let bytes = picture.pixels.iter().flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b()]).collect();
        if let Some(picture) = image::RgbImage::from_raw(width as u32, height as u32, bytes) {
            commands.push(Command::Ask(Ask::KeepPasted(std::sync::Arc::new(picture))));
        }
    }
}

/// The keys of all commands, those with more modifiers first: egui would take Ctrl-Shift-O for Ctrl-O otherwise.
fn keys(ui: &Ui, app: &App, commands: &mut Vec<Command>) {
    let mut entries: Vec<_> = catalogue(app).into_iter().filter_map(|entry| Some((entry.keys?, entry))).collect();
    entries.sort_by_key(|(keys, _)| std::cmp::Reverse(usize::from(keys.modifiers.shift)));
    for (keys, entry) in entries {
        // Escape closes what is open before it clears the selection.
        let is_open = app.palette_is_open || app.downloads.is_open || egui::Popup::is_any_open(ui.ctx());
        let taken = keys.logical_key == egui::Key::Escape && is_open;
        if !taken && entry.enabled && ui.input_mut(|input| input.consume_shortcut(&keys)) {
            commands.push(entry.command);
        }
    }
    let again = egui::KeyboardShortcut::new(egui::Modifiers::COMMAND, egui::Key::Y);
    if app.can_redo() && ui.input_mut(|input| input.consume_shortcut(&again)) {
        commands.push(Command::Redo);
    }
}
