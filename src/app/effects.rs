//! What interventions do: to the answer, the score and the map as they stand now, and what each of them would do alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compute::{Computer, LIGHT, Question, Report, interventions_of};
use super::errand::Errand;
use super::layout::SIDE_BY_SIDE;
use super::loaded::Wanted;
use super::patching::{PatchedWords, Text};
use super::retouch::Change as PictureChange;
use super::{App, AppState, PictureSource, looks};
use crate::error::Result;
use crate::evaluation::heads::measure;
use crate::methods::interventions::Ablation;
use crate::methods::{
    About, Anatomy, Claim, Evidence, Input, Intervention, MapKind, Measure, News, Route, grounding, is_question,
};
use crate::models::weights::bytes_in;
use crate::taps::{Array, Attn, CancelToken, Change, Notes, Places, Point, Site, SitePattern, Tower};

/// An attention of a part of a model, with heads that can be switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Part of the model.
    pub tower: Tower,
    /// Which attention of its blocks.
    pub attn: Attn,
    /// The blocks that have it, as in the checkpoint.
    pub layers: Vec<usize>,
    /// How many heads each has.
    pub heads: usize,
}

/// Where in the model of a column something can be changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// Attentions with heads.
    pub stacks: Vec<Stack>,
    /// The ways that attention takes.
    pub routes: Vec<Route>,
    /// How many patches there are.
    pub patches: usize,
    /// The attention by which words reach patches.
    pub leads: Option<(Tower, Attn)>,
    /// How well each of its heads grounds, as it stands beside the weights.
    pub grounding: Option<Arc<Vec<f32>>>,
}

impl Parts {
    /// Whether the model has what is changed by this.
    #[must_use]
    pub fn have(&self, intervention: &Intervention) -> bool {
        match intervention {
            Intervention::HeadOff { tower, attn, layer, head, .. } => self.stacks.iter().any(|stack| {
                (stack.tower, stack.attn) == (*tower, *attn) && stack.layers.contains(layer) && *head < stack.heads
            }),
            Intervention::Cut { route, first, last } => {
                let mut routes = self.routes.iter().filter(|known| known.key == route);
                routes.any(|route| route.layers.iter().any(|layer| (first..=last).contains(&layer)))
            }
            Intervention::Hidden { patches } => patches.iter().all(|patch| *patch < self.patches),
            Intervention::Other(_) => true,
        }
    }
}

/// What the interventions that stand now do.
#[derive(Clone, Debug)]
pub struct Touched {
    /// What is changed.
    pub interventions: Vec<Intervention>,
    /// What the method says without them.
    pub untouched: Arc<Evidence>,
    /// What the model holds to without them, and in what that is measured.
    pub held: (Claim, Measure),
    /// How strongly without and with them.
    pub holds: [f32; 2],
}

/// That it is to be measured what each intervention would do alone.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectsTest {
    /// The pinned picture, whose states are put in the place of the present ones, if it is another.
    pub pinned: Option<(PictureSource, Vec<PictureChange>)>,
    /// The pinned text, whose states are put in the place of the present ones, if it is another.
    pub pinned_text: Option<Text>,
    /// What stands in the place of what a head gathers.
    pub ablation: Ablation,
}

/// What each intervention would do alone, beside those that stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Effects {
    /// What stood in the place of what heads gather.
    pub ablation: Ablation,
    /// Where something can be changed.
    pub parts: Arc<Parts>,
    /// What the model holds to, and in what that is measured.
    pub held: (Claim, Measure),
    /// How strongly without any of them.
    pub whole: f32,
    /// How strongly with one head off, for each stack `[layers, heads]`.
    pub heads: Vec<Vec<f32>>,
    /// How strongly with a route cut in one block, for each route `[layers]`.
    pub routes: Vec<Vec<f32>>,
    /// How strongly with a route cut in all blocks.
    pub routes_whole: Vec<f32>,
    /// What the states of the pinned picture do, if one is pinned.
    pub patched: Option<Patched>,
    /// What the states of the pinned text do, if another is pinned.
    pub patched_words: Option<PatchedWords>,
}

/// How strongly the model holds to the words with one patch's state replaced by that of the pinned picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    /// How strongly about the pinned picture itself.
    pub whole: f32,
    /// Behind each block of the vision tower, `[layers][patches]`.
    pub layers: Vec<Vec<f32>>,
}

impl App {
    /// What is changed in the model of a column.
    #[must_use]
    pub fn interventions(&self, method: &str) -> &[Intervention] {
        self.state.interventions.get(method).map_or(&[], Vec::as_slice)
    }

    /// How many changes to models what is shown hangs on.
    #[must_use]
    pub fn changes_shown(&self) -> usize {
        let method = self.state.method.0;
        let shown = self.state.interventions.iter().filter(|(key, _)| method == SIDE_BY_SIDE || *key == method);
        shown.map(|(_, changes)| changes.len()).sum()
    }

    /// What the interventions that stand now do, if there are any and that is known.
    #[must_use]
    pub fn touched(&self) -> Option<&Touched> {
        let touched = self.touched.as_deref()?;
        let method = self.state.method.0;
        (touched.untouched.method == method && touched.interventions == self.interventions(method)).then_some(touched)
    }

    /// What each intervention would do alone, if that was measured for what is shown now.
    #[must_use]
    pub fn effects(&self) -> Option<&Effects> {
        let (question, effects) = self.effects.as_deref()?;
        (effects.ablation == self.state.ablation && *question == self.without_errand()).then_some(effects)
    }

    /// Where in the model of the shown column something can be changed, if that is known.
    #[must_use]
    pub fn parts(&self) -> Option<&Arc<Parts>> {
        let folder = &self.checkpoint(self.state.method.0)?.folder;
        let of_effects = self.effects().map(|effects| &effects.parts);
        of_effects.or_else(|| self.parts.as_ref().filter(|(known, _)| known == folder).map(|(_, parts)| parts))
    }

    /// Asks what each intervention would do alone.
    pub(super) fn measure_effects(&mut self) {
        let here = (self.state.picture.clone(), self.state.changes.clone());
        let pinned = self.pinned.as_ref().map(|pinned| (pinned.state.picture.clone(), pinned.state.changes.clone()));
        let pinned = pinned.filter(|pinned| *pinned != here);
        let text_of = |state: &AppState| (state.sentence.clone(), state.selected.words);
        let pinned_text = self.pinned.as_ref().map(|pinned| text_of(&pinned.state));
        let pinned_text = pinned_text.filter(|text| text.0 != self.state.sentence);
        let ablation = self.state.ablation;
        self.errand = Some(Errand::Effects(EffectsTest { pinned, pinned_text, ablation }));
    }

    /// Asks how well each head grounds.
    pub(super) fn measure_heads(&mut self) {
        self.errand = self.column_model(self.state.method.0).map(|column| Errand::Heads(column.model));
    }

    /// How well each head of an attention grounds, `[layers * heads]`, where words reach patches by it and that was measured.
    #[must_use]
    pub fn grounding(&self, parts: &Parts, stack: &Stack) -> Option<&[f32]> {
        let folder = &self.checkpoint(self.state.method.0)?.folder;
        let heads = self.heads.get(folder).or(self.parts()?.grounding.as_ref())?;
        let fits = parts.leads == Some((stack.tower, stack.attn)) && heads.len() == stack.layers.len() * stack.heads;
        fits.then_some(heads.as_slice())
    }

    /// The map of the selected words in the eyes of a method that says this.
    #[must_use]
    pub fn map_in(&self, evidence: &Evidence) -> Option<(MapKind, Vec<f32>)> {
        looks::map_of_words(self, evidence)
    }
}

/// What the model is asked to hold to.
fn claim(question: &Question) -> Claim {
    let asked = question.words.is_none() && is_question(&question.sentence);
    let writes = question.method != "contrastive";
    if asked && writes { Claim::Written } else { Claim::Words(question.words) }
}

impl Computer {
    /// What the method says without interventions, computed anew only if something else has changed.
    pub(super) fn untouched(
        &mut self,
        question: &Question,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(Report),
    ) -> Result<Option<Arc<Evidence>>> {
        let plain = Question { interventions: BTreeMap::new(), errand: None, ..question.clone() };
        if let Some((known, evidence)) = &self.untouched
            && *known == plain
        {
            return Ok(Some(Arc::clone(evidence)));
        }
        let Some(model) = &question.model else { return Ok(None) };
        let input = Input { interventions: Vec::new(), ..input.clone() };
        let mut said = None;
        self.method(model)?.evidence(&input, cancel, &mut |news| match news {
            News::Progress(share) => emit(Report::Progress(share / 2.0)),
            News::Evidence(evidence) => said = Some(Arc::new(*evidence)),
        })?;
        self.untouched = said.clone().map(|evidence| (plain, evidence));
        Ok(said)
    }

    /// How strongly the model holds to what it says without the interventions, without and with them.
    pub(super) fn touched(
        &mut self,
        question: &Question,
        input: &Input,
        untouched: Arc<Evidence>,
        cancel: &CancelToken,
    ) -> Result<Option<Touched>> {
        let Some(model) = &question.model else { return Ok(None) };
        let method = self.method(model)?;
        let claim = claim(question);
        let picture = [(*input.picture).clone()];
        let plain = Input { interventions: Vec::new(), ..input.clone() };
        let about = About::new(claim, &picture);
        let without = method.hold(&plain, &about, cancel)?;
        let tried = Input { tried: input.interventions.clone(), ..plain };
        let with = method.hold(&tried, &about, cancel)?;
        let holds = [without.values, with.values].map(|values| values.first().copied().unwrap_or(f32::NAN));
        let interventions = interventions_of(question, question.method);
        Ok(Some(Touched { interventions, untouched, held: (claim, without.measure), holds }))
    }

    /// Where something can be changed in the model of the column; heads are found by looking at a pass.
    pub(super) fn parts(&mut self, question: &Question, input: &Input, cancel: &CancelToken) -> Result<Parts> {
        let Some(model) = &question.model else { return Ok(Parts::default()) };
        let folder = &model.folder;
        let known = self.stacks.as_ref().filter(|(known, _)| known == folder).map(|(_, stacks)| stacks.clone());
        let method = self.method(model)?;
        let Anatomy { routes, patches, leads } = method.anatomy(input)?;
        let patches = patches.first().map_or(0, |patches| patches.at.len());
        let stacks = match known {
            Some(stacks) => stacks,
            None => {
                let notes = Notes::of_shapes();
                let noted = Change::Noted { wanted: SitePattern::new("*.z"), notes: notes.clone() };
                let tried = Input { tried: vec![Intervention::Other(noted)], ..input.clone() };
                let picture = [(*input.picture).clone()];
                method.hold(&tried, &About::new(claim(question), &picture), cancel)?;
                stacks_in(&notes.finish())
            }
        };
        self.stacks = Some((folder.clone(), stacks.clone()));
        let grounding = grounding::read(folder)?.map(Arc::new);
        Ok(Parts { stacks, routes, patches, leads, grounding })
    }

    /// Measures how well each head of a checkpoint grounds.
    pub(super) fn heads(
        &mut self,
        Wanted { folder, runtime }: &Wanted,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(Report),
    ) -> Result<()> {
        /// Scenes, fewer than those of the built-in figures, and their seed.
        const ASKED: (usize, u32) = (64, 1);
        if !bytes_in(folder).is_ok_and(|bytes| bytes <= LIGHT) {
            // It is opened for this alone, and two of them might not fit into memory.
            self.forget(folder);
        }
        let mut progress = |done: usize, all: usize| emit(Report::Progress(done as f32 / all.max(1) as f32));
        let found = measure(folder, &runtime.find()?, ASKED, cancel, &mut progress)?;
        emit(Report::Heads(folder.to_owned(), found.heads.concat()));
        Ok(())
    }

    /// Measures what each intervention would do alone.
    pub(super) fn measure_effects(
        &mut self,
        test: &EffectsTest,
        question: &Question,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(Report),
    ) -> Result<()> {
        let Some(model) = &question.model else { return Ok(()) };
        let parts = self.parts(question, input, cancel)?;
        let pinned = match &test.pinned {
            Some((source, changes)) => {
                let asked = Question { picture: source.clone(), changes: changes.clone(), ..question.clone() };
                Some(self.picture(&asked)?.0)
            }
            None => None,
        };
        let patched_words = match &test.pinned_text {
            Some(text) => self.patch_words(text, (question, claim(question)), input, cancel, emit)?,
            None => None,
        };
        let means = match test.ablation {
            Ablation::Zero => Arc::default(),
            Ablation::Mean => self.means(model, cancel)?,
        };
        let method = self.method(model)?;
        let claim = claim(question);
        let vision = method.anatomy(input)?.patches.into_iter().find(|patches| patches.tower == Tower::Vision);
        let places = vision.map(|patches| patches.at).unwrap_or_default();
        let heads: usize = parts.stacks.iter().map(|stack| stack.layers.len() * stack.heads).sum();
        let cuts: usize = parts.routes.iter().map(|route| route.layers.len() + 1).sum();
        let mut all = heads + cuts;
        let mut done = 0;
        let mut measure = Measure::Cosine;
        let mut hold = |picture: &image::RgbImage, tried: Vec<Intervention>, all: usize| -> Result<f32> {
            let tried = Input { tried, ..input.clone() };
            let held = method.hold(&tried, &About::new(claim, std::slice::from_ref(picture)), cancel)?;
            measure = held.measure;
            done += 1;
            emit(Report::Progress(done as f32 / all.max(1) as f32));
            Ok(held.values.first().copied().unwrap_or(f32::NAN))
        };
        let patched = match &pinned {
            None => None,
            Some(pinned) => {
                let notes = Notes::default();
                let noted = Change::Noted { wanted: SitePattern::new("vision.*.resid_post"), notes: notes.clone() };
                let whole = hold(pinned, vec![Intervention::Other(noted)], all)?;
                let states: Vec<(Site, Arc<Array>)> =
                    notes.finish().into_iter().map(|(site, array)| (site, Arc::new(array))).collect();
                all += states.len() * places.len();
                let mut layers = Vec::new();
                for (site, by) in states {
                    let mut values = Vec::new();
                    for place in &places {
                        let replaced =
                            Change::Replaced { site, places: Places::These(vec![*place]), by: Arc::clone(&by) };
                        values.push(hold(&input.picture, vec![Intervention::Other(replaced)], all)?);
                    }
                    layers.push(values);
                }
                Some(Patched { whole, layers })
            }
        };
        let whole = hold(&input.picture, Vec::new(), all)?;
        let mut of_heads = Vec::new();
        for stack in &parts.stacks {
            let mut values = Vec::new();
            for layer in stack.layers.iter().copied() {
                for head in 0..stack.heads {
                    let (tower, attn, by) = (stack.tower, stack.attn, test.ablation);
                    let off = Intervention::HeadOff { tower, attn, layer, head, by };
                    values.push(hold(&input.picture, means.put_into(&[off]), all)?);
                }
            }
            of_heads.push(values);
        }
        let (mut routes, mut routes_whole) = (Vec::new(), Vec::new());
        for route in &parts.routes {
            let cut = |first, last| vec![Intervention::Cut { route: route.key.to_owned(), first, last }];
            let each = route.layers.iter().map(|layer| hold(&input.picture, cut(*layer, *layer), all));
            routes.push(each.collect::<Result<Vec<f32>>>()?);
            let last = route.layers.last().copied().unwrap_or(0);
            routes_whole.push(hold(&input.picture, cut(0, last), all)?);
        }
        let parts = Arc::new(parts);
        let held = (claim, measure);
        let ablation = test.ablation;
        let effects =
            Effects { ablation, parts, held, whole, heads: of_heads, routes, routes_whole, patched, patched_words };
        emit(Report::Effects(Box::new(effects)));
        Ok(())
    }
}

/// The attentions whose heads were seen, by the shapes at their `z` sites, `[batch, heads, queries, head width]`.
fn stacks_in(seen: &BTreeMap<Site, Array>) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = Vec::new();
    for (site, array) in seen {
        let (Point::Z(attn), Some(heads)) = (site.point, array.shape.get(1).copied()) else { continue };
        let layer = usize::from(site.layer);
        match stacks.iter_mut().find(|stack| (stack.tower, stack.attn) == (site.tower, attn)) {
            Some(stack) => stack.layers.push(layer),
            None => stacks.push(Stack { tower: site.tower, attn, layers: vec![layer], heads }),
        }
    }
    stacks.iter_mut().for_each(|stack| stack.layers.sort_unstable());
    stacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_where_they_gather() {
        let z = |tower, layer, attn| Site::new(tower, layer, Point::Z(attn));
        let array = |heads: usize| Array { shape: vec![1, heads, 3, 8], data: Vec::new() };
        let seen = BTreeMap::from([
            (z(Tower::QFormer, 2, Attn::CrossAttn), array(4)),
            (z(Tower::QFormer, 0, Attn::CrossAttn), array(4)),
            (z(Tower::Vision, 0, Attn::SelfAttn), array(6)),
            (Site::pattern(Tower::Vision, 0), array(6)),
        ]);
        let stacks = stacks_in(&seen);
        let facts: Vec<_> = stacks.iter().map(|stack| (stack.tower, stack.layers.clone(), stack.heads)).collect();
        assert_eq!(facts, [(Tower::Vision, vec![0], 6), (Tower::QFormer, vec![0, 2], 4)]);
    }
}
