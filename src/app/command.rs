//! The commands: the only way to change the state.

use std::path::PathBuf;

use super::{App, CheckpointChoice, Layer, PictureSource, Scale, Theme};
use crate::world::Language;

/// Something that the person asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Show a sample, by its key, with its caption.
    OpenSample(String),
    /// Show a picture from a file.
    OpenPicture(PathBuf),
    /// Change the sentence.
    SetSentence(String),
    /// Select the words at these bytes of the sentence; `extend` keeps what is selected and selects all between.
    SelectWords {
        /// First byte.
        start: usize,
        /// Behind the last byte.
        end: usize,
        /// Whether to extend the present selection.
        extend: bool,
    },
    /// Select no word, so that the whole sentence is meant.
    SelectSentence,
    /// The pointer is over a patch, or no longer.
    HoverPatch(Option<usize>),
    /// The pointer is over a point of the cloud, or no longer.
    HoverPoint(Option<usize>),
    /// Select a patch, or none.
    SelectPatch(Option<usize>),
    /// Show this attribution large.
    SetLayer(Layer),
    /// How strongly the map covers the picture, from 0 to 1.
    SetOpacity(f32),
    /// Draw the map smooth or patch by patch.
    SetSmooth(bool),
    /// What the colours are measured against.
    SetScale(Scale),
    /// The language of the interface; a sample's untouched caption changes with it.
    SetLanguage(Language),
    /// Light or dark.
    SetTheme(Theme),
    /// Run another checkpoint.
    SetCheckpoint(PathBuf),
    /// The error was read.
    DismissProblem,
}

/// Applies `command`; says whether something has to be computed anew.
pub(super) fn apply(app: &mut App, command: Command) -> bool {
    let before = app.state.clone();
    let state = &mut app.state;
    match command {
        Command::OpenSample(key) => {
            state.picture = PictureSource::Sample(key.clone());
            app.take_caption(&key);
        }
        Command::OpenPicture(path) => state.picture = PictureSource::File(path),
        Command::SetSentence(sentence) => {
            state.sentence = sentence;
            state.selection = None;
        }
        Command::SelectWords { start, end, extend } => {
            let kept = state.selection.filter(|_| extend);
            let (from, to) = kept.unwrap_or((start, end));
            let selection = (from.min(start), to.max(end));
            // Only what can be cut out of the sentence is a selection.
            state.selection = state.sentence.get(selection.0..selection.1).map(|_| selection);
        }
        Command::SelectSentence => state.selection = None,
        Command::HoverPatch(patch) => app.hovered_patch = patch,
        Command::HoverPoint(point) => app.hovered_point = point,
        Command::SelectPatch(patch) => state.patch = patch,
        Command::SetLayer(layer) => state.layer = layer,
        Command::SetOpacity(opacity) => state.opacity = opacity.clamp(0.0, 1.0),
        Command::SetSmooth(smooth) => state.smooth = smooth,
        Command::SetScale(scale) => state.scale = scale,
        Command::SetLanguage(language) => set_language(app, language),
        Command::SetTheme(theme) => state.theme = theme,
        Command::SetCheckpoint(folder) => {
            let folder = super::one_name(folder);
            if !app.checkpoints.iter().any(|choice| choice.folder == folder) {
                app.checkpoints.push(CheckpointChoice::from(folder.clone()));
            }
            state.checkpoint = Some(folder);
        }
        Command::DismissProblem => app.problem = None,
    }
    let after = &app.state;
    if before.picture != after.picture || before.checkpoint != after.checkpoint {
        // Patches of another picture, or of another grid.
        app.state.patch = None;
        app.hovered_patch = None;
    }
    let after = &app.state;
    before.picture != after.picture
        || before.sentence != after.sentence
        || before.selection != after.selection
        || before.language != after.language
        || before.checkpoint != after.checkpoint
}

fn set_language(app: &mut App, language: Language) {
    let caption = match &app.state.picture {
        PictureSource::Sample(key) => {
            let sample = app.samples.iter().find(|sample| sample.key == *key);
            let caption = sample.map(|sample| &sample.captions[app.language_index()]);
            (caption == Some(&app.state.sentence)).then(|| key.clone())
        }
        PictureSource::File(_) => None,
    };
    app.state.language = language;
    if let Some(key) = caption {
        app.take_caption(&key);
    }
}
