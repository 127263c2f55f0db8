//! What can be pointed at or selected, and which things belong together: whatever is pointed at lights up in every view.

use serde::{Deserialize, Serialize};

use crate::taps::Tower;

/// Something on the screen that several views may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    /// A patch of the picture.
    Patch(usize),
    /// A sticker of the scene, by its place from the lowest to the topmost.
    Object(usize),
    /// Words of the sentence, by their first byte and the byte behind them.
    Words(usize, usize),
    /// A picture of the comparison, by its place; the person's own is the last.
    Picture(usize),
    /// A text of the comparison, by its place; the person's own is the last.
    Text(usize),
    /// A picture with a text.
    Cell {
        /// The picture's place.
        picture: usize,
        /// The text's place.
        text: usize,
    },
    /// A query of the querying transformer, as numbered in the checkpoint.
    Query(usize),
    /// A head of the tower that the attention explorer shows.
    Head {
        /// Its layer.
        layer: usize,
        /// Its place in the layer.
        head: usize,
    },
}

impl Thing {
    /// Whether the other thing lights up together with this one.
    #[must_use]
    pub fn touches(self, other: Self) -> bool {
        let part = |cell: Self, one: Self| match (cell, one) {
            (Self::Cell { picture, .. }, Self::Picture(at)) => picture == at,
            (Self::Cell { text, .. }, Self::Text(at)) => text == at,
            _ => false,
        };
        self == other || part(self, other) || part(other, self)
    }
}

/// What is selected: at most one of each kind, since a word, a patch and a pair can be looked at together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selected {
    /// Words, as bytes of the sentence; the whole sentence where there are none.
    pub words: Option<(usize, usize)>,
    /// A patch.
    pub patch: Option<usize>,
    /// A sticker.
    pub object: Option<usize>,
    /// A picture, a text or a cell of the comparison.
    pub pair: Option<Thing>,
}

impl Selected {
    /// Everything that is selected.
    pub fn things(self) -> impl Iterator<Item = Thing> {
        let words = self.words.map(|(start, end)| Thing::Words(start, end));
        [words, self.patch.map(Thing::Patch), self.object.map(Thing::Object), self.pair].into_iter().flatten()
    }
}

/// How strongly something is lit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Light {
    /// Not at all.
    None,
    /// It is selected.
    Selected,
    /// The pointer is over it, here or in another view.
    Hovered,
}

/// A tower whose attention can be explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TowerName {
    /// The vision tower.
    #[default]
    Vision,
    /// The text tower.
    Text,
}

impl TowerName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Vision, Self::Text];

    /// The tower in the model.
    #[must_use]
    pub fn tower(self) -> Tower {
        match self {
            Self::Vision => Tower::Vision,
            Self::Text => Tower::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_touches_its_picture_and_its_text() {
        let cell = Thing::Cell { picture: 2, text: 3 };
        assert!(cell.touches(Thing::Picture(2)) && Thing::Text(3).touches(cell) && cell.touches(cell));
        assert!(!cell.touches(Thing::Picture(3)) && !cell.touches(Thing::Patch(2)));
        assert!(!Thing::Picture(1).touches(Thing::Text(1)));
    }
}
