//! Where words look: at the patches that stand in their own row, at the rest of it, and at sinks.

use candle_core::{IndexOp, Tensor};
use std::sync::Arc;

use super::begun::joined;
use super::rows::{Row, shown};
use super::{Image, Known, Projector};
use crate::attribution::fusion::{Look, PatchKeys, Weight};
use crate::error::{Error, Result};
use crate::methods::evidence::outliers;
use crate::methods::expected::expect;
use crate::methods::gradients::each;
use crate::methods::is_question;
use crate::methods::reading::{Line, LineKind, Place, Step, UNKNOWN, Weighting};
use crate::methods::spliced::Share;
use crate::methods::vectors::length;
use crate::models::generate::Greedy;
use crate::models::score::sum_of_logits;
use crate::taps::{
    Array, Attn, CancelToken, GradProbe, Observer, Point, Recorder, Recording, Site, SitePattern, Taps, Tower,
};

/// The longest text that is written, in tokens.
const MOST: usize = 40;
/// Numbers of all states that are kept, 128 MB; of a larger model only those that are looked at are.
const STATE_NUMBERS: usize = 32 << 20;
/// The self-attention of the language model.
pub(super) const LOOKS: &str = "decoder.*.self_attn.pattern";

/// What is seen of the self-attention of the language model in a pass over one row. The patterns themselves would be large:
/// their number grows with the square of the row, most of which are patches.
pub(super) struct RowWatch {
    queries: Option<Tensor>, // the positions of the pass whose rows are kept
    keys: Tensor,            // where patches stand
    groups: Tensor,          // [row, 3], which keys are picture, sinks, text
    rows: Vec<Array>,        // by layer, [heads * queries, keys]
    pub shares: Vec<Array>,  // by layer, [heads, positions, 3]
}

impl Observer for RowWatch {
    fn wants(&self, site: Site) -> bool {
        site.tower == Tower::Decoder && site.point == Point::Pattern(Attn::SelfAttn)
    }

    fn observe(&mut self, _site: Site, pattern: Tensor) -> Result<Tensor> {
        let (_, heads, positions, row) = pattern.dims4()?;
        let of_one = pattern.detach().i(0)?; // [heads, positions, row]
        if let Some(queries) = &self.queries {
            let kept = of_one.index_select(queries, 1)?.index_select(&self.keys, 2)?; // [heads, queries, keys]
            let (queries, keys) = (queries.dim(0)?, self.keys.dim(0)?);
            self.rows.push(Array::from_tensor(&kept.reshape((heads * queries, keys))?)?);
        }
        let shares = of_one.reshape((heads * positions, row))?.matmul(&self.groups)?; // [heads * positions, 3]
        self.shares.push(Array::from_tensor(&shares.reshape((heads, positions, 3))?)?);
        Ok(pattern)
    }
}

impl Projector {
    /// Watches a pass over a row that sees its first `keys` positions; the rows of `queries`, counted in the pass, are kept.
    pub(super) fn watch(&self, row: &Row, queries: &[usize], sinks: &[usize], keys: usize) -> Result<RowWatch> {
        let device = &self.opened.device;
        let indices = |places: Vec<u32>| Tensor::new(places.as_slice(), device);
        let mut groups = Vec::with_capacity(3 * keys);
        for at in 0..keys {
            let group = if sinks.contains(&at) {
                1
            } else if (row.picture.0..row.picture.1).contains(&at) {
                0
            } else {
                2
            };
            groups.extend((0..3).map(|other| if other == group { 1.0f32 } else { 0.0 }));
        }
        Ok(RowWatch {
            queries: match queries {
                [] => None,
                some => Some(indices(some.iter().map(|at| *at as u32).collect())?),
            },
            keys: indices(row.patches.iter().map(|(at, _)| *at as u32).collect())?,
            groups: Tensor::from_vec(groups, (keys, 3), device)?,
            rows: Vec::new(),
            shares: Vec::new(),
        })
    }

    /// The row's first token, and what stands for the picture with an outlying length.
    pub(super) fn sinks(image: &Image, row: &Row) -> Vec<usize> {
        let lengths: Vec<f32> = image.vectors[1].iter().map(|vector| length(vector)).collect();
        let of_picture = outliers(&lengths).into_iter().map(|place| row.picture.0 + place);
        std::iter::once(0).chain(of_picture).collect()
    }

    /// A pass over the row of a line: its raw maps at both places, what was expected at each of its tokens and, of the
    /// person's own row, states and shares of attention. `depth` is that of the states that are looked at. Gives how many
    /// positions were read before, and the logits of the others, `[1, positions, vocabulary]`, of which `probe` can tell the
    /// gradients.
    pub(super) fn raw_maps(
        &self,
        image: &Image,
        known: &mut Known,
        (line, depth): (usize, usize),
        probe: Option<&mut GradProbe>,
        cancel: &CancelToken,
    ) -> Result<(usize, Tensor)> {
        let own = line == 0;
        let row = if own { known.row.clone() } else { known.written.clone() };
        let before = |at: &usize| at.checked_sub(1);
        let past = image.past(&row);
        // What stands before the picture doesn't see it.
        let all = row.words.iter().copied().chain(row.words.iter().filter_map(before));
        let mut queries: Vec<usize> = all.filter_map(|at| at.checked_sub(past)).collect();
        queries.sort_unstable();
        queries.dedup();
        let mut watch = self.watch(&row, &queries, &Self::sinks(image, &row), row.tokens.ids.len())?;
        let mut recorder =
            Recorder::new(SitePattern::new(&if own { self.states_of(&row, depth) } else { String::new() }));
        let (past, logits) = {
            let mut taps = Taps::under(&self.interventions).with(&mut watch).with(&mut recorder).cancelled_by(cancel);
            if let Some(probe) = probe {
                taps = taps.with(probe);
            }
            self.read_text(image, &row, &mut taps)?
        };
        let patches = self.patches();
        let heads = watch.shares.first().map_or(0, |shares| shares.shape[0]);
        known.reading.heads = heads;
        known.spliced.heads = heads;
        let (mut read, mut predict) = (Vec::new(), Vec::new());
        for at in &row.words {
            for (place, maps) in [(Some(*at), &mut read), (before(at), &mut predict)] {
                let query = place.and_then(|place| queries.binary_search(&place.checked_sub(past)?).ok());
                for rows in &watch.rows {
                    for head in 0..heads {
                        let mut map = vec![0.0; patches];
                        if let Some(query) = query {
                            let keys = rows.row(head * queries.len() + query);
                            row.patches.iter().zip(keys).for_each(|((_, patch), share)| map[*patch] = *share);
                        }
                        maps.extend(map);
                    }
                }
            }
        }
        if own {
            known.spliced.row = shown(&row, &self.inputs(&row.tokens.ids, &image.projected)?)?;
            let all = match &image.read {
                Some(read) if past > 0 => joined(&read.shares, &watch.shares),
                _ => watch.shares,
            };
            known.spliced.shares = Some(Arc::new(shares(&all, row.tokens.ids.len(), heads)));
            self.keep_states(image, known, past, recorder.finish())?;
        }
        if let Some(line) = known.reading.lines.get_mut(line) {
            line.maps.push((Place::Read, Weighting::Raw, Arc::new(read)));
            line.maps.push((Place::Predict, Weighting::Raw, Arc::new(predict)));
            self.expect(&mut line.steps, &row, image, (past, &logits.i(0)?))?;
        }
        Ok((past, logits))
    }

    /// How many patches there are.
    pub(super) fn patches(&self) -> usize {
        let (rows, columns) = self.opened.grid();
        rows * columns
    }

    /// The sites of the states that are kept of a pass over a row.
    pub(super) fn states_of(&self, row: &Row, depth: usize) -> String {
        let language = self.opened.model().language();
        let numbers = self.opened.depth() * row.tokens.ids.len() * language.width();
        match depth.checked_sub(1) {
            _ if numbers <= STATE_NUMBERS => "decoder.*.resid_post".to_owned(),
            Some(block) => format!("decoder.blocks.{block}.resid_post"),
            None => String::new(),
        }
    }

    /// The states of a pass by depth, `[positions, width]`, of which `inputs` `[1, positions, width]` are the first.
    pub(super) fn by_depth(inputs: &Tensor, recording: Recording) -> Result<Vec<(usize, Array)>> {
        let mut states = vec![(0, Array::from_tensor(&inputs.squeeze(0)?)?)];
        for (site, of_site) in recording.activations {
            let shape = of_site.shape.get(1..).unwrap_or_default().to_vec();
            states.push((usize::from(site.layer) + 1, Array { shape, data: of_site.data }));
        }
        Ok(states)
    }

    /// Keeps the states of the person's row, of which the first `past` positions were read before.
    fn keep_states(&self, image: &Image, known: &mut Known, past: usize, recording: Recording) -> Result<()> {
        let inputs = self.inputs(&known.row.tokens.ids, &image.projected)?;
        let new = Self::by_depth(&inputs.narrow(1, past, inputs.dim(1)? - past)?, recording)?;
        known.states = match &image.read {
            Some(read) if past > 0 => {
                let both = |(depth, new): (usize, Array)| {
                    let (_, first) = read.states.iter().find(|(at, _)| *at == depth)?;
                    let shape = vec![first.shape[0] + new.shape[0], first.shape[1]];
                    Some((depth, Array { shape, data: [first.data.as_slice(), &new.data].concat() }))
                };
                new.into_iter().filter_map(both).collect()
            }
            _ => new,
        };
        Ok(())
    }

    /// The states of the person's row at `depth`, `[row, width]`, computed anew where they weren't kept.
    pub(super) fn states_at(&self, image: &Image, known: &Known, depth: usize, cancel: &CancelToken) -> Result<Array> {
        let at_depth = |states: &[(usize, Array)]| states.iter().find(|(at, _)| *at == depth).map(|(_, at)| at.clone());
        if let Some(states) = at_depth(&known.states) {
            return Ok(states);
        }
        let mut recorder = Recorder::new(SitePattern::new(&self.states_of(&known.row, depth)));
        let inputs = self.inputs(&known.row.tokens.ids, &image.projected)?;
        {
            let mut taps = Taps::under(&self.interventions).with(&mut recorder).cancelled_by(cancel);
            self.opened.model().language().logits(&inputs, None, None, &mut taps)?;
        }
        let states = at_depth(&Self::by_depth(&inputs, recorder.finish())?);
        states.ok_or_else(|| Error::unusable(format!("the model has no block {depth}"), "look at another depth"))
    }

    /// Keeps the states at the depth that is looked at.
    pub(super) fn keep_states_at(
        &self,
        image: &Image,
        known: &mut Known,
        depth: usize,
        cancel: &CancelToken,
    ) -> Result<()> {
        let states = self.states_at(image, known, depth, cancel)?;
        known.states.retain(|(at, _)| *at != depth);
        known.states.push((depth, states));
        Ok(())
    }

    /// What the model expected at each text token but the first of the row, from `logits` `[positions, vocabulary]` of those
    /// behind the first `past`.
    fn expect(&self, steps: &mut [Step], row: &Row, image: &Image, (past, logits): (usize, &Tensor)) -> Result<()> {
        let predicted: Vec<(usize, usize)> =
            row.words.iter().enumerate().filter_map(|(step, at)| Some((step, at.checked_sub(1)?))).collect();
        let Some((first, _)) = predicted.first() else { return Ok(()) };
        let early: Vec<u32> = predicted.iter().filter(|(_, at)| *at < past).map(|(_, at)| *at as u32).collect();
        let late = predicted.iter().filter_map(|(_, at)| at.checked_sub(past)).map(|at| at as u32).collect::<Vec<_>>();
        let rows = |logits: &Tensor, at: &[u32]| logits.index_select(&Tensor::new(at, &self.opened.device)?, 0);
        let mut known = Vec::new(); // [steps, vocabulary] in all
        if let Some(read) = image.read.as_ref().and_then(|read| read.logits.as_ref()).filter(|_| !early.is_empty()) {
            known.push(rows(read, &early)?);
        }
        if !late.is_empty() {
            known.push(rows(logits, &late)?);
        }
        let ids: Vec<u32> = predicted.iter().map(|(step, _)| row.tokens.ids[row.words[*step]]).collect();
        let steps = steps.get_mut(*first..).unwrap_or_default();
        expect(steps, &Tensor::cat(&known, 0)?, &ids, &self.opened.tokenizer)
    }

    /// Writes behind the person's question or, where it is none, a caption; `show` is called after each word.
    pub(super) fn write(
        &self,
        image: &Image,
        known: &mut Known,
        cancel: &CancelToken,
        show: &mut dyn FnMut(&Known),
    ) -> Result<()> {
        let model = self.opened.model();
        let prompt = known.language.caption_prompt();
        // Published models are asked whatever the person writes.
        let is_ours = self.familiarity.is_some() && self.opened.tokens(prompt)?.known.iter().all(|known| *known);
        known.written = if is_ours && !is_question(&known.sentence) {
            self.row_not_theirs(prompt)?
        } else {
            self.row(&known.sentence)?
        };
        let steps = known.written.steps();
        known.reading.lines.truncate(1);
        known.reading.lines.push(Line { kind: LineKind::Written, steps, maps: Vec::new(), of_question: None });
        let ends = model.language().ends();
        let given = known.written.clone();
        let mut take = |token: u32| {
            if ends.contains(&token) {
                return true;
            }
            let text = self.opened.tokenizer.token(token);
            let Known { written, reading, .. } = &mut *known;
            written.words.push(written.tokens.ids.len());
            written.tokens.ids.push(token);
            written.tokens.texts.push(text.clone());
            written.tokens.spans.push(None);
            written.tokens.known.push(true);
            if let Some(line) = reading.lines.last_mut() {
                line.steps.push(Step { text, is_written: true, ..Step::default() });
            }
            show(known);
            // A model may write the placeholder, but no picture stands there.
            token != model.placeholder()
        };
        let mut taps = Taps::under(&self.interventions).cancelled_by(cancel);
        self.write_behind(image, &given, Greedy::new(MOST).into(), &mut taps, &mut take)?;
        if known.written.tokens.ids.last() == Some(&model.placeholder()) {
            known.written.tokens.pop();
            known.written.words.pop();
            known.reading.lines.last_mut().and_then(|line| line.steps.pop());
        }
        Ok(())
    }

    /// The weighted maps of all lines, each token with a gradient of its own.
    pub(super) fn weighted_maps(
        &self,
        image: &Image,
        known: &mut Known,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(f32),
    ) -> Result<()> {
        let Known { row, written, reading, .. } = known;
        let (all, heads) = (2 * reading.lines.len(), reading.heads);
        for (at, line) in reading.lines.iter_mut().enumerate() {
            if line.maps.iter().any(|(place, how, _)| (*place, *how) == (Place::Read, Weighting::Gradient)) {
                continue;
            }
            let row = if at == 0 { &*row } else { &*written };
            // The pass is the same whatever is asked; the gradients of each token go back through it by themselves.
            let mut probe = GradProbe::new(SitePattern::new(LOOKS));
            let (past, logits) = {
                let mut taps = Taps::under(&self.interventions).with(&mut probe).cancelled_by(cancel);
                self.read_text(image, row, &mut taps)?
            };
            let passed = Passed { probe: &probe, past, logits: &logits, heads };
            for (done, place) in [Place::Predict, Place::Read].into_iter().enumerate() {
                self.weigh(&passed, row, (place, None), line, cancel)?;
                progress((2 * at + done + 1) as f32 / all as f32);
            }
        }
        Ok(())
    }

    /// Puts the weighted maps of a row among those of its `line`, each token with a gradient of its own: of the steps that are
    /// `wanted`, or all, as far as they aren't known.
    pub(super) fn weigh(
        &self,
        passed: &Passed<'_>,
        row: &Row,
        (place, wanted): (Place, Option<&[bool]>),
        line: &mut Line,
        cancel: &CancelToken,
    ) -> Result<()> {
        let of_step = self.opened.depth() * passed.heads.max(1) * self.patches();
        let look = (place, Weighting::Gradient);
        let missing = line.missing(look, wanted);
        let mut maps = vec![UNKNOWN; row.words.len() * of_step];
        let position = |at: usize| match place {
            Place::Read => at.checked_sub(passed.past),
            Place::Predict => at.checked_sub(passed.past + 1),
        };
        let mut steps = Vec::new();
        for (step, (at, map)) in row.words.iter().zip(maps.chunks_exact_mut(of_step.max(1))).enumerate() {
            if missing.get(step) != Some(&true) {
                continue;
            }
            match position(*at) {
                Some(position) => steps.push((step, *at, position)),
                None => map.fill(0.0), // what stands before the picture doesn't see it
            }
        }
        let numbers =
            self.opened.depth() * (row.tokens.ids.len() - passed.past) * self.opened.model().language().width();
        let found =
            each(numbers, &steps, |(_, at, position)| self.weigh_step(passed, row, (place, *at, *position), cancel))?;
        for ((step, ..), found) in steps.into_iter().zip(found) {
            maps[step * of_step..(step + 1) * of_step].copy_from_slice(&found);
        }
        line.put(look, maps);
        Ok(())
    }

    /// `[layers, heads, patches]` of the text token at `at`, which looks from the `position` of the pass.
    fn weigh_step(
        &self,
        passed: &Passed<'_>,
        row: &Row,
        (place, at, position): (Place, usize, usize),
        cancel: &CancelToken,
    ) -> Result<Vec<f32>> {
        cancel.check()?;
        let end = self.opened.model().language().ends().first().copied();
        let explained = explained(row, at, place, end).into_iter();
        let explained = explained.map(|(position, token)| (0, position.saturating_sub(passed.past), token));
        let recording = passed.probe.backward(&sum_of_logits(passed.logits, explained)?)?;
        let positions = [position];
        let look = Look {
            recording: &recording,
            row: 0,
            picture: 0,
            tower: Tower::Decoder,
            attention: Attn::SelfAttn,
            layers: self.opened.depth(),
            resampler: 0,
            patches: PatchKeys::At(&row.patches, self.patches()),
            positions: &positions,
        };
        Ok(look.by_head(Weight::Gradient)?.concat())
    }
}

/// A pass whose gradients can be asked for.
#[derive(Clone, Copy)]
pub(super) struct Passed<'a> {
    /// What has seen the patterns.
    pub probe: &'a GradProbe,
    /// How many positions of the row were read before.
    pub past: usize,
    /// The logits of the others, `[1, positions, vocabulary]`.
    pub logits: &'a Tensor,
    /// Heads of each block.
    pub heads: usize,
}

/// What is explained of the text token at `at`: at the position before it the token itself; at its own position all text
/// that follows, as (position of the logit, token).
fn explained(row: &Row, at: usize, place: Place, end: Option<u32>) -> Vec<(usize, u32)> {
    let ids = &row.tokens.ids;
    match place {
        Place::Predict => at.checked_sub(1).map(|before| (before, ids[at])).into_iter().collect(),
        Place::Read => {
            let later = row.words.iter().filter(|later| **later > at).map(|later| (later - 1, ids[*later]));
            later.chain(end.map(|end| (ids.len() - 1, end))).collect()
        }
    }
}

/// From the shares of each layer, `[heads, row, 3]`, to those by position, `[row, layers, heads]`.
fn shares(layers: &[Array], row: usize, heads: usize) -> Vec<Share> {
    let mut shares = Vec::new();
    for position in 0..row {
        for layer in layers {
            for head in 0..heads {
                let at = 3 * (head * row + position);
                let [picture, sinks, text] = [0, 1, 2].map(|group| layer.data.get(at + group).copied().unwrap_or(0.0));
                shares.push(Share { picture, sinks, text });
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::spliced::Spliced;

    #[test]
    fn shares_stand_by_position() {
        let first = Array { shape: vec![2, 1, 3], data: vec![0.2, 0.3, 0.5, 0.4, 0.1, 0.5] };
        let second = Array { shape: vec![2, 1, 3], data: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0] };
        let spliced = Spliced {
            layers: 2,
            heads: 2,
            shares: Some(Arc::new(shares(&[first, second], 1, 2))),
            ..Spliced::default()
        };
        let share = |layer, head| spliced.share(0, layer, head).map(|share| [share.picture, share.sinks, share.text]);
        assert_eq!(share(0, Some(1)), Some([0.4, 0.1, 0.5]));
        assert_eq!(share(1, None), Some([0.5, 0.5, 0.0]));
        assert_eq!([share(2, None), share(0, Some(2))], [None, None]);
    }
}
