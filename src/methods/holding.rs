//! How strongly a method holds to what it is asked about: the one number that its maps explain, for a picture as it is or as
//! it was changed. Whether a map is true is measured by it.

use candle_core::{D, Tensor};
use image::RgbImage;

use super::{Input, Method};
use crate::attribution::bimodal_relevancy::Flow;
use crate::attribution::hiding::Hiding;
use crate::attribution::{Asked, Slope};
use crate::error::{Error, Result};
use crate::taps::{CancelToken, GradProbe, Interventions, Point, Recording, Site, SitePattern, Taps, Tower};

/// Pictures in one pass.
const TOGETHER: usize = 16;
/// Pictures in one pass with gradients, which keeps all that it computes.
const WITH_GRADIENTS: usize = 4;

/// What is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The words at these bytes of the sentence, or all of it.
    Words(Option<(usize, usize)>),
    /// What the model has written to the picture as it is: its answer or caption.
    Written,
}

impl Claim {
    /// `input` with the words of the claim selected.
    #[must_use]
    pub fn about(self, input: &Input) -> Input {
        let selection = match self {
            Self::Words(span) => span,
            Self::Written => None,
        };
        Input { selection, brief: false, ..input.clone() }
    }
}

/// What is asked of a method: how strongly it holds to a claim.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The claim.
    pub claim: Claim,
    /// About each of these pictures, which stand in place of the input's.
    pub pictures: &'a [RgbImage],
    /// Where it is also asked how that would change.
    pub gradients: Option<&'a SitePattern>,
}

impl<'a> About<'a> {
    /// How strongly, and no more.
    #[must_use]
    pub fn new(claim: Claim, pictures: &'a [RgbImage]) -> Self {
        Self { claim, pictures, gradients: None }
    }
}

/// In what it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The cosine of picture and words.
    Cosine,
    /// How likely picture and sentence belong together, from 0 to 1.
    Matching,
    /// The probability of the words, each behind those before it: the geometric mean over their tokens, from 0 to 1.
    Probability,
}

/// How strongly a method holds to a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// In what it is measured.
    pub measure: Measure,
    /// For each picture.
    pub values: Vec<f32>,
    /// What was seen where that was asked, with the gradients there; of so many pictures each as went through together.
    pub recordings: Vec<Recording>,
}

impl Held {
    /// Asks about all pictures, some at a time: `score` gives how strongly the model holds to the claim about each of some
    /// pictures, `[pictures]`.
    pub(super) fn ask(
        measure: Measure,
        about: &About<'_>,
        under: &Interventions,
        cancel: &CancelToken,
        mut score: impl FnMut(&[&RgbImage], &mut Taps<'_>) -> Result<Tensor>,
    ) -> Result<Self> {
        let mut held = Self { measure, values: Vec::with_capacity(about.pictures.len()), recordings: Vec::new() };
        let together = if about.gradients.is_some() { WITH_GRADIENTS } else { TOGETHER };
        for chunk in about.pictures.chunks(together) {
            let pictures: Vec<&RgbImage> = chunk.iter().collect();
            let mut probe = about.gradients.map(|sites| GradProbe::new(sites.clone()));
            let values = {
                let mut taps = Taps::under(under).cancelled_by(cancel);
                if let Some(probe) = &mut probe {
                    taps = taps.with(probe);
                }
                score(&pictures, &mut taps)?
            };
            held.values.extend(values.to_vec1::<f32>()?);
            if let Some(probe) = probe {
                cancel.check()?;
                // Pictures don't see each other, so the gradient of the sum is each one's own.
                held.recordings.push(probe.backward(&values.sum_all()?)?);
            }
        }
        Ok(held)
    }
}

/// A method that is asked about a picture whose patches are hidden, and about one claim.
pub struct Holder<'a> {
    method: &'a mut dyn Method,
    input: &'a Input,
    claim: Claim,
    hiding: Hiding,
    cancel: &'a CancelToken,
    measure: Measure,
}

impl<'a> Holder<'a> {
    /// Of a `method` which is asked about the claim, with everything as in `input` but for the picture: that is the one which
    /// hides.
    #[must_use]
    pub fn new(
        method: &'a mut dyn Method,
        (input, claim): (&'a Input, Claim),
        hiding: Hiding,
        cancel: &'a CancelToken,
    ) -> Self {
        Self { method, input, claim, hiding, cancel, measure: Measure::Cosine }
    }

    /// In what it was measured when it was asked last.
    #[must_use]
    pub fn measure(&self) -> Measure {
        self.measure
    }

    fn ask(&mut self, pictures: &[RgbImage], gradients: Option<&SitePattern>) -> Result<Held> {
        let held = self.method.hold(self.input, &About { claim: self.claim, pictures, gradients }, self.cancel)?;
        self.measure = held.measure;
        Ok(held)
    }
}

impl Asked for Holder<'_> {
    fn hiding(&self) -> &Hiding {
        &self.hiding
    }

    fn hold(&mut self, pictures: &[RgbImage]) -> Result<Vec<f32>> {
        Ok(self.ask(pictures, None)?.values)
    }

    fn slopes(&mut self, pictures: &[RgbImage]) -> Result<Vec<Slope>> {
        let seen = Site::new(Tower::Vision, 0, Point::Embed);
        let held = self.ask(pictures, Some(&SitePattern::new(&seen.to_string())))?;
        let mut slopes = Vec::with_capacity(pictures.len());
        for recording in &held.recordings {
            let both = recording.activations.get(&seen).zip(recording.gradients.get(&seen));
            let (states, gradients) = both
                .ok_or_else(|| Error::unusable("the model has no patches of its own", "choose another explanation"))?;
            let width = states.shape.last().copied().unwrap_or(1);
            let of_row = |row| Slope { width, states: states.row(row).to_vec(), gradient: gradients.row(row).to_vec() };
            slopes.extend((0..states.shape.first().copied().unwrap_or(0)).map(of_row));
        }
        Ok(slopes)
    }

    fn flow(&mut self, sites: &SitePattern) -> Result<(Recording, Flow)> {
        let picture = self.hiding.without(&[]);
        let held = self.ask(std::slice::from_ref(&picture), Some(sites))?;
        let flow = self.method.flow(self.input, self.claim, self.cancel)?;
        Ok((held.recordings.into_iter().next().unwrap_or_default(), flow))
    }
}

/// The geometric mean of the probabilities of tokens, each `asked` for as the position of its logit and itself, for each row
/// of `logits` `[rows, positions, vocabulary]`: `[rows]`.
///
/// # Errors
/// If none is asked for, or one isn't there.
pub(super) fn probabilities(logits: &Tensor, asked: &[(usize, u32)]) -> Result<Tensor> {
    let (_, _, vocabulary) = logits.dims3()?;
    if asked.is_empty() {
        return Err(Error::unusable(
            "nothing predicts the selected words",
            "select words behind the first one of the text",
        ));
    }
    let mut logs = Vec::with_capacity(asked.len());
    for (position, token) in asked {
        let at = logits.narrow(1, *position, 1)?.squeeze(1)?.to_dtype(candle_core::DType::F32)?; // [rows, vocabulary]
        let highest = at.max_keepdim(D::Minus1)?;
        let all = at.broadcast_sub(&highest)?.exp()?.sum_keepdim(D::Minus1)?.log()?.add(&highest)?; // [rows, 1]
        if *token as usize >= vocabulary {
            return Err(Error::unusable("a word isn't in the model's vocabulary", "choose other words"));
        }
        logs.push(at.narrow(1, *token as usize, 1)?.sub(&all)?);
    }
    Ok(Tensor::cat(&logs, 1)?.mean(1)?.exp()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn probabilities_are_those_of_a_softmax() {
        // Two rows, two positions, three words; the second row knows the second word at the first position.
        let logits = [[[0f32, 0.0, 0.0], [1.0, 1.0, 1.0]], [[0.0, 3f32.ln(), 0.0], [0.0, 0.0, 0.0]]];
        let logits = Tensor::new(&logits, &Device::Cpu).expect("a tensor");
        let of = |asked| probabilities(&logits, asked).expect("probabilities").to_vec1::<f32>().expect("numbers");
        let of_one = of(&[(0, 1)]);
        assert!((of_one[0] - 1.0 / 3.0).abs() < 1e-6 && (of_one[1] - 0.6).abs() < 1e-6, "{of_one:?}");
        let of_both = of(&[(0, 1), (1, 2)]);
        assert!((of_both[1] - (0.6f32 / 3.0).sqrt()).abs() < 1e-6, "{of_both:?}");
        probabilities(&logits, &[]).expect_err("nothing is asked for");
        probabilities(&logits, &[(0, 3)]).expect_err("there is no such word");
    }
}
