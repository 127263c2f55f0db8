//! The projector: patches are mapped to where a language model's words are, and spliced into its row (LLaVA).

mod begun;
mod change;
mod hold;
mod look;
mod rows;
mod show;

use candle_core::Tensor;
use image::RgbImage;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::cost::{self, PictureCost};
use super::evidence::{Familiar, ModelFacts};
use super::familiarity::{self, Familiarity};
use super::holding::{About, Claim, Held};
use super::interventions::{Anatomy, PatchesAt, Route};
use super::reading::{Line, LineKind, Reading};
use super::spliced::{Change, Cost, Spliced};
use super::vectors::check_finite;
use super::{Input, Method, MethodEntry, News, is_question};
use crate::attribution::bimodal_relevancy::Flow;
use crate::error::{Error, Result};
use crate::models::lens::Lens;
use crate::models::projector::{CLASSES, OpenedProjector};
use crate::models::runtime::Runtime;
use crate::taps::{Array, Attn, CancelToken, Interventions, Places, Recorder, SitePattern, Taps, Tower};
use crate::world::Language;
use begun::ReadPicture;
use rows::{Row, numbers_of};

/// The method's entry in the registry.
pub const ENTRY: MethodEntry = MethodEntry {
    key: "projector",
    help: [
        include_str!("../../assets/help/projector-method.en.md"),
        include_str!("../../assets/help/projector-method.zh.md"),
    ],
    classes: &CLASSES,
    usual: "llava",
    open: |folder, runtime| Ok(Box::new(Projector::open(folder, runtime)?)),
};

/// A model with what it has already computed.
pub struct Projector {
    opened: OpenedProjector,
    lens: Lens,
    facts: ModelFacts,
    grounding: Option<Arc<Vec<f32>>>,
    familiarity: Option<Familiarity>,
    image: Option<Image>,
    known: Option<Known>,
    /// Pictures of the comparison, before and behind the projector.
    compared: Vec<(Arc<RgbImage>, BothSides)>,
    interventions: Interventions,
}

/// A picture's vectors before and behind the projector, `[positions][width]` each.
type BothSides = [Vec<Vec<f32>>; 2];

/// What is known of the present picture.
struct Image {
    picture: Arc<RgbImage>,
    projected: Tensor,  // [1, positions, language width]
    vectors: BothSides, // of the projector
    norms: Vec<f32>,    // [patches], behind the last block of the vision tower
    familiar: Option<Familiar>,
    seeing: f32, // milliseconds of vision tower and projector
    read: Option<ReadPicture>,
    change: Option<Change>,
}

/// What is known of the present text.
struct Known {
    sentence: String,
    language: Language,
    /// What the language model reads: the person's text about the picture.
    row: Row,
    /// What it goes on from, and what it wrote behind that; nothing before it wrote.
    written: Row,
    reading: Reading,
    /// The states of the first row by depth, `[row, width]`: 0 is what the language model gets, n what leaves its n-th
    /// block. Those that are kept.
    states: Vec<(usize, Array)>,
    /// The words of the language model that matter here, with their vectors in its table.
    words: Vec<(String, Vec<f32>)>,
    spliced: Spliced,
}

impl Projector {
    /// Opens a checkpoint.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(folder: &Path, runtime: &Runtime) -> Result<Self> {
        let opened = OpenedProjector::open(folder, runtime)?;
        let facts = ModelFacts {
            name: opened.checkpoint.name(),
            class: opened.checkpoint.class().to_owned(),
            parameters: opened.parameters,
        };
        let placeholder = Some(opened.model().placeholder());
        Ok(Self {
            lens: Lens::new(opened.model().language(), &opened.tokenizer, placeholder)?,
            grounding: super::grounding::read(folder)?.map(Arc::new),
            familiarity: Familiarity::read(folder)?,
            opened,
            facts,
            image: None,
            known: None,
            compared: Vec::new(),
            interventions: Interventions::default(),
        })
    }

    /// Changes the model as is asked for; if it is another then, forgets what it said before.
    fn intervene(&mut self, input: &Input) -> Result<()> {
        let anatomy = self.anatomy(input)?;
        if anatomy.renew(&mut self.interventions, &input.interventions) {
            (self.image, self.known) = (None, None);
            self.compared.clear();
        }
        Ok(())
    }

    /// A picture behind the projector, `[1, positions, language width]`, and its vectors on both sides of it.
    fn see(&self, picture: &RgbImage, taps: &mut Taps<'_>) -> Result<(Tensor, BothSides)> {
        let features = self.opened.see(&self.opened.pixels(&[picture])?, taps)?; // [1, positions, feature width]
        let projected = self.opened.model().project(&features)?.detach();
        let vectors = [numbers_of(&features)?, numbers_of(&projected)?];
        Ok((projected, vectors))
    }

    /// What is known of the picture, taken out of the method so that the rest can be changed beside it.
    fn take_image(&mut self, picture: &Arc<RgbImage>, cancel: &CancelToken) -> Result<Image> {
        if let Some(image) = self.image.take_if(|image| Arc::ptr_eq(&image.picture, picture)) {
            return Ok(image);
        }
        self.known = None;
        let begin = Instant::now();
        // The first block tells whether the picture is familiar, the last one which patches are sinks.
        let last = self.opened.model().vision().depth().saturating_sub(1);
        let sites = format!("vision.blocks.0.resid_post,vision.blocks.{last}.resid_post");
        let mut recorder = Recorder::new(SitePattern::new(&sites));
        let (projected, vectors) =
            self.see(picture, &mut Taps::under(&self.interventions).with(&mut recorder).cancelled_by(cancel))?;
        vectors.iter().flatten().try_for_each(|vector| check_finite(vector))?;
        let recording = recorder.finish();
        let early = familiarity::features_of(&recording).concat();
        let behind = recording.activations.iter().rev().find(|(site, _)| site.tower == Tower::Vision);
        let class_tokens = self.opened.model().config().class_tokens();
        let norms = behind.map_or_else(Vec::new, |(_, states)| {
            let width = states.shape.last().copied().unwrap_or(1).max(1);
            states.data.chunks_exact(width).skip(class_tokens).map(super::vectors::length).collect()
        });
        Ok(Image {
            picture: Arc::clone(picture),
            projected,
            vectors,
            norms,
            familiar: self.familiarity.as_ref().map(|familiarity| familiarity.of(&early)),
            seeing: milliseconds(begin),
            read: None,
            change: None,
        })
    }

    /// What is known before the first pass over the text.
    fn begin(&self, image: &Image, input: &Input) -> Result<Known> {
        let row = self.row(&input.sentence)?;
        let language = self.opened.model().language();
        // Refuses a text that is too long, or speaks of several pictures.
        self.inputs(&row.tokens.ids, &image.projected)?;
        if row.tokens.ids.len() > language.context() {
            return Err(Error::unusable(
                format!(
                    "text and picture have {} tokens, and the model reads {}",
                    row.tokens.ids.len(),
                    language.context()
                ),
                "shorten the text",
            ));
        }
        let reading = Reading {
            lines: vec![Line { kind: LineKind::Read, steps: row.steps(), maps: Vec::new(), of_question: None }],
            layers: self.opened.depth(),
            depth: self.opened.depth() + 1,
            predicts: true,
            grounding: self.grounding.clone(),
            ..Reading::default()
        };
        let spliced = Spliced { layers: self.opened.depth(), ..Spliced::default() };
        Ok(Known {
            sentence: input.sentence.clone(),
            language: input.language,
            row,
            written: Row::default(),
            reading,
            states: Vec::new(),
            words: Vec::new(),
            spliced,
        })
    }

    /// The depth that is looked at.
    fn depth_of(&self, input: &Input) -> usize {
        input.hidden_layer.unwrap_or(0).min(self.opened.depth())
    }

    /// How long a pass takes with and without the picture, and what is kept of it.
    fn row_cost(&self, image: &mut Image, known: &Known, cancel: &CancelToken) -> Result<Cost> {
        let model = self.opened.model();
        let language = model.language();
        let text: Vec<u32> = known.row.tokens.ids.iter().copied().filter(|id| *id != model.placeholder()).collect();
        let (picture, of_text) = (self.opened.positions(), text.len());
        let alone = language.embed(&Tensor::from_slice(&text, (1, of_text), &self.opened.device)?)?;
        let mut taps = Taps::under(&self.interventions).cancelled_by(cancel);
        let of_picture = self.time_of_picture(image, &known.row, cancel)?;
        let begin = Instant::now();
        self.read_text(image, &known.row, &mut taps)?;
        let with_picture = of_picture + milliseconds(begin);
        let begin = Instant::now();
        language.logits(&alone, None, None, &mut taps)?;
        let without_picture = milliseconds(begin);
        let of_token = 2 * language.depth() * language.key_width() * alone.dtype().size_in_bytes();
        Ok(Cost {
            picture,
            width: language.width(),
            text: of_text,
            context: language.context(),
            with_picture,
            without_picture,
            seeing: image.seeing,
            kept_for_picture: picture * of_token,
            kept_for_text: of_text * of_token,
        })
    }
}

impl Method for Projector {
    fn evidence(&mut self, input: &Input, cancel: &CancelToken, emit: &mut dyn FnMut(News)) -> Result<()> {
        if input.sentence.trim().is_empty() {
            return Err(Error::unusable("there is no text", "write a sentence or a question about the picture"));
        }
        self.intervene(input)?;
        self.look_at_compared(input, cancel)?;
        let mut image = self.take_image(&input.picture, cancel)?;
        let known = self.known.take();
        let known = known.filter(|known| known.sentence == input.sentence && known.language == input.language);
        let done = known.map_or_else(|| self.begin(&image, input), Ok).and_then(|mut known| {
            if input.brief {
                return self.glance(&mut image, &mut known, input, cancel, emit);
            }
            let done = self.complete(&mut image, &mut known, input, cancel, emit);
            // Also what was stopped on the way is known as far as it came.
            self.known = Some(known);
            done
        });
        self.image = Some(image);
        done
    }

    fn anatomy(&self, input: &Input) -> Result<Anatomy> {
        let row = self.row(&input.sentence)?;
        let (begin, end) = row.picture;
        let (tower, attn) = (Tower::Decoder, Attn::SelfAttn);
        let route = |key, queries, keys| {
            let (layers, keys) = ((0..self.opened.depth()).collect(), Places::These(keys));
            Route { key, tower, attn, layers, queries, keys }
        };
        let picture = || (begin..end).collect::<Vec<usize>>();
        let vision = self.opened.model().vision().depth();
        let leading = self.opened.model().config().class_tokens();
        let mut routes = vec![Route::among_patches(vision, leading)];
        routes.push(route("words-to-picture", Places::From(end), picture()));
        if is_question(&input.sentence) {
            // The last token of the question is where the answer begins.
            let answer = row.tokens.ids.len().saturating_sub(1);
            routes.push(route("question-to-picture", Places::These((end..answer).collect()), picture()));
            routes.push(route("answer-to-picture", Places::From(answer), picture()));
            routes.push(route("answer-to-question", Places::From(answer), (end..answer).collect()));
        }
        let mut at = vec![usize::MAX; self.patches()];
        row.patches.iter().for_each(|(place, patch)| at[*patch] = *place);
        let patches = vec![
            PatchesAt::behind(leading, self.patches(), (Tower::Vision, Attn::SelfAttn)),
            PatchesAt { tower, attn, at },
        ];
        Ok(Anatomy { routes, patches, leads: Some((tower, attn)) })
    }

    fn hold(&mut self, input: &Input, about: &About<'_>, cancel: &CancelToken) -> Result<Held> {
        self.hold_to(input, about, cancel)
    }

    fn flow(&mut self, input: &Input, claim: Claim, cancel: &CancelToken) -> Result<Flow> {
        self.flow_from(input, claim, cancel)
    }

    fn cost(&self, asked: cost::Asked<'_>) -> Result<PictureCost> {
        cost::projector(&self.opened, asked)
    }
}

/// Milliseconds since `begin`.
fn milliseconds(begin: Instant) -> f32 {
    begin.elapsed().as_secs_f32() * 1000.0
}
