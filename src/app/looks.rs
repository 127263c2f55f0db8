//! What is looked at, of all that the evidence holds: the words, the place and the query that the state asks for, and where
//! the selected words land in the eyes of each method.

use super::column::ColumnKey;
use super::layout::SIDE_BY_SIDE;
use super::truth::Fares;
use super::{App, Thing};
use crate::methods::evidence::Said;
use crate::methods::maps::added;
use crate::methods::queries::{Queries, QueryLook, highest};
use crate::methods::reading::{Line, Place, Reading, Step, Weighting};
use crate::methods::{Evidence, MapKind, is_question};

/// Where the selected words land in the eyes of one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Landed {
    /// What the map is.
    pub kind: MapKind,
    /// The map, `[patches]`, in units of its own.
    pub values: Vec<f32>,
    /// The share of the map's positive mass on each patch, `[patches]`.
    pub shares: Vec<f32>,
    /// How it fares, where the truth is known.
    pub fares: Option<Fares>,
}

impl Landed {
    /// The sum of the map.
    #[must_use]
    pub fn mass(&self) -> f32 {
        self.values.iter().sum()
    }

    /// The highest share.
    #[must_use]
    pub fn highest(&self) -> f32 {
        self.shares.iter().copied().fold(0.0, f32::max)
    }
}

impl App {
    /// What is said in a column: the one that is shown, or one of those that stand side by side.
    #[must_use]
    pub fn evidence_of(&self, key: impl Into<ColumnKey>) -> Option<&Evidence> {
        let key = key.into();
        if self.state.method.0 == SIDE_BY_SIDE {
            return self.columns.get(&key).map(|evidence| &**evidence);
        }
        self.evidence.as_deref().filter(|evidence| key == ColumnKey::Own(evidence.method))
    }

    /// Where the selected words land in a column.
    #[must_use]
    pub fn landed(&self, key: impl Into<ColumnKey>) -> Option<Landed> {
        let evidence = self.evidence_of(key)?;
        let (kind, values) = map_of_words(self, evidence)?;
        Some(self.land(evidence, kind, values))
    }

    /// Where the selected words land in a column by another kind of map; `None` if there is none yet.
    #[must_use]
    pub fn landed_by(&self, key: impl Into<ColumnKey>, kind: MapKind) -> Option<Landed> {
        let key = key.into();
        let evidence = self.evidence_of(key)?;
        let values = match kind {
            MapKind::Asked(explainer) => match key {
                ColumnKey::Own(method) => self.explained(method, explainer)?.values.clone(),
                ColumnKey::Extra(_) => return None,
            },
            MapKind::Attribution(key) => evidence.maps.get(self.phrase(evidence))?.get(key)?.values.clone(),
            MapKind::Query => map_of_words(self, evidence)?.1,
            MapKind::Attention(weighting, place) => {
                let reading = evidence.reading.as_ref()?;
                let (line, steps, _) = asked(self, reading)?;
                let maps = steps.iter().map(|at| map_at(self, reading, (line, *at), (place, weighting)));
                added(maps)?
            }
        };
        Some(self.land(evidence, kind, values))
    }

    fn land(&self, evidence: &Evidence, kind: MapKind, values: Vec<f32>) -> Landed {
        let positive: f32 = values.iter().map(|value| value.max(0.0)).sum();
        Landed {
            kind,
            shares: values.iter().map(|value| value.max(0.0) / positive.max(1e-12)).collect(),
            fares: self.truth().and_then(|truth| truth.fares(&values, evidence.seen, evidence.grid)),
            values,
        }
    }

    /// What is answered to picture and sentence in a column.
    #[must_use]
    pub fn said(&self, key: impl Into<ColumnKey>) -> Option<Said> {
        self.evidence_of(key)?.said()
    }

    /// The phrase whose map is shown: that under the pointer, where its map is there, or the one that was asked for.
    #[must_use]
    pub fn phrase<'a>(&'a self, evidence: &'a Evidence) -> &'a str {
        if let Some(Thing::Words(start, end)) = self.hovered
            && let Some(word) = self.state.sentence.get(start..end)
            && let Some((known, _)) = evidence.maps.get_key_value(word.trim())
        {
            return known;
        }
        &evidence.phrase
    }

    /// The word whose map is shown, counted over all texts: the one that was stepped to, else the last selected one, else
    /// the first of the answer to a question, else the first that a person wrote.
    #[must_use]
    pub fn step(&self, reading: &Reading) -> Option<usize> {
        let count = reading.steps().count();
        let stepped = self.state.fusion.step.map(|step| step.min(count.saturating_sub(1)));
        let hovered = match self.hovered {
            Some(Thing::Words(start, end)) => reading.step_of((start, end)),
            _ => None,
        };
        let selected = self.state.selected.words.and_then(|words| reading.last_step_of(words));
        let first = || {
            let asked = is_question(&self.state.sentence);
            let written = reading.steps().position(|(_, _, step)| step.is_written);
            written.filter(|_| asked).or_else(|| reading.steps().position(|(_, _, step)| step.span.is_some()))
        };
        hovered.or(stepped).or(selected).or_else(first).filter(|_| count > 0)
    }
}

/// The map of the selected words in the eyes of a method.
pub(super) fn map_of_words(app: &App, evidence: &Evidence) -> Option<(MapKind, Vec<f32>)> {
    if let Some(queries) = &evidence.queries {
        let query = best_query(app, queries)?;
        return Some((MapKind::Query, queries.map(query, QueryLook::default())?));
    }
    if let Some(reading) = &evidence.reading {
        let (line, steps, _) = asked(app, reading)?;
        let weighting = app.state.fusion.weighting;
        let kind = MapKind::Attention(weighting, place(app, line));
        return Some((kind, map_of_all(app, reading, line, &steps, weighting)?));
    }
    let map = evidence.maps.get(app.phrase(evidence))?.get(app.layer().0)?;
    Some((MapKind::Attribution(app.layer().0), map.values.clone()))
}

/// The word that is shown: its line and its place in it.
#[must_use]
pub fn shown<'a>(app: &App, reading: &'a Reading) -> Option<(&'a Line, usize, &'a Step)> {
    let (line, at) = reading.step(app.step(reading)?)?;
    Some((line, at, line.steps.get(at)?))
}

/// What is looked at together: the words of the selected phrase, or the one word that is shown. Their line, their places in
/// it, and what they are called.
#[must_use]
pub fn asked<'a>(app: &App, reading: &'a Reading) -> Option<(&'a Line, Vec<usize>, String)> {
    let (line, at, step) = shown(app, reading)?;
    let steps_alone = app.state.fusion.step.is_some() || matches!(app.hovered, Some(Thing::Words(..)));
    if let Some((start, end)) = app.state.selected.words.filter(|_| !steps_alone) {
        let inside = |step: &Step| step.span.is_some_and(|(from, to)| from < end && to > start);
        let places: Vec<usize> = (0..line.steps.len()).filter(|at| inside(&line.steps[*at])).collect();
        if places.len() > 1 && places.contains(&at) {
            let phrase = app.state.sentence.get(start..end).unwrap_or_default();
            return Some((line, places, phrase.trim().to_owned()));
        }
    }
    Some((line, vec![at], step.text.trim().to_owned()))
}

/// The sum of the maps of several words, by the chosen head or the mean of all.
#[must_use]
pub fn map_of_all(
    app: &App,
    reading: &Reading,
    line: &Line,
    steps: &[usize],
    weighting: Weighting,
) -> Option<Vec<f32>> {
    added(steps.iter().map(|at| map_of(app, reading, line, *at, weighting)))
}

/// Where a word of this line is looked at: an answer's words are only predicted, a text that isn't predicted only read.
#[must_use]
pub fn place(app: &App, line: &Line) -> Place {
    let asked = app.state.fusion.place;
    let there = |place: Place| line.maps.iter().any(|(known, ..)| *known == place);
    match asked {
        Place::Predict if !there(Place::Predict) && there(Place::Read) => Place::Read,
        Place::Read if !there(Place::Read) && there(Place::Predict) => Place::Predict,
        _ => asked,
    }
}

/// The map of a step by the chosen head, or the mean of all.
#[must_use]
pub fn map_of(app: &App, reading: &Reading, line: &Line, at: usize, weighting: Weighting) -> Option<Vec<f32>> {
    map_at(app, reading, (line, at), (place(app, line), weighting))
}

/// The same at a place.
fn map_at(app: &App, reading: &Reading, (line, at): (&Line, usize), look: (Place, Weighting)) -> Option<Vec<f32>> {
    let head = app.state.fusion.head.filter(|(layer, head)| *layer < reading.layers && *head < reading.heads);
    line.map(at, look, head, (reading.layers, reading.heads))
}

/// The word of what was written that queries are compared with: the one that was stepped to, else the first that the model
/// wrote.
#[must_use]
pub fn query_step(app: &App, queries: &Queries) -> Option<usize> {
    let last = queries.written.len().checked_sub(1)?;
    let first = || queries.written.iter().position(|step| step.is_written);
    app.state.fusion.step.map(|step| step.min(last)).or_else(first)
}

/// How like the words under the pointer each query is, else how like the selected ones.
#[must_use]
pub fn similar<'a>(app: &App, queries: &'a Queries) -> Option<&'a [f32]> {
    if let (Some(Thing::Words(start, end)), Some(contrast)) = (app.hovered, &queries.contrast)
        && let Some((_, cosines)) = contrast.words.iter().find(|(span, _)| *span == (start, end))
    {
        return Some(cosines);
    }
    queries.similarity(query_step(app, queries))
}

/// The place of the query that is most like those words.
#[must_use]
pub fn winner(app: &App, queries: &Queries) -> Option<usize> {
    highest(similar(app, queries)?)
}

/// The query whose map stands for the selected words: the one that is most like them, else the selected one, else the first.
#[must_use]
pub fn best_query(app: &App, queries: &Queries) -> Option<usize> {
    winner(app, queries).or_else(|| chosen(app, queries))
}

/// The place of the query that is shown large: under the pointer, else selected, else most like the words, else the first.
#[must_use]
pub fn chosen(app: &App, queries: &Queries) -> Option<usize> {
    let hovered = match app.hovered {
        Some(Thing::Query(query)) => queries.place_of(query),
        _ => None,
    };
    let selected = app.state.querying.query.and_then(|query| queries.place_of(query));
    let first = || (!queries.kept.is_empty()).then_some(0);
    hovered.or(selected).or_else(|| winner(app, queries)).or_else(first)
}
