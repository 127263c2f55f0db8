//! What becomes of the worker's answers.

use std::sync::Arc;

use super::compute::{Blame, Report};
use super::{App, PairFigures, looks};

impl App {
    /// Takes up an answer to the request of this number.
    pub(super) fn take(&mut self, generation: u64, report: Report) {
        let is_last = generation == self.generation;
        if !is_last && (generation < self.welcome || !matches!(report, Report::Picture { .. } | Report::Column(..))) {
            return; // an answer to a question that nobody asks any more
        }
        match report {
            Report::Picture { picture, name } => {
                if is_last {
                    self.last_good_picture = self.state.picture.clone();
                }
                self.picture = Some(picture);
                self.picture_name = name;
            }
            Report::Evidence(evidence) => {
                self.last_good_checkpoints = self.state.checkpoints.clone();
                if self.evidence.as_ref().is_some_and(|known| known.method != evidence.method) {
                    self.plane = None;
                    self.hovered = None;
                }
                self.evidence = Some(Arc::new(*evidence));
                // What went wrong elsewhere stays until it is read.
                if std::mem::take(&mut self.failed) {
                    self.problem = None;
                }
                self.figures = None;
                self.measure_pairs();
            }
            Report::Column(key, evidence) => {
                self.failures.remove(&key);
                // What is shown already stays until there is a map in its place.
                let has_map = evidence.complete || looks::map_of_words(self, &evidence).is_some();
                if !has_map && self.columns.contains_key(&key) {
                    return;
                }
                self.columns.insert(key, Arc::new(*evidence));
                // Details are those of the first.
                self.evidence = self.columns.values().next().cloned();
                self.plane = None;
                self.figures = None;
            }
            Report::Plane(plane) => self.plane = Some(plane),
            Report::ColumnFailed(key, sentence) => {
                // What was said before is of another picture, or of another model.
                self.columns.remove(&key);
                self.planes.remove(&key);
                self.failures.insert(key, sentence);
            }
            Report::ColumnPlane(key, plane) => {
                self.planes.insert(key, plane);
            }
            Report::Costs(costs) => self.costs = costs,
            Report::Tested(tested) => {
                self.tested.insert((tested.test.column.key, tested.test.kind.key()), tested);
            }
            Report::Explained { ask, measure, values } => self.keep_explained(ask, measure, values),
            Report::Parts(folder, parts) => self.parts = Some((folder, parts)),
            Report::Touched(touched) => self.touched = Some(Arc::from(touched)),
            Report::Effects(effects) => self.effects = Some(Arc::new((self.without_errand(), *effects))),
            Report::Heads(folder, heads) => {
                self.heads.insert(folder, Arc::new(heads));
            }
            Report::Progress(share) => {
                if let Some(progress) = &mut self.progress {
                    progress.share = share;
                }
            }
            Report::Told(sentence) => self.warning = Some(sentence),
            Report::Failed { message, blame } => {
                self.problem = Some(message);
                self.failed = true;
                // What was shown before stays, and so does the state that belongs to it.
                match blame {
                    Blame::Picture => self.state.picture = self.last_good_picture.clone(),
                    Blame::Checkpoint => self.state.checkpoints = self.last_good_checkpoints.clone(),
                    Blame::Other => return,
                }
                self.find_truth();
                self.history.take_back(&self.state);
                self.asked = Some(self.question());
            }
            Report::Done(elapsed) => {
                self.end_errand();
                self.busy = false;
                self.progress = None;
                self.elapsed = Some(elapsed);
            }
        }
    }

    /// Measures the pairs anew where evidence, shift or temperature have changed.
    pub(super) fn measure_pairs(&mut self) {
        let Some(evidence) = &self.evidence else { return };
        let scores = &evidence.scores;
        if scores.texts.is_empty() {
            self.figures = None;
            return;
        }
        let factor = self.state.matrix.factor.unwrap_or(scores.factor);
        let shift = self.state.space.shift;
        if !self.figures.as_ref().is_some_and(|figures| figures.factor == factor && figures.shift == shift) {
            self.figures = Some(Arc::new(PairFigures::new(&evidence.cloud, shift, factor, scores.bias)));
        }
    }
}
