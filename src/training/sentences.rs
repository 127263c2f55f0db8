//! Sentences that are held against pictures: true ones, nearly true ones, and pictures that are easily taken for theirs.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::run::Batch;
use super::texts::{also_true, with_unknown_words};
use crate::error::Result;
use crate::models::tokenizer::{TextBatch, TextTokenizer};
use crate::nn::softmax;
use crate::world::{Claim, Language, Scene, Statement};

/// Share of lists that are shown with another picture; the others, and what says where something is, are changed so that
/// they are false: hardly another picture has the same two things the other way round.
const OTHER_PICTURE: f64 = 0.5;

/// True sentences, one for each picture, and then foils.
pub(super) struct Sentences {
    /// `[pictures, pictures]`, 1 where the sentence of the second is true of the first by accident.
    pub also_true: Tensor,
    texts: TextBatch,         // [true ones, and then foils; tokens]
    foils_of: Vec<u32>,       // the picture of each foil
    chance: Vec<Option<f64>>, // for sentences that get a picture they don't fit, a random number by which it is chosen
}

/// Sentences, each with a picture.
pub(super) struct Pairs {
    /// `[pairs, tokens]`.
    pub texts: TextBatch,
    /// The number of each picture, `[pairs]`, `u32`.
    pub pictures: Tensor,
    /// Whether they belong together.
    pub matches: Vec<bool>,
}

impl Batch for Sentences {
    fn to(self, device: &Device) -> Result<Self> {
        let (also_true, texts) = (self.also_true.to_device(device)?, self.texts.to(device)?);
        Ok(Self { also_true, texts, ..self })
    }
}

impl Sentences {
    /// From a statement about each scene. Some get unknown words, as [`with_unknown_words`] does it.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn new(
        tokenizer: &TextTokenizer,
        scenes: &[Scene],
        statements: &[(Language, Statement)],
        rng: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let ids = |text: &str, rng: &mut ChaCha8Rng| with_unknown_words(tokenizer, text, tokenizer.context(), rng);
        let mut rows = statements.iter().map(|(_, statement)| ids(&statement.text, rng)).collect::<Result<Vec<_>>>()?;
        let (mut foils_of, mut chance) = (Vec::new(), Vec::new());
        for (at, (scene, (language, statement))) in scenes.iter().zip(statements).enumerate() {
            let is_list = matches!(statement.claim, Claim::There(_));
            let other_picture = is_list && rng.random_bool(OTHER_PICTURE);
            let foil = if other_picture { None } else { scene.foil(&statement.claim, *language, rng) };
            chance.push(foil.is_none().then(|| rng.random()));
            if let Some((_, foil)) = foil {
                rows.push(ids(&foil.text, rng)?);
                foils_of.push(at as u32);
            }
        }
        let also_true = accidents(scenes, statements)?;
        Ok(Self { texts: tokenizer.pad(&rows, &Device::Cpu)?, also_true, foils_of, chance })
    }

    /// The true sentences alone, `[pictures, tokens]`.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn true_ones(&self) -> Result<TextBatch> {
        let pictures = self.chance.len();
        let ids = self.texts.ids.narrow(0, 0, pictures)?.contiguous()?;
        let attention_mask = self.texts.attention_mask.as_ref().map(|mask| mask.narrow(0, 0, pictures)).transpose()?;
        Ok(TextBatch { ids, attention_mask })
    }

    /// Each sentence with its picture, and then each either with another picture that is easily taken for it, by the logits
    /// `contrast` `[pictures, sentences]`, or changed so that it is false.
    ///
    /// # Errors
    /// If the logits have another shape.
    pub fn pairs(&self, contrast: &Tensor) -> Result<Pairs> {
        let pictures = self.chance.len();
        let others = self.other_pictures(&contrast.detach())?;
        let mut pairs: Vec<(u32, u32)> = (0..pictures as u32).map(|at| (at, at)).collect(); // text and picture
        pairs.extend(others.iter().enumerate().filter_map(|(text, other)| Some((text as u32, (*other)?))));
        pairs.extend(self.foils_of.iter().enumerate().map(|(at, picture)| ((pictures + at) as u32, *picture)));
        let matches: Vec<bool> = (0..pairs.len()).map(|at| at < pictures).collect();
        let (texts, pictures): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let device = self.texts.ids.device();
        let (texts, pictures) = (Tensor::new(texts, device)?, Tensor::new(pictures, device)?);
        let ids = self.texts.ids.index_select(&texts, 0)?; // [pairs, tokens]
        let attention_mask = self.texts.attention_mask.as_ref().map(|mask| mask.index_select(&texts, 0)).transpose()?;
        Ok(Pairs { texts: TextBatch { ids, attention_mask }, pictures, matches })
    }

    /// For each sentence that is to get one, a picture that it isn't true of, the likelier the higher their logit in
    /// `contrast` `[pictures, sentences]`.
    fn other_pictures(&self, contrast: &Tensor) -> Result<Vec<Option<u32>>> {
        let weights = softmax(&contrast.t()?.contiguous()?)?.to_vec2::<f32>()?; // [sentences, pictures]
        let also_true = self.also_true.to_vec2::<f32>()?;
        let choose = |(text, chance): (usize, &Option<f64>)| {
            let weight = |picture: usize| {
                let fits = picture == text || also_true[picture][text] > 0.0;
                // A little of chance, so that something is found however sure the contrast is.
                if fits { 0.0 } else { f64::from(weights[text][picture]) + 1e-4 }
            };
            let total: f64 = (0..weights.len()).map(weight).sum();
            let mut left = (*chance)? * total;
            let mut candidates = (0..weights.len()).filter(|picture| weight(*picture) > 0.0);
            let chosen = candidates.find(|picture| {
                left -= weight(*picture);
                left <= 0.0
            });
            chosen.map(|picture| picture as u32)
        };
        Ok(self.chance.iter().enumerate().map(choose).collect())
    }
}

/// `[scenes, scenes]`, 1 where the statement about the second is true of the first by accident.
///
/// # Errors
/// If memory runs out.
pub(super) fn accidents(scenes: &[Scene], statements: &[(Language, Statement)]) -> Result<Tensor> {
    let statements: Vec<&Statement> = statements.iter().map(|(_, statement)| statement).collect();
    Ok(Tensor::from_vec(also_true(scenes, &statements), (scenes.len(), scenes.len()), &Device::Cpu)?)
}
