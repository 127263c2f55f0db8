//! Activation patching between two texts: the states of words are replaced by those of the pinned text, one position of one layer
//! at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compute::{Computer, Question, Report};
use crate::error::Result;
use crate::methods::{About, Claim, Input, Intervention};
use crate::taps::{Array, Attn, CancelToken, Change, Notes, Places, Site, SitePattern, Tower};

/// A text with the words that are selected in it.
pub type Text = (String, Option<(usize, usize)>);

/// How strongly the model holds to the words with the state of one position replaced by that of the pinned text.
#[derive(Clone, Debug, PartialEq)]
pub enum PatchedWords {
    /// Both texts have as many positions.
    Alike {
        /// How strongly to the pinned text itself.
        whole: f32,
        /// The positions that were replaced: those of a picture among the words aren't.
        positions: Vec<usize>,
        /// How many positions there are.
        length: usize,
        /// Behind each block of the tower that reads the text, `[layers][positions]`.
        layers: Vec<Vec<f32>>,
    },
    /// They have so many positions, here and in the pinned text.
    Unlike(usize, usize),
}

/// Where words have states of their own.
const STATES: &str = "text.*.resid_post,decoder.*.resid_post";

impl Computer {
    /// Replaces the states of words by those of `pinned`. Nothing where no tower reads a text alone: queries share theirs with it.
    pub(super) fn patch_words(
        &mut self,
        pinned: &Text,
        (question, claim): (&Question, Claim),
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(Report),
    ) -> Result<Option<PatchedWords>> {
        let Some(model) = question.model.as_ref().filter(|_| question.method != "querying") else {
            return Ok(None);
        };
        let method = self.method(model)?;
        let among_words = method.anatomy(input)?.patches;
        let picture = std::slice::from_ref(&*input.picture);
        let mut hold = |input: &Input, claim: Claim, change: Change| -> Result<f32> {
            let tried = Input { tried: vec![Intervention::Other(change)], ..input.clone() };
            let held = method.hold(&tried, &About::new(claim, picture), cancel)?;
            Ok(held.values.first().copied().unwrap_or(f32::NAN))
        };
        let noted = |notes: &Notes| Change::Noted { wanted: SitePattern::new(STATES), notes: notes.clone() };
        let of_pinned = Input { sentence: pinned.0.clone(), selection: pinned.1, ..input.clone() };
        let claim_of_pinned = if claim == Claim::Written { claim } else { Claim::Words(pinned.1) };
        let (there, here) = (Notes::default(), Notes::of_shapes());
        let whole = hold(&of_pinned, claim_of_pinned, noted(&there))?;
        hold(input, claim, noted(&here))?;
        // Where a question is answered by a decoder of its own, it is the question's states that are replaced.
        let (mut there, here) = (there.finish(), here.finish());
        let tower = if there.keys().any(|site| site.tower == Tower::Text) { Tower::Text } else { Tower::Decoder };
        there.retain(|site, _| site.tower == tower);
        let length = |states: &BTreeMap<Site, Array>, site: &Site| states.get(site).map_or(0, |array| array.shape[1]);
        let Some(first) = there.keys().next().copied() else { return Ok(None) };
        let (length, of_pinned) = (length(&here, &first), length(&there, &first));
        if length != of_pinned {
            return Ok(Some(PatchedWords::Unlike(length, of_pinned)));
        }
        let of_picture = |at: &usize| {
            let row = among_words.iter().filter(|patches| (patches.tower, patches.attn) == (tower, Attn::SelfAttn));
            row.flat_map(|patches| &patches.at).any(|patch| patch == at)
        };
        let positions: Vec<usize> = (0..length).filter(|at| !of_picture(at)).collect();
        let all = (there.len() * positions.len()).max(1) as f32;
        let mut done = 0.0;
        let mut layers = Vec::new();
        for (site, states) in there {
            let by = Arc::new(states);
            let mut values = Vec::with_capacity(positions.len());
            for at in &positions {
                let replaced = Change::Replaced { site, places: Places::These(vec![*at]), by: Arc::clone(&by) };
                values.push(hold(input, claim, replaced)?);
                done += 1.0;
                emit(Report::Progress(done / all));
            }
            layers.push(values);
        }
        Ok(Some(PatchedWords::Alike { whole, positions, length, layers }))
    }
}
