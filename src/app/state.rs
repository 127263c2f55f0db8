//! What the person chose. Kept between sessions, saved into session files, and what undo goes back over.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::album::{AlbumState, Wanted};
use super::column::{ExtraColumn, MOST_EXTRA};
use super::layout::Layout;
use super::lessons::LessonPlace;
use super::retouch::{Change, MOST_CHANGES};
use super::thing::{Selected, Thing, TowerName};
use crate::attribution::hiding::Fill;
use crate::methods::Intervention;
use crate::methods::attention::CEILING;
use crate::methods::interventions::Ablation;
use crate::methods::queries::{QueryLook, QueryOrder};
use crate::methods::reading::{Place, Weighting};
use crate::methods::spliced::PatchReading;
use crate::models::runtime::RuntimeName;
use crate::world::{Language, Scene};

/// Everything that a person can choose, in parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppState {
    /// The picture.
    pub picture: PictureSource,
    /// What was changed in it by hand since.
    pub changes: Vec<Change>,
    /// What stands in the place of patches that are hidden to test a map.
    pub fill: Fill,
    /// The sentence; empty at the very first start, when the sample's caption is taken.
    pub sentence: String,
    /// What is selected in them.
    pub selected: Selected,
    /// What stands in the place of what a head gathers that is switched off.
    pub ablation: Ablation,
    /// What is changed in the models, by the key of their method.
    pub interventions: BTreeMap<String, Vec<Intervention>>,
    /// The method whose column is shown.
    pub method: MethodName,
    /// Pictures with captions to compare with.
    pub comparison: Vec<Compared>,
    /// The checkpoint of each method, by the method's key: the name of a built-in checkpoint, or a folder.
    pub checkpoints: BTreeMap<String, String>,
    /// Where the model of each method runs, by the method's key; else where the program was told to.
    pub runtimes: BTreeMap<String, RuntimeName>,
    /// Columns that stand beside those of the methods, by a number below [`MOST_EXTRA`] that each keeps.
    pub extra_columns: BTreeMap<usize, ExtraColumn>,
    /// How maps are drawn.
    pub map: MapState,
    /// The similarity matrix.
    pub matrix: MatrixState,
    /// The embedding space.
    pub space: SpaceState,
    /// The folder of pictures.
    pub album: AlbumState,
    /// The attention explorer.
    pub attention: AttentionState,
    /// Words that look at the picture.
    pub fusion: FusionState,
    /// Queries that look at the picture.
    pub querying: QueryingState,
    /// Patches that stand among words.
    pub projector: ProjectorState,
    /// Where the person is in the lessons, while one is open.
    pub lesson: Option<LessonPlace>,
    /// Which views are where.
    pub layout: Layout,
    /// Language, theme and size.
    pub look: Look,
}

impl AppState {
    /// The state of the very first start.
    #[must_use]
    pub fn first() -> Self {
        let scenes = super::samples::scene_keys();
        let compared = |key| Compared { picture: PictureSource::Sample(key), caption: None };
        Self { comparison: scenes.into_iter().map(compared).collect(), ..Self::default() }
    }

    /// Brings values that a file may hold back into what the program can draw.
    pub fn mend(&mut self) {
        let usual = Self::default();
        self.map.opacity = within(self.map.opacity, 0.0, 1.0, usual.map.opacity);
        self.look.zoom = within(self.look.zoom, LEAST_ZOOM, MOST_ZOOM, 1.0);
        self.space.shift = within(self.space.shift, -MOST_SHIFT, MOST_SHIFT, 0.0);
        self.matrix.factor = self.matrix.factor.map(|factor| within(factor, LEAST_FACTOR, MOST_FACTOR, 1.0));
        self.comparison.truncate(MOST_COMPARED);
        self.map.explanations.retain(|key| crate::methods::maps::is_key(key));
        self.map.explanations.truncate(MOST_EXPLANATIONS);
        self.changes.truncate(MOST_CHANGES);
        let compared = self.comparison.iter_mut().map(|compared| &mut compared.picture);
        for source in compared.chain([&mut self.picture]) {
            if let PictureSource::Scene(scene) = source {
                scene.mend();
            }
        }
        let cut = |text: &mut String| {
            let end = (0..=LONGEST_SENTENCE).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            if text.len() > LONGEST_SENTENCE {
                text.truncate(end);
            }
        };
        cut(&mut self.sentence);
        if let Wanted::Text(text) = &mut self.album.wanted {
            cut(text);
        }
        self.comparison.iter_mut().filter_map(|compared| compared.caption.as_mut()).for_each(cut);
        let words = self.selected.words;
        self.selected.words =
            words.filter(|(start, end)| self.sentence.get(*start..*end).is_some_and(|w| !w.is_empty()));
        self.selected.pair.take_if(|thing| !matches!(thing, Thing::Picture(_) | Thing::Text(_) | Thing::Cell { .. }));
        self.fusion.closed.sort_unstable();
        self.fusion.closed.dedup();
        self.fusion.closed.truncate(MOST_GATES);
        self.querying.dropped.sort_unstable();
        self.querying.dropped.dedup();
        self.querying.dropped.truncate(MOST_QUERIES);
        if let Some(compared) = &mut self.querying.compared {
            cut(compared);
        }
        self.interventions.retain(|method, changed| {
            changed.truncate(MOST_INTERVENTIONS);
            crate::methods::named(method).is_some() && !changed.is_empty()
        });
        self.extra_columns
            .retain(|number, column| *number < MOST_EXTRA && crate::methods::named(&column.method).is_some());
        super::lessons::mend(self);
        self.layout.mend();
    }
}

/// A number between `low` and `high`; `usual` where it is none.
pub(super) fn within(value: f32, low: f32, high: f32, usual: f32) -> f32 {
    if value.is_finite() { value.clamp(low, high) } else { usual }
}

/// The sizes that the interface can be drawn in.
pub const LEAST_ZOOM: f32 = 0.5;
/// See [`LEAST_ZOOM`].
pub const MOST_ZOOM: f32 = 3.0;
/// How far a cloud can be moved, in modality gaps.
pub const MOST_SHIFT: f32 = 2.0;
/// The factors between cosine and logit that the temperature slider offers.
pub const LEAST_FACTOR: f32 = 0.5;
/// See [`LEAST_FACTOR`].
pub const MOST_FACTOR: f32 = 200.0;
/// Pairs to compare with; the matrix grows with their square.
pub const MOST_COMPARED: usize = 256;
/// Explanations that are chosen in all columns together.
pub const MOST_EXPLANATIONS: usize = 32;
/// Gates of a Flamingo; published ones have 20 at most.
pub const MOST_GATES: usize = 256;
/// Queries that can be dropped; published models have 32.
pub const MOST_QUERIES: usize = 256;
/// Changes in one model at a time.
pub const MOST_INTERVENTIONS: usize = 4096;
/// Bytes of a sentence; a book that was pasted by accident is cut here.
pub const LONGEST_SENTENCE: usize = 20_000;

/// Where a picture comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PictureSource {
    /// A sample, by its key.
    Sample(String),
    /// A file.
    File(PathBuf),
    /// A sticker scene that a person has arranged.
    Scene(Box<Scene>),
}

impl Default for PictureSource {
    fn default() -> Self {
        Self::Sample("scene-000101".into())
    }
}

/// A picture with its caption, to compare with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The picture.
    pub picture: PictureSource,
    /// Its caption; `None` takes that of the sample, in the language of the interface.
    pub caption: Option<String>,
}

/// How maps are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MapState {
    /// Which map is shown large.
    pub layer: Layer,
    /// Another one beside it, as large.
    pub beside: Option<Layer>,
    /// Explanations that stand beside each other, by the keys of [`crate::methods::MapKind::key`]; empty for the usual ones.
    pub explanations: Vec<String>,
    /// How strongly a map covers the picture, from 0 to 1.
    pub opacity: f32,
    /// Whether a map is drawn smooth instead of patch by patch.
    pub smooth: bool,
    /// What the colours of a map are measured against.
    pub scale: Scale,
    /// The colours.
    pub colours: Colours,
    /// Whether patches with an outlying norm are marked.
    pub sinks: bool,
}

impl Default for MapState {
    fn default() -> Self {
        Self {
            layer: Layer::default(),
            beside: None,
            explanations: Vec::new(),
            opacity: 0.65,
            smooth: true,
            scale: Scale::Shared,
            colours: Colours::Inferno,
            sinks: true,
        }
    }
}

/// A colour map: all are perceptually uniform, and readable with the common forms of colour blindness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colours {
    /// Black, purple, orange, yellow.
    #[default]
    Inferno,
    /// Black, purple, pink, cream.
    Magma,
    /// Purple, green, yellow.
    Viridis,
    /// Blue, grey, yellow: made for colour-blind eyes.
    Cividis,
}

impl Colours {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Inferno, Self::Magma, Self::Viridis, Self::Cividis];
}

/// The similarity matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MatrixState {
    /// What a cell says.
    pub reading: Reading,
    /// Factor between cosine and logit (one over the temperature); `None` takes the model's.
    pub factor: Option<f32>,
}

/// What a cell of the similarity matrix says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// The cosine of picture and caption.
    #[default]
    Cosine,
    /// The share of the caption among all captions for this picture: softmax along a row.
    OverTexts,
    /// The share of the picture among all pictures for this caption: softmax along a column.
    OverPictures,
}

impl Reading {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::OverTexts, Self::OverPictures];
}

/// The embedding space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpaceState {
    /// How it is brought to two dimensions, by the key in [`crate::reduction::REDUCTIONS`].
    pub reduction: ReductionName,
    /// Where t-SNE and UMAP begin.
    pub seed: u64,
    /// How points are drawn.
    pub drawn: Drawn,
    /// Whether a line joins each picture with its caption.
    pub pairs: bool,
    /// How far the texts are moved along the modality gap, in gaps: at 1 the mean text lies on the mean picture.
    pub shift: f32,
}

impl Default for SpaceState {
    fn default() -> Self {
        let reduction = ReductionName::default();
        Self { reduction, seed: 0, drawn: Drawn::Thumbnails, pairs: true, shift: 0.0 }
    }
}

/// How points of the embedding space are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drawn {
    /// Pictures as small pictures, texts as points.
    Thumbnails,
    /// Texts as words, pictures as points.
    Words,
    /// Everything as points.
    Points,
}

impl Drawn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Thumbnails, Self::Words, Self::Points];
}

/// The attention explorer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionState {
    /// Which tower's attention.
    pub tower: TowerName,
    /// The layer that is shown large; `None` is the last.
    pub layer: Option<usize>,
    /// The head that is shown large.
    pub head: usize,
    /// What the patterns of a tower may take, in megabytes.
    pub ceiling: u32,
}

impl Default for AttentionState {
    fn default() -> Self {
        Self { tower: TowerName::default(), layer: None, head: 0, ceiling: CEILING }
    }
}

/// Words that look at the picture, in the column of cross-attention.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FusionState {
    /// The word whose map is shown, counted over all texts; `None` is the selected word, or the first.
    pub step: Option<usize>,
    /// Whether a word's map is that of the position that reads it or of the one that predicts it.
    pub place: Place,
    /// Whether attention is weighted by its gradient.
    pub weighting: Weighting,
    /// The layer and head whose map is shown; `None` is the mean of all.
    pub head: Option<(usize, usize)>,
    /// Gates that are closed.
    pub closed: Vec<usize>,
    /// The layer of the cloud, counted from the input on; `None` is the last, or in the projector's column the first.
    pub layer: Option<usize>,
}

/// Queries that look at the picture, in the column of the querying transformer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryingState {
    /// The query that is selected, as numbered in the checkpoint.
    pub query: Option<usize>,
    /// Whose maps are shown, by layer and head.
    pub look: QueryLook,
    /// The block whose attention among queries and words is shown; `None` is the mean of all.
    pub block: Option<usize>,
    /// In which order queries stand.
    pub order: QueryOrder,
    /// Queries that are left out.
    pub dropped: Vec<usize>,
    /// The instruction that the present one is compared with; `None` is no instruction at all.
    pub compared: Option<String>,
    /// Which of the three masks is shown.
    pub mask: MaskName,
}

/// Patches that stand among words, in the column of the projector. How deep they are looked at is [`FusionState::layer`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectorState {
    /// How a patch is read as words.
    pub reading: PatchReading,
}

/// One of the three masks of a querying transformer, which say who of queries and words may see whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskName {
    /// Queries and words apart: image-text contrast.
    #[default]
    Contrast,
    /// All see all: image-text matching.
    Matching,
    /// Words see the queries and the words before them: text generation.
    Generation,
}

impl MaskName {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Contrast, Self::Matching, Self::Generation];
}

/// Language, theme and size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Look {
    /// The language of the interface and of the sample captions.
    pub language: Language,
    /// Light or dark.
    pub theme: Theme,
    /// Size of everything, 1 is usual.
    pub zoom: f32,
}

impl Default for Look {
    fn default() -> Self {
        Self { language: Language::English, theme: Theme::Dark, zoom: 1.0 }
    }
}

/// A name that stands for an entry of a registry. A name that a newer or older version knew is no reason to lose the rest
/// of the state: it is read as the usual one.
macro_rules! name_of {
    ($(#[$doc:meta])* $name:ident, $usual:literal, $known:path) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub &'static str);

        impl Default for $name {
            fn default() -> Self {
                Self($usual)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let key = String::deserialize(deserializer)?;
                Ok($known(&key).map_or_else(Self::default, |entry| Self(entry.key)))
            }
        }
    };
}

name_of! {
    /// An attribution, by its key in [`crate::attribution::ATTRIBUTIONS`]. The usual one is relevancy: the raw cosine of a
    /// plainly trained model misleads.
    Layer, "relevancy", crate::attribution::named
}
name_of! {
    /// A column, by the key of its method in [`crate::methods::METHODS`], or [`super::layout::SIDE_BY_SIDE`].
    MethodName, "contrastive", super::layout::named
}
name_of! {
    /// A reduction, by its key in [`crate::reduction::REDUCTIONS`].
    ReductionName, "pca", crate::reduction::named
}

/// What the colours of a map are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// The highest value among all words of the sentence: maps can be compared.
    Shared,
    /// The map's own highest value: weak maps look as strong as strong ones.
    Own,
}

/// Light or dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Theme {
    /// Light.
    Light,
    /// Dark.
    Dark,
}
