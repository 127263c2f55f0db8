//! Cross-attention fusion: words are queries, patches are keys and values, inside the network (BLIP, Flamingo).

mod hold;
mod maps;
mod writing;

use candle_core::Tensor;
use image::RgbImage;
use std::path::Path;
use std::sync::Arc;

use super::cost::{self, PictureCost};
use super::evidence::{Evidence, Familiar, ModelFacts, PatchWords};
use super::familiarity::{self, Familiarity};
use super::holding::{About, Claim, Held};
use super::interventions::{Anatomy, PatchesAt, Route};
use super::reading::{Gate, Line, LineKind, Place, Reading, Step, Weighting};
use super::vectors::{length, unit};
use super::{Cloud, CloudPoint, Input, Method, MethodEntry, News, PointKind, Scores, Stage};
use crate::attribution::bimodal_relevancy::Flow;
use crate::attribution::fusion::{Look, PatchKeys, Weight};
use crate::error::{Error, Result};
use crate::models::blip::{Blip, BlipHead};
use crate::models::fusion::{CLASSES, OpenedFusion, Task};
use crate::models::runtime::Runtime;
use crate::models::tokenizer::Tokens;
use crate::taps::{
    Array, Attn, CancelToken, Change, Interventions, Places, Point, Recorder, Recording, Site, SitePattern, Taps, Tower,
};
use crate::world::Language;

/// The method's entry in the registry.
pub const ENTRY: MethodEntry = MethodEntry {
    key: "cross-attention",
    help: [
        include_str!("../../assets/help/cross-attention-method.en.md"),
        include_str!("../../assets/help/cross-attention-method.zh.md"),
    ],
    classes: &CLASSES,
    usual: "blip-captioning",
    open: |folder, runtime| Ok(Box::new(CrossAttention::open(folder, runtime)?)),
};

/// A model with what it has already computed.
pub struct CrossAttention {
    opened: OpenedFusion,
    facts: ModelFacts,
    grounding: Option<Arc<Vec<f32>>>,
    familiarity: Option<Familiarity>,
    image: Option<Image>,
    known: Option<Known>,
    interventions: Interventions,
}

/// What is known of the present picture.
struct Image {
    picture: Arc<RgbImage>,
    pixels: Tensor,       // [1, 3, height, width]
    seen: Tensor,         // [1, positions, width], what the resampler looks at, if there is one
    states: Tensor,       // [1, keys, width], what words look at
    resampler: Recording, // the resampler's attention, if there is one
    familiar: Option<Familiar>,
    patches: Array, // [patches, width], behind the last block of the vision tower
}

/// What is known of the present text.
struct Known {
    sentence: String,
    closed: Vec<usize>,
    language: Language,
    tokens: Tokens,
    reading: Reading,
    hidden: Vec<Array>, // [tokens, width] each, by layer
    written: Vec<u32>,  // the ids of the line that was written, with what it goes on from
}

impl Known {
    /// Whether this is what is asked for.
    fn answers(&self, input: &Input, closed: &[usize]) -> bool {
        self.sentence == input.sentence.trim() && self.closed == closed && self.language == input.language
    }
}

impl CrossAttention {
    /// Opens a checkpoint.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(folder: &Path, runtime: &Runtime) -> Result<Self> {
        let opened = OpenedFusion::open(folder, runtime)?;
        let facts = ModelFacts {
            name: opened.checkpoint.name(),
            class: opened.checkpoint.class().to_owned(),
            parameters: opened.parameters,
        };
        Ok(Self {
            grounding: super::grounding::read(folder)?.map(Arc::new),
            familiarity: Familiarity::read(folder)?,
            opened,
            facts,
            image: None,
            known: None,
            interventions: Interventions::default(),
        })
    }

    /// Changes the model as is asked for; if it is another then, forgets what it said before.
    fn intervene(&mut self, input: &Input) -> Result<()> {
        let anatomy = self.anatomy(input)?;
        if anatomy.renew(&mut self.interventions, &input.interventions) {
            (self.image, self.known) = (None, None);
        }
        Ok(())
    }

    /// What is known of the picture, taken out of the method so that the rest can be changed beside it.
    fn take_image(&mut self, picture: &Arc<RgbImage>, cancel: &CancelToken) -> Result<Image> {
        if let Some(image) = self.image.take_if(|image| Arc::ptr_eq(&image.picture, picture)) {
            return Ok(image);
        }
        self.known = None;
        let pixels = self.opened.pixels(&[picture])?;
        let mut recorder = Recorder::new(SitePattern::new("resampler.*.cross_attn.pattern,vision.*.resid_post"));
        let (seen, states) = {
            let mut taps = Taps::under(&self.interventions).with(&mut recorder).cancelled_by(cancel);
            let seen = self.opened.look(&pixels, &mut taps)?.detach();
            let states = self.opened.resample(&seen, &mut taps)?.detach();
            (seen, states)
        };
        let recording = recorder.finish();
        let early = familiarity::features_of(&recording).concat();
        let familiar = self.familiarity.as_ref().map(|familiarity| familiarity.of(&early));
        let last = recording.activations.iter().rev().find(|(site, _)| site.tower == Tower::Vision);
        let patches = last.map(|(_, states)| {
            let width = states.shape.last().copied().unwrap_or(1);
            let data = states.data.get(width..).unwrap_or_default().to_vec(); // without the class token
            Array { shape: vec![data.len() / width.max(1), width], data }
        });
        let resampler = Recording {
            activations: recording.activations.into_iter().filter(|(site, _)| site.tower == Tower::Resampler).collect(),
            gradients: Default::default(),
        };
        let patches = patches.unwrap_or(Array { shape: vec![0, 0], data: Vec::new() });
        Ok(Image { picture: Arc::clone(picture), pixels, seen, states, resampler, familiar, patches })
    }

    /// What is changed in the model while these gates are closed.
    fn under(&self, closed: &[usize]) -> Interventions {
        with_gates(self.interventions.clone(), closed)
    }

    /// What a first pass over the text gives.
    fn read(&self, image: &Image, input: &Input, cancel: &CancelToken) -> Result<Known> {
        let (sentence, closed) = (input.sentence.trim().to_owned(), self.closed(input));
        let opened = &self.opened;
        let tokens = opened.tokens(&input.sentence)?;
        let texts = opened.tokenizer.pad(std::slice::from_ref(&tokens.ids), &opened.device)?;
        let under = self.under(&closed);
        let mut recorder = Recorder::new(SitePattern::new(
            "text.embed,decoder.embed,text.*.resid_pre,decoder.*.resid_pre,text.*.resid_post,decoder.*.resid_post,\
             decoder.*.gate_attn,decoder.*.gate_ffn",
        ));
        let read = {
            let mut taps = Taps::under(&under).with(&mut recorder).cancelled_by(cancel);
            opened.read(&texts, &image.states, &mut taps)?
        };
        let recording = recorder.finish();
        let tower = opened.tower();
        let mut reading = Reading {
            layers: opened.cross_layers(),
            predicts: opened.task() == Task::Write,
            gates: self.gates(&recording, &closed)?,
            grounding: self.grounding.clone(),
            latents: self.latents(image)?,
            ..Reading::default()
        };
        let steps = (0..tokens.ids.len()).map(|at| Step {
            text: tokens.texts[at].clone(),
            span: tokens.spans[at],
            ..Step::default()
        });
        let line = Line { kind: LineKind::Read, steps: steps.collect(), maps: Vec::new(), of_question: None };
        reading.lines.push(line);
        if let Some(matching) = &read.matching {
            let shares = crate::nn::softmax(matching)?.flatten_all()?.to_vec1::<f32>()?;
            reading.matching = shares.get(1).copied();
            if let Some(BlipHead::Retrieval(retrieval)) = opened.blip().map(Blip::head) {
                let text = retrieval.embed_text(&texts.ids, texts.attention_mask.as_ref(), &mut Taps::under(&under))?;
                let image = retrieval.embed_image(&image.states)?;
                let cosine = image.embed.mul(&text.embed)?.sum_all()?.to_scalar::<f32>()?;
                reading.cosine = Some(cosine);
            }
        }
        let layers = recording.activations.into_iter().filter(|(site, _)| {
            let hidden = matches!(site.point, Point::Embed | Point::ResidPost);
            site.tower == tower && hidden
        });
        let mut layers: Vec<(Site, Array)> = layers.collect();
        layers.sort_by_key(|(site, _)| (site.point == Point::ResidPost, site.layer));
        let hidden: Vec<Array> = layers.into_iter().map(|(_, states)| without_batch(states)).collect();
        reading.depth = hidden.len();
        Ok(Known { sentence, closed, language: input.language, tokens, reading, hidden, written: Vec::new() })
    }

    /// The gates that are closed, of those that there are.
    fn closed(&self, input: &Input) -> Vec<usize> {
        let gates = if self.opened.flamingo().is_some() { self.opened.cross_layers() } else { 0 };
        (0..gates).filter(|gate| input.closed_gates.contains(gate)).collect()
    }

    /// What each latent of the resampler holds, if there is one.
    fn latents(&self, image: &Image) -> Result<Option<Arc<Vec<f32>>>> {
        if self.opened.resampler_layers() == 0 {
            return Ok(None);
        }
        let look = Look {
            recording: &image.resampler,
            row: 0,
            picture: 0,
            tower: self.opened.tower(),
            attention: Attn::CrossAttn,
            layers: self.opened.cross_layers(),
            resampler: self.opened.resampler_layers(),
            patches: PatchKeys::Behind(self.opened.leading()),
            positions: &[],
        };
        Ok(Some(Arc::new(look.flow(image.states.dim(1)?, Weight::Raw)?)))
    }

    /// How the gates stand, and how much they really add.
    fn gates(&self, recording: &Recording, closed: &[usize]) -> Result<Vec<Gate>> {
        let Some(flamingo) = self.opened.flamingo() else { return Ok(Vec::new()) };
        let lengths = |values: &[f32], width: usize| -> Vec<f32> { values.chunks_exact(width).map(length).collect() };
        let mut gates = Vec::new();
        for (at, (attention, feed_forward)) in flamingo.gates()?.into_iter().enumerate() {
            let site = |layer, point| recording.get(Site::new(Tower::Decoder, layer, point));
            let parts =
                (site(at, Point::GateAttn), site(at, Point::GateFfn), site(flamingo.block_behind(at), Point::ResidPre));
            let mut share = [0.0; 2];
            if let (Some(attn), Some(ffn), Some(after)) = parts {
                let width = after.shape.last().copied().unwrap_or(1).max(1);
                let before_ffn: Vec<f32> = after.data.iter().zip(&ffn.data).map(|(x, added)| x - added).collect();
                let before: Vec<f32> = before_ffn.iter().zip(&attn.data).map(|(x, added)| x - added).collect();
                for (which, (added, stream)) in [(attn, &before), (ffn, &before_ffn)].into_iter().enumerate() {
                    let (added, stream) = (lengths(&added.data, width), lengths(stream, width));
                    let ratios: Vec<f32> = added
                        .iter()
                        .zip(&stream)
                        .filter(|(added, stream)| **added > 0.0 && **stream > 0.0)
                        .map(|(added, stream)| added / stream)
                        .collect();
                    // Of nothing, the sum would be a negative zero.
                    share[which] = ratios.iter().fold(0.0, |sum, ratio| sum + ratio) / ratios.len().max(1) as f32;
                }
            }
            gates.push(Gate { tanh: [attention, feed_forward], share, closed: closed.contains(&at) });
        }
        Ok(gates)
    }

    fn evidence_of(&self, image: &Image, known: &Known, input: &Input, complete: bool) -> Evidence {
        let width = image.patches.shape.last().copied().unwrap_or(1).max(1);
        Evidence {
            method: ENTRY.key,
            model: self.facts.clone(),
            tokens: known.tokens.clone(),
            grid: self.opened.grid(),
            seen: self.opened.processor.seen(input.picture.width(), input.picture.height()),
            phrase: input.phrase().to_owned(),
            maps: Default::default(),
            complete,
            patch_words: patch_words(&known.reading),
            cloud: self.cloud(image, known, input.hidden_layer),
            scores: Scores::default(),
            attention: Vec::new(),
            norms: image.patches.data.chunks_exact(width).map(length).collect(),
            ledger: self.ledger(image, known),
            familiarity: image.familiar,
            reading: Some(Arc::new(known.reading.clone())),
            queries: None,
            spliced: None,
        }
    }

    /// Words and, where their vectors are as long, patches; `layer` counts from the input on, and `None` is the last.
    fn cloud(&self, image: &Image, known: &Known, layer: Option<usize>) -> Cloud {
        let last = known.hidden.len().saturating_sub(1);
        let Some(words) = known.hidden.get(layer.unwrap_or(last).min(last)) else { return Cloud::default() };
        let mut points = Vec::new();
        // What differs between words and patches is not how long their states are.
        let point = |kind, label: String, vector: &[f32]| CloudPoint {
            kind,
            pair: 0,
            listed: None,
            picture: None,
            label,
            vector: unit(vector),
        };
        let columns = self.opened.grid().1.max(1);
        if words.shape.last() == image.patches.shape.last() {
            for patch in 0..image.patches.shape[0] {
                let label = format!("{}·{}", patch / columns + 1, patch % columns + 1);
                points.push(point(PointKind::Patch, label, image.patches.row(patch)));
            }
        }
        for (at, text) in known.tokens.texts.iter().enumerate() {
            if known.tokens.spans[at].is_some() {
                points.push(point(PointKind::Word, text.trim().to_owned(), words.row(at)));
            }
        }
        Cloud { points }
    }

    fn ledger(&self, image: &Image, known: &Known) -> Vec<Stage> {
        let (rows, columns) = self.opened.grid();
        let (height, width) = self.opened.processor.size();
        let stage = |key, shape: String| Stage { key, shape };
        let (tokens, patches) = (known.tokens.ids.len(), rows * columns);
        let mut stages = vec![
            stage("pixels", format!("3 × {height} × {width}")),
            stage("patches", format!("{rows} × {columns} = {patches}")),
        ];
        let keys = image.states.dims().get(1).copied().unwrap_or(0);
        if self.opened.resampler_layers() > 0 {
            stages.push(stage("resampler", format!("{} → {keys}", patches + 1)));
        }
        stages.push(stage("tokens", format!("{tokens}")));
        let layers = self.opened.cross_layers();
        stages.push(stage("cross-attention", format!("{layers} × ({tokens} × {keys})")));
        stages
    }
}

impl Method for CrossAttention {
    fn evidence(&mut self, input: &Input, cancel: &CancelToken, emit: &mut dyn FnMut(News)) -> Result<()> {
        if input.sentence.trim().is_empty() {
            return Err(Error::unusable("there is no text", "write a sentence or a question about the picture"));
        }
        self.intervene(input)?;
        let image = self.take_image(&input.picture, cancel)?;
        let mut known = match self.known.take() {
            Some(known) if known.answers(input, &self.closed(input)) => known,
            _ => self.read(&image, input, cancel)?,
        };
        let done = if input.brief {
            self.glance(&image, &mut known, input, cancel)
        } else {
            self.complete(&image, &mut known, input, cancel, emit)
        };
        if done.is_ok() {
            emit(News::Evidence(Box::new(self.evidence_of(&image, &known, input, !input.brief))));
            self.known = Some(known).filter(|_| !input.brief);
        }
        self.image = Some(image);
        done
    }

    fn anatomy(&self, _input: &Input) -> Result<Anatomy> {
        let opened = &self.opened;
        let (leading, patches) = (opened.leading(), opened.grid().0 * opened.grid().1);
        let route = |key, (tower, attn), depth: usize, keys| {
            let (layers, queries) = ((0..depth).collect(), Places::All);
            Route { key, tower, attn, layers, queries, keys }
        };
        let (tower, cross) = (opened.tower(), opened.cross_layers());
        let mut routes = vec![route("words-to-picture", (tower, Attn::CrossAttn), cross, Places::All)];
        let mut keys = vec![(tower, Attn::CrossAttn)];
        if let Some(blip) = opened.blip() {
            routes.insert(0, Route::among_patches(blip.vision().depth(), leading));
            routes.push(route("words-to-words", (tower, Attn::SelfAttn), cross, Places::Others));
            keys.push((Tower::Vision, Attn::SelfAttn));
        } else {
            keys = vec![(Tower::Resampler, Attn::CrossAttn)];
        }
        if opened.task() == Task::Answer {
            routes.push(route("answer-to-question", (Tower::Decoder, Attn::CrossAttn), cross, Places::All));
        }
        let patches = keys.into_iter().map(|attention| PatchesAt::behind(leading, patches, attention)).collect();
        Ok(Anatomy { routes, patches, leads: Some((tower, Attn::CrossAttn)) })
    }

    fn hold(&mut self, input: &Input, about: &About<'_>, cancel: &CancelToken) -> Result<Held> {
        self.hold_to(input, about, cancel)
    }

    fn flow(&mut self, input: &Input, claim: Claim, cancel: &CancelToken) -> Result<Flow> {
        self.flow_from(input, claim, cancel)
    }

    fn cost(&self, asked: cost::Asked<'_>) -> Result<PictureCost> {
        cost::cross_attention(&self.opened, asked)
    }
}

impl CrossAttention {
    /// Where the selected words look, and nothing else. What comes of it isn't kept.
    fn glance(&self, image: &Image, known: &mut Known, input: &Input, cancel: &CancelToken) -> Result<()> {
        let ids = known.tokens.ids.clone();
        self.raw_maps(image, known, 0, &ids, cancel)?;
        self.weigh_asked(image, known, input, cancel)
    }

    /// The weighted maps of the selected words, which are wanted most.
    fn weigh_asked(&self, image: &Image, known: &mut Known, input: &Input, cancel: &CancelToken) -> Result<()> {
        let Some(line) = known.reading.lines.first() else { return Ok(()) };
        let wanted: Vec<bool> = line.steps.iter().map(|step| input.asks_for(step.span)).collect();
        let place = match self.opened.task() {
            Task::Write => Place::Predict,
            Task::Match => Place::Read,
            // An answer would have to be written first: its question is shown by raw attention alone.
            Task::Answer => return Ok(()),
        };
        self.weigh(image, known, 0, (place, Some(&wanted)), cancel)
    }

    /// Computes what isn't known yet, and shows it bit by bit.
    fn complete(
        &self,
        image: &Image,
        known: &mut Known,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(News),
    ) -> Result<()> {
        if known.reading.lines.iter().all(|line| !line.maps.is_empty()) {
            return Ok(());
        }
        let show = |known: &Known, emit: &mut dyn FnMut(News)| {
            emit(News::Evidence(Box::new(self.evidence_of(image, known, input, false))));
        };
        let ids = known.tokens.ids.clone();
        self.raw_maps(image, known, 0, &ids, cancel)?;
        show(known, emit);
        // Whether a text fits is one score, whose gradients are those of all words.
        if self.opened.task() == Task::Write {
            self.weigh_asked(image, known, input, cancel)?;
            show(known, emit);
        }
        self.write(image, known, input, cancel, &mut |known| show(known, emit))?;
        self.weighted_maps(image, known, cancel, &mut |share| emit(News::Progress(share)))
    }
}

/// `interventions`, and these gates closed.
fn with_gates(mut interventions: Interventions, closed: &[usize]) -> Interventions {
    if !closed.is_empty() {
        interventions.0.push(Change::GatesClosed { layers: Some(closed.to_vec()) });
    }
    interventions
}

/// The array without its first axis, which has one entry.
fn without_batch(array: Array) -> Array {
    Array { shape: array.shape.iter().skip(1).copied().collect(), data: array.data }
}

/// For each patch, how much of each word's attention it has: who asks for it.
fn patch_words(reading: &Reading) -> PatchWords {
    let shape = (reading.layers, reading.heads);
    let Some(line) = reading.lines.first() else { return PatchWords::default() };
    let words = line.steps.iter().enumerate().filter(|(_, step)| step.span.is_some());
    let maps = words.filter_map(|(at, step)| {
        let weighting = [Weighting::Gradient, Weighting::Raw];
        let map = weighting.iter().find_map(|how| line.map(at, (Place::Read, *how), None, shape));
        Some((step.text.trim().to_owned(), map?))
    });
    PatchWords::of_maps(maps)
}
