//! The program without pixels: its state, the commands that change it, and the worker that computes.
//!
//! The window, the board and the tests all drive [`App`] in the same way: they hand it [`Command`]s and read what it
//! shows. [`App::apply`] is the only place that changes the state.

pub mod album;
mod answers;
mod apply;
pub mod bottleneck;
pub mod checkpoints;
pub mod column;
pub mod command;
pub mod compute;
mod desk;
pub mod downloads;
pub mod effects;
mod errand;
pub mod explained;
pub mod history;
pub mod layout;
pub mod learning;
pub mod lessons;
mod loaded;
pub mod looks;
mod means;
pub mod patching;
mod recordings;
pub mod retouch;
pub mod samples;
pub mod session;
mod side_by_side;
pub mod state;
pub mod testing;
pub mod thing;
pub mod truth;
pub mod worker;

use image::RgbImage;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::methods::Evidence;
use crate::methods::cost::PictureCost;
use crate::methods::pairs::PairFigures;
use crate::models::runtime::RuntimeName;
use crate::reduction::Plane;
use crate::world::Language;
use album::Album;
pub use checkpoints::CheckpointChoice;
pub use column::{ColumnKey, ExtraColumn};
pub use command::{Ask, Command, Export, Format};
use compute::{PlaneQuestion, Question, Request};
use downloads::Downloads;
use history::History;
use learning::Learning;
use samples::Sample;
use session::Desk;
pub use state::{AppState, Layer, PictureSource, Scale, Theme};
pub use thing::{Light, Thing};
use worker::Worker;

/// How far a computation is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// From 0 to 1.
    pub share: f32,
    /// When the computation began.
    pub since: Instant,
}

impl Progress {
    /// The time that is left if it goes on like this.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let passed = self.since.elapsed().as_secs_f32();
        let left = passed / self.share * (1.0 - self.share);
        Duration::try_from_secs_f32(left).ok().filter(|_| self.share > 0.02)
    }
}

/// The program without pixels.
pub struct App {
    /// What the person chose; kept between sessions.
    pub state: AppState,
    /// What belongs to this machine.
    pub desk: Desk,
    /// The picture that is shown.
    pub picture: Option<Arc<RgbImage>>,
    /// Its name.
    pub picture_name: String,
    /// What the method says of it.
    pub evidence: Option<Arc<Evidence>>,
    /// What is said in all columns, while they stand side by side.
    pub columns: BTreeMap<ColumnKey, Arc<Evidence>>,
    /// Why nothing is said in some of them, in one sentence.
    pub failures: BTreeMap<ColumnKey, String>,
    /// Their clouds in two dimensions.
    pub planes: BTreeMap<ColumnKey, Arc<Plane>>,
    /// What was shown when the person pinned it: what is shown now is compared with it.
    pub pinned: Option<Box<Self>>,
    /// The cloud in two dimensions.
    pub plane: Option<Arc<Plane>>,
    /// The figures of the bottleneck experiment.
    pub bottleneck: Arc<Vec<bottleneck::Connector>>,
    /// The maps that were tested last, by their column and the key of their kind.
    pub tested: BTreeMap<(ColumnKey, &'static str), Arc<testing::Tested>>,
    /// Maps that were made by asking a model many times, the latest last.
    pub explained: Vec<Arc<explained::Explained>>,
    /// What each intervention would do, with what was asked.
    pub effects: Option<Arc<(Question, effects::Effects)>>,
    /// What the interventions do that stand now.
    pub touched: Option<Arc<effects::Touched>>,
    /// How well each head grounds, as it was measured on request, by the folder of the checkpoint.
    pub heads: BTreeMap<PathBuf, Arc<Vec<f32>>>,
    /// Where in the model something can be changed, with the folder of its checkpoint.
    pub parts: Option<(PathBuf, Arc<effects::Parts>)>,
    /// The training that the person watches.
    pub learning: Option<Learning>,
    /// Published checkpoints, and the download that goes on.
    pub downloads: Downloads,
    /// The folder of pictures that is open.
    pub album: Option<Album>,
    /// Where embeddings of pictures are kept between sessions, if anywhere.
    pub kept: Option<PathBuf>,
    /// The names of the recorded runs.
    pub recordings: Arc<Vec<String>>,
    /// What the picture costs in each column, as far as that was measured.
    pub costs: Vec<(ColumnKey, PictureCost)>,
    /// What the pairs of the comparison say, with the texts moved as the state asks for.
    pub figures: Option<Arc<PairFigures>>,
    /// The last error, until it is dismissed or overcome.
    pub problem: Option<String>,
    /// What was done that can't be seen, until it is dismissed.
    pub news: Option<String>,
    /// Whether the worker is at work.
    pub busy: bool,
    /// How far it is, where it says so.
    pub progress: Option<Progress>,
    /// How long the last computation took.
    pub elapsed: Option<Duration>,
    /// What the pointer is over.
    pub hovered: Option<Thing>,
    /// The view whose help is shown.
    pub help: &'static str,
    /// Whether the list of all commands is open.
    pub palette_is_open: bool,
    /// What only the window can do, to be taken by it.
    pub asks: Vec<Ask>,
    /// The sample menu.
    pub samples: Vec<Sample>,
    /// The checkpoints that can be chosen.
    pub checkpoints: Vec<CheckpointChoice>,
    /// The lessons, in English and Chinese.
    pub lessons: Arc<[Vec<lessons::Lesson>; 2]>,
    /// Something that has to be known of how the answer came about, until it is dismissed.
    pub warning: Option<String>,
    /// Where models run, but for methods for which a person chose another place.
    pub runtime: RuntimeName,
    /// Whether something is being dragged whose answer is to follow at once.
    following: bool,
    history: History,
    /// Whether the problem came from a computation, and is overcome by the next one that goes well.
    failed: bool,
    /// Counts the requests, so that late answers to old ones are recognised.
    generation: u64,
    /// The oldest request whose answers are still of use.
    welcome: u64,
    /// What was asked last.
    asked: Option<Question>,
    last_good_picture: PictureSource,
    last_good_checkpoints: BTreeMap<String, String>,
    known_truth: truth::Known,
    /// What is being tested or measured.
    errand: Option<errand::Errand>,
    worker: Option<Worker>,
    /// Tells the window that there is something to [`App::receive`].
    wake: Option<Wake>,
}

type Wake = Arc<dyn Fn() + Send + Sync>;

impl App {
    /// The program with a state, without a worker yet.
    #[must_use]
    pub fn new(state: AppState) -> Self {
        let mut app = Self::bare(state, samples::samples(), checkpoints::built_in());
        app.list_chosen();
        if app.state.sentence.is_empty()
            && let PictureSource::Sample(key) = app.state.picture.clone()
        {
            app.take_caption(&key);
        }
        match lessons::both() {
            Ok(lessons) => app.lessons = Arc::new(lessons),
            Err(error) => app.problem = Some(error.to_string()),
        }
        match bottleneck::connectors() {
            Ok(connectors) => app.bottleneck = Arc::new(connectors),
            Err(error) => app.problem = Some(error.to_string()),
        }
        app.recordings = Arc::new(recordings::names());
        app.find_truth();
        app
    }

    /// A copy to draw from on another thread: everything that is shown, without worker and history.
    #[must_use]
    pub fn still(&self) -> Self {
        let mut still = Self::bare(self.state.clone(), self.samples.clone(), self.checkpoints.clone());
        still.desk.clone_from(&self.desk);
        still.picture.clone_from(&self.picture);
        still.picture_name.clone_from(&self.picture_name);
        still.evidence.clone_from(&self.evidence);
        still.columns.clone_from(&self.columns);
        still.failures.clone_from(&self.failures);
        still.known_truth.clone_from(&self.known_truth);
        still.pinned = self.pinned.as_ref().map(|pinned| Box::new(pinned.still()));
        still.plane.clone_from(&self.plane);
        still.planes.clone_from(&self.planes);
        still.costs.clone_from(&self.costs);
        still.figures.clone_from(&self.figures);
        still.runtime.clone_from(&self.runtime);
        still.bottleneck = Arc::clone(&self.bottleneck);
        still.lessons = Arc::clone(&self.lessons);
        still.tested.clone_from(&self.tested);
        still.explained.clone_from(&self.explained);
        still.effects.clone_from(&self.effects);
        still.touched.clone_from(&self.touched);
        still.parts.clone_from(&self.parts);
        still.heads.clone_from(&self.heads);
        still.recordings = Arc::clone(&self.recordings);
        still.learning = self.learning.as_ref().map(Learning::still);
        still.album = self.album.as_ref().map(Album::still);
        still.help = self.help;
        still
    }

    fn bare(state: AppState, samples: Vec<Sample>, checkpoints: Vec<CheckpointChoice>) -> Self {
        let help = layout::first_view(state.method.0).unwrap_or_default();
        Self {
            last_good_picture: state.picture.clone(),
            last_good_checkpoints: state.checkpoints.clone(),
            state,
            samples,
            checkpoints,
            desk: Desk::default(),
            picture: None,
            picture_name: String::new(),
            evidence: None,
            columns: BTreeMap::new(),
            failures: BTreeMap::new(),
            planes: BTreeMap::new(),
            pinned: None,
            known_truth: truth::Known::default(),
            plane: None,
            bottleneck: Arc::default(),
            tested: BTreeMap::new(),
            explained: Vec::new(),
            errand: None,
            effects: None,
            touched: None,
            heads: BTreeMap::new(),
            parts: None,
            learning: None,
            downloads: Downloads::default(),
            album: None,
            kept: None,
            recordings: Arc::default(),
            costs: Vec::new(),
            figures: None,
            problem: None,
            news: None,
            busy: false,
            progress: None,
            elapsed: None,
            hovered: None,
            help,
            palette_is_open: false,
            asks: Vec::new(),
            lessons: Arc::default(),
            warning: None,
            runtime: RuntimeName::default(),
            following: false,
            history: History::default(),
            failed: false,
            generation: 0,
            welcome: 0,
            asked: None,
            worker: None,
            wake: None,
        }
    }

    /// Starts the worker, which calls `wake` whenever there is something to [`Self::receive`], and asks for the first
    /// evidence.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(&mut self, wake: impl Fn() + Send + Sync + 'static) -> crate::Result<()> {
        let wake: Wake = Arc::new(wake);
        self.wake = Some(Arc::clone(&wake));
        self.worker = Some(Worker::start(move || wake())?);
        self.refresh();
        self.attend_album();
        Ok(())
    }

    /// Computes at once what the state asks for, on the calling thread (which needs a deep stack); for the board.
    pub fn compute_now(&mut self) {
        self.generation += 1;
        let request = self.request(self.question());
        let mut reports = Vec::new();
        let mut computer = compute::Computer::default();
        computer.run(&request, &crate::taps::CancelToken::default(), &mut |report| reports.push(report));
        for report in reports {
            self.take(request.generation, report);
        }
        // A time on the board would make every drawing another.
        self.elapsed = None;
    }

    /// Takes up what the worker has reported since.
    pub fn receive(&mut self) {
        while let Some((generation, report)) = self.worker.as_ref().and_then(Worker::next) {
            self.take(generation, report);
        }
        if let Some(learning) = &mut self.learning {
            learning.receive();
        }
        self.downloads.receive();
        if let Some(album) = &mut self.album {
            album.receive();
        }
    }

    /// Changes the state, and has computed what follows from it.
    pub fn apply(&mut self, command: Command) {
        let again = command == Command::Recompute;
        let is_errand = command.is_errand();
        apply::apply(self, command);
        if !is_errand {
            self.give_up_errand();
        }
        self.measure_pairs();
        self.find_truth();
        self.attend_album();
        if self.worker.is_some() && (again || self.asked.as_ref() != Some(&self.question())) {
            self.refresh();
        }
    }

    /// Whether there is something to undo.
    #[must_use]
    pub fn can_undo(&self) -> bool {
        self.history.can_undo()
    }

    /// Whether there is something to redo.
    #[must_use]
    pub fn can_redo(&self) -> bool {
        self.history.can_redo()
    }

    /// The key of the column that there is something to show of: side by side, or the one of the method that `evidence` is of.
    #[must_use]
    pub fn shown_column(&self, evidence: &Evidence) -> &'static str {
        if self.state.method.0 == layout::SIDE_BY_SIDE { layout::SIDE_BY_SIDE } else { evidence.method }
    }

    /// The chosen attribution.
    #[must_use]
    pub fn layer(&self) -> Layer {
        self.state.map.layer
    }

    /// Which language everything is said in, as an index into pairs of texts.
    #[must_use]
    pub fn language_index(&self) -> usize {
        usize::from(self.state.look.language == Language::Chinese)
    }

    /// How strongly `thing` is lit: by the pointer, wherever it is, or by what is selected.
    #[must_use]
    pub fn light(&self, thing: Thing) -> Light {
        let touched = |by: Thing| by.touches(thing) || self.reads(by, thing);
        if self.hovered.is_some_and(touched) {
            Light::Hovered
        } else if self.state.selected.things().chain(self.state.querying.query.map(Thing::Query)).any(touched) {
            Light::Selected
        } else {
            Light::None
        }
    }

    /// Whether the words `by` stand in the text `thing`. A whole text isn't lit by the sentence itself.
    fn reads(&self, by: Thing, thing: Thing) -> bool {
        let (Thing::Words(start, end), Thing::Text(text)) = (by, thing) else { return false };
        let words = self.state.sentence.get(start..end).map(str::trim).unwrap_or_default();
        let (Some(evidence), false) = (&self.evidence, words.is_empty()) else { return false };
        evidence.scores.texts.get(text).is_some_and(|text| holds(text, words))
    }

    /// The caption of a picture of the comparison.
    #[must_use]
    pub fn caption_of(&self, compared: &state::Compared) -> String {
        if let Some(caption) = &compared.caption {
            return caption.clone();
        }
        let PictureSource::Sample(key) = &compared.picture else { return String::new() };
        let sample = self.samples.iter().find(|sample| sample.key == *key);
        sample.map(|sample| sample.captions[self.language_index()].clone()).unwrap_or_default()
    }

    fn question(&self) -> Question {
        let state = &self.state;
        let space = &state.space;
        let caption = |compared: &state::Compared| (compared.picture.clone(), self.caption_of(compared));
        let method = state.method.0;
        let contrastive = method == "contrastive";
        Question {
            method,
            picture: state.picture.clone(),
            changes: state.changes.clone(),
            brief: self.following && method == layout::SIDE_BY_SIDE,
            sentence: state.sentence.clone(),
            words: state.selected.words,
            language: state.look.language,
            comparison: state.comparison.iter().map(caption).collect(),
            model: self.column_model(method).map(|column| column.model),
            plane: PlaneQuestion {
                reduction: space.reduction.0,
                seed: space.seed,
                shift: if space.reduction.0 == "pca" || !contrastive { 0.0 } else { space.shift },
            },
            attention: (state.attention.tower.tower(), state.attention.layer),
            attention_ceiling: state.attention.ceiling,
            closed_gates: state.fusion.closed.clone(),
            hidden_layer: state.fusion.layer,
            dropped_queries: state.querying.dropped.clone(),
            compared_instruction: state.querying.compared.clone(),
            cost_by_column: match method {
                "projector" if !self.following => self.own_models(),
                layout::SIDE_BY_SIDE if !self.following => self.all_models(),
                _ => Vec::new(),
            },
            interventions: state.interventions.clone(),
            errand: self.errand.clone(),
            side_by_side: if method == layout::SIDE_BY_SIDE { self.all_models() } else { Vec::new() },
        }
    }

    fn request(&self, question: Question) -> Request {
        let columns = self.all_models().into_iter().map(|column| column.model).collect();
        Request { generation: self.generation, question, columns }
    }

    fn refresh(&mut self) {
        let question = self.question();
        self.generation += 1;
        // While something is dragged, the answer to where it was a moment ago is better than none.
        if !(question.brief && self.asked.as_ref().is_some_and(|asked| asked.brief)) {
            self.welcome = self.generation;
        }
        if let Some(worker) = &self.worker {
            worker.ask(self.request(question.clone()));
            self.asked = Some(question);
            self.busy = true;
            self.progress = Some(Progress { share: 0.0, since: Instant::now() });
        }
    }

    fn cancel(&mut self) {
        if let Some(worker) = &self.worker {
            worker.cancel();
        }
        self.end_errand();
        // What still comes of it is late.
        self.generation += 1;
        self.welcome = self.generation;
        self.busy = false;
        self.progress = None;
    }

    /// Gives a sample's caption in the present language to the sentence.
    fn take_caption(&mut self, key: &str) {
        let index = self.language_index();
        if let Some(sample) = self.samples.iter().find(|sample| sample.key == key) {
            self.state.sentence = sample.captions[index].clone();
            self.state.selected.words = sample.suggested_selection(index);
        }
    }

    /// Compares with the present picture and sentence, too.
    fn add_present(&mut self) {
        let compared = state::Compared {
            picture: self.state.picture.clone(),
            caption: Some(self.state.sentence.trim().to_owned()),
        };
        let known = self.state.comparison.contains(&compared);
        if !known && !self.state.sentence.trim().is_empty() {
            self.state.comparison.push(compared);
        }
    }
}

/// Whether `text` holds `words` as whole words; in scripts without spaces, anywhere.
pub(crate) fn holds(text: &str, words: &str) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    text.match_indices(words).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + words.len()..].chars().next();
        let inside = is_letter(before) && is_letter(words.chars().next())
            || is_letter(after) && is_letter(words.chars().next_back());
        !inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole() {
        assert!(holds("a red ball", "red ball") && holds("一只猫和一个红色的球", "猫"));
        assert!(!holds("a catfish", "cat") && !holds("a cat", "a ca"));
    }
}
