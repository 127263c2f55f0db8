//! Scenes with one of their phrases selected, and every map of it that a method has.

use image::{GrayImage, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

use super::fresh_scenes;
use crate::attribution::EXPLAINERS;
use crate::attribution::hiding::{Fill, Hiding};
use crate::error::Result;
use crate::methods::{Claim, Holder, Input, Intervention, MapKind, Method, News};
use crate::taps::CancelToken;
use crate::world::{Language, Phrase, Scene, Split};

/// A scene with one of its phrases.
pub(super) struct AskedScene {
    /// The scene's caption, and the phrase selected.
    pub input: Input,
    /// The scene.
    pub picture: Arc<RgbImage>,
    /// Where the named objects are.
    pub mask: GrayImage,
    /// Where the phrase stands in the caption, in bytes.
    pub span: (usize, usize),
}

impl AskedScene {
    /// So many of them, of scenes with several things, so that there is something else to look at.
    pub fn several(seed: u32, count: usize, language: Language, changes: &[Intervention]) -> Vec<Self> {
        let several = |scene: &Scene| scene.things().len() > 1;
        let scenes = fresh_scenes(Split::Test, seed, 2 * count).into_iter().filter(several).take(count);
        scenes.enumerate().filter_map(|(at, scene)| Self::new(&scene, (seed, language), at, changes)).collect()
    }

    /// The scene's caption with one of its phrases selected, by chance.
    fn new(scene: &Scene, (seed, language): (u32, Language), at: usize, changes: &[Intervention]) -> Option<Self> {
        let sentence = scene.full_caption(language);
        let mut phrases: Vec<Phrase> = scene.phrases(language);
        phrases.retain(|phrase| sentence.contains(&phrase.text));
        let mut rng = ChaCha8Rng::seed_from_u64(u64::from(seed) << 32 | at as u64);
        let phrase = phrases.get(rng.random_range(0..phrases.len().max(1) as u64) as usize)?;
        let start = sentence.find(&phrase.text)?;
        let span = (start, start + phrase.text.len());
        let picture = Arc::new(scene.draw());
        let input = Input {
            selection: Some(span),
            brief: true,
            interventions: changes.to_vec(),
            ..Input::new(Arc::clone(&picture), sentence, language)
        };
        Some(Self { input, picture, mask: scene.mask_of(&phrase.objects), span })
    }

    /// What the maps explain.
    pub fn claim(&self) -> Claim {
        Claim::Words(Some(self.span))
    }

    /// Every map of the phrase by its name, and the picture whose patches can be hidden; nothing where the method has none.
    pub fn maps(&self, method: &mut dyn Method, fill: Fill, cancel: &CancelToken) -> Result<Option<(Maps, Hiding)>> {
        let mut last = None;
        method.evidence(&self.input, cancel, &mut |news| {
            if let News::Evidence(evidence) = news {
                last = Some(evidence);
            }
        })?;
        let Some(evidence) = last else { return Ok(None) };
        let kinds = evidence.map_kinds().into_iter();
        let map = |kind: MapKind| Some((kind.key().to_owned(), evidence.map_of(kind, self.span, None)?));
        let mut maps: Maps = kinds.filter_map(map).collect();
        if maps.is_empty() {
            return Ok(None);
        }
        let hiding = || Hiding::new(&self.picture, fill, evidence.seen, evidence.grid);
        let mut holder = Holder::new(method, (&self.input, self.claim()), hiding(), cancel);
        for explainer in EXPLAINERS {
            if maps.iter().all(|(name, _)| name != explainer.key) {
                maps.push((explainer.key.into(), (explainer.map)(&mut holder, &mut |_| ())?));
            }
        }
        Ok(Some((maps, hiding())))
    }
}

/// Maps by their names, `[patches]` each.
pub(super) type Maps = Vec<(String, Vec<f32>)>;
