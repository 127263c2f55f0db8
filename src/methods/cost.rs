//! What a picture costs in each of the four ways: how much of it words meet, and how long it takes.

use candle_core::{Device, Tensor};
use image::RgbImage;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::models::checkpoint::Checkpoint;
use crate::models::fusion::OpenedFusion;
use crate::models::llava::LlavaPrompt;
use crate::models::memory::Needed;
use crate::models::opened::Opened;
use crate::models::projector::OpenedProjector;
use crate::models::q_former::QFormerText;
use crate::models::querying::OpenedQuerying;
use crate::models::querying_writer::QueryingPrompt;
use crate::models::runtime::Precision;
use crate::models::weights::Weights;
use crate::nn::operations::counted;
use crate::taps::{CancelToken, Taps};

/// What a picture costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PictureCost {
    /// The checkpoint's name.
    pub model: String,
    /// How many vectors of the picture words meet.
    pub vectors: usize,
    /// How many numbers each of them has.
    pub width: usize,
    /// Milliseconds of all that happens to the picture before any word meets it. InstructBLIP's queries read the text, too.
    pub seeing: f32,
    /// Milliseconds of a pass over the text that meets the picture.
    pub reading: f32,
    /// Floating-point operations of the same: of seeing, and of reading.
    pub operations: [u64; 2],
    /// Parameters that the published recipe of the class trains.
    pub trained: usize,
    /// Parameters that it leaves as they are.
    pub frozen: usize,
    /// Bytes that the weights take in memory, in the precision they are run in.
    pub bytes: u64,
}

/// What the cost of is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The picture.
    pub picture: &'a RgbImage,
    /// The person's text.
    pub text: &'a str,
    /// How the model's weights are held.
    pub precision: Precision,
    /// Ends the work.
    pub stop: &'a CancelToken,
}

/// What a stage takes: milliseconds, and operations.
struct Taken {
    time: f32,
    operations: u64,
}

/// The second of two runs: the first one fetches the weights.
fn timed(mut work: impl FnMut() -> Result<Tensor>) -> Result<(Tensor, Taken)> {
    work()?;
    let begin = Instant::now();
    let (made, operations) = counted(work);
    Ok((made?, Taken { time: begin.elapsed().as_secs_f32() * 1000.0, operations }))
}

/// The parts of a checkpoint that the published recipe of its class leaves as they are, by the names of their weights.
fn is_frozen(class: &str, name: &str) -> bool {
    let part = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if class.starts_with("Idefics") || class.contains("Flamingo") {
        // What joins picture and words is trained, and the tokens that stand for a picture.
        return !part(&["perceiver", "gated_cross_attn", "cross_attn_layer", "additional_"]);
    }
    if class.starts_with("Blip2") || class.starts_with("InstructBlip") {
        return part(&["vision_model", "language_model"]);
    }
    class.starts_with("Llava") && part(&["vision_tower"])
}

/// The cost of a checkpoint whose picture becomes `vectors` vectors of `width` numbers.
fn cost_of(
    checkpoint: &Checkpoint,
    precision: Precision,
    (vectors, width): (usize, usize),
    [seeing, reading]: [Taken; 2],
) -> Result<PictureCost> {
    let weights = Weights::open(&checkpoint.folder, &Device::Cpu)?;
    let (mut trained, mut frozen) = (0, 0);
    for (name, shape) in weights.shapes() {
        let numbers: usize = shape.iter().product();
        *if is_frozen(checkpoint.class(), &name) { &mut frozen } else { &mut trained } += numbers;
    }
    Ok(PictureCost {
        bytes: Needed::of(checkpoint, precision)?.weights,
        model: checkpoint.name(),
        vectors,
        width,
        seeing: seeing.time,
        reading: reading.time,
        operations: [seeing.operations, reading.operations],
        trained,
        frozen,
    })
}

/// Of the contrastive way: one vector, which is compared with that of the text.
pub(super) fn contrastive(opened: &Opened, asked: Asked<'_>) -> Result<PictureCost> {
    let Asked { picture, text, precision, stop } = asked;
    let encoder = opened.dual_encoder();
    let taps = || Taps::none().cancelled_by(stop);
    let (_, seeing) = timed(|| Ok(encoder.encode_image(&opened.pixels(&[picture])?, &mut taps())?.embed))?;
    let texts = opened.texts(&[text])?;
    let read = || Ok(encoder.encode_text(&texts.ids, texts.attention_mask.as_ref(), &mut taps())?.embed);
    let (_, reading) = timed(read)?;
    cost_of(&opened.checkpoint, precision, (1, encoder.projection_size()), [seeing, reading])
}

/// Of cross-attention: the keys that every word looks at, in every cross-attention.
pub(super) fn cross_attention(opened: &OpenedFusion, asked: Asked<'_>) -> Result<PictureCost> {
    let Asked { picture, text, precision, stop } = asked;
    let taps = || Taps::none().cancelled_by(stop);
    let (states, seeing) = timed(|| opened.see(&opened.pixels(&[picture])?, &mut taps()))?; // [1, keys, width]
    let texts = opened.tokenizer.pad(&[opened.tokens(text)?.ids], &opened.device)?;
    let (_, reading) = timed(|| {
        let read = opened.read(&texts, &states, &mut taps())?;
        read.matching.or(read.logits).or(read.states).ok_or_else(nothing)
    })?;
    let (_, vectors, width) = states.dims3()?;
    cost_of(&opened.checkpoint, precision, (vectors, width), [seeing, reading])
}

/// Of queries: what they bring back, to the language model or, of a model for retrieval, to the head that matches.
pub(super) fn querying(opened: &OpenedQuerying, asked: Asked<'_>) -> Result<PictureCost> {
    let Asked { picture, text, precision, stop } = asked;
    let device = &opened.device;
    let taps = || Taps::none().cancelled_by(stop);
    let see = || opened.see(&opened.pixels(&[picture])?, &mut taps());
    let (brought, seeing, reading) = if let Some(model) = opened.retrieval() {
        let (brought, seeing) = timed(|| model.embed_image(&see()?, None, &mut taps()))?; // [1, queries, shared]
        let (states, texts) = (see()?, opened.tokenizer.batch(&[text], device)?);
        let (_, reading) = timed(|| model.match_logits((&texts).into(), &states, None, &mut taps()))?;
        (brought, seeing, reading)
    } else {
        let writer = opened.writer().ok_or_else(nothing)?;
        let instruction = opened.instruction(text)?.map(|tokens| tokens.ids);
        let instruction = instruction.map(|ids| Tensor::from_slice(&ids, (1, ids.len()), device)).transpose()?;
        let instruction = || instruction.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
        // [1, queries, language width]
        let (brought, seeing) = timed(|| writer.project(&writer.query(&see()?, instruction(), None, &mut taps())?))?;
        let ids = opened.prompt(text, brought.dim(1)?)?.ids;
        let ids = Tensor::from_slice(&ids, (1, ids.len()), device)?;
        let prompt = QueryingPrompt { ids: &ids, attention_mask: None, projected: &brought };
        // What an encoder has read is written behind what begins every text.
        let start = writer.language().start().map(|start| Tensor::new(&[[start]], device)).transpose()?;
        let (_, reading) = timed(|| writer.logits(prompt, start.as_ref(), &mut taps()))?;
        (brought, seeing, reading)
    };
    let (_, vectors, width) = brought.dims3()?;
    cost_of(&opened.checkpoint, precision, (vectors, width), [seeing, reading])
}

/// Of the projector: positions in the row of words.
pub(super) fn projector(opened: &OpenedProjector, asked: Asked<'_>) -> Result<PictureCost> {
    let Asked { picture, text, precision, stop } = asked;
    let taps = || Taps::none().cancelled_by(stop);
    let see = || opened.model().project(&opened.see(&opened.pixels(&[picture])?, &mut taps())?);
    let (projected, seeing) = timed(see)?; // [1, positions, language width]
    let ids = opened.tokens_to_go_on(text)?.ids;
    let ids = Tensor::from_slice(&ids, (1, ids.len()), &opened.device)?;
    let prompt = LlavaPrompt { ids: &ids, attention_mask: None, projected: Some(&projected) };
    let (_, reading) = timed(|| opened.model().logits(prompt, &mut taps()))?;
    let (_, vectors, width) = projected.dims3()?;
    cost_of(&opened.checkpoint, precision, (vectors, width), [seeing, reading])
}

fn nothing() -> Error {
    Error::unusable("the model gives nothing for a text", "open a checkpoint that matches, writes or answers")
}
