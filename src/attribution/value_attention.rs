#![doc = include_str!("../../assets/help/value-attention.en.md")]

use super::asking::Explainer;
use super::bimodal_relevancy::{Flow, Order, Step, unfit};
use super::matrix::{last_row, patches_of, valued};
use super::{Attribution, Subject};
use crate::error::Result;
use crate::taps::{Recording, Site, SitePattern};

/// The registry's entry.
pub const VALUE_ATTENTION: Attribution = Attribution {
    key: "value-attention",
    help: [
        include_str!("../../assets/help/value-attention.en.md"),
        include_str!("../../assets/help/value-attention.zh.md"),
    ],
    needs_gradients: false,
    depends_on_text: false,
    signed: false,
    paper: "Kobayashi et al. 2020, arXiv 2004.10102",
    map,
};

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    Ok(patches_of(subject, &last_row(subject, valued)?))
}

/// The same of any model: from the words along the attentions that lead to the patches.
pub const OF_ALL: Explainer = Explainer {
    key: VALUE_ATTENTION.key,
    help: VALUE_ATTENTION.help,
    paper: VALUE_ATTENTION.paper,
    map: |asked, progress| {
        let patches = asked.hiding().patches();
        let (recording, flow) = asked.flow(&SitePattern::new("*.pattern,*.v"))?;
        progress(1.0);
        along(&recording, &flow, patches)
    },
};

/// What is taken of each of `patches` on the way that `flow` says, hop by hop: in each the mean over layers and heads of attention
/// times the length of the value, `[patches]`.
///
/// # Errors
/// If the recording lacks something, or the parts don't fit each other.
pub fn along(recording: &Recording, flow: &Flow, patches: usize) -> Result<Vec<f32>> {
    let mut row: Vec<f64> = Vec::new();
    for (at, part) in flow.parts.iter().enumerate() {
        let steps = part.steps(recording);
        // What a vision tower mixes is not looked at: its words are patches already.
        let leads = |step: &&Step| matches!(step, Step::Own(_)) != part.handed.is_empty();
        let leading: Vec<Site> = steps.iter().filter(leads).map(|step| step.pattern(part.tower)).collect();
        if at > 0 && (leading.is_empty() || at + 1 == flow.parts.len()) {
            break;
        }
        let (mut next, mut length): (Vec<f64>, usize) = (Vec::new(), 0);
        for site in &leading {
            let matrix = valued(recording, 0, *site)?;
            let (queries, keys) = matrix.size();
            if row.is_empty() {
                row = vec![0.0; queries];
                for start in &flow.start {
                    *row.get_mut(*start).ok_or_else(unfit)? += 1.0;
                }
            }
            // Behind the patches a resampler's latents look at themselves.
            length = if part.order == Order::Latents { keys.checked_sub(queries).ok_or_else(unfit)? } else { keys };
            next.resize(keys.max(next.len()), 0.0);
            let share = 1.0 / leading.len() as f64;
            next.iter_mut().zip(matrix.behind(&row)).for_each(|(sum, taken)| *sum += share * taken);
        }
        next.truncate(length);
        row = if part.handed.is_empty() { next } else { part.hand(&next)? };
    }
    let leading = row.len().checked_sub(patches).ok_or_else(unfit)?;
    Ok(row[leading..].iter().map(|value| *value as f32).collect())
}
