//! The figures of a model that reads pictures as words, as a table of at most 100 columns.

use std::fmt;

use super::figures::Figures;
use super::fusion_pointing::{Place, best_head};
use super::projector::ProjectorPart;
use super::projector_words::PatchNames;
use super::report::cell;
use super::table::Table;

impl fmt::Display for Figures<ProjectorPart> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(formatter)?;
        let mut table = Table::new(formatter, &self.parts)?;
        table.written()?;
        for (place, of_answers, title) in [
            (Place::Read, false, "Pointing while a noun is read"),
            (Place::Predict, false, "Pointing while it is written"),
            (Place::Predict, true, "Pointing of an answer (colour)"),
        ] {
            let of = |part: &ProjectorPart| {
                part.pointing.iter().find(|found| (found.place, found.of_answers) == (place, of_answers)).cloned()
            };
            table.line(title, &|_| Some(String::new()))?;
            table.line("  attention", &|part| Some(cell(of(part)?.raw.over_things)))?;
            table.line("  gradient x attention", &|part| Some(cell(of(part)?.weighted.over_things)))?;
            table.line("  relevancy", &|part| Some(cell(of(part)?.relevancy.over_things)))?;
            table.line("  the same, strictly", &|part| Some(cell(of(part)?.relevancy.strict_over_things)))?;
            table.line("  best head (layer·head)", &|part| {
                let (layer, head, share) = best_head(&of(part)?.raw_heads)?;
                Some(format!("{share:.2} ({}·{})", layer + 1, head + 1))
            })?;
        }
        let depths = self.parts.iter().map(|part| part.names.len()).max().unwrap_or(0);
        let mut names = |title: &str, what: &dyn Fn(&PatchNames) -> String| -> fmt::Result {
            table.line(title, &|_| Some(String::new()))?;
            for depth in 0..depths {
                let label = if depth == 0 { "  projector".to_owned() } else { format!("  behind block {depth}") };
                table.line(&label, &|part| Some(what(part.names.get(depth)?)))?;
            }
            Ok(())
        };
        names("Nearest word names the object", &|names| cell(names.nearest))?;
        names("Nearest noun names it", &|names| cell(names.nearest_noun))?;
        names("Logit lens names it", &|names| cell(names.likeliest))?;
        names("Logit lens, nouns alone", &|names| cell(names.likeliest_noun))?;
        names("Nearest word, another scene", &|names| format!("{:.2}", names.of_another_scene))
    }
}
