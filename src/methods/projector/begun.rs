//! The picture's part of the row, which the language model reads once.
//!
//! A decoder's positions see only what stands before them, so whatever text follows, those of the picture stay as they are. A
//! picture of hundreds of vectors is most of the row: read once, a new text costs a pass over that text, and so do the gradients
//! that explain its words.

use candle_core::Tensor;
use std::time::Instant;

use super::rows::Row;
use super::{Image, Projector, milliseconds};
use crate::error::Result;
use crate::methods::spliced::Depth;
use crate::models::generate::Manner;
use crate::models::language_model::Begun;
use crate::taps::{Array, CancelToken, Recorder, SitePattern, Taps};

/// What the language model has read of a row: all up to the picture's last position, which a text behind it reads again, since
/// it predicts the first word.
pub(super) struct ReadPicture {
    /// The tokens that were read.
    ids: Vec<u32>,
    begun: Begun,
    /// What follows each token before the picture, `[tokens, vocabulary]`.
    pub logits: Option<Tensor>,
    /// How attention is shared, by layer, `[heads, positions, 3]`.
    pub shares: Vec<Array>,
    /// The states by depth, `[positions, width]`. Those that are kept.
    pub states: Vec<(usize, Array)>,
    /// The words of the picture's patches, at the depths where they were read.
    pub depths: Vec<Depth>,
    /// Milliseconds of a pass over them that nobody watches, once it was measured.
    time: Option<f32>,
}

impl ReadPicture {
    /// The words of the patches at a depth, if they are known.
    pub(super) fn depth(&self, layer: usize) -> Option<&Depth> {
        self.depths.iter().find(|depth| depth.layer == layer)
    }
}

impl Projector {
    /// Reads the picture's part of `row`, unless that is known, or the model can't read in parts. Under interventions it reads
    /// all in one pass, since they count positions from the beginning of one.
    pub(super) fn read_picture(&self, image: &mut Image, row: &Row, depth: usize, cancel: &CancelToken) -> Result<()> {
        let read = row.picture.1.saturating_sub(1);
        let language = self.opened.model().language();
        let as_a_whole = !self.interventions.0.is_empty() || !language.reads_in_parts(language.context());
        if image.past(row) == read || as_a_whole {
            return Ok(());
        }
        let inputs = self.inputs(&row.tokens.ids, &image.projected)?.narrow(1, 0, read)?; // [1, read, width]
        let mut watch = self.watch(row, &[], &Self::sinks(image, row), read)?;
        let mut recorder = Recorder::new(SitePattern::new(&self.states_of(row, depth)));
        let mut begun = Begun::default();
        let logits = {
            let mut taps = Taps::none().with(&mut watch).with(&mut recorder).cancelled_by(cancel);
            language.read_on(&mut begun, &inputs.contiguous()?, &mut taps)?.squeeze(0)? // [read, vocabulary]
        };
        let before = row.picture.0.min(read);
        image.read = Some(ReadPicture {
            ids: row.tokens.ids[..read].to_vec(),
            begun,
            logits: (before > 0).then(|| logits.narrow(0, 0, before)?.copy()).transpose()?,
            shares: watch.shares,
            states: Self::by_depth(&inputs, recorder.finish())?,
            depths: Vec::new(),
            time: None,
        });
        Ok(())
    }

    /// What follows the tokens of a row behind those that are known, whose number comes first, `[1, tokens, vocabulary]`.
    pub(super) fn read_text(&self, image: &Image, row: &Row, taps: &mut Taps<'_>) -> Result<(usize, Tensor)> {
        let inputs = self.inputs(&row.tokens.ids, &image.projected)?;
        let language = self.opened.model().language();
        let past = image.past(row);
        let logits = match &image.read {
            Some(read) if past > 0 => language.read_on(&mut read.begun.clone(), &behind(&inputs, past)?, taps)?,
            _ => language.logits(&inputs, None, None, taps)?,
        };
        Ok((past, logits))
    }

    /// Milliseconds that the language model needs for the picture's part of `row`, measured once; 0 where it isn't read by
    /// itself.
    pub(super) fn time_of_picture(&self, image: &mut Image, row: &Row, cancel: &CancelToken) -> Result<f32> {
        let past = image.past(row);
        let Some(read) = image.read.as_mut().filter(|_| past > 0) else { return Ok(0.0) };
        if let Some(time) = read.time {
            return Ok(time);
        }
        let inputs = self.inputs(&row.tokens.ids, &image.projected)?.narrow(1, 0, past)?.contiguous()?;
        let begin = Instant::now();
        let mut taps = Taps::none().cancelled_by(cancel);
        self.opened.model().language().read_on(&mut Begun::default(), &inputs, &mut taps)?;
        Ok(*read.time.insert(milliseconds(begin)))
    }

    /// Writes behind `row`, a token after the other.
    pub(super) fn write_behind(
        &self,
        image: &Image,
        row: &Row,
        how: Manner,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<()> {
        let inputs = self.inputs(&row.tokens.ids, &image.projected)?;
        let language = self.opened.model().language();
        let past = image.past(row);
        match &image.read {
            Some(read) if past > 0 => {
                language.write_behind(&read.begun, &behind(&inputs, past)?, how, taps, on_token)?
            }
            _ => language.generate(&inputs, None, how, taps, on_token)?,
        };
        Ok(())
    }
}

impl Image {
    /// How many positions of `row` are read already.
    pub(super) fn past(&self, row: &Row) -> usize {
        let known = self.read.as_ref().filter(|read| row.tokens.ids.starts_with(&read.ids));
        known.map_or(0, |read| read.ids.len())
    }
}

/// What stands behind the first `past` of `inputs` `[1, positions, width]`.
fn behind(inputs: &Tensor, past: usize) -> Result<Tensor> {
    Ok(inputs.narrow(1, past, inputs.dim(1)?.saturating_sub(past))?.contiguous()?)
}

/// By layer, `first` `[heads, positions, 3]` and behind its positions those of `then`.
pub(super) fn joined(first: &[Array], then: &[Array]) -> Vec<Array> {
    let join = |(first, then): (&Array, &Array)| {
        let [heads, before, width] = [first.shape[0], first.shape[1], first.shape[2]];
        let (one, other) = (before * width, then.shape[1] * width);
        let of_head = |head: usize| {
            let first = &first.data[head * one..(head + 1) * one];
            first.iter().chain(&then.data[head * other..(head + 1) * other]).copied()
        };
        Array { shape: vec![heads, before + then.shape[1], width], data: (0..heads).flat_map(of_head).collect() }
    };
    first.iter().zip(then).map(join).collect()
}
