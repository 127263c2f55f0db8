//! Recorded runs that ship with the program, to be gone through without waiting.

use std::path::PathBuf;

use super::App;
use super::learning::{Learning, Seen};
use crate::training::live::Look;
use crate::training::recorded::Recording;
use crate::world::Language;

/// Where they lie.
fn folder() -> Option<PathBuf> {
    crate::resources::folder("assets/recordings")
}

/// Their names, sorted: those of the recipes that were recorded.
pub(super) fn names() -> Vec<String> {
    let entries = folder().and_then(|folder| std::fs::read_dir(folder).ok());
    let files = entries.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let runs = files.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    let mut names: Vec<String> =
        runs.filter_map(|path| path.file_stem().map(|name| name.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

impl App {
    /// Shows the recorded run called `name` in place of a training, from its beginning.
    pub(super) fn show_recording(&mut self, name: &str) {
        if !self.recordings.iter().any(|known| known == name) {
            return;
        }
        let Some(folder) = folder() else { return };
        match Recording::read(&folder.join(format!("{name}.safetensors"))) {
            Ok(recording) => self.learning = Some(Learning::recorded(recording, self.state.look.language)),
            Err(error) => self.problem = Some(error.to_string()),
        }
    }
}

/// What was seen by and by, with planes that turn as little as possible.
pub(super) fn seen(recording: &Recording, looks: &[Look]) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::with_capacity(looks.len());
    for (step, look) in recording.moments.iter().zip(looks) {
        let plane = super::learning::plane_of(look, all.last());
        all.push(Seen { step: *step, look: look.clone(), plane });
    }
    all
}

/// The looks of a recording in a language.
pub(super) fn looks_in(recording: &Recording, language: Language) -> &[Look] {
    let at = Language::ALL.iter().position(|other| *other == language).unwrap_or(0);
    &recording.looks[at]
}
