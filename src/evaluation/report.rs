//! The figures of one checkpoint, as JSON and as a table of at most 100 columns.

use serde::Serialize;
use std::fmt;

use super::Share;
use super::pointing::Pointing;
use super::retrieval::Retrieval;
use crate::world::{Language, Split};

/// The figures of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The name of its folder.
    pub checkpoint: String,
    /// Its class.
    pub class: String,
    /// How many numbers it holds.
    pub parameters: usize,
    /// The seed of the scenes.
    pub seed: u32,
    /// The figures on each split.
    pub splits: Vec<SplitReport>,
}

/// The figures on the scenes of one split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitReport {
    /// Which scenes.
    pub split: Split,
    /// How many were made.
    pub scenes: usize,
    /// Finding texts and pictures, in each language.
    pub retrieval: Vec<Retrieval>,
    /// The pointing game, in each language with each kind of map.
    pub pointing: Vec<Pointing>,
}

/// Width of the table's first column.
const LABEL: usize = 26;
/// Width of the others.
const CELL: usize = 18;

/// A line of the table about retrieval.
type Find = (&'static str, fn(&Retrieval) -> Share);

const FINDS: [Find; 2] =
    [("  text of a picture", |found| found.picture_to_text), ("  picture of a text", |found| found.text_to_picture)];

/// A part of the table about the pointing game.
type Point = (&'static str, fn(&Pointing) -> Share);

const POINTS: [Point; 2] = [
    ("Pointing game: the map's highest patch is within 15 pixels of the object, mean over things", |pointing| {
        pointing.over_things
    }),
    ("The same, strictly on the object's pixels", |pointing| pointing.strict_over_things),
];

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checkpoint, class, parameters, seed, splits } = self;
        let scenes = splits.first().map_or(0, |split| split.scenes);
        writeln!(formatter, "{checkpoint}: {class}, {parameters} parameters, {scenes} scenes a split, seed {seed}")?;
        let columns = || splits.iter().flat_map(|split| Language::ALL.map(|language| (split, language)));
        row(formatter, "", columns().map(|(split, language)| format!("{}, {}", name(split.split), word(language))))?;

        let candidates = splits.iter().flat_map(|split| &split.retrieval).map(|retrieval| retrieval.scenes).max();
        writeln!(formatter, "Found first among {} scenes", candidates.unwrap_or(0))?;
        for (label, share) in FINDS {
            let cell = |(split, language): (&SplitReport, Language)| {
                let found = split.retrieval.iter().find(|found| found.language == language);
                found.map_or(String::new(), |found| cell(share(found)))
            };
            row(formatter, label, columns().map(cell))?;
        }

        let mut maps: Vec<&str> = Vec::new();
        for pointing in splits.iter().flat_map(|split| &split.pointing) {
            if !maps.contains(&pointing.attribution) {
                maps.push(pointing.attribution);
            }
        }
        for (headline, share) in POINTS {
            writeln!(formatter, "{headline}")?;
            for map in &maps {
                let cell = |(split, language): (&SplitReport, Language)| {
                    let is_it = |pointing: &&Pointing| pointing.attribution == *map && pointing.language == language;
                    split.pointing.iter().find(is_it).map_or(String::new(), |pointing| cell(share(pointing)))
                };
                row(formatter, &format!("  {map}"), columns().map(cell))?;
            }
        }
        Ok(())
    }
}

pub(super) fn row(formatter: &mut fmt::Formatter<'_>, label: &str, cells: impl Iterator<Item = String>) -> fmt::Result {
    let cells: String = cells.map(|cell| format!("{cell:CELL$}")).collect();
    writeln!(formatter, "{}", format!("{label:LABEL$}{cells}").trim_end())
}

pub(super) fn cell(share: Share) -> String {
    format!("{:.2} ({:.2}-{:.2})", share.value, share.low, share.high)
}

pub(super) fn name(split: Split) -> &'static str {
    match split {
        Split::Training => "training",
        Split::Test => "test",
        Split::HeldOut => "held out",
    }
}

pub(super) fn word(language: Language) -> &'static str {
    match language {
        Language::English => "English",
        Language::Chinese => "Chinese",
    }
}
