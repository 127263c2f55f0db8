//! The palette: all commands in one list, found by typing. A path of a file can be typed, too.

use egui::{Align2, EventFilter, Key, Modal, Modifiers, RichText, Role, ScrollArea, TextEdit, Ui, WidgetInfo, vec2};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher};
use std::path::{Path, PathBuf};

use super::catalogue::{Entry, catalogue};
use super::texts;
use super::views::Brush;
use crate::app::album::holds_pictures;
use crate::app::state::Compared;
use crate::app::{Ask, Command, Export, Format, PictureSource};

/// What was typed, and which line is chosen.
#[derive(Default)]
pub struct Palette {
    typed: String,
    chosen: usize,
}

/// A line of the list.
struct Line {
    title: String,
    keys: String,
    command: Command,
}

const WIDTH: f32 = 560.0;
const ROW: f32 = 28.0;
const ROWS: usize = 12;

impl Palette {
    /// Draws the palette if it is open.
    pub fn show(&mut self, ui: &mut Ui, brush: &mut Brush<'_>) {
        if !brush.app.palette_is_open {
            self.typed.clear();
            self.chosen = 0;
            return;
        }
        let id = egui::Id::unique("palette");
        let area = Modal::default_area(id).anchor(Align2::CENTER_TOP, vec2(0.0, 90.0));
        let response = Modal::new(id).area(area).show(ui.ctx(), |ui| self.contents(ui, brush));
        if response.should_close() {
            brush.commands.push(Command::TogglePalette);
        }
    }

    fn contents(&mut self, ui: &mut Ui, brush: &mut Brush<'_>) {
        ui.set_width(WIDTH.min((ui.ctx().content_rect().width() - 60.0).max(100.0)));
        let (down, up, enter) = ui.input_mut(|input| {
            let mut pressed = |key| input.consume_key(Modifiers::NONE, key);
            (pressed(Key::ArrowDown), pressed(Key::ArrowUp), pressed(Key::Enter))
        });
        let field = TextEdit::singleline(&mut self.typed)
            .desired_width(f32::INFINITY)
            .hint_text(brush.say(texts::PALETTE_FIELD))
            .event_filter(EventFilter { escape: false, ..Default::default() })
            .margin(vec2(10.0, 8.0));
        let response = ui.add(field);
        let name = brush.say(texts::PALETTE_FIELD);
        response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, name));
        response.request_focus();
        if response.changed() {
            self.chosen = 0;
        }
        let lines = lines(ui, brush, &self.typed);
        let last = lines.len().saturating_sub(1);
        self.chosen = match (down, up) {
            (true, _) => (self.chosen + 1).min(last),
            (_, true) => self.chosen.saturating_sub(1),
            _ => self.chosen.min(last),
        };
        ui.add_space(6.0);
        if lines.is_empty() {
            ui.label(RichText::new(brush.say(texts::PALETTE_EMPTY)).color(brush.palette().weak));
        }
        let mut done = if enter { lines.get(self.chosen).map(|line| line.command.clone()) } else { None };
        ScrollArea::vertical().max_height(ROW * ROWS as f32).auto_shrink([false, true]).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            for (at, line) in lines.iter().enumerate() {
                let response = row(ui, brush, line, at == self.chosen);
                if at == self.chosen && (down || up) {
                    response.scroll_to_me(None);
                }
                if response.clicked() {
                    done = Some(line.command.clone());
                }
            }
        });
        if let Some(command) = done {
            brush.commands.extend([Command::TogglePalette, command]);
        }
    }
}

fn row(ui: &mut Ui, brush: &Brush<'_>, line: &Line, chosen: bool) -> egui::Response {
    let palette = brush.palette();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), egui::Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &line.title));
    if chosen || response.hovered() {
        let fill = if chosen { palette.accent.gamma_multiply(0.35) } else { palette.raised };
        ui.painter().rect_filled(rect, 4.0, fill);
    }
    let font = egui::TextStyle::Body.resolve(ui.style());
    let middle = rect.center().y;
    let painter = ui.painter_at(rect);
    let keys = painter.layout_no_wrap(line.keys.clone(), font.clone(), palette.weak);
    let mut job = egui::text::LayoutJob::simple_singleline(line.title.clone(), font, palette.text);
    job.wrap = egui::text::TextWrapping::truncate_at_width((rect.width() - keys.size().x - 30.0).max(1.0));
    let title = painter.layout_job(job);
    painter.galley(egui::pos2(rect.left() + 10.0, middle - title.size().y / 2.0), title, palette.text);
    let at = egui::pos2(rect.right() - 10.0 - keys.size().x, middle - keys.size().y / 2.0);
    painter.galley(at, keys, palette.weak);
    response
}

/// What fits to what was typed, best first.
fn lines(ui: &Ui, brush: &Brush<'_>, typed: &str) -> Vec<Line> {
    let app = brush.app;
    let line = |entry: Entry| Line {
        keys: entry.keys.map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default(),
        title: entry.title,
        command: entry.command,
    };
    let is_palette = |entry: &Entry| entry.command == Command::TogglePalette;
    let entries: Vec<Entry> = catalogue(app).into_iter().filter(|entry| entry.enabled && !is_palette(entry)).collect();
    if typed.trim().is_empty() {
        return entries.into_iter().map(line).collect();
    }
    let mut lines = of_path(brush, typed.trim());
    let pattern = Pattern::parse(typed, CaseMatching::Ignore, Normalization::Smart);
    let mut matcher = Matcher::new(Config::DEFAULT);
    let mut buffer = Vec::new();
    let mut scored: Vec<(u32, Entry)> = entries
        .into_iter()
        .filter_map(|entry| {
            let title = nucleo_matcher::Utf32Str::new(&entry.title, &mut buffer);
            pattern.score(title, &mut matcher).map(|score| (score, entry))
        })
        .collect();
    // Of equals the shorter is nearer to what was typed.
    scored.sort_by_key(|(score, entry)| (std::cmp::Reverse(*score), entry.title.chars().count()));
    lines.extend(scored.into_iter().map(|(_, entry)| line(entry)));
    lines
}

/// What can be done with the file whose path was typed: open it, or write to it where there is none.
fn of_path(brush: &Brush<'_>, typed: &str) -> Vec<Line> {
    let path = match (typed.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(typed),
    };
    if !typed.contains(['/', '\\']) && path.extension().is_none() {
        return Vec::new();
    }
    let line = |text, command| Line { title: format!("{} {typed}", brush.say(text)), keys: String::new(), command };
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    if path.is_dir() {
        return match path {
            path if holds_pictures(&path) => vec![line(texts::album::OPEN_THIS, Command::OpenAlbum(path))],
            path => vec![line(texts::RUN_CHECKPOINT, Command::SetCheckpoint(path))],
        };
    }
    if path.is_file() {
        return match ending.as_str() {
            "json" => vec![line(texts::OPEN_THIS, Command::OpenSession(path))],
            _ => vec![
                line(texts::OPEN_THIS, Command::OpenPicture(path.clone())),
                line(
                    texts::COMPARISON,
                    Command::AddCompared(Compared {
                        caption: Some(caption_from(&path)),
                        picture: PictureSource::File(path),
                    }),
                ),
            ],
        };
    }
    let export = |view, format| Command::Ask(Ask::Export(Export { view, format }, Some(path.clone())));
    match ending.as_str() {
        "json" => vec![line(texts::SAVE_SESSION_AS, Command::SaveSession(path))],
        "png" => vec![line(texts::SAVE_BOARD_AS, export(None, Format::Png(2)))],
        "html" => vec![line(texts::SAVE_BOARD_AS, export(None, Format::Html))],
        "csv" => vec![line(texts::SAVE_BOARD_AS, export(Some(brush.app.help), Format::Csv))],
        "npz" => vec![line(texts::SAVE_BOARD_AS, export(Some(brush.app.help), Format::Npz))],
        _ => Vec::new(),
    }
}

/// A first caption for a picture: its file's name.
#[must_use]
pub fn caption_from(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.replace(['_', '-'], " ")
}
