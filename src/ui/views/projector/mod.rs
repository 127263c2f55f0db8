//! The views of patches that stand among words.

mod patch_words;
mod picture_cost;
mod projector_change;
mod row;
mod row_shares;

pub use patch_words::PatchWordsView;
pub use picture_cost::PictureCostView;
pub use projector_change::ProjectorChangeView;
pub use row::RowView;
pub use row_shares::RowSharesView;

use super::Brush;
use crate::app::{App, Thing};
use crate::methods::Evidence;
use crate::methods::spliced::{RowToken, Spliced};

/// The key of the method in whose column they stand.
const METHOD: &str = "projector";

/// The block behind which patches are looked at; 0 is the projector's output.
fn depth(app: &App, spliced: &Spliced) -> usize {
    app.state.fusion.layer.unwrap_or(0).min(spliced.layers)
}

/// The patch under the pointer, or the selected one.
fn patch(app: &App) -> Option<usize> {
    match app.hovered {
        Some(Thing::Patch(patch)) => Some(patch),
        _ => app.state.selected.patch,
    }
}

/// Where the word that is looked at stands in the row, if it is one of the person's text.
fn position(app: &App, evidence: &Evidence, spliced: &Spliced) -> Option<usize> {
    let reading = evidence.reading.as_ref()?;
    let step = app.step(reading)?;
    let words = spliced.row.iter().enumerate().filter(|(_, token)| !token.of_picture);
    words.map(|(at, _)| at).nth(step).filter(|_| step < reading.lines.first().map_or(0, |line| line.steps.len()))
}

/// What a position of the row is to a person.
fn thing(token: &RowToken) -> Option<Thing> {
    token.patch.map(Thing::Patch).or(token.span.map(|(start, end)| Thing::Words(start, end)))
}

/// Whether a word is among the selected ones.
fn is_selected(brush: &Brush<'_>, word: &str) -> bool {
    let state = &brush.app.state;
    let Some((start, end)) = state.selected.words else { return false };
    let phrase = state.sentence.get(start..end).unwrap_or_default();
    // Chinese has no spaces between words.
    phrase.split_whitespace().any(|part| part == word) || !word.is_ascii() && phrase.contains(word)
}
