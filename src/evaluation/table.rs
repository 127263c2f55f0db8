//! A table of at most 100 columns with a column for each split in each language, and its lines about what a model says.

use std::fmt;

use super::report::{cell, name, row, word};
use super::sentences::{Answers, Captions, Matching};
use crate::world::{FoilKind, Language, QuestionKind, Split};

/// What the figures on one split in one language have in common.
pub(super) trait Column {
    /// Which scenes, and in which language.
    fn of(&self) -> (Split, Language);
    /// Whether true sentences are told from nearly true ones.
    fn matching(&self) -> Option<&Matching>;
    /// Answers by kind of question.
    fn answers(&self) -> &[Answers];
    /// Nouns of captions.
    fn captions(&self) -> Option<&Captions>;
}

/// A table that is being written.
pub(super) struct Table<'a, 'f, Part> {
    formatter: &'a mut fmt::Formatter<'f>,
    parts: &'a [Part],
}

impl<'a, 'f, Part: Column> Table<'a, 'f, Part> {
    /// Writes the heads of the columns.
    pub fn new(formatter: &'a mut fmt::Formatter<'f>, parts: &'a [Part]) -> Result<Self, fmt::Error> {
        let head = |part: &Part| {
            let (split, language) = part.of();
            format!("{}, {}", name(split), word(language))
        };
        row(formatter, "", parts.iter().map(head))?;
        Ok(Self { formatter, parts })
    }

    /// Whether `of` has something in a column.
    pub fn has(&self, of: &dyn Fn(&Part) -> bool) -> bool {
        self.parts.iter().any(of)
    }

    /// A line, unless it is empty in all columns.
    pub fn line(&mut self, label: &str, of: &dyn Fn(&Part) -> Option<String>) -> fmt::Result {
        let cells: Vec<Option<String>> = self.parts.iter().map(of).collect();
        if cells.iter().all(Option::is_none) {
            return Ok(());
        }
        row(self.formatter, label, cells.into_iter().map(Option::unwrap_or_default))
    }

    /// True sentences against nearly true ones.
    pub fn matching(&mut self) -> fmt::Result {
        self.line("True or nearly true", &|part| Some(cell(part.matching()?.accuracy)))?;
        self.line("  true ones", &|part| Some(plain(part.matching()?.of_true)))?;
        for kind in FoilKind::ALL {
            let label = match kind {
                FoilKind::Thing => "  another thing",
                FoilKind::Colour => "  another colour",
                FoilKind::Shape => "  another shape",
                FoilKind::Number => "  another number",
                FoilKind::Direction => "  the other direction",
            };
            self.line(label, &|part| {
                let of = part.matching()?.of_foils.iter().find(|(of, ..)| *of == kind)?;
                Some(format!("{:.2} of {}", of.1, of.2))
            })?;
        }
        Ok(())
    }

    /// Answers and captions.
    pub fn written(&mut self) -> fmt::Result {
        for kind in QuestionKind::ALL {
            let label = match kind {
                QuestionKind::Where => "Answers: what is left of",
                QuestionKind::Colour => "Answers: colour",
                QuestionKind::Count => "Answers: how many",
                QuestionKind::Presence => "Answers: is there",
                QuestionKind::Name => "Answers: what is this",
            };
            let of = |part: &Part| part.answers().iter().find(|answers| answers.kind == kind).cloned();
            self.line(label, &|part| Some(cell(of(part)?.right)))?;
            self.line("  most frequent answer", &|part| Some(plain(of(part)?.majority)))?;
            self.line("  any other thing", &|part| Some(plain(of(part)?.other_thing?)))?;
        }
        self.line("Captions: named is there", &|part| Some(cell(part.captions()?.precision)))?;
        self.line("  there is named", &|part| Some(cell(part.captions()?.recall)))
    }
}

/// A share without an interval.
fn plain(share: f64) -> String {
    format!("{share:.2}")
}
