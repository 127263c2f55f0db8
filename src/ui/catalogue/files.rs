//! The menu of files: what is opened, kept, downloaded and written.

use egui::Key;

use super::{CONTROL, CONTROL_SHIFT, Entry, List, Menu, title_key};
use crate::app::{Ask, Command, Export, Format, PictureSource};
use crate::ui::texts::{self, Text, downloads};
use crate::ui::views::VIEWS;
use crate::world::Language;

impl List<'_> {
    /// What is opened and kept.
    pub(super) fn files(&mut self) {
        let app = self.app;
        let menu = Menu::File;
        self.put(menu, texts::OPEN_PICTURE, Command::Ask(Ask::Picture), |entry| entry.keys(CONTROL, Key::O));
        let (recent, samples) = (self.say(texts::RECENT), self.say(texts::SAMPLES));
        for path in &app.desk.recent {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            let title = format!("{} {name}", self.say(texts::OPEN_THIS));
            self.put_named(menu, title, Command::OpenPicture(path.clone()), |entry| entry.within(&recent));
        }
        for sample in &app.samples {
            let title = format!("{} · {}", sample.key, sample.captions[app.language_index()]);
            let chosen = app.state.picture == PictureSource::Sample(sample.key.clone());
            let command = Command::OpenSample(sample.key.clone());
            self.put_named(menu, title, command, |entry| entry.within(&samples).chosen(chosen));
        }
        self.put(menu, texts::OPEN_CHECKPOINT, Command::Ask(Ask::Checkpoint), Entry::apart);
        self.put(menu, downloads::SHOW, Command::ToggleDownloads, |entry| entry);
        for choice in &app.checkpoints {
            let title = format!("{} {}", self.say(texts::RUN_CHECKPOINT), choice.title());
            let chosen = app.checkpoint(choice.method) == Some(choice);
            self.put_named(menu, title, Command::SetCheckpoint(choice.folder.clone()), |entry| entry.chosen(chosen));
        }
        self.put(menu, texts::OPEN_SESSION, Command::Ask(Ask::OpenSession), |entry| {
            entry.keys(CONTROL_SHIFT, Key::O).apart()
        });
        self.put(menu, texts::SAVE_SESSION, Command::Ask(Ask::SaveSession), |entry| entry.keys(CONTROL, Key::S));
    }

    /// What is written, and the end.
    pub(super) fn exports(&mut self) {
        let menu = Menu::File;
        let submenu = self.say(texts::EXPORT);
        let board = self.say(texts::THE_BOARD);
        let shown = VIEWS.iter().filter(|view| view.method() == self.app.state.method.0);
        let views: Vec<(Option<&'static str>, String)> =
            shown.map(|view| (Some(view.key()), self.word(&title_key(*view)))).collect();
        for (view, name) in std::iter::once((None, board)).chain(views) {
            for format in Format::ALL {
                // The page holds everything; numbers belong to a view.
                let fits = match format {
                    Format::Png(_) => true,
                    Format::Csv | Format::Npz => view.is_some(),
                    Format::Html => view.is_none(),
                };
                if !fits {
                    continue;
                }
                let how = format_name(self.language(), format);
                let command = Command::Ask(Ask::Export(Export { view, format }, None));
                let title = format!("{submenu} · {name} · {how}");
                self.put_named(menu, title, command, |entry| {
                    let entry = entry.within(&submenu);
                    if view.is_none() && format == Format::Png(2) { entry.keys(CONTROL, Key::E) } else { entry }
                });
            }
        }
        self.put(menu, texts::QUIT, Command::Ask(Ask::Quit), |entry| entry.keys(CONTROL, Key::Q).apart());
    }
}

/// What a format is called.
#[must_use]
pub fn format_name(language: Language, format: Format) -> String {
    let say = |text: Text| texts::say(language, text.0).to_owned();
    match format {
        Format::Png(scale) => format!("{} {scale}×", say(texts::AS_PICTURE)),
        Format::Csv => say(texts::AS_CSV),
        Format::Npz => say(texts::AS_NPZ),
        Format::Html => say(texts::AS_PAGE),
    }
}
