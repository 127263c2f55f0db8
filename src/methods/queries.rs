//! What the learned queries of a querying transformer do: where each looks, which words it stands for, what it says to the
//! language model.
//!
//! All arrays are over the queries that take part ([`Queries::kept`]); those that a person has dropped are in none of them.

pub mod figures;

use std::sync::Arc;

use super::reading::Step;

/// Everything about the queries.
#[derive(Clone, Debug, Default)]
pub struct Queries {
    /// How many queries the model has.
    pub count: usize,
    /// Those that take part, in order; the others were dropped.
    pub kept: Vec<usize>,
    /// The blocks of the querying transformer in which queries look at the picture, as numbered in the checkpoint.
    pub layers: Vec<usize>,
    /// Number of blocks of the querying transformer.
    pub depth: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Where queries look, `[kept, layers, heads, patches]`, with softmax over patches and class token; the class token is
    /// left out, so that what is missing of one lies on it. Queries see the picture alone here, without the text; of an
    /// InstructBLIP they have read the instruction.
    pub maps: Arc<Vec<f32>>,
    /// The texts of the tokens that the querying transformer reads beside the queries; empty where it reads none.
    pub tokens: Vec<String>,
    /// Attention of queries and tokens among themselves, `[depth, heads, positions, positions]`, query -> key, queries first,
    /// in the pass in which they see each other: matching, or reading an instruction.
    pub self_attention: Arc<Vec<f32>>,
    /// Picture and text in one space; of a model for retrieval.
    pub contrast: Option<Contrast>,
    /// How likely each query holds it that the sentence belongs to the picture, and the whole model (the mean of their
    /// logits); of a model for retrieval.
    pub matching: Option<(Vec<f32>, f32)>,
    /// What each query says to the language model: the words nearest to its projected vector by cosine, nearest first; of a
    /// model that writes.
    pub says: Vec<Vec<(String, f32)>>,
    /// How far the output of each query moved from what it is after the instruction to compare with (or none), as one minus
    /// the cosine of both; of InstructBLIP.
    pub moved: Option<Vec<f32>>,
    /// What the model wrote, word by word, with what it goes on from; of a model that writes.
    pub written: Vec<Step>,
    /// How much each token of `written` looks at each query in the language model, `[written, kept]`, the mean over layers
    /// and heads at the position that predicts it; absent while it is computed.
    pub written_to_queries: Option<Arc<Vec<f32>>>,
    /// Whether all of it is there; else something is still being computed.
    pub complete: bool,
}

/// Queries and texts in the shared space of image-text contrast.
#[derive(Clone, Debug, Default)]
pub struct Contrast {
    /// Cosine of each query with the selected phrase (or the whole sentence), `[kept]`.
    pub phrase: Vec<f32>,
    /// Cosine of each query with the whole sentence, `[kept]`. The model's score is the highest of them.
    pub sentence: Vec<f32>,
    /// Each word of the sentence by itself: where it stands, in bytes, and its cosine with each query, `[kept]`.
    pub words: Vec<((usize, usize), Vec<f32>)>,
}

/// Which maps of a query are shown: of one layer or the mean of all, of one head or the mean of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct QueryLook {
    /// The place in [`Queries::layers`].
    pub layer: Option<usize>,
    /// The head.
    pub head: Option<usize>,
}

/// In which order queries stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryOrder {
    /// As in the checkpoint.
    #[default]
    Index,
    /// The most attention to patches first.
    Mass,
    /// The most like the selected words first.
    Similarity,
}

impl QueryOrder {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Index, Self::Mass, Self::Similarity];
}

impl Queries {
    /// Number of patches.
    #[must_use]
    pub fn patches(&self) -> usize {
        self.maps.len() / (self.kept.len() * self.layers.len() * self.heads).max(1)
    }

    /// The place of a query among those that take part.
    #[must_use]
    pub fn place_of(&self, query: usize) -> Option<usize> {
        self.kept.iter().position(|kept| *kept == query)
    }

    /// The map of the query at a place among those that take part, `[patches]`: of a layer or the mean of all, of a head or
    /// the mean of all. None where there is none such.
    #[must_use]
    pub fn map(&self, place: usize, look: QueryLook) -> Option<Vec<f32>> {
        let (patches, heads, layers) = (self.patches(), self.heads, self.layers.len());
        if place >= self.kept.len() || patches == 0 {
            return None;
        }
        let chosen = |wanted: Option<usize>, count: usize| match wanted {
            Some(one) if one < count => one..one + 1,
            Some(_) => 0..0,
            None => 0..count,
        };
        let (of_layers, of_heads) = (chosen(look.layer, layers), chosen(look.head, heads));
        let share = 1.0 / (of_layers.len() * of_heads.len()) as f32;
        let mut mean = vec![0.0; patches];
        for layer in of_layers.clone() {
            for head in of_heads.clone() {
                let begin = ((place * layers + layer) * heads + head) * patches;
                let map = self.maps.get(begin..begin + patches)?;
                mean.iter_mut().zip(map).for_each(|(mean, value)| *mean += value * share);
            }
        }
        (share.is_finite()).then_some(mean)
    }

    /// How like the selected words each query is, `[kept]`: the cosine in the shared space, or, of a model that writes, how
    /// much the word of `written` at `step` looks at it.
    #[must_use]
    pub fn similarity(&self, step: Option<usize>) -> Option<&[f32]> {
        if let Some(contrast) = &self.contrast {
            return Some(&contrast.phrase);
        }
        let (all, step) = (self.written_to_queries.as_ref()?, step?);
        all.get(step * self.kept.len()..(step + 1) * self.kept.len())
    }

    /// The place of the query that is most like the selected words: the one that wins image-text contrast.
    #[must_use]
    pub fn winner(&self, step: Option<usize>) -> Option<usize> {
        highest(self.similarity(step)?)
    }

    /// The query that wins image-text contrast with the whole sentence, as numbered in the checkpoint, and its cosine: the
    /// model's score.
    #[must_use]
    pub fn contrast_score(&self) -> Option<(usize, f32)> {
        let cosines = &self.contrast.as_ref()?.sentence;
        let place = highest(cosines)?;
        Some((*self.kept.get(place)?, *cosines.get(place)?))
    }

    /// Number of queries that take part and of the tokens beside them.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.kept.len() + self.tokens.len()
    }

    /// Attention of queries and tokens among themselves, `[positions, positions]`: of a block or the mean of all, of a head
    /// or the mean of all. None where there is none such.
    #[must_use]
    pub fn among(&self, block: Option<usize>, head: Option<usize>) -> Option<Vec<f32>> {
        let size = self.positions() * self.positions();
        if size == 0 || self.self_attention.len() != self.depth * self.heads * size {
            return None;
        }
        let mut mean = vec![0.0; size];
        let mut count = 0;
        for (at, matrix) in self.self_attention.chunks_exact(size).enumerate() {
            let is_meant = |wanted: Option<usize>, at: usize| wanted.is_none_or(|wanted| wanted == at);
            if is_meant(block, at / self.heads) && is_meant(head, at % self.heads) {
                mean.iter_mut().zip(matrix).for_each(|(mean, value)| *mean += value);
                count += 1;
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= count as f32);
        (count > 0).then_some(mean)
    }

    /// All queries of the model but this one.
    #[must_use]
    pub fn others(&self, query: usize) -> Vec<usize> {
        (0..self.count).filter(|other| *other != query).collect()
    }

    /// The places among those that take part, in the order that is asked for.
    #[must_use]
    pub fn order(&self, order: QueryOrder, look: QueryLook, step: Option<usize>) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.kept.len()).collect();
        // Each map is added up once, not once a comparison.
        let mass = |place: &usize| self.map(*place, look).map_or(0.0, |map| map.iter().sum::<f32>());
        let keys: Vec<f32> = match order {
            QueryOrder::Index => Vec::new(),
            QueryOrder::Mass => places.iter().map(mass).collect(),
            QueryOrder::Similarity => self.similarity(step).unwrap_or_default().to_vec(),
        };
        let key = |place: usize| keys.get(place).copied().unwrap_or(f32::MIN);
        places.sort_by(|one, other| key(*other).total_cmp(&key(*one)));
        places
    }
}

/// The place of the highest value; of equals the first.
#[must_use]
pub fn highest(values: &[f32]) -> Option<usize> {
    let places = values.iter().enumerate();
    places.max_by(|one, other| one.1.total_cmp(other.1).then(other.0.cmp(&one.0))).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two queries and a token, in one block with two heads.
    fn queries() -> Queries {
        let maps = [[0.1, 0.2], [0.3, 0.4], [0.6, 0.0], [0.6, 0.4]].concat();
        let among = (0..18).map(|at| at as f32).collect();
        Queries {
            count: 3,
            kept: vec![0, 2],
            layers: vec![0],
            depth: 1,
            heads: 2,
            maps: Arc::new(maps),
            tokens: vec!["cat".into()],
            self_attention: Arc::new(among),
            contrast: Some(Contrast { phrase: vec![0.2, 0.2], sentence: vec![0.1, 0.3], words: Vec::new() }),
            ..Queries::default()
        }
    }

    #[test]
    fn queries_stand_in_the_order_that_is_asked_for() {
        let (queries, look) = (queries(), QueryLook::default());
        assert_eq!(queries.order(QueryOrder::Index, look, None), [0, 1]);
        assert_eq!(queries.order(QueryOrder::Mass, look, None), [1, 0]);
        assert_eq!(queries.order(QueryOrder::Similarity, look, None), [0, 1], "equals stay in their order");
        assert_eq!((queries.winner(None), queries.contrast_score()), (Some(0), Some((2, 0.3))));
        assert_eq!(queries.others(1), [0, 2]);
    }

    #[test]
    fn attention_among_queries_and_tokens_is_that_of_a_head_or_the_mean() {
        let queries = queries();
        assert_eq!(queries.among(Some(0), Some(1)).unwrap()[..2], [9.0, 10.0]);
        assert_eq!(queries.among(None, None).unwrap()[..2], [4.5, 5.5]);
        assert!(queries.among(Some(1), None).is_none() && Queries::default().among(None, None).is_none());
    }
}
