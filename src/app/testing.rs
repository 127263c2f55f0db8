//! Testing whether a map is true: what is asked of the worker, and what came of it.

use image::RgbImage;
use std::path::PathBuf;
use std::sync::Arc;

use super::compute::{Computer, Report};
use super::layout::SIDE_BY_SIDE;
use super::looks::{self, Landed};
use super::{App, METHODS};
use crate::error::{Error, Result};
use crate::methods::faithful::{Faithfulness, Fill, Hiding, Test, faithfulness};
use crate::methods::reading::LineKind;
use crate::methods::{Claim, Evidence, Input, is_question};
use crate::taps::CancelToken;

/// A map that is to be tested.
#[derive(Clone, Debug, PartialEq)]
pub struct MapTest {
    /// The key of the method that it is of.
    pub method: &'static str,
    /// Its checkpoint.
    pub folder: PathBuf,
    /// What the map explains.
    pub claim: Claim,
    /// The map, `[patches]`.
    pub map: Vec<f32>,
    /// Which share of each patch the named objects cover, where that is known.
    pub covered: Option<Vec<f32>>,
    /// The part of the picture under the map, in pixels: left, top, right, bottom.
    pub seen: [f32; 4],
    /// Rows and columns of the map.
    pub grid: (usize, usize),
    /// What stands in the place of hidden patches.
    pub fill: Fill,
}

/// A map that was tested, with what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// What was tested.
    pub test: MapTest,
    /// What came of it.
    pub faithfulness: Faithfulness,
}

/// Orders by chance begin here, so that the same map fares the same again.
const SEED: u64 = 0;

impl App {
    /// The columns whose maps are shown.
    fn shown_methods(&self) -> impl Iterator<Item = &'static str> {
        let method = self.state.method.0;
        METHODS.iter().map(|entry| entry.key).filter(move |key| method == SIDE_BY_SIDE || *key == method)
    }

    /// Asks whether the maps are true that are shown now.
    pub(super) fn test_maps(&mut self) {
        self.tests = self.shown_methods().filter_map(|method| self.test_of(method)).collect();
    }

    /// What there is to test of a method's map.
    fn test_of(&self, method: &'static str) -> Option<MapTest> {
        let (landed, evidence) = (self.landed(method)?, self.evidence_of(method)?);
        let truth = self.truth().map(|truth| truth.covered(evidence.seen, evidence.grid));
        Some(MapTest {
            method,
            folder: self.checkpoint(method)?.folder.clone(),
            claim: self.claim_of(evidence),
            map: landed.values,
            covered: truth.filter(|covered| covered.iter().any(|share| *share > 0.0)),
            seen: evidence.seen,
            grid: evidence.grid,
            fill: self.state.fill,
        })
    }

    /// What the map explains that is shown: the words that it is of, or what the model has written.
    fn claim_of(&self, evidence: &Evidence) -> Claim {
        if let Some((line, steps, _)) = evidence.reading.as_ref().and_then(|reading| looks::asked(self, reading)) {
            if line.kind == LineKind::Written {
                return Claim::Written;
            }
            let spans = || steps.iter().filter_map(|at| line.steps.get(*at)?.span);
            return Claim::Words(spans().map(|span| span.0).min().zip(spans().map(|span| span.1).max()));
        }
        let selected = self.state.selected.words;
        if evidence.queries.is_some() && selected.is_none() && is_question(&self.state.sentence) {
            return Claim::Written;
        }
        Claim::Words(selected)
    }

    /// Whether the map of a method that is shown now is true, if that was tested.
    #[must_use]
    pub fn tested(&self, method: &str, landed: &Landed) -> Option<&Tested> {
        let tested = self.tested.get(method)?;
        (tested.test.map == landed.values && tested.test.fill == self.state.fill).then_some(&**tested)
    }

    /// Whether maps are being tested.
    #[must_use]
    pub fn is_testing(&self) -> bool {
        self.busy && !self.tests.is_empty()
    }
}

impl Computer {
    /// Tests maps one after the other. What is wrong with one of them is said last.
    pub(super) fn test_maps(
        &mut self,
        tests: &[MapTest],
        device: &str,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(Report),
    ) -> Result<()> {
        let mut wrong = None;
        let count = tests.len().max(1) as f32;
        for (at, test) in tests.iter().enumerate() {
            let mut progress = |share: f32| emit(Report::Progress((at as f32 + share) / count));
            match self.test_map(test, device, input, cancel, &mut progress) {
                Ok(faithfulness) => {
                    emit(Report::Tested(Arc::new(Tested { test: test.clone(), faithfulness })));
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => wrong = Some(error),
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    fn test_map(
        &mut self,
        test: &MapTest,
        device: &str,
        input: &Input,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Faithfulness> {
        let method = self.method(&test.folder, device)?;
        let hiding = Hiding::new(&input.picture, test.fill, test.seen, test.grid);
        let what = Test { map: &test.map, covered: test.covered.as_deref(), seed: SEED };
        let mut hold = |pictures: &[RgbImage]| method.hold(input, test.claim, pictures, cancel);
        faithfulness(&hiding, test.fill, &what, &mut hold, progress)
    }
}
