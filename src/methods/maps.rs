//! The maps of words that evidence holds, by what they are.

use super::Evidence;
use super::queries::{QueryLook, highest};
use super::reading::{Place, Weighting};
use crate::attribution;

/// What a map of words is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// An attribution, by its key.
    Attribution(&'static str),
    /// Attention of the words.
    Attention(Weighting, Place),
    /// Where the query looks that is most like them.
    Query,
    /// What comes of asking the model many times, by the key of the [`Explainer`](crate::attribution::Explainer).
    Asked(&'static str),
}

/// The keys of maps that aren't attributions of two encoders.
pub const LOOKS: [&str; 5] =
    ["attention-read", "attention-predicted", "gradient-attention-read", "gradient-attention-predicted", "query"];

/// Whether some kind of map is called this.
#[must_use]
pub fn is_key(key: &str) -> bool {
    LOOKS.contains(&key) || attribution::named(key).is_some() || attribution::explainer(key).is_some()
}

impl MapKind {
    /// Its name on the command line and in files.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Attribution(key) | Self::Asked(key) => key,
            Self::Attention(Weighting::Raw, Place::Read) => LOOKS[0],
            Self::Attention(Weighting::Raw, Place::Predict) => LOOKS[1],
            Self::Attention(Weighting::Gradient, Place::Read) => LOOKS[2],
            Self::Attention(Weighting::Gradient, Place::Predict) => LOOKS[3],
            Self::Query => LOOKS[4],
        }
    }
}

impl Evidence {
    /// What maps there are of the phrase that was asked for.
    #[must_use]
    pub fn map_kinds(&self) -> Vec<MapKind> {
        if self.queries.is_some() {
            return vec![MapKind::Query];
        }
        if let Some(reading) = &self.reading {
            let maps = reading.lines.first().into_iter().flat_map(|line| &line.maps);
            return maps.map(|(place, weighting, _)| MapKind::Attention(*weighting, *place)).collect();
        }
        let maps = self.maps.get(&self.phrase);
        maps.into_iter().flat_map(|maps| maps.keys()).map(|key| MapKind::Attribution(key)).collect()
    }

    /// The map of the phrase that was asked for, whose words stand at these bytes of the sentence, `[patches]`; of attention
    /// that of a `head` (layer and head), or the mean of all.
    #[must_use]
    pub fn map_of(&self, kind: MapKind, span: (usize, usize), head: Option<(usize, usize)>) -> Option<Vec<f32>> {
        match kind {
            MapKind::Attribution(key) => Some(self.maps.get(&self.phrase)?.get(key)?.values.clone()),
            MapKind::Attention(weighting, place) => {
                let reading = self.reading.as_ref()?;
                let line = reading.lines.first()?;
                let inside = |at: &usize| line.steps[*at].span.is_some_and(|(from, to)| from < span.1 && to > span.0);
                let shape = (reading.layers, reading.heads);
                let head = head.filter(|(layer, head)| *layer < shape.0 && *head < shape.1);
                let steps = (0..line.steps.len()).filter(inside);
                added(steps.map(|at| line.map(at, (place, weighting), head, shape)))
            }
            MapKind::Asked(_) => None,
            MapKind::Query => {
                let queries = self.queries.as_ref()?;
                queries.map(highest(&queries.contrast.as_ref()?.phrase)?, QueryLook::default())
            }
        }
    }
}

/// The sum of maps, if all of them are there.
#[must_use]
pub fn added(maps: impl Iterator<Item = Option<Vec<f32>>>) -> Option<Vec<f32>> {
    let mut sum: Option<Vec<f32>> = None;
    for map in maps {
        let map = map?;
        match &mut sum {
            Some(sum) => sum.iter_mut().zip(map).for_each(|(sum, value)| *sum += value),
            None => sum = Some(map),
        }
    }
    sum
}
