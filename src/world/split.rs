//! What is held out from training, so that a model can be asked about combinations that it never saw.

use serde::{Deserialize, Serialize};

use super::thing::{Colour, Shape, Sticker, Thing};

/// Which scenes: those to learn from, fresh ones of the same kind, or ones with a combination never learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// To learn from; without held-out combinations.
    Training,
    /// Never learned from; without held-out combinations.
    Test,
    /// Never learned from; every scene has at least one held-out combination.
    HeldOut,
}

impl Split {
    /// All splits.
    pub const ALL: [Self; 3] = [Self::Training, Self::Test, Self::HeldOut];

    /// The random generator's stream: equal seeds of two splits have nothing in common.
    pub(super) fn stream(self) -> u64 {
        self as u64
    }
}

/// Shapes that have this colour in held-out scenes only. Each of these shapes and colours is learned in other company.
pub(super) const HELD_OUT_SHAPES: [(Shape, Colour); 6] = [
    (Shape::Ball, Colour::Purple),
    (Shape::Box, Colour::Yellow),
    (Shape::Star, Colour::Blue),
    (Shape::Heart, Colour::Green),
    (Shape::Triangle, Colour::Red),
    (Shape::Ball, Colour::Orange),
];

/// Number of pairs of stickers that meet in held-out scenes only.
pub(super) const HELD_OUT_PAIRS: usize = 60;

/// Held-out pair number `index`: each of the 45 stickers meets the one 11 places on, and every third the one 22 on.
/// The rule spreads the pairs evenly: each sticker is in two to four of them.
pub(super) fn held_out_pair(index: usize) -> (Sticker, Sticker) {
    let count = Sticker::count();
    let (first, distance) = if index < count { (index, 11) } else { ((index - count) * 3, 22) };
    (Sticker::at(first % count), Sticker::at((first + distance) % count))
}

/// Whether this thing alone is a combination that training never shows.
pub(super) fn is_held_out_thing(thing: Thing) -> bool {
    match thing {
        Thing::Sticker(_) => false,
        Thing::Shape { shape, colour } => HELD_OUT_SHAPES.contains(&(shape, colour)),
    }
}

/// Whether these two things together are a combination that training never shows.
pub(super) fn is_held_out_pair(one: Thing, other: Thing) -> bool {
    let (Thing::Sticker(one), Thing::Sticker(other)) = (one, other) else {
        return false;
    };
    (0..HELD_OUT_PAIRS).map(held_out_pair).any(|(a, b)| (a, b) == (one, other) || (a, b) == (other, one))
}

/// Whether a scene with these things has a combination that training never shows.
pub fn is_held_out(things: &[Thing]) -> bool {
    things.iter().enumerate().any(|(index, &thing)| {
        is_held_out_thing(thing) || things[..index].iter().any(|&other| is_held_out_pair(thing, other))
    })
}
