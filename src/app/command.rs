//! The commands: the only way to change the state.

use image::RgbImage;
use std::path::PathBuf;
use std::sync::Arc;

use super::history::Gesture;
use super::layout::Column;
use super::state::{Colours, Compared, Drawn, Layer, MOST_GATES, MaskName, MethodName, Reading, ReductionName};
use super::thing::{Thing, TowerName};
use super::{App, AppState, PictureSource, Scale, Theme, session};
use crate::methods::queries::{QueryLook, QueryOrder};
use crate::methods::reading::{Place, Weighting};
use crate::methods::spliced::PatchReading;
use crate::world::Language;

/// Something that the person asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Ask the person for a file or a folder, or do something else that only the window can.
    Ask(Ask),
    /// Show a sample, by its key, with its caption.
    OpenSample(String),
    /// Show a picture from a file.
    OpenPicture(PathBuf),
    /// Run another checkpoint.
    SetCheckpoint(PathBuf),
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
    /// Show the help of this view.
    ShowHelp(&'static str),
    /// Open or close the list of all commands.
    TogglePalette,
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
    fn gesture(&self, before: &AppState) -> Option<Gesture> {
        let words = |text: &str| text.split_whitespace().count();
        match self {
            Self::SetSentence(sentence) => Some(Gesture("sentence", words(sentence).max(words(&before.sentence)))),
            Self::SetCaption(at, _) => Some(Gesture("caption", *at)),
            Self::SetOpacity(_) => Some(Gesture("opacity", 0)),
            Self::SetFactor(_) => Some(Gesture("factor", 0)),
            Self::SetShift(_) => Some(Gesture("shift", 0)),
            Self::SelectStep(_) => Some(Gesture("step", 0)),
            Self::SetHiddenLayer(_) => Some(Gesture("hidden layer", 0)),
            Self::Arrange { dragging: true, .. } => Some(Gesture("arrange", 0)),
            _ => None,
        }
    }
}

/// Applies `command`.
pub(super) fn apply(app: &mut App, command: Command) {
    let before = app.state.clone();
    let gesture = command.gesture(&before);
    match command {
        Command::Undo => {
            if let Some(state) = app.history.undo(&before) {
                app.state = state;
            }
        }
        Command::Redo => {
            if let Some(state) = app.history.redo(&before) {
                app.state = state;
            }
        }
        command => {
            change(app, command);
            // Whatever a command holds, the state can be drawn.
            app.state.mend();
            if app.state != before {
                app.history.left(before.clone(), gesture);
            }
        }
    }
    // The help is that of a view that can be seen.
    if !super::layout::is_of(app.state.method.0, app.help) {
        app.help = super::layout::first_view(app.state.method.0).unwrap_or(app.help);
    }
    let after = &mut app.state;
    if before.picture != after.picture || before.checkpoints != after.checkpoints {
        // The pointer was over a patch of another picture, or of another grid.
        app.hovered = None;
    }
}

fn change(app: &mut App, command: Command) {
    let state = &mut app.state;
    match command {
        Command::Ask(ask) => app.asks.push(ask),
        Command::OpenSample(key) => {
            state.picture = PictureSource::Sample(key.clone());
            state.selected.patch = None;
            state.fusion.step = None;
            app.take_caption(&key);
        }
        Command::OpenPicture(path) => {
            let path = super::checkpoints::one_name(path);
            app.desk.remember(&path);
            state.picture = PictureSource::File(path);
            state.selected.patch = None;
        }
        Command::SetCheckpoint(folder) => app.set_checkpoint(folder),
        Command::OpenSession(path) => match session::read(&path) {
            Ok(opened) => app.state = opened,
            Err(error) => app.problem = Some(error.to_string()),
        },
        Command::SaveSession(path) => match session::write(&path, state) {
            Ok(()) => app.news = Some(path.display().to_string()),
            Err(error) => app.problem = Some(error.to_string()),
        },
        // These change nothing themselves: what they bring about is done around here.
        Command::Undo | Command::Redo | Command::Recompute => {}
        Command::SetSentence(sentence) => {
            if state.sentence != sentence {
                state.sentence = sentence;
                state.selected.words = None;
                state.fusion.step = None;
            }
        }
        Command::SelectWords { start, end, extend } => {
            let kept = state.selected.words.filter(|_| extend);
            let (from, to) = kept.unwrap_or((start, end));
            let words = (from.min(start), to.max(end));
            // Only what can be cut out of the sentence is a selection.
            let can_be_cut = state.sentence.get(words.0..words.1).is_some_and(|text| !text.trim().is_empty());
            state.selected.words = can_be_cut.then_some(words);
            state.fusion.step = None;
        }
        Command::SelectSentence => {
            state.selected.words = None;
            state.fusion.step = None;
        }
        Command::SelectPatch(patch) => state.selected.patch = patch,
        Command::SelectPair(thing) => state.selected.pair = thing,
        Command::SelectNothing => {
            state.selected = Default::default();
            state.fusion.step = None;
            state.querying.query = None;
        }
        Command::Hover(thing) => app.hovered = thing,
        Command::SetLayer(layer) => state.map.layer = layer,
        Command::SetBeside(layer) => state.map.beside = layer,
        Command::SetOpacity(opacity) => state.map.opacity = opacity,
        Command::SetSmooth(smooth) => state.map.smooth = smooth,
        Command::SetScale(scale) => state.map.scale = scale,
        Command::SetColours(colours) => state.map.colours = colours,
        Command::MarkSinks(mark) => state.map.sinks = mark,
        Command::SetReading(reading) => state.matrix.reading = reading,
        Command::SetFactor(factor) => state.matrix.factor = factor,
        Command::SetReduction(reduction) => state.space.reduction = reduction,
        Command::SetSeed(seed) => state.space.seed = seed,
        Command::SetDrawn(drawn) => state.space.drawn = drawn,
        Command::JoinPairs(join) => state.space.pairs = join,
        Command::SetShift(shift) => state.space.shift = shift,
        Command::SetMethod(method) => state.method = method,
        Command::SelectStep(step) => state.fusion.step = step,
        Command::SelectLook { step, words, patch } => {
            state.fusion.step = Some(step);
            state.selected.words = words.or(state.selected.words);
            state.selected.patch = patch.or(state.selected.patch);
        }
        Command::SetPlace(place) => state.fusion.place = place,
        Command::SetWeighting(weighting) => state.fusion.weighting = weighting,
        Command::SelectFusionHead(head) => state.fusion.head = head,
        Command::ToggleGate(gate) => toggle(&mut state.fusion.closed, gate),
        Command::CloseGates(count) => state.fusion.closed = (0..count.min(MOST_GATES)).collect(),
        Command::SetHiddenLayer(layer) => state.fusion.layer = layer,
        Command::SelectQuery(query) => state.querying.query = query,
        Command::SelectQueryWith { query, patch, step, words } => {
            state.querying.query = Some(query);
            state.selected.patch = patch.or(state.selected.patch);
            state.selected.words = words.or(state.selected.words);
            state.fusion.step = step.or(state.fusion.step);
        }
        Command::SetQueryBlock(block) => state.querying.block = block,
        Command::SetQueryLook(look) => state.querying.look = look,
        Command::SetQueryOrder(order) => state.querying.order = order,
        Command::ToggleQuery(query) => toggle(&mut state.querying.dropped, query),
        Command::DropQueries(queries) => state.querying.dropped = queries,
        Command::CompareInstruction(instruction) => state.querying.compared = instruction,
        Command::SetMask(mask) => state.querying.mask = mask,
        Command::SetPatchReading(reading) => state.projector.reading = reading,
        Command::SetTower(tower) => {
            if state.attention.tower != tower {
                state.attention = super::state::AttentionState { tower, layer: None, head: 0 };
            }
        }
        Command::SelectHead { layer, head } => {
            state.attention.layer = Some(layer);
            state.attention.head = head;
        }
        Command::AddCompared(compared) => state.comparison.push(compared),
        Command::AddPresent => app.add_present(),
        Command::RemoveCompared(at) => {
            if at < state.comparison.len() {
                state.comparison.remove(at);
                state.selected.pair = None;
            }
        }
        Command::SetCaption(at, caption) => {
            if let Some(compared) = state.comparison.get_mut(at) {
                compared.caption = Some(caption);
            }
        }
        Command::ResetComparison => {
            state.comparison = AppState::first().comparison;
            state.selected.pair = None;
        }
        Command::Arrange { method, column, .. } => state.layout.set_column(&method, *column),
        Command::ShowView(method, view) => {
            state.method = MethodName(method);
            state.layout.show(method, view);
        }
        Command::CloseView(method, view) => state.layout.close(method, view),
        Command::ToggleMaximised(method, view) => {
            state.method = MethodName(method);
            let this = (method.to_owned(), view.to_owned());
            let is_this = state.layout.maximised.as_ref() == Some(&this);
            if !is_this && !state.layout.has(method, view) {
                state.layout.show(method, view);
            }
            state.layout.maximised = (!is_this).then_some(this);
        }
        Command::ResetLayout => state.layout.reset(),
        Command::SetLanguage(language) => set_language(app, language),
        Command::SetTheme(theme) => state.look.theme = theme,
        Command::SetZoom(zoom) => state.look.zoom = zoom,
        Command::SetDesk { inputs, inspector, window } => {
            app.desk.inputs_width = inputs;
            app.desk.inspector_width = inspector;
            app.desk.window = window.or(app.desk.window);
            app.desk.mend();
        }
        Command::ShowHelp(view) => app.help = view,
        Command::TogglePalette => app.palette_is_open = !app.palette_is_open,
        Command::Settle => app.history.settle(),
        Command::Cancel => app.cancel(),
        Command::Complain(problem) => {
            app.problem = Some(problem);
            app.failed = false;
        }
        Command::Tell(news) => app.news = Some(news),
        Command::DismissProblem => {
            app.problem = None;
            app.news = None;
        }
    }
}

/// Takes `number` out of `numbers`, or puts it in.
fn toggle(numbers: &mut Vec<usize>, number: usize) {
    match numbers.iter().position(|known| *known == number) {
        Some(at) => {
            numbers.remove(at);
        }
        None => numbers.push(number),
    }
}

fn set_language(app: &mut App, language: Language) {
    let caption = match &app.state.picture {
        PictureSource::Sample(key) => {
            let sample = app.samples.iter().find(|sample| sample.key == *key);
            let caption = sample.map(|sample| &sample.captions[app.language_index()]);
            (caption == Some(&app.state.sentence)).then(|| key.clone())
        }
        PictureSource::File(_) => None,
    };
    app.state.look.language = language;
    if let Some(key) = caption {
        app.take_caption(&key);
    }
}
