//! What can be in a scene: stickers, and shapes in colours.

use serde::{Deserialize, Serialize};

use super::SIDE;
use super::stickers::STICKERS;
use super::tile::tile;
use crate::error::Error;

/// One of the stickers of the registry, by its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sticker(u8);

impl Sticker {
    /// All stickers, in the registry's order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..STICKERS.len()).map(Self::at)
    }

    /// How many stickers there are.
    pub fn count() -> usize {
        STICKERS.len()
    }

    /// The sticker with this English name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|sticker| sticker.entry().name == name)
    }

    /// Its English singular, which is also its name in files.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Its place in the registry, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(super) fn at(index: usize) -> Self {
        debug_assert!(index < STICKERS.len());
        Self(index as u8)
    }

    pub(super) fn entry(self) -> &'static super::stickers::Entry {
        &STICKERS[self.index()]
    }
}

/// A shape that is drawn, not pasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// A disc, lit from above.
    Ball,
    /// A square with round corners.
    Box,
    /// A star with five points.
    Star,
    /// A heart.
    Heart,
    /// A triangle on its base.
    Triangle,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 5] = [Self::Ball, Self::Box, Self::Star, Self::Heart, Self::Triangle];

    /// Its English singular, which is also its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ball => "ball",
            Self::Box => "box",
            Self::Star => "star",
            Self::Heart => "heart",
            Self::Triangle => "triangle",
        }
    }
}

/// The colour of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Black,
    White,
}

impl Colour {
    /// All colours.
    pub const ALL: [Self; 8] =
        [Self::Red, Self::Orange, Self::Yellow, Self::Green, Self::Blue, Self::Purple, Self::Black, Self::White];

    /// Its English word, which is also its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Black => "black",
            Self::White => "white",
        }
    }

    /// Red, green and blue of a shape's middle, 0 to 255.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [222, 45, 48],
            Self::Orange => [248, 138, 24],
            Self::Yellow => [250, 214, 40],
            Self::Green => [48, 160, 72],
            Self::Blue => [38, 100, 218],
            Self::Purple => [142, 68, 190],
            Self::Black => [48, 48, 54],
            Self::White => [250, 250, 250],
        }
    }
}

/// What an object is. Two objects with the same thing can't be told apart by words.
///
/// In files it is its English phrase: `"cat"`, `"red ball"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Thing {
    /// A sticker.
    Sticker(Sticker),
    /// A drawn shape.
    Shape {
        /// Which shape.
        shape: Shape,
        /// In which colour.
        colour: Colour,
    },
}

impl Thing {
    /// Everything that can be in a scene: the stickers, then every shape in every colour.
    pub fn all() -> impl Iterator<Item = Self> {
        let shapes = Shape::ALL
            .into_iter()
            .flat_map(|shape| Colour::ALL.into_iter().map(move |colour| Self::Shape { shape, colour }));
        Sticker::all().map(Self::Sticker).chain(shapes)
    }

    /// Its place in [`Thing::all`].
    pub fn index(self) -> usize {
        match self {
            Self::Sticker(sticker) => sticker.index(),
            Self::Shape { shape, colour } => STICKERS.len() + shape as usize * Colour::ALL.len() + colour as usize,
        }
    }

    /// Its name in files, which is its English phrase: `cat`, `red ball`.
    pub fn name(self) -> String {
        match self {
            Self::Sticker(sticker) => sticker.name().to_owned(),
            Self::Shape { shape, colour } => format!("{} {}", colour.name(), shape.name()),
        }
    }

    /// A picture of it, `side * side` pixels of premultiplied red, green, blue and alpha, row by row.
    pub fn icon(self, side: u32) -> Vec<[u8; 4]> {
        tile(self, side.clamp(1, SIDE)).into_owned()
    }

    /// Whether it is a drawn shape.
    pub fn is_shape(self) -> bool {
        matches!(self, Self::Shape { .. })
    }
}

impl From<Thing> for String {
    fn from(thing: Thing) -> Self {
        thing.name()
    }
}

impl TryFrom<String> for Thing {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        Self::all().find(|thing| thing.name() == name).ok_or_else(|| {
            Error::unusable(
                format!("the sticker world has no \"{name}\""),
                "use the name of a sticker like \"cat\" or a colour and a shape like \"red ball\"",
            )
        })
    }
}
