//! Contrastive joint embedding: two encoders, one shared space (CLIP, SigLIP).

use candle_core::Tensor;
use image::RgbImage;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::attention::{AttentionStack, AttentionWatch};
use super::cost::{self, PictureCost};
use super::evidence::{Evidence, Heatmap, ModelFacts, PatchWords, WordMaps};
use super::familiarity::{self, Familiarity};
use super::holding::{About, Claim, Held, Measure};
use super::interventions::{Anatomy, PatchesAt, Route};
use super::vectors::{dot, length};
use super::{Cloud, CloudPoint, Input, Method, MethodEntry, News, PointKind, Scores, Stage, pairs, words};
use crate::attribution::bimodal_relevancy::{Flow, Part};
use crate::attribution::{ATTRIBUTIONS, Subject};
use crate::error::{Error, Result};
use crate::models::opened::Opened;
use crate::models::record::ProbedPictures;
use crate::models::runtime::Runtime;
use crate::models::tokenizer::Tokens;
use crate::taps::{Array, Attn, CancelToken, Interventions, Places, Point, Recorder, Site, SitePattern, Taps, Tower};
use crate::world::{Language, all_phrases};

/// The method's entry in the registry.
pub const ENTRY: MethodEntry = MethodEntry {
    key: "contrastive",
    help: [include_str!("../../assets/help/contrastive.en.md"), include_str!("../../assets/help/contrastive.zh.md")],
    classes: &["CLIPModel", "SiglipModel"],
    usual: "clip",
    open: |folder, runtime| Ok(Box::new(Contrastive::open(folder, runtime)?)),
};

/// Texts kept with their vectors and maps; beyond this many all are forgotten, which keeps memory bounded.
const TEXTS_KEPT: usize = 4096;
/// The pass that gradients go back through is kept for the next text if it holds no more numbers than this where they are taken.
const PASS_KEPT: usize = 64 << 20;
/// Models with fewer numbers than this get the maps of several words in one pass.
const SMALL_MODEL: usize = 50_000_000;

/// A dual encoder with what it has already computed.
pub struct Contrastive {
    opened: Opened,
    familiarity: Option<Familiarity>,
    facts: ModelFacts,
    image: Option<Image>,
    texts: BTreeMap<String, Vec<f32>>,
    neutral: Option<Vec<f32>>, // the empty text, [projection]
    comparison: Vec<(Arc<RgbImage>, Vec<f32>)>,
    maps: BTreeMap<String, WordMaps>,
    reading: Option<Reading>,
    interventions: Interventions,
}

/// What is known of the present picture.
struct Image {
    picture: Arc<RgbImage>,
    pixels: Tensor,    // [1, 3, height, width]
    embed: Vec<f32>,   // [projection]
    patches: Vec<f32>, // [patches, projection]
    early: Vec<f32>,   // [width]
    norms: Vec<f32>,   // [patches]
    attention: Arc<AttentionStack>,
    surgical: Option<Array>, // [1, patches, projection], once maps were asked for
    probed: Option<ProbedPictures>,
}

/// What is known of the attention of the present sentence.
struct Reading {
    sentence: String,
    attention: Arc<AttentionStack>,
}

impl Contrastive {
    /// Opens a checkpoint of a dual encoder.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(folder: &Path, runtime: &Runtime) -> Result<Self> {
        let opened = Opened::open(folder, runtime)?;
        Ok(Self {
            familiarity: Familiarity::read(folder)?,
            facts: ModelFacts {
                name: opened.checkpoint.name(),
                class: opened.checkpoint.class().to_owned(),
                parameters: opened.parameters,
            },
            opened,
            image: None,
            texts: BTreeMap::new(),
            neutral: None,
            comparison: Vec::new(),
            maps: BTreeMap::new(),
            reading: None,
            interventions: Interventions::default(),
        })
    }

    /// Changes the model as is asked for; if it is another then, forgets what it said before.
    fn intervene(&mut self, input: &Input) -> Result<()> {
        let anatomy = self.anatomy(input)?;
        if anatomy.renew(&mut self.interventions, &input.interventions) {
            (self.image, self.reading, self.neutral) = (None, None, None);
            self.texts.clear();
            self.comparison.clear();
            self.maps.clear();
        }
        Ok(())
    }

    /// Encodes the picture, unless it is the one already known and `layer` of its attention was kept.
    fn see(&mut self, picture: &Arc<RgbImage>, (layer, ceiling): (usize, u32), cancel: &CancelToken) -> Result<()> {
        let same = self.image.as_ref().is_some_and(|image| Arc::ptr_eq(&image.picture, picture));
        if same && self.image.as_ref().is_some_and(|image| image.attention.patterns.contains_key(&layer)) {
            return Ok(());
        }
        let encoder = self.opened.dual_encoder();
        let (depth, leading) = (encoder.depths().0, encoder.class_tokens());
        let pixels = self.opened.pixels(&[picture])?;
        let mut early = familiarity::recorder();
        let last = Site::new(Tower::Vision, depth.saturating_sub(1), Point::ResidPost);
        let mut late = Recorder::new(SitePattern::new(&last.to_string()));
        let mut watch = AttentionWatch::new(Tower::Vision, (depth, layer), leading, Some(encoder.grid().1), ceiling);
        let mut taps =
            Taps::under(&self.interventions).with(&mut early).with(&mut late).with(&mut watch).cancelled_by(cancel);
        let features = encoder.encode_image(&pixels, &mut taps)?;
        drop(taps);
        let states = late.finish().get(last).cloned();
        let norms = states.map_or_else(Vec::new, |states| {
            let width = states.shape.last().copied().unwrap_or(1).max(1);
            states.data.chunks_exact(width).skip(leading).map(length).collect()
        });
        self.image = Some(Image {
            picture: Arc::clone(picture),
            pixels,
            embed: Array::from_tensor(&features.embed)?.data,
            patches: Array::from_tensor(&features.patches)?.data,
            early: familiarity::features_of(&early.finish()).concat(),
            norms,
            attention: Arc::new(watch.finish()),
            surgical: None,
            probed: None,
        });
        if !same {
            self.maps.clear();
        }
        Ok(())
    }

    /// The text tower's attention over the sentence, unless it is already known and `layer` was kept.
    fn attend(
        &mut self,
        sentence: &str,
        (layer, ceiling): (usize, u32),
        cancel: &CancelToken,
    ) -> Result<Arc<AttentionStack>> {
        if let Some(reading) = &self.reading
            && reading.sentence == sentence
            && reading.attention.patterns.contains_key(&layer)
        {
            return Ok(Arc::clone(&reading.attention));
        }
        let encoder = self.opened.dual_encoder();
        let batch = self.opened.texts(&[sentence])?;
        let mut watch = AttentionWatch::new(Tower::Text, (encoder.depths().1, layer), 0, None, ceiling);
        let mut taps = Taps::under(&self.interventions).with(&mut watch).cancelled_by(cancel);
        encoder.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut taps)?;
        drop(taps);
        let attention = Arc::new(watch.finish());
        self.reading = Some(Reading { sentence: sentence.to_owned(), attention: Arc::clone(&attention) });
        Ok(attention)
    }

    /// The vectors of texts, `[projection]` each, of which only unknown ones are encoded.
    fn read(&mut self, texts: &[String], cancel: &CancelToken) -> Result<Vec<Vec<f32>>> {
        if self.texts.len() > TEXTS_KEPT {
            self.texts.clear();
        }
        let mut missing: Vec<String> = texts.iter().filter(|text| !self.texts.contains_key(*text)).cloned().collect();
        missing.sort();
        missing.dedup();
        for chunk in missing.chunks(32) {
            let batch = self.opened.texts(chunk)?;
            let mut taps = Taps::under(&self.interventions).cancelled_by(cancel);
            let encoder = self.opened.dual_encoder();
            let features = encoder.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut taps)?;
            let rows = features.embed.to_vec2::<f32>()?;
            self.texts.extend(chunk.iter().cloned().zip(rows));
        }
        Ok(texts.iter().filter_map(|text| self.texts.get(text).cloned()).collect())
    }

    /// The vectors of the comparison's pictures, of which only unknown ones are encoded.
    fn compare(&mut self, input: &Input, cancel: &CancelToken, emit: &mut dyn FnMut(News)) -> Result<Vec<Vec<f32>>> {
        let wanted = &input.comparison;
        self.comparison.retain(|(known, _)| wanted.iter().any(|pair| Arc::ptr_eq(&pair.picture, known)));
        let mut vectors = Vec::new();
        for (done, pair) in wanted.iter().enumerate() {
            let known = self.comparison.iter().find(|(known, _)| Arc::ptr_eq(&pair.picture, known));
            if let Some((_, vector)) = known {
                vectors.push(vector.clone());
                continue;
            }
            let pixels = self.opened.pixels(&[&pair.picture])?;
            let mut taps = Taps::under(&self.interventions).cancelled_by(cancel);
            let features = self.opened.dual_encoder().encode_image(&pixels, &mut taps)?;
            let vector = Array::from_tensor(&features.embed)?.data;
            self.comparison.push((Arc::clone(&pair.picture), vector.clone()));
            vectors.push(vector);
            emit(News::Progress((done + 1) as f32 / (wanted.len() + 1) as f32));
        }
        Ok(vectors)
    }

    /// All maps of `phrases` for the present picture, by gradients that are taken together.
    fn form_maps(&mut self, phrases: &[String], cancel: &CancelToken) -> Result<()> {
        let missing: Vec<String> = phrases.iter().filter(|phrase| !self.maps.contains_key(*phrase)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let vectors = self.read(&missing, cancel)?;
        let Some(image) = &mut self.image else { return Ok(()) };
        let (opened, encoder, under) = (&self.opened, self.opened.dual_encoder(), &self.interventions);
        let count = missing.len();
        let texts = Tensor::from_vec(vectors.concat(), (count, encoder.projection_size()), &opened.device)?;
        // What hangs on the picture alone is kept for the next text: a pass back is all that this one takes.
        let kept = if count == 1 { image.probed.take() } else { None };
        let probed = match kept {
            Some(probed) => probed,
            None => {
                // The same picture once for each phrase.
                let (_, channels, height, width) = image.pixels.dims4()?;
                let pixels = image.pixels.broadcast_as((count, channels, height, width))?.contiguous()?;
                opened.probe_pictures(&pixels, under, cancel)?
            }
        };
        cancel.check()?;
        let recording = probed.with(&texts)?;
        if count == 1 && probed.numbers() <= PASS_KEPT {
            image.probed = Some(probed);
        }
        let surgical = match &image.surgical {
            Some(surgical) => surgical,
            None => image.surgical.insert(opened.surgical(&image.pixels, under, cancel)?),
        };
        let neutral = match &self.neutral {
            Some(neutral) => neutral,
            None => self.neutral.insert(opened.neutral(under)?),
        };
        for (row, phrase) in missing.into_iter().enumerate() {
            let subject = Subject {
                recording: &recording,
                row,
                patches: &image.patches,
                surgical: &surgical.data,
                text: &vectors[row],
                neutral,
                class_tokens: encoder.class_tokens(),
                depth: encoder.depths().0,
            };
            let mut maps = WordMaps::new();
            for attribution in ATTRIBUTIONS {
                maps.insert(attribution.key, Heatmap { values: (attribution.map)(&subject)? });
            }
            self.maps.insert(phrase, maps);
        }
        Ok(())
    }

    /// The known maps of a phrase and of words: what the shared scale runs over.
    fn maps_of(&self, phrase: &String, words: &[String]) -> BTreeMap<String, WordMaps> {
        let wanted = std::iter::once(phrase).chain(words);
        wanted.filter_map(|text| Some((text.clone(), self.maps.get(text)?.clone()))).collect()
    }

    fn ledger(&self, tokens: &Tokens) -> Vec<Stage> {
        let encoder = self.opened.dual_encoder();
        let (rows, columns) = encoder.grid();
        let (height, width) = self.opened.processor.size();
        let (vision, text) = encoder.depths();
        let projection = encoder.projection_size();
        let positions = rows * columns + encoder.class_tokens();
        let stage = |key, shape: String| Stage { key, shape };
        vec![
            stage("pixels", format!("3 × {height} × {width}")),
            stage("patches", format!("{rows} × {columns} = {}", rows * columns)),
            stage("vision-tower", format!("{vision} × ({positions} × {positions})")),
            stage("picture-vector", format!("{projection}")),
            stage("tokens", format!("{}", tokens.ids.len())),
            stage("text-tower", format!("{text} × ({0} × {0})", tokens.ids.len())),
            stage("text-vector", format!("{projection}")),
        ]
    }
}

impl Method for Contrastive {
    fn evidence(&mut self, input: &Input, cancel: &CancelToken, emit: &mut dyn FnMut(News)) -> Result<()> {
        if input.sentence.trim().is_empty() {
            return Err(Error::unusable("there is no text", "write a sentence about the picture"));
        }
        self.intervene(input)?;
        let (vision, text) = self.opened.dual_encoder().depths();
        let layer_of = |tower: Tower, depth: usize| {
            let asked = input.attention.1.filter(|_| input.attention.0 == tower);
            (asked.filter(|layer| *layer < depth).unwrap_or(depth.saturating_sub(1)), input.attention_ceiling)
        };
        self.see(&input.picture, layer_of(Tower::Vision, vision), cancel)?;
        if self.maps.len() > TEXTS_KEPT {
            self.maps.clear();
        }
        let sentence = input.sentence.trim().to_owned();
        let phrase = input.phrase().to_owned();
        let tokens = self.opened.tokenizer.encode(&input.sentence)?;
        let words = words::different(&tokens);
        self.form_maps(std::slice::from_ref(&phrase), cancel)?;

        let offered = self.offered(input.language, &words);
        let word_vectors = self.read(&offered, cancel)?;
        let read = self.attend(&sentence, layer_of(Tower::Text, text), cancel)?;
        let compared = self.compare(input, cancel, emit)?;
        let mut captions: Vec<String> = input.comparison.iter().map(|pair| pair.caption.clone()).collect();
        captions.push(sentence.clone());
        let texts = self.read(&captions, cancel)?;
        let phrase_vector = self.read(std::slice::from_ref(&phrase), cancel)?.concat();
        let encoder = self.opened.dual_encoder();
        let factor = encoder.logit_factor()?;
        let Some(image) = &self.image else { return Ok(()) };
        let mut pictures = compared;
        pictures.push(image.embed.clone());
        let scores = Scores {
            cosines: pairs::similarity(&pictures, &texts),
            texts: captions.clone(),
            phrase: dot(&image.embed, &phrase_vector),
            factor,
            bias: encoder.logit_bias()?,
        };
        let mut evidence = Evidence {
            method: ENTRY.key,
            model: self.facts.clone(),
            grid: encoder.grid(),
            seen: self.opened.processor.seen(input.picture.width(), input.picture.height()),
            ledger: self.ledger(&tokens),
            tokens,
            phrase: phrase.clone(),
            maps: self.maps_of(&phrase, &words),
            complete: false,
            patch_words: patch_words(image, offered, words.len(), &word_vectors),
            cloud: cloud(input, pictures, captions, texts),
            attention: vec![Arc::clone(&image.attention), read],
            norms: image.norms.clone(),
            scores,
            familiarity: self.familiarity.as_ref().map(|familiarity| familiarity.of(&image.early)),
            reading: None,
            queries: None,
            spliced: None,
        };
        // What was asked for is shown at once; the maps of the other words, which set the shared scale, follow.
        let missing = words.iter().any(|word| !self.maps.contains_key(word));
        if missing {
            emit(News::Evidence(Box::new(evidence.clone())));
            if input.brief {
                return Ok(());
            }
            let together = if self.facts.parameters < SMALL_MODEL { 8 } else { 1 };
            for (done, chunk) in words.chunks(together).enumerate() {
                self.form_maps(chunk, cancel)?;
                emit(News::Progress(((done + 1) * together) as f32 / words.len().max(together) as f32));
            }
        }
        evidence.maps = self.maps_of(&phrase, &words);
        evidence.complete = true;
        emit(News::Evidence(Box::new(evidence)));
        Ok(())
    }

    fn anatomy(&self, _input: &Input) -> Result<Anatomy> {
        let encoder = self.opened.dual_encoder();
        let (vision, text) = encoder.depths();
        let (leading, patches) = (encoder.class_tokens(), encoder.grid().0 * encoder.grid().1);
        let own = |key, tower, depth: usize, queries, keys| {
            let (attn, layers) = (Attn::SelfAttn, (0..depth).collect());
            Route { key, tower, attn, layers, queries, keys }
        };
        let class = own("class-to-patches", Tower::Vision, vision, Places::Before(leading), Places::From(leading));
        let mut routes = vec![Route::among_patches(vision, leading)];
        routes.extend((leading > 0).then_some(class));
        routes.push(own("words-to-words", Tower::Text, text, Places::All, Places::Others));
        let mut patches = vec![PatchesAt::behind(leading, patches, (Tower::Vision, Attn::SelfAttn))];
        if leading == 0 {
            patches.push(PatchesAt { tower: Tower::Pooler, attn: Attn::CrossAttn, at: patches[0].at.clone() });
        }
        let leads = if leading == 0 { (Tower::Pooler, Attn::CrossAttn) } else { (Tower::Vision, Attn::SelfAttn) };
        Ok(Anatomy { routes, patches, leads: Some(leads) })
    }

    fn hold(&mut self, input: &Input, about: &About<'_>, cancel: &CancelToken) -> Result<Held> {
        let under = self.anatomy(input)?.changes(&input.all_interventions());
        let (phrase, encoder) = (about.claim.about(input).phrase().to_owned(), self.opened.dual_encoder());
        let batch = self.opened.texts(&[phrase])?;
        let mut taps = Taps::under(&under).cancelled_by(cancel);
        let text = encoder.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut taps)?.embed;
        Held::ask(Measure::Cosine, about, &under, cancel, |pictures, taps| {
            let features = encoder.encode_image(&self.opened.pixels(pictures)?, taps)?;
            Ok(features.embed.broadcast_mul(&text)?.sum(1)?)
        })
    }

    fn flow(&mut self, _input: &Input, _claim: Claim, _cancel: &CancelToken) -> Result<Flow> {
        // Of words to patches there is no attention at all: what leads there is one of the attributions.
        let pools = self.opened.dual_encoder().class_tokens() == 0;
        let towers = if pools { vec![Tower::Pooler, Tower::Vision] } else { vec![Tower::Vision] };
        Ok(Flow { start: vec![0], parts: towers.into_iter().map(Part::new).collect() })
    }

    fn cost(&self, asked: cost::Asked<'_>) -> Result<PictureCost> {
        cost::contrastive(&self.opened, asked)
    }
}

impl Contrastive {
    /// Words whose closeness to a patch is shown: those of the sentence, then, for a checkpoint that was trained on
    /// the sticker world, everything that lives there.
    fn offered(&self, language: Language, words: &[String]) -> Vec<String> {
        let mut offered = words.to_vec();
        if self.familiarity.is_some() {
            let others = all_phrases(language).into_iter().map(|phrase| phrase.text);
            offered.extend(others.filter(|word| !words.contains(word)));
        }
        offered
    }
}

fn patch_words(image: &Image, words: Vec<String>, from_sentence: usize, vectors: &[Vec<f32>]) -> PatchWords {
    let width = image.embed.len().max(1);
    let patches = image.patches.chunks_exact(width);
    let scores = patches.flat_map(|patch| vectors.iter().map(move |word| dot(patch, word)));
    PatchWords { scores: scores.collect(), words, from_sentence }
}

fn cloud(input: &Input, pictures: Vec<Vec<f32>>, captions: Vec<String>, texts: Vec<Vec<f32>>) -> Cloud {
    let listed = |pair: usize| input.comparison.get(pair).map(|pair| pair.at);
    let mut points = Vec::new();
    for (pair, (vector, caption)) in pictures.into_iter().zip(&captions).enumerate() {
        let picture = input.comparison.get(pair).map_or(&input.picture, |pair| &pair.picture);
        points.push(CloudPoint {
            kind: PointKind::Picture,
            pair,
            listed: listed(pair),
            picture: Some(Arc::clone(picture)),
            label: caption.clone(),
            vector,
        });
    }
    for (pair, (label, vector)) in captions.into_iter().zip(texts).enumerate() {
        points.push(CloudPoint { kind: PointKind::Text, pair, listed: listed(pair), picture: None, label, vector });
    }
    Cloud { points }
}
