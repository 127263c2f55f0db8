//! Testing whether a map is true: what is asked of the worker, and what came of it.

use std::sync::Arc;

use super::App;
use super::column::{ColumnKey, ColumnModel};
use super::compute::{Computer, LIGHT, Question, Report};
use super::errand::Errand;
use super::explained::explainer_of;
use super::loaded::Wanted;
use super::looks::{self, Landed};
use crate::attribution::hiding::{Fill, Hiding};
use crate::error::{Error, Result};
use crate::methods::faithful::{Faithfulness, Test, faithfulness, rank_correlation};
use crate::methods::reading::LineKind;
use crate::methods::sanity::{STAGES, Shuffled, shuffled};
use crate::methods::{Claim, Evidence, Holder, Input, MapKind, Measure, Method, News, is_question, named};
use crate::models::weights::bytes_in;
use crate::taps::CancelToken;

/// A map that is to be tested.
#[derive(Clone, Debug, PartialEq)]
pub struct MapTest {
    /// The column that it is of, with its model.
    pub column: ColumnModel,
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
    /// What the map is.
    pub kind: MapKind,
    /// The layer and head that it is of; `None` is the mean of all.
    pub head: Option<(usize, usize)>,
}

/// A map that was tested, with what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// What was tested.
    pub test: MapTest,
    /// In what the claim is measured.
    pub measure: Measure,
    /// What came of it.
    pub faithfulness: Faithfulness,
    /// How far the map ranks patches as before with weights shuffled from the top; empty where that can't be tried, and
    /// nothing where the map is then the same everywhere or isn't a number.
    pub sanity: Vec<(Shuffled, Option<f32>)>,
}

/// Orders by chance begin here, so that the same map fares the same again.
const SEED: u64 = 0;

impl App {
    /// The methods whose own columns are shown.
    pub(super) fn shown_methods(&self) -> Vec<&'static str> {
        let own = |key| match key {
            ColumnKey::Own(method) => Some(method),
            ColumnKey::Extra(_) => None,
        };
        self.shown_columns().into_iter().filter_map(own).collect()
    }

    /// Asks whether the maps are true that are shown now.
    pub(super) fn test_maps(&mut self) {
        let of = |key| Some((key, self.landed(key)?.kind));
        let shown: Vec<(ColumnKey, MapKind)> = self.shown_columns().into_iter().filter_map(of).collect();
        self.test(&shown);
    }

    /// Asks whether one map of a column is true.
    pub(super) fn test_map(&mut self, key: ColumnKey, kind: MapKind) {
        self.test(&[(key, kind)]);
    }

    /// Asks whether the explanations are true that stand beside each other.
    pub(super) fn test_explanations(&mut self) {
        let of = |method: &'static str| {
            self.explanations_beside(method).into_iter().map(move |kind| (ColumnKey::Own(method), kind))
        };
        let shown: Vec<(ColumnKey, MapKind)> = self.shown_methods().into_iter().flat_map(of).collect();
        self.test(&shown);
    }

    fn test(&mut self, maps: &[(ColumnKey, MapKind)]) {
        let tests: Vec<MapTest> = maps.iter().filter_map(|(key, kind)| self.test_of(*key, *kind)).collect();
        self.errand = (!tests.is_empty()).then_some(Errand::Tests(tests));
    }

    /// What there is to test of a column's map.
    fn test_of(&self, key: ColumnKey, kind: MapKind) -> Option<MapTest> {
        let (landed, evidence) = (self.landed_by(key, kind)?, self.evidence_of(key)?);
        let truth = self.truth().map(|truth| truth.covered(evidence.seen, evidence.grid));
        Some(MapTest {
            column: self.column_model(key)?,
            claim: self.claim_of(evidence),
            map: landed.values.clone(),
            covered: truth.filter(|covered| covered.iter().any(|share| *share > 0.0)),
            seen: evidence.seen,
            grid: evidence.grid,
            fill: self.state.fill,
            kind: landed.kind,
            head: self.state.fusion.head,
        })
    }

    /// What the map explains that is shown: the words that it is of, or what the model has written.
    pub(super) fn claim_of(&self, evidence: &Evidence) -> Claim {
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

    /// Whether the map of a column that is shown now is true, if that was tested.
    #[must_use]
    pub fn tested(&self, key: impl Into<ColumnKey>, landed: &Landed) -> Option<&Tested> {
        let tested = self.tested.get(&(key.into(), landed.kind.key()))?;
        (tested.test.map == landed.values && tested.test.fill == self.state.fill).then_some(&**tested)
    }
}

impl Computer {
    /// Tests maps one after the other. What is wrong with one of them is said last.
    pub(super) fn test_maps(
        &mut self,
        tests: &[MapTest],
        question: &Question,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(Report),
    ) -> Result<()> {
        let mut wrong = None;
        let count = tests.len().max(1) as f32;
        for (at, test) in tests.iter().enumerate() {
            let interventions = self.interventions(question, (test.column.key, &test.column.model), cancel)?;
            let input = &Input { interventions, ..input.clone() };
            let mut progress = |share: f32| emit(Report::Progress((at as f32 + share) / count));
            match self.test_map(test, input, cancel, &mut progress) {
                Ok((faithfulness, measure)) => {
                    let sanity = match sanity(test, input, cancel) {
                        Err(Error::Cancelled) => return Err(Error::Cancelled),
                        // A checkpoint that can't be shuffled was tested all the same.
                        sanity => sanity.unwrap_or_default(),
                    };
                    emit(Report::Tested(Arc::new(Tested { test: test.clone(), measure, faithfulness, sanity })));
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
        input: &Input,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(f32),
    ) -> Result<(Faithfulness, Measure)> {
        let method = self.method(&test.column.model)?;
        let mut holder = holder(test, method.as_mut(), input, cancel);
        let what = Test { map: &test.map, covered: test.covered.as_deref(), seed: SEED };
        let found = faithfulness(&mut holder, &what, progress)?;
        Ok((found, holder.measure()))
    }
}

/// The method, as it is asked about what the map explains.
fn holder<'a>(test: &MapTest, method: &'a mut dyn Method, input: &'a Input, cancel: &'a CancelToken) -> Holder<'a> {
    let hiding = Hiding::new(&input.picture, test.fill, test.seen, test.grid);
    Holder::new(method, (input, test.claim), hiding, cancel)
}

/// How far the map ranks patches as before, with weights shuffled from the top.
fn sanity(test: &MapTest, input: &Input, cancel: &CancelToken) -> Result<Vec<(Shuffled, Option<f32>)>> {
    let Wanted { folder, runtime } = &test.column.model;
    let is_light = bytes_in(folder).is_ok_and(|bytes| bytes <= LIGHT);
    let (Some(method), Claim::Words(_), true) = (named(test.column.method), test.claim, is_light) else {
        return Ok(Vec::new());
    };
    let asked = Input { brief: true, ..test.claim.about(input) };
    let span = asked.selection.unwrap_or((0, asked.sentence.len()));
    let mut found = Vec::new();
    for stage in STAGES {
        cancel.check()?;
        let folder = shuffled(folder, stage, SEED)?;
        let mut map = None;
        let mut shuffled = (method.open)(folder.path(), &runtime.find()?)?;
        match explainer_of(test.kind) {
            Some(explainer) => {
                let mut holder = holder(test, shuffled.as_mut(), &asked, cancel);
                map = Some((explainer.map)(&mut holder, &mut |_| ())?);
            }
            None => shuffled.evidence(&asked, cancel, &mut |news| {
                if let News::Evidence(evidence) = news {
                    map = evidence.map_of(test.kind, span, test.head);
                }
            })?,
        }
        let Some(map) = map else { return Ok(Vec::new()) };
        found.push((stage, rank_correlation(&test.map, &map).filter(|alike| alike.is_finite())));
    }
    Ok(found)
}
