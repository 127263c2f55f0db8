//! The figures of a model whose words look at the picture, as a table of at most 100 columns.

use std::fmt;

use super::figures::Figures;
use super::fusion::Part;
use super::fusion_pointing::{FusionPointing, Place, best_head};
use super::report::cell;
use super::table::Table;

impl fmt::Display for Figures<Part> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(formatter)?;
        let mut table = Table::new(formatter, &self.parts)?;
        table.matching()?;
        table.written()?;

        for place in [Place::Read, Place::Predict] {
            let of = |part: &Part| part.pointing.iter().find(|found| found.place == place).cloned();
            if !table.has(&|part| of(part).is_some()) {
                continue;
            }
            let where_ = if place == Place::Read { "while a noun is read" } else { "while it is written" };
            table.line(&format!("Pointing {where_}"), &|_| Some(String::new()))?;
            table.line("  attention", &|part| Some(cell(of(part)?.raw.over_things)))?;
            table.line("  gradient x attention", &|part| Some(cell(of(part)?.weighted.over_things)))?;
            table.line("  the same, strictly", &|part| Some(cell(of(part)?.weighted.strict_over_things)))?;
            let best = |heads: fn(&FusionPointing) -> &Vec<Vec<f64>>| {
                move |part: &Part| {
                    let (layer, head, share) = best_head(heads(&of(part)?))?;
                    Some(format!("{share:.2} ({}·{})", layer + 1, head + 1))
                }
            };
            table.line("  best head (layer·head)", &best(|found| &found.raw_heads))?;
            table.line("  the same, weighted", &best(|found| &found.weighted_heads))?;
        }
        Ok(())
    }
}
