//! Maps for which a model is asked many times: what is asked of the worker, and what came of it.

use std::sync::Arc;

use super::App;
use super::column::ColumnKey;
use super::compute::{Computer, Question, Report};
use super::errand::Errand;
use super::loaded::Wanted;
use crate::attribution::hiding::{Fill, Hiding};
use crate::attribution::{EXPLAINERS, Explainer, explainer, occlusion};
use crate::error::{Error, Result};
use crate::methods::{Claim, Holder, Input, MapKind, Measure};
use crate::taps::CancelToken;

/// A map that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct MapAsk {
    /// The key of the method that it is of.
    pub method: &'static str,
    /// Its model.
    pub model: Wanted,
    /// How the map is made, by its key.
    pub explainer: &'static str,
    /// What it explains.
    pub claim: Claim,
    /// The part of the picture under the map, in pixels: left, top, right, bottom.
    pub seen: [f32; 4],
    /// Rows and columns of the map.
    pub grid: (usize, usize),
    /// What stands in the place of hidden patches.
    pub fill: Fill,
}

/// A map that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// What was asked.
    pub ask: MapAsk,
    /// About what.
    pub about: Arc<Question>,
    /// In what the numbers are measured.
    pub measure: Measure,
    /// The map, `[patches]`.
    pub values: Vec<f32>,
}

/// So many maps are remembered.
const KEPT: usize = 64;
/// Explanations that stand beside each other, at most.
pub const MOST_BESIDE: usize = 6;

impl App {
    /// What maps there can be in the column of a method: those that the evidence has, and those that are made when they are asked
    /// for.
    #[must_use]
    pub fn explanations(&self, method: &'static str) -> Vec<MapKind> {
        let Some(evidence) = self.evidence_of(method) else { return Vec::new() };
        let mut kinds = evidence.map_kinds();
        let others = EXPLAINERS.iter().map(|explainer| explainer.key);
        let others: Vec<&str> = others.filter(|key| kinds.iter().all(|kind| kind.key() != *key)).collect();
        kinds.extend(others.into_iter().map(MapKind::Asked));
        kinds
    }

    /// Those that stand beside each other: the chosen ones, or some of those that the evidence has and occlusion.
    #[must_use]
    pub fn explanations_beside(&self, method: &'static str) -> Vec<MapKind> {
        let all = self.explanations(method);
        let chosen = &self.state.map.explanations;
        let is_chosen = |kind: &&MapKind| chosen.iter().any(|key| key == kind.key());
        let shown: Vec<MapKind> = all.iter().filter(is_chosen).copied().take(MOST_BESIDE).collect();
        if !shown.is_empty() {
            return shown;
        }
        const USUAL: [&str; 3] = ["relevancy", "gradient-input", "surgery"];
        let is_usual = |kind: &&MapKind| match kind {
            MapKind::Attribution(key) => USUAL.contains(key),
            MapKind::Attention(..) | MapKind::Query => true,
            MapKind::Asked(key) => *key == occlusion::ENTRY.key,
        };
        all.iter().filter(is_usual).copied().take(MOST_BESIDE).collect()
    }

    /// A map that was made for what is shown now.
    #[must_use]
    pub fn explained(&self, method: &'static str, key: &'static str) -> Option<&Explained> {
        let of_it = |known: &&Arc<Explained>| known.ask.method == method && known.ask.explainer == key;
        let mut known = self.explained.iter().filter(of_it).peekable();
        known.peek()?;
        let (about, ask) = (self.without_errand(), self.map_ask(method, key)?);
        known.find(|known| known.ask == ask && *known.about == about).map(|known| &**known)
    }

    fn map_ask(&self, method: &'static str, key: &'static str) -> Option<MapAsk> {
        let evidence = self.evidence_of(method)?;
        Some(MapAsk {
            method,
            model: self.column_model(method)?.model,
            explainer: key,
            claim: self.claim_of(evidence),
            seen: evidence.seen,
            grid: evidence.grid,
            fill: self.state.fill,
        })
    }

    /// Asks for the maps that stand beside each other and aren't made yet.
    pub(super) fn explain(&mut self) {
        let mut asks = Vec::new();
        for method in self.shown_methods() {
            for kind in self.explanations_beside(method) {
                if let MapKind::Asked(key) = kind
                    && self.explained(method, key).is_none()
                {
                    asks.extend(self.map_ask(method, key));
                }
            }
        }
        self.errand = (!asks.is_empty()).then_some(Errand::Maps(asks));
    }

    /// Shows this explanation beside the others, or no longer.
    pub(super) fn toggle_explanation(&mut self, key: &str) {
        // What is shown without a choice is what the choice begins with.
        let method = self.state.method.0;
        let mut shown: Vec<String> =
            self.explanations_beside(method).into_iter().map(|kind| kind.key().to_owned()).collect();
        match shown.iter().position(|known| known == key) {
            Some(at) if shown.len() > 1 => {
                shown.remove(at);
            }
            None if shown.len() < MOST_BESIDE => shown.push(key.to_owned()),
            _ => return,
        }
        // Choices of other columns stay.
        let here: Vec<&str> = self.explanations(method).into_iter().map(MapKind::key).collect();
        let elsewhere = self.state.map.explanations.iter().filter(|known| !here.contains(&known.as_str()));
        shown.extend(elsewhere.cloned());
        self.state.map.explanations = shown;
    }

    /// Keeps a map that was made.
    pub(super) fn keep_explained(&mut self, ask: MapAsk, measure: Measure, values: Vec<f32>) {
        let about = Arc::new(self.without_errand());
        if self.explained.len() >= KEPT {
            self.explained.remove(0);
        }
        self.explained.push(Arc::new(Explained { ask, about, measure, values }));
    }
}

impl Computer {
    /// Makes maps one after the other. What is wrong with one of them is said last.
    pub(super) fn explain(
        &mut self,
        asks: &[MapAsk],
        question: &Question,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(Report),
    ) -> Result<()> {
        let mut wrong = None;
        let count = asks.len().max(1) as f32;
        for (at, ask) in asks.iter().enumerate() {
            let Some(explainer) = explainer(ask.explainer) else { continue };
            let interventions = self.interventions(question, (ColumnKey::Own(ask.method), &ask.model), cancel)?;
            let input = &Input { interventions, ..input.clone() };
            let method = self.method(&ask.model)?;
            let hiding = Hiding::new(&input.picture, ask.fill, ask.seen, ask.grid);
            let mut holder = Holder::new(method.as_mut(), (input, ask.claim), hiding, cancel);
            let mut progress = |share: f32| emit(Report::Progress((at as f32 + share) / count));
            match (explainer.map)(&mut holder, &mut progress) {
                Ok(values) => {
                    let measure = holder.measure();
                    emit(Report::Explained { ask: ask.clone(), measure, values });
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => wrong = Some(error),
            }
        }
        wrong.map_or(Ok(()), Err)
    }
}

/// How a map of this kind is made, if it is one for which the model is asked many times.
#[must_use]
pub fn explainer_of(kind: MapKind) -> Option<&'static Explainer> {
    match kind {
        MapKind::Asked(key) => explainer(key),
        _ => None,
    }
}
