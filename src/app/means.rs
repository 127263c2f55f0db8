//! What heads gather on average, which stands in their place where a person asks for that.

use std::sync::Arc;

use super::column::ColumnKey;
use super::compute::{Computer, Question, interventions_of};
use super::loaded::Wanted;
use super::samples::{Sample, SampleSource, samples};
use crate::error::Result;
use crate::methods::interventions::{Ablation, Means};
use crate::methods::{About, Claim, Input, Intervention};
use crate::taps::{CancelToken, Change, Notes, SitePattern};
use crate::world::Language;

/// Pictures over which heads are averaged.
const PICTURES: usize = 8;

impl Computer {
    /// What is changed in the model of a column: of extra ones nothing, so that they can be compared with.
    pub(super) fn interventions(
        &mut self,
        question: &Question,
        (key, model): (ColumnKey, &Wanted),
        cancel: &CancelToken,
    ) -> Result<Vec<Intervention>> {
        let ColumnKey::Own(method) = key else { return Ok(Vec::new()) };
        let wanted = interventions_of(question, method);
        let is_mean =
            |intervention: &Intervention| matches!(intervention, Intervention::HeadOff { by: Ablation::Mean, .. });
        if !wanted.iter().any(is_mean) {
            return Ok(wanted);
        }
        Ok(self.means(model, cancel)?.put_into(&wanted))
    }

    /// What the heads of a model gather on average, over scenes of the sample menu with their captions.
    pub(super) fn means(&mut self, model: &Wanted, cancel: &CancelToken) -> Result<Arc<Means>> {
        if let Some((known, means)) = &self.means
            && known == model
        {
            return Ok(Arc::clone(means));
        }
        let is_scene = |sample: &Sample| matches!(sample.source, SampleSource::Scene(_));
        let mut means = Means::default();
        for sample in samples().into_iter().filter(is_scene).take(PICTURES) {
            let notes = Notes::default();
            let noted = Change::Noted { wanted: SitePattern::new("*.z"), notes: notes.clone() };
            let picture = sample.picture()?;
            let tried = vec![Intervention::Other(noted)];
            let input = Input::new(Arc::new(picture.clone()), sample.captions[0].clone(), Language::English);
            let about = About::new(Claim::Words(None), std::slice::from_ref(&picture));
            self.method(model)?.hold(&Input { tried, ..input }, &about, cancel)?;
            means.add(&notes.finish());
        }
        let means = Arc::new(means);
        self.means = Some((model.clone(), Arc::clone(&means)));
        Ok(means)
    }
}
