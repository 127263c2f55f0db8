//! The querying transformer: learned queries look at the picture and bring back a short list of vectors, which are held
//! against a text (BLIP-2's retrieval) or read by a language model as if they were words (BLIP-2, InstructBLIP).

mod contrast;
mod hold;
mod show;
mod watch;
mod writing;

use candle_core::Tensor;
use image::RgbImage;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::cost::{self, PictureCost};
use super::evidence::{Familiar, ModelFacts};
use super::familiarity::{self, Familiarity};
use super::holding::{About, Claim, Held};
use super::interventions::{Anatomy, PatchesAt, Route};
use super::queries::Queries;
use super::vectors::length;
use super::{Input, Method, MethodEntry, News};
use crate::attribution::bimodal_relevancy::Flow;
use crate::error::{Error, Result};
use crate::models::lens::Lens;
use crate::models::querying::{CLASSES, OpenedQuerying};
use crate::models::runtime::Runtime;
use crate::models::tokenizer::Tokens;
use crate::taps::{Array, Attn, CancelToken, Interventions, Places, Recorder, SitePattern, Taps, Tower};
use crate::world::Language;

/// The method's entry in the registry.
pub const ENTRY: MethodEntry = MethodEntry {
    key: "querying",
    help: [
        include_str!("../../assets/help/querying-method.en.md"),
        include_str!("../../assets/help/querying-method.zh.md"),
    ],
    classes: &CLASSES,
    usual: "blip2-retrieval",
    open: |folder, runtime| Ok(Box::new(Querying::open(folder, runtime)?)),
};

/// A model with what it has already computed.
pub struct Querying {
    opened: OpenedQuerying,
    lens: Option<Lens>, // of a model that writes
    facts: ModelFacts,
    familiarity: Option<Familiarity>,
    image: Option<Image>,
    known: Option<Known>,
    /// Texts in the shared space of a model for retrieval, `[shared]` each.
    texts: BTreeMap<String, Vec<f32>>,
    /// Pictures of the comparison, and there all their queries, `[queries][shared]`; of a model for retrieval.
    compared: Vec<(Arc<RgbImage>, Vec<Vec<f32>>)>,
    interventions: Interventions,
}

/// What is known of the present picture.
struct Image {
    picture: Arc<RgbImage>,
    states: Tensor,  // [1, 1 + patches, vision width]
    norms: Vec<f32>, // [patches], behind the last block of the vision tower
    familiar: Option<Familiar>,
    alone: Option<Alone>, // of a model for retrieval
}

/// What queries bring back that see the picture alone: no text changes it.
struct Alone {
    kept: Vec<usize>,
    vectors: Vec<Vec<f32>>, // [kept][shared]
    maps: Arc<Vec<f32>>,    // as in `Queries`
}

/// What the queries are asked; while that stays the same, so does all that is known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    sentence: String,
    language: Language,
    kept: Vec<usize>,
}

/// What is known of queries and text.
struct Known {
    asked: Asked,
    /// The person's text.
    tokens: Tokens,
    /// What the language model goes on from, without placeholders; nothing, of a model for retrieval. Only of the
    /// person's own text it has spans.
    prompt: Tokens,
    queries: Queries,
    /// What queries brought back, `[kept, width]`; nothing, of a model for retrieval.
    outputs: Array,
    /// The same in the space of the texts or of the language model's words, unit length, `[kept][width there]`.
    vectors: Vec<Vec<f32>>,
    /// The same as the language model gets it, `[1, kept, language width]`.
    projected: Option<Tensor>,
    /// Words of the language model among which the queries lie, unit length, `[language width]` each.
    words: Vec<(String, Vec<f32>)>,
    /// The instruction that [`Queries::moved`] is measured from.
    moved_from: Option<Vec<u32>>,
}

impl Querying {
    /// Opens a checkpoint.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(folder: &Path, runtime: &Runtime) -> Result<Self> {
        let opened = OpenedQuerying::open(folder, runtime)?;
        let facts = ModelFacts {
            name: opened.checkpoint.name(),
            class: opened.checkpoint.class().to_owned(),
            parameters: opened.parameters,
        };
        Ok(Self {
            lens: opened
                .writer()
                .map(|writer| Lens::new(writer.language(), &opened.tokenizer, writer.placeholder()))
                .transpose()?,
            familiarity: Familiarity::read(folder)?,
            opened,
            facts,
            image: None,
            known: None,
            texts: BTreeMap::new(),
            compared: Vec::new(),
            interventions: Interventions::default(),
        })
    }

    /// Changes the model as is asked for; if it is another then, forgets what it said before.
    fn intervene(&mut self, input: &Input) -> Result<()> {
        let anatomy = self.anatomy(input)?;
        if anatomy.renew(&mut self.interventions, &input.interventions) {
            (self.image, self.known) = (None, None);
            self.texts.clear();
            self.compared.clear();
        }
        Ok(())
    }

    /// What is asked of which queries.
    fn asked(&self, input: &Input) -> Result<Asked> {
        let dropped = &input.dropped_queries;
        let kept: Vec<usize> = (0..self.opened.query_count()).filter(|query| !dropped.contains(query)).collect();
        if kept.is_empty() {
            return Err(Error::unusable("every query is dropped", "let at least one of them take part"));
        }
        Ok(Asked { sentence: input.sentence.clone(), language: input.language, kept })
    }

    /// What is known of the picture, taken out of the method so that the rest can be changed beside it.
    fn take_image(&mut self, picture: &Arc<RgbImage>, cancel: &CancelToken) -> Result<Image> {
        if let Some(image) = self.image.take_if(|image| Arc::ptr_eq(&image.picture, picture)) {
            return Ok(image);
        }
        self.known = None;
        let pixels = self.opened.pixels(&[picture])?;
        // The first block tells whether the picture is familiar, the last one which patches are sinks.
        let last = self.opened.base().vision().depth().saturating_sub(1);
        let sites = format!("vision.blocks.0.resid_post,vision.blocks.{last}.resid_post");
        let mut recorder = Recorder::new(SitePattern::new(&sites));
        let states = {
            let mut taps = Taps::under(&self.interventions).with(&mut recorder).cancelled_by(cancel);
            self.opened.see(&pixels, &mut taps)?
        };
        let recording = recorder.finish();
        let early = familiarity::features_of(&recording).concat();
        let behind = recording.activations.iter().rev().find(|(site, _)| site.tower == Tower::Vision);
        let norms = behind.map_or_else(Vec::new, |(_, states)| {
            let width = states.shape.last().copied().unwrap_or(1).max(1);
            states.data.chunks_exact(width).skip(watch::LEADING).map(length).collect()
        });
        let familiar = self.familiarity.as_ref().map(|familiarity| familiarity.of(&early));
        Ok(Image { picture: Arc::clone(picture), states: states.detach(), norms, familiar, alone: None })
    }

    /// Lets the queries look at the picture, and read the text where they read one.
    fn look(&self, image: &mut Image, asked: Asked, cancel: &CancelToken) -> Result<Known> {
        if let Some(model) = self.opened.retrieval() {
            return self.look_alone(model, image, asked, cancel);
        }
        let Some(writer) = self.opened.writer() else {
            return Err(Error::unusable("the checkpoint has no queries", "open one of BLIP-2 or InstructBLIP"));
        };
        self.look_for_writer(writer, image, asked, cancel)
    }

    /// Everything about the queries that is known before any pass.
    fn bare_queries(&self, kept: &[usize]) -> Queries {
        Queries {
            count: self.opened.query_count(),
            kept: kept.to_vec(),
            layers: self.opened.cross_layers(),
            depth: self.opened.depth(),
            heads: self.heads(),
            ..Queries::default()
        }
    }

    /// The sentence as its reader gets it. Spans are those of the sentence with the blanks around it.
    fn tokens_of(&self, sentence: &str) -> Result<Tokens> {
        let tokens = self.opened.tokens(sentence.trim())?;
        Ok(behind_blanks(tokens, sentence))
    }

    /// Ids as a batch of one, `[1, tokens]`.
    fn batch_of(&self, ids: &[u32]) -> Result<Tensor> {
        Ok(Tensor::from_slice(ids, (1, ids.len()), &self.opened.device)?)
    }
}

impl Method for Querying {
    fn evidence(&mut self, input: &Input, cancel: &CancelToken, emit: &mut dyn FnMut(News)) -> Result<()> {
        if input.sentence.trim().is_empty() {
            return Err(Error::unusable("there is no text", "write a sentence or a question about the picture"));
        }
        self.intervene(input)?;
        let asked = self.asked(input)?;
        let mut image = self.take_image(&input.picture, cancel)?;
        let known = self.known.take().filter(|known| known.asked == asked);
        let known = known.map_or_else(|| self.look(&mut image, asked, cancel), Ok);
        let done = known.and_then(|mut known| {
            let done = if self.opened.writer().is_some() {
                self.complete_writer(&image, &mut known, input, cancel, emit)
            } else {
                self.complete_retrieval(&image, &mut known, input, cancel, emit)
            };
            // Also what was stopped on the way is known as far as it came.
            self.known = Some(known);
            done
        });
        self.image = Some(image);
        done
    }

    fn anatomy(&self, input: &Input) -> Result<Anatomy> {
        let kept = self.asked(input)?.kept.len();
        let vision = self.opened.base().vision().depth();
        let all = self.opened.grid().0 * self.opened.grid().1;
        let cross = (Tower::QFormer, Attn::CrossAttn);
        let route = |key, (tower, attn), layers, queries, keys| Route { key, tower, attn, layers, queries, keys };
        let own = || (0..self.opened.depth()).collect::<Vec<usize>>();
        let mut routes = vec![
            Route::among_patches(vision, watch::LEADING),
            route("queries-to-picture", cross, self.opened.cross_layers(), Places::All, Places::All),
        ];
        let among = (Tower::QFormer, Attn::SelfAttn);
        if let Some(writer) = self.opened.writer() {
            if writer.instructed() {
                let (queries, words) = (Places::Before(kept), Places::From(kept));
                routes.push(route("queries-to-words", among, own(), queries, words));
            }
            if !writer.language().encoder_decoder() {
                let (decoder, layers) = ((Tower::Decoder, Attn::SelfAttn), (0..writer.language().depth()).collect());
                routes.push(route("words-to-queries", decoder, layers, Places::From(kept), Places::Before(kept)));
            }
        }
        let patches = [(Tower::Vision, Attn::SelfAttn), cross];
        let patches = patches.map(|attention| PatchesAt::behind(watch::LEADING, all, attention));
        Ok(Anatomy { routes, patches: patches.into(), leads: Some(cross) })
    }

    fn hold(&mut self, input: &Input, about: &About<'_>, cancel: &CancelToken) -> Result<Held> {
        self.hold_to(input, about, cancel)
    }

    fn flow(&mut self, input: &Input, claim: Claim, cancel: &CancelToken) -> Result<Flow> {
        self.flow_from(input, claim, cancel)
    }

    fn cost(&self, asked: cost::Asked<'_>) -> Result<PictureCost> {
        cost::querying(&self.opened, asked)
    }
}

/// Tokens of `sentence` without the blanks around it, with the spans that they have in the whole of it.
fn behind_blanks(mut tokens: Tokens, sentence: &str) -> Tokens {
    let blanks = sentence.len() - sentence.trim_start().len();
    for (start, end) in tokens.spans.iter_mut().flatten() {
        *start += blanks;
        *end += blanks;
    }
    tokens
}

/// The vectors of a tensor `[1, rows, width]`, each at the host.
fn rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(tensor.squeeze(0)?.to_vec2::<f32>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_count_the_blanks_before_the_text() {
        let tokens = Tokens {
            ids: vec![2, 5],
            texts: vec!["[BOS]".into(), "a".into()],
            spans: vec![None, Some((0, 1))],
            cut: false,
            known: vec![true; 2],
        };
        assert_eq!(behind_blanks(tokens, "  a ").spans, [None, Some((2, 3))]);
    }
}
