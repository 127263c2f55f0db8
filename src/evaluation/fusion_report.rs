//! The figures of a model whose words look at the picture, as a table of at most 100 columns.

use std::fmt;

use super::fusion::{FusionReport, Part};
use super::fusion_pointing::{FusionPointing, Place, best_head};
use super::report::{cell, name, row, word};
use crate::world::{FoilKind, QuestionKind};

impl fmt::Display for FusionReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checkpoint, class, parameters, seed, scenes, parts } = self;
        writeln!(formatter, "{checkpoint}: {class}, {parameters} parameters, {scenes} scenes a split, seed {seed}")?;
        row(formatter, "", parts.iter().map(|part| format!("{}, {}", name(part.split), word(part.language))))?;
        let mut line = |label: &str, of: &dyn Fn(&Part) -> Option<String>| {
            let cells: Vec<Option<String>> = parts.iter().map(of).collect();
            if cells.iter().all(Option::is_none) {
                return Ok(());
            }
            row(formatter, label, cells.into_iter().map(Option::unwrap_or_default))
        };
        let plain = |share: f64| format!("{share:.2}");

        line("True or nearly true", &|part| Some(cell(part.matching.as_ref()?.accuracy)))?;
        line("  true ones", &|part| Some(plain(part.matching.as_ref()?.of_true)))?;
        for kind in FoilKind::ALL {
            let label = match kind {
                FoilKind::Thing => "  another thing",
                FoilKind::Colour => "  another colour",
                FoilKind::Shape => "  another shape",
                FoilKind::Number => "  another number",
                FoilKind::Direction => "  the other direction",
            };
            line(label, &|part| {
                let of = part.matching.as_ref()?.of_foils.iter().find(|(of, ..)| *of == kind)?;
                Some(format!("{:.2} of {}", of.1, of.2))
            })?;
        }
        for kind in QuestionKind::ALL {
            let label = match kind {
                QuestionKind::Where => "Answers: what is left of",
                QuestionKind::Colour => "Answers: colour",
                QuestionKind::Count => "Answers: how many",
                QuestionKind::Presence => "Answers: is there",
                QuestionKind::Name => "Answers: what is this",
            };
            let of = |part: &Part| part.answers.iter().find(|answers| answers.kind == kind).cloned();
            line(label, &|part| Some(cell(of(part)?.right)))?;
            line("  most frequent answer", &|part| Some(plain(of(part)?.majority)))?;
            line("  any other thing", &|part| Some(plain(of(part)?.other_thing?)))?;
        }
        line("Captions: named is there", &|part| Some(cell(part.captions.as_ref()?.precision)))?;
        line("  there is named", &|part| Some(cell(part.captions.as_ref()?.recall)))?;

        for place in [Place::Read, Place::Predict] {
            let of = |part: &Part| part.pointing.iter().find(|found| found.place == place).cloned();
            if parts.iter().all(|part| of(part).is_none()) {
                continue;
            }
            let where_ = if place == Place::Read { "while a noun is read" } else { "while it is written" };
            line(&format!("Pointing {where_}"), &|_| Some(String::new()))?;
            line("  attention", &|part| Some(cell(of(part)?.raw.over_things)))?;
            line("  gradient x attention", &|part| Some(cell(of(part)?.weighted.over_things)))?;
            line("  the same, strictly", &|part| Some(cell(of(part)?.weighted.strict_over_things)))?;
            let best = |heads: fn(&FusionPointing) -> &Vec<Vec<f64>>| {
                move |part: &Part| {
                    let (layer, head, share) = best_head(heads(&of(part)?))?;
                    Some(format!("{share:.2} ({}·{})", layer + 1, head + 1))
                }
            };
            line("  best head (layer·head)", &best(|found| &found.raw_heads))?;
            line("  the same, weighted", &best(|found| &found.weighted_heads))?;
        }
        Ok(())
    }
}
