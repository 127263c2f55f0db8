//! The commands: the only way to change the state. What each of them does stands in `apply.rs`.

use image::RgbImage;
use std::path::PathBuf;
use std::sync::Arc;

use super::album::Wanted;
use super::column::{ColumnKey, ExtraColumn};
use super::history::Gesture;
use super::layout::Column;
use super::learning::Setting;
use super::retouch::Change;
use super::state::{Colours, Compared, Drawn, Layer, MaskName, MethodName, Reading, ReductionName};
use super::thing::{Thing, TowerName};
use super::{AppState, Scale, Theme};
use crate::attribution::hiding::Fill;
use crate::methods::interventions::Ablation;
use crate::methods::queries::{QueryLook, QueryOrder};
use crate::methods::reading::{Place, Weighting};
use crate::methods::spliced::PatchReading;
use crate::methods::{Intervention, MapKind};
use crate::models::runtime::RuntimeName;
use crate::world::{Language, Scene};

/// Something that the person asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Ask the person for a file or a folder, or do something else that only the window can.
    Ask(Ask),
    /// Show a sample, by its key, with its caption.
    OpenSample(String),
    /// Show a picture from a file.
    OpenPicture(PathBuf),
    /// Show this scene, which a person has arranged.
    SetScene {
        /// The scene.
        scene: Box<Scene>,
        /// Whether a sticker is still being dragged.
        dragging: bool,
    },
    /// Select a sticker of the scene, or none.
    SelectObject(Option<usize>),
    /// Change the picture by hand.
    ChangePicture {
        /// How.
        change: Change,
        /// Whether the brush is still being dragged.
        dragging: bool,
    },
    /// Show the picture as it was.
    ForgetChanges,
    /// Run another checkpoint.
    SetCheckpoint(PathBuf),
    /// Let the patterns of a tower take so many megabytes.
    SetAttentionCeiling(u32),
    /// Run the model of a method elsewhere, or hold its weights otherwise.
    SetRuntime(MethodName, RuntimeName),
    /// Put one more column beside those of the methods.
    AddColumn(ExtraColumn),
    /// Run something else in the extra column of this number.
    SetColumn(usize, ExtraColumn),
    /// Take the extra column of this number away.
    RemoveColumn(usize),
    /// Take everything from a session file.
    OpenSession(PathBuf),
    /// Write everything into a session file.
    SaveSession(PathBuf),
    /// Go back a step.
    Undo,
    /// Go forward again.
    Redo,
    /// Change the sentence.
    SetSentence(String),
    /// Select the words at these bytes of the sentence; `extend` keeps what is selected and selects all between.
    SelectWords {
        /// First byte.
        start: usize,
        /// Behind the last byte.
        end: usize,
        /// Whether to extend the present selection.
        extend: bool,
    },
    /// Select no word, so that the whole sentence is meant.
    SelectSentence,
    /// Select a patch, or none.
    SelectPatch(Option<usize>),
    /// Select a picture, a text or a cell of the comparison, or none.
    SelectPair(Option<Thing>),
    /// Select nothing at all.
    SelectNothing,
    /// The pointer is over something, or no longer.
    Hover(Option<Thing>),
    /// Show this attribution large.
    SetLayer(Layer),
    /// Show this attribution beside it, or none.
    SetBeside(Option<Layer>),
    /// How strongly the map covers the picture, from 0 to 1.
    SetOpacity(f32),
    /// Draw the map smooth or patch by patch.
    SetSmooth(bool),
    /// What the colours are measured against.
    SetScale(Scale),
    /// The colour map.
    SetColours(Colours),
    /// Mark patches with an outlying norm, or don't.
    MarkSinks(bool),
    /// What a cell of the matrix says.
    SetReading(Reading),
    /// The factor between cosine and logit; `None` takes the model's.
    SetFactor(Option<f32>),
    /// How the embedding space is brought to two dimensions.
    SetReduction(ReductionName),
    /// Where t-SNE and UMAP begin.
    SetSeed(u64),
    /// How points are drawn.
    SetDrawn(Drawn),
    /// Join pictures with their captions, or don't.
    JoinPairs(bool),
    /// Move the texts along the modality gap.
    SetShift(f32),
    /// Look at all pictures of a folder.
    OpenAlbum(PathBuf),
    /// Look at no folder any more.
    CloseAlbum,
    /// Search for this in the folder of pictures.
    SearchAlbum(Wanted),
    /// Bring the folder of pictures to two dimensions in this way.
    ReduceAlbum(ReductionName),
    /// Stop what is under way with the folder of pictures.
    StopAlbum,
    /// Read the folder of pictures again: what was stopped goes on, what has changed is seen.
    ReadAlbum,
    /// Show the column of this method.
    SetMethod(MethodName),
    /// Show the map of this word, counted over all texts; `None` is the selected one.
    SelectStep(Option<usize>),
    /// Select a word that looks at the picture, with what belongs to it, all in one step.
    SelectLook {
        /// The word, counted over all texts.
        step: usize,
        /// Where it stands in the sentence, if it does.
        words: Option<(usize, usize)>,
        /// The patch that was clicked, if one was.
        patch: Option<usize>,
    },
    /// Show where a word looks while it is read, or where the model looks to predict it.
    SetPlace(Place),
    /// Weight attention by its gradient, or don't.
    SetWeighting(Weighting),
    /// Show the map of this layer and head, or the mean of all.
    SelectFusionHead(Option<(usize, usize)>),
    /// Close this gate, or open it.
    ToggleGate(usize),
    /// Close so many gates, or open all of them.
    CloseGates(usize),
    /// Show the cloud of this layer, counted from the input on.
    SetHiddenLayer(Option<usize>),
    /// Select a query, as numbered in the checkpoint, or none.
    SelectQuery(Option<usize>),
    /// Select a query together with what was clicked with it, all in one step.
    SelectQueryWith {
        /// The query, as numbered in the checkpoint.
        query: usize,
        /// The patch, if one was clicked.
        patch: Option<usize>,
        /// The word of what was written, if one was clicked.
        step: Option<usize>,
        /// Words of the sentence, if some were clicked.
        words: Option<(usize, usize)>,
    },
    /// Show the attention of this block among queries and words, or the mean of all.
    SetQueryBlock(Option<usize>),
    /// Show the maps of this layer and head of the querying transformer.
    SetQueryLook(QueryLook),
    /// Put queries in this order.
    SetQueryOrder(QueryOrder),
    /// Leave this query out, or let it take part again.
    ToggleQuery(usize),
    /// Leave these queries out, and no others.
    DropQueries(Vec<usize>),
    /// Compare the present instruction with this one, or with none.
    CompareInstruction(Option<String>),
    /// Show this mask of the querying transformer.
    SetMask(MaskName),
    /// Read patches as words in this way.
    SetPatchReading(PatchReading),
    /// Explore the attention of this tower.
    SetTower(TowerName),
    /// Show this head of the explorer large.
    SelectHead {
        /// Its layer.
        layer: usize,
        /// Its place in the layer.
        head: usize,
    },
    /// Compare with one more picture.
    AddCompared(Compared),
    /// Compare with the present picture and sentence, too.
    AddPresent,
    /// No longer compare with the picture at this place.
    RemoveCompared(usize),
    /// Change the caption at this place.
    SetCaption(usize, String),
    /// Compare with the scenes of the sample menu, as at the first start.
    ResetComparison,
    /// A person has arranged the column of a method.
    Arrange {
        /// The method's key.
        method: String,
        /// The column.
        column: Box<Column>,
        /// Whether a boundary is still being dragged.
        dragging: bool,
    },
    /// Show a view, by the keys of its method and its own.
    ShowView(&'static str, &'static str),
    /// Close a view.
    CloseView(&'static str, &'static str),
    /// Let a view fill the board, or give it back its place.
    ToggleMaximised(&'static str, &'static str),
    /// Put all views back to their places.
    ResetLayout,
    /// The language of the interface; a sample's untouched caption changes with it.
    SetLanguage(Language),
    /// Light or dark.
    SetTheme(Theme),
    /// The size of everything.
    SetZoom(f32),
    /// Widths of the panels at the left and at the right, and the window's size, as the person has dragged them.
    SetDesk {
        /// Left.
        inputs: f32,
        /// Right.
        inspector: f32,
        /// The window's inner size, where it isn't maximised.
        window: Option<[f32; 2]>,
    },
    /// Open a lesson, by its key, at its first step.
    OpenLesson(String),
    /// Go to this step of the open lesson, and set its stage.
    ShowStep(usize),
    /// Take this option of what is to be predicted.
    Guess(usize),
    /// Close the lesson.
    CloseLesson,
    /// Start a training from scratch to watch it, in place of the one that runs.
    Learn(Setting),
    /// Show the recorded run of this name in place of a training.
    ShowRecording(String),
    /// Let the watched training go on, or wait.
    RunLearning(bool),
    /// Let the watched training do one step.
    StepLearning,
    /// Set its learning rate.
    SetLearningRate(f64),
    /// Set its temperature, from which it goes on learning.
    SetLearningTemperature(f32),
    /// Show what it had learned by then, or what it knows now.
    ShowLook(Option<usize>),
    /// End the watched training.
    EndLearning,
    /// Test whether the maps are true that are shown.
    TestMaps,
    /// Test whether one map of a column is true.
    TestMap(ColumnKey, MapKind),
    /// Test whether the explanations are true that stand beside each other.
    TestExplanations,
    /// Show this explanation beside others, by the key of its kind, or no longer.
    ToggleExplanation(&'static str),
    /// Ask the model for the explanations that stand beside each other and aren't made yet.
    Explain,
    /// What stands in the place of patches that are hidden for a test.
    SetFill(Fill),
    /// Change this in the model of the shown column, or no longer.
    Intervene(Intervention),
    /// Let nobody look at these patches in the model of the shown column, and at all others again.
    HidePatches(Vec<usize>),
    /// Change nothing any more in the model of the shown column.
    LeaveAlone,
    /// Measure what each intervention would do alone.
    MeasureEffects,
    /// Measure how well each head of the shown column's model grounds.
    MeasureHeads,
    /// What stands in the place of what a head gathers that is switched off.
    SetAblation(Ablation),
    /// Keep what is shown now as what later maps and answers are compared with.
    Pin,
    /// Compare with nothing any more.
    Unpin,
    /// Show the help of this view.
    ShowHelp(&'static str),
    /// Open or close the list of all commands.
    TogglePalette,
    /// Show published checkpoints to download, or no longer.
    ToggleDownloads,
    /// Ask the hub how large the model of this name is.
    AskHub(String),
    /// Download the model of this name.
    Download(String),
    /// Stop asking or downloading; what was loaded stays.
    StopDownload,
    /// The pointer was released: what comes next is a step of its own.
    Settle,
    /// Stop what is being computed.
    Cancel,
    /// Compute again what was stopped or failed.
    Recompute,
    /// Something went wrong outside of a computation, in one sentence.
    Complain(String),
    /// Something is done that can't be seen, in one sentence.
    Tell(String),
    /// The error or the news was read.
    DismissProblem,
}

/// What only the window can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Ask for a picture.
    Picture,
    /// Ask for pictures to compare with.
    Compared,
    /// Ask for a folder of pictures.
    Album,
    /// Ask for the folder of a checkpoint.
    Checkpoint,
    /// Ask for a session to open.
    OpenSession,
    /// Ask where to save the session.
    SaveSession,
    /// Write what is shown into a file; asks where if no path is given.
    Export(Export, Option<PathBuf>),
    /// Keep a picture that was pasted in a file of its own, and open it.
    KeepPasted(Arc<RgbImage>),
    /// Close the window.
    Quit,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The key of a view, or the whole board.
    pub view: Option<&'static str>,
    /// How.
    pub format: Format,
}

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A picture, with so many pixels a point (1 to 4).
    Png(u8),
    /// Numbers as a table.
    Csv,
    /// Numbers as arrays of numpy.
    Npz,
    /// A page with everything in it.
    Html,
}

impl Format {
    /// All formats, pictures at each size.
    pub const ALL: [Self; 7] =
        [Self::Png(1), Self::Png(2), Self::Png(3), Self::Png(4), Self::Csv, Self::Npz, Self::Html];

    /// The ending of its files.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png(_) => "png",
            Self::Csv => "csv",
            Self::Npz => "npz",
            Self::Html => "html",
        }
    }
}

impl Command {
    /// Commands of one gesture are one step of undo; `None` is a step of its own.
    pub(super) fn gesture(&self, before: &AppState) -> Option<Gesture> {
        let words = |text: &str| text.split_whitespace().count();
        match self {
            Self::SetSentence(sentence) => Some(Gesture("sentence", words(sentence).max(words(&before.sentence)))),
            Self::SearchAlbum(Wanted::Text(text)) => Some(Gesture("album", words(text))),
            Self::SetCaption(at, _) => Some(Gesture("caption", *at)),
            Self::SetOpacity(_) => Some(Gesture("opacity", 0)),
            Self::SetFactor(_) => Some(Gesture("factor", 0)),
            Self::SetShift(_) => Some(Gesture("shift", 0)),
            Self::SelectStep(_) => Some(Gesture("step", 0)),
            Self::SetHiddenLayer(_) => Some(Gesture("hidden layer", 0)),
            Self::Arrange { dragging: true, .. } => Some(Gesture("arrange", 0)),
            Self::SetScene { dragging: true, .. } => Some(Gesture("scene", before.selected.object.unwrap_or_default())),
            Self::ChangePicture { dragging: true, .. } => Some(Gesture("picture", 0)),
            _ => None,
        }
    }

    /// Whether more of the same follows at once: a brief answer now is better than a full one later. `None` where it says
    /// nothing of that.
    pub(super) fn goes_on(&self) -> Option<bool> {
        match self {
            Self::SetScene { dragging, .. } | Self::ChangePicture { dragging, .. } => Some(*dragging),
            Self::Hover(_) | Self::SelectObject(_) | Self::ShowHelp(_) => None,
            _ => Some(false),
        }
    }
}
