//! What a model does whose words look at the picture: word by word, what it reads, what it writes, and where each word
//! looks, by layer and head.

use std::sync::Arc;

/// How a text was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// The person's sentence or question.
    Read,
    /// What the model wrote.
    Written,
}

/// At which position a word's attention is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The position that reads it.
    Read,
    /// The position before, which predicts it.
    #[default]
    Predict,
}

/// How attention is weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// Not at all.
    Raw,
    /// By the positive part of its gradient.
    #[default]
    Gradient,
}

/// Everything about the texts.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The person's text, and what the model wrote, if it writes.
    pub lines: Vec<Line>,
    /// Layers of cross-attention.
    pub layers: usize,
    /// Heads of each.
    pub heads: usize,
    /// How likely it is that the text belongs to the picture; of a model that matches.
    pub matching: Option<f32>,
    /// Cosine of picture and text, which know nothing of each other; of a model that matches.
    pub cosine: Option<f32>,
    /// Whether the words of the text are also predicted one after the other.
    pub predicts: bool,
    /// How Flamingo's gates stand.
    pub gates: Vec<Gate>,
    /// What the model writes with all gates closed, where some are: the language model's guess without the picture.
    pub guess: Option<String>,
    /// How well each head grounds on scenes whose truth is known, `[layers, heads]`, where that was measured.
    pub grounding: Option<Arc<Vec<f32>>>,
    /// What each latent of Flamingo's resampler holds of each patch, `[latents, patches]`.
    pub latents: Option<Arc<Vec<f32>>>,
    /// How many layers of hidden states there are, the input's among them.
    pub depth: usize,
}

/// Stands in maps of tokens that aren't explained yet.
pub const UNKNOWN: f32 = f32::NAN;

/// A text, word by word.
#[derive(Clone, Debug)]
pub struct Line {
    /// How it was come by.
    pub kind: LineKind,
    /// Its tokens.
    pub steps: Vec<Step>,
    /// Where its tokens look, `[steps, layers, heads, patches]` each; absent while they are being computed, and [`UNKNOWN`]
    /// of tokens whose maps follow.
    pub maps: Vec<(Place, Weighting, Arc<Vec<f32>>)>,
    /// What each token of an answer sees of each token of the question, `[steps, question tokens]`; of a model whose answer
    /// looks at the question.
    pub of_question: Option<Arc<Vec<f32>>>,
}

/// A token of a text.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Its text.
    pub text: String,
    /// Whether the model wrote it; else it was given.
    pub is_written: bool,
    /// Where it stands in the person's text, in bytes.
    pub span: Option<(usize, usize)>,
    /// How likely the model held it, having read what precedes it.
    pub probability: Option<f32>,
    /// What the model expected here, likeliest first.
    pub expected: Vec<(String, f32)>,
}

/// A gated cross-attention of Flamingo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// tanh(α) of attention and of the feed-forward part behind it.
    pub tanh: [f32; 2],
    /// The length of what each adds, as a share of the length of the residual stream that it is added to; the mean over the
    /// tokens that see the picture.
    pub share: [f32; 2],
    /// Whether it was closed.
    pub closed: bool,
}

impl Reading {
    /// All tokens in order, with their lines and places in them.
    pub fn steps(&self) -> impl Iterator<Item = (usize, usize, &Step)> {
        let lines = self.lines.iter().enumerate();
        lines.flat_map(|(line, of)| of.steps.iter().enumerate().map(move |(at, step)| (line, at, step)))
    }

    /// The line and the place in it of a token, counted over all lines.
    #[must_use]
    pub fn step(&self, at: usize) -> Option<(&Line, usize)> {
        let (line, place, _) = self.steps().nth(at)?;
        Some((&self.lines[line], place))
    }

    /// The last token that stands at these bytes of the person's text: of a phrase the noun.
    #[must_use]
    pub fn last_step_of(&self, (start, end): (usize, usize)) -> Option<usize> {
        let inside = |step: &Step| step.span.is_some_and(|(from, to)| from < end && to > start);
        self.steps().enumerate().filter(|(_, (_, _, step))| inside(step)).last().map(|(at, _)| at)
    }

    /// The first token that stands at these bytes of the person's text, counted over all lines.
    #[must_use]
    pub fn step_of(&self, (start, end): (usize, usize)) -> Option<usize> {
        let inside = |step: &Step| step.span.is_some_and(|(from, to)| from < end && to > start);
        self.steps().position(|(_, _, step)| inside(step))
    }
}

impl Line {
    /// The maps of a step at `place`, by layer and head, `[layers, heads, patches]`; where a text isn't predicted, those of the
    /// reading positions.
    #[must_use]
    pub fn maps_at(&self, step: usize, place: Place, weighting: Weighting) -> Option<&[f32]> {
        // A place whose maps are still being computed isn't another place.
        let looks = |place: Place| self.maps.iter().any(|(at, ..)| *at == place);
        let place = [place, Place::Read, Place::Predict].into_iter().find(|place| looks(*place))?;
        self.part_of(self.maps_of((place, weighting))?, step)
    }

    /// The maps of all steps, `[steps, layers, heads, patches]`.
    #[must_use]
    pub fn maps_of(&self, (place, weighting): (Place, Weighting)) -> Option<&[f32]> {
        let found = self.maps.iter().find(|(at, how, _)| (*at, *how) == (place, weighting));
        found.map(|(_, _, maps)| maps.as_slice())
    }

    /// Which steps' maps aren't known yet, of those that are `wanted`, or of all.
    #[must_use]
    pub fn missing(&self, look: (Place, Weighting), wanted: Option<&[bool]>) -> Vec<bool> {
        let maps = self.maps_of(look);
        let is_known = |step: usize| maps.is_some_and(|maps| self.part_of(maps, step).is_some());
        let is_wanted = |step: usize| wanted.is_none_or(|wanted| wanted.get(step) == Some(&true));
        (0..self.steps.len()).map(|step| is_wanted(step) && !is_known(step)).collect()
    }

    /// Puts maps of all steps, `[steps, layers, heads, patches]`, among the others; where they are [`UNKNOWN`], what was known stays.
    pub fn put(&mut self, (place, weighting): (Place, Weighting), mut maps: Vec<f32>) {
        let known = self.maps.iter_mut().find(|(at, how, _)| (*at, *how) == (place, weighting));
        let Some((_, _, known)) = known else { return self.maps.push((place, weighting, Arc::new(maps))) };
        for (now, before) in maps.iter_mut().zip(known.iter()).filter(|(now, _)| now.is_nan()) {
            *now = *before;
        }
        *known = Arc::new(maps);
    }

    /// What of `maps`, which are those of all steps, belongs to one, if it is known.
    #[must_use]
    pub fn part_of<'a>(&self, maps: &'a [f32], step: usize) -> Option<&'a [f32]> {
        let size = maps.len() / self.steps.len().max(1);
        let part = maps.get(step * size..(step + 1) * size)?;
        (!part.first().is_some_and(|value| value.is_nan())).then_some(part)
    }

    /// The map of a step: of one head, or the mean over all of them.
    #[must_use]
    pub fn map(
        &self,
        step: usize,
        (place, weighting): (Place, Weighting),
        head: Option<(usize, usize)>,
        (layers, heads): (usize, usize),
    ) -> Option<Vec<f32>> {
        let of_step = self.maps_at(step, place, weighting)?;
        let patches = of_step.len() / (layers * heads).max(1);
        if let Some((layer, head)) = head {
            let at = (layer * heads + head) * patches;
            return of_step.get(at..at + patches).map(<[f32]>::to_vec);
        }
        let mut mean = vec![0.0; patches];
        for of_head in of_step.chunks_exact(patches.max(1)) {
            mean.iter_mut().zip(of_head).for_each(|(mean, value)| *mean += value / (layers * heads) as f32);
        }
        Some(mean)
    }
}
