//! Contrastive joint embedding: two encoders, one shared space (CLIP, SigLIP).

use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::evidence::{Evidence, Heatmap, ModelFacts, PatchWords, WordMaps};
use super::familiarity::{self, Familiarity};
use super::{Cloud, CloudPoint, Input, Method, MethodEntry, PointKind, Scores, Stage};
use crate::attribution::{ATTRIBUTIONS, Subject};
use crate::error::{Error, Result};
use crate::models::opened::Opened;
use crate::models::tokenizer::Tokens;
use crate::taps::{Array, CancelToken, Taps};
use crate::world::{Language, all_phrases};

/// The method's entry in the registry.
pub const ENTRY: MethodEntry = MethodEntry {
    key: "contrastive",
    title: ["Contrastive joint embedding", "对比式联合嵌入"],
    summary: [
        "Two encoders map the picture and the text into one space, in which matching pairs lie close together.",
        "两个编码器把图像和文字映射到同一空间，相配的图文彼此靠近。",
    ],
    help: [include_str!("../../assets/help/contrastive.en.md"), include_str!("../../assets/help/contrastive.zh.md")],
    classes: &["CLIPModel", "SiglipModel"],
    open: |folder, device| Ok(Box::new(Contrastive::open(folder, device)?)),
};

/// Texts kept with their vectors and maps; beyond this many all are forgotten, which keeps memory bounded.
const TEXTS_KEPT: usize = 4096;
/// Models with fewer numbers than this get the maps of several words in one pass.
const SMALL_MODEL: usize = 50_000_000;

/// A dual encoder with what it has already computed.
pub struct Contrastive {
    opened: Opened,
    familiarity: Option<Familiarity>,
    facts: ModelFacts,
    image: Option<Image>,
    texts: BTreeMap<String, Vec<f32>>,
    comparison: BTreeMap<String, Vec<f32>>,
    maps: BTreeMap<String, WordMaps>,
}

/// What is known of the present picture.
struct Image {
    picture: Arc<image::RgbImage>,
    pixels: Tensor,    // [1, 3, height, width]
    embed: Vec<f32>,   // [projection]
    patches: Vec<f32>, // [patches, projection]
    early: Vec<f32>,   // [width]
}

impl Contrastive {
    /// Opens a checkpoint of a dual encoder.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let opened = Opened::open(folder, device)?;
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
            comparison: BTreeMap::new(),
            maps: BTreeMap::new(),
        })
    }

    /// Encodes the picture, unless it is the one already known.
    fn see(&mut self, picture: &Arc<image::RgbImage>, cancel: &CancelToken) -> Result<()> {
        if self.image.as_ref().is_some_and(|image| Arc::ptr_eq(&image.picture, picture)) {
            return Ok(());
        }
        let pixels = self.opened.pixels(&[picture])?;
        let mut recorder = familiarity::recorder();
        let mut taps = Taps::none().with(&mut recorder).cancelled_by(cancel);
        let features = self.opened.dual_encoder().encode_image(&pixels, &mut taps)?;
        drop(taps);
        self.image = Some(Image {
            picture: Arc::clone(picture),
            pixels,
            embed: Array::from_tensor(&features.embed)?.data,
            patches: Array::from_tensor(&features.patches)?.data,
            early: familiarity::features_of(&recorder.finish()).concat(),
        });
        self.maps.clear();
        Ok(())
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
            let mut taps = Taps::none().cancelled_by(cancel);
            let encoder = self.opened.dual_encoder();
            let features = encoder.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut taps)?;
            let rows = features.embed.to_vec2::<f32>()?;
            self.texts.extend(chunk.iter().cloned().zip(rows));
        }
        Ok(texts.iter().filter_map(|text| self.texts.get(text).cloned()).collect())
    }

    /// The vectors of the comparison's pictures, of which only unknown ones are encoded.
    fn compare(&mut self, input: &Input, cancel: &CancelToken) -> Result<Vec<Vec<f32>>> {
        for pair in input.comparison.iter() {
            if !self.comparison.contains_key(&pair.key) {
                let pixels = self.opened.pixels(&[&pair.picture])?;
                let mut taps = Taps::none().cancelled_by(cancel);
                let features = self.opened.dual_encoder().encode_image(&pixels, &mut taps)?;
                self.comparison.insert(pair.key.clone(), Array::from_tensor(&features.embed)?.data);
            }
        }
        let known = input.comparison.iter().filter_map(|pair| self.comparison.get(&pair.key));
        Ok(known.cloned().collect())
    }

    /// All maps of `phrases` for the present picture, in one pass with gradients.
    fn form_maps(&mut self, phrases: &[String], cancel: &CancelToken) -> Result<()> {
        let missing: Vec<String> = phrases.iter().filter(|phrase| !self.maps.contains_key(*phrase)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let vectors = self.read(&missing, cancel)?;
        let Some(image) = &self.image else { return Ok(()) };
        let encoder = self.opened.dual_encoder();
        let count = missing.len();
        // The same picture once for each phrase.
        let (_, channels, height, width) = image.pixels.dims4()?;
        let pixels = image.pixels.broadcast_as((count, channels, height, width))?.contiguous()?;
        let texts = Tensor::from_vec(vectors.concat(), (count, encoder.projection_size()), &self.opened.device)?;
        let pass = self.opened.probe_pairs(&pixels, &texts, cancel)?;
        for (row, phrase) in missing.into_iter().enumerate() {
            let subject = Subject {
                recording: &pass.recording,
                row,
                patches: &image.patches,
                text: &vectors[row],
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
        let stage = |name, shape: String| Stage { name, shape };
        vec![
            stage(["pixels", "像素"], format!("3 × {height} × {width}")),
            stage(["patches", "图块"], format!("{rows} × {columns} = {}", rows * columns)),
            stage(["vision tower", "视觉编码器"], format!("{vision} × ({positions} × {positions})")),
            stage(["picture vector", "图像向量"], format!("{projection}")),
            stage(["tokens", "词元"], format!("{}", tokens.ids.len())),
            stage(["text tower", "文本编码器"], format!("{text} × ({0} × {0})", tokens.ids.len())),
            stage(["text vector", "文本向量"], format!("{projection}")),
        ]
    }
}

impl Method for Contrastive {
    fn evidence(&mut self, input: &Input, cancel: &CancelToken, emit: &mut dyn FnMut(Evidence)) -> Result<()> {
        if input.sentence.trim().is_empty() {
            return Err(Error::unusable("there is no text", "write a sentence about the picture"));
        }
        self.see(&input.picture, cancel)?;
        if self.maps.len() > TEXTS_KEPT {
            self.maps.clear();
        }
        let sentence = input.sentence.trim().to_owned();
        let phrase = input.phrase().to_owned();
        let tokens = self.opened.tokenizer.encode(&input.sentence)?;
        let words = words_of(&tokens);
        self.form_maps(std::slice::from_ref(&phrase), cancel)?;

        let offered = self.offered(input.language, &words);
        let word_vectors = self.read(&offered, cancel)?;
        let pictures = self.compare(input, cancel)?;
        let mut captions: Vec<String> = input.comparison.iter().map(|pair| pair.caption.clone()).collect();
        captions.push(sentence.clone());
        let texts = self.read(&captions, cancel)?;
        let phrase_vector = self.read(std::slice::from_ref(&phrase), cancel)?.concat();
        let encoder = self.opened.dual_encoder();
        let factor = encoder.logit_factor()?;
        let Some(image) = &self.image else { return Ok(()) };
        let scores = Scores::Similarity {
            cosines: texts.iter().map(|text| dot(&image.embed, text)).collect(),
            texts: captions.clone(),
            phrase: dot(&image.embed, &phrase_vector),
            factor,
            bias: encoder.logit_bias()?,
        };
        let mut evidence = Evidence {
            model: self.facts.clone(),
            grid: encoder.grid(),
            seen: self.opened.processor.seen(input.picture.width(), input.picture.height()),
            ledger: self.ledger(&tokens),
            tokens,
            phrase: phrase.clone(),
            maps: self.maps_of(&phrase, &words),
            complete: false,
            patch_words: patch_words(image, offered, words.len(), &word_vectors),
            cloud: cloud(input, pictures, &image.embed, captions, texts),
            scores,
            familiarity: self.familiarity.as_ref().map(|familiarity| familiarity.of(&image.early)),
        };
        // What was asked for is shown at once; the maps of the other words, which set the shared scale, follow.
        let missing = words.iter().any(|word| !self.maps.contains_key(word));
        if missing {
            emit(evidence.clone());
            let together = if self.facts.parameters < SMALL_MODEL { 8 } else { 1 };
            for chunk in words.chunks(together) {
                self.form_maps(chunk, cancel)?;
            }
        }
        evidence.maps = self.maps_of(&phrase, &words);
        evidence.complete = true;
        emit(evidence);
        Ok(())
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

/// The different words of a sentence, in their order.
fn words_of(tokens: &Tokens) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (text, span) in tokens.texts.iter().zip(&tokens.spans) {
        let word = text.trim();
        if span.is_some() && word.chars().any(char::is_alphanumeric) && !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn patch_words(image: &Image, words: Vec<String>, from_sentence: usize, vectors: &[Vec<f32>]) -> PatchWords {
    let width = image.embed.len().max(1);
    let patches = image.patches.chunks_exact(width);
    let scores = patches.flat_map(|patch| vectors.iter().map(move |word| dot(patch, word)));
    PatchWords { scores: scores.collect(), words, from_sentence }
}

fn cloud(input: &Input, pictures: Vec<Vec<f32>>, image: &[f32], captions: Vec<String>, texts: Vec<Vec<f32>>) -> Cloud {
    let mut points = Vec::new();
    for (pair, (vector, caption)) in pictures.into_iter().chain([image.to_vec()]).zip(&captions).enumerate() {
        let picture = input.comparison.get(pair).map(|pair| Arc::clone(&pair.picture));
        points.push(CloudPoint { kind: PointKind::Picture, pair, picture, label: caption.clone(), vector });
    }
    for (pair, (label, vector)) in captions.into_iter().zip(texts).enumerate() {
        points.push(CloudPoint { kind: PointKind::Text, pair, picture: None, label, vector });
    }
    Cloud { points }
}
