//! The figures of a model whose queries look at the picture, as a table of at most 100 columns.

use std::fmt;

use super::contrastive::RETRIEVAL_SCENES;
use super::figures::Figures;
use super::fusion_pointing::best_head;
use super::querying::QueryingPart;
use super::report::cell;
use super::table::Table;

impl fmt::Display for Figures<QueryingPart> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(formatter)?;
        let mut table = Table::new(formatter, &self.parts)?;
        if table.has(&|part| part.retrieval.is_some()) {
            let candidates = self.scenes.min(RETRIEVAL_SCENES);
            table.line(&format!("Found first among {candidates}"), &|_| Some(String::new()))?;
        }
        table.line("  text of a picture", &|part| Some(cell(part.retrieval.as_ref()?.picture_to_text)))?;
        table.line("  picture of a text", &|part| Some(cell(part.retrieval.as_ref()?.text_to_picture)))?;
        table.matching()?;
        table.written()?;

        let of = |part: &QueryingPart| part.pointing.clone();
        if !table.has(&|part| part.pointing.is_some()) {
            return Ok(());
        }
        table.line("Pointing game", &|_| Some(String::new()))?;
        table.line("  random map", &|part| Some(cell(of(part)?.random.over_things)))?;
        table.line("  mean of all queries", &|part| Some(cell(of(part)?.all.over_things)))?;
        table.line("  queries by attention", &|part| Some(cell(of(part)?.through?.over_things)))?;
        table.line("  winning query", &|part| Some(cell(of(part)?.winner.over_things)))?;
        table.line("  the same, strictly", &|part| Some(cell(of(part)?.winner.strict_over_things)))?;
        let layers = self.parts.iter().filter_map(|part| part.pointing.as_ref()).map(|found| found.layers.len()).max();
        for layer in 0..layers.unwrap_or(0) {
            let share = |part: &QueryingPart| Some(cell(of(part)?.layers.get(layer)?.over_things));
            table.line(&format!("  its map {} of {}", layer + 1, layers.unwrap_or(0)), &share)?;
        }
        table.line("  best head (map·head)", &|part| {
            let (layer, head, share) = best_head(&of(part)?.heads)?;
            Some(format!("{share:.2} ({}·{})", layer + 1, head + 1))
        })
    }
}
