//! The program without pixels: its state, the commands that change it, and the worker that computes.
//!
//! The window, the board and the tests all drive [`App`] in the same way: they hand it [`Command`]s and read what it
//! shows. [`App::apply`] is the only place that changes the state.

pub mod command;
pub mod compute;
pub mod samples;
pub mod state;
pub mod worker;

use image::RgbImage;
use std::sync::Arc;
use std::time::Duration;

use crate::methods::{Evidence, METHODS};
use crate::models::checkpoint::Checkpoint;
use crate::world::Language;
pub use command::Command;
use compute::{Report, Request};
use samples::Sample;
pub use state::{AppState, Layer, PictureSource, Scale, Theme};
use worker::Worker;

/// A checkpoint that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointChoice {
    /// Its folder.
    pub folder: std::path::PathBuf,
    /// The name to show.
    pub name: String,
}

/// The program without pixels.
pub struct App {
    /// What the person chose; kept between sessions.
    pub state: AppState,
    /// The picture that is shown.
    pub picture: Option<Arc<RgbImage>>,
    /// Its name.
    pub picture_name: String,
    /// What the method says of it.
    pub evidence: Option<Arc<Evidence>>,
    /// The last error, until it is dismissed or overcome.
    pub problem: Option<String>,
    /// Whether the worker is at work.
    pub busy: bool,
    /// How long the last computation took.
    pub elapsed: Option<Duration>,
    /// The patch under the pointer.
    pub hovered_patch: Option<usize>,
    /// The point of the cloud under the pointer.
    pub hovered_point: Option<usize>,
    /// The sample menu.
    pub samples: Vec<Sample>,
    /// The checkpoints that can be chosen.
    pub checkpoints: Vec<CheckpointChoice>,
    /// Where models run, as [`crate::models::device::choose`] reads it.
    pub device: String,
    /// Counts the requests, so that late answers to old ones are recognised.
    generation: u64,
    last_good_picture: PictureSource,
    worker: Option<Worker>,
}

impl App {
    /// The program with a state, without a worker yet.
    #[must_use]
    pub fn new(mut state: AppState) -> Self {
        state.checkpoint = state.checkpoint.map(one_name);
        let built_in = crate::models::builtin::list().into_iter().map(one_name);
        let mut folders: Vec<_> = built_in.filter(|folder| runs(folder)).collect();
        folders.extend(state.checkpoint.iter().filter(|folder| !folders.contains(folder)).cloned().collect::<Vec<_>>());
        let mut app = Self {
            last_good_picture: state.picture.clone(),
            state,
            picture: None,
            picture_name: String::new(),
            evidence: None,
            problem: None,
            busy: false,
            elapsed: None,
            hovered_patch: None,
            hovered_point: None,
            samples: samples::samples(),
            checkpoints: folders.into_iter().map(CheckpointChoice::from).collect(),
            device: "auto".to_owned(),
            generation: 0,
            worker: None,
        };
        if app.state.checkpoint.is_none() {
            app.state.checkpoint = app.checkpoints.first().map(|choice| choice.folder.clone());
        }
        if app.state.sentence.is_empty()
            && let PictureSource::Sample(key) = app.state.picture.clone()
        {
            app.take_caption(&key);
        }
        app
    }

    /// Starts the worker, which calls `wake` whenever there is something to [`Self::receive`], and asks for the first
    /// evidence.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(&mut self, wake: impl Fn() + Send + 'static) -> crate::Result<()> {
        self.worker = Some(Worker::start(wake)?);
        self.refresh();
        Ok(())
    }

    /// Computes at once what the state asks for, on the calling thread (which needs a deep stack); for the board.
    pub fn compute_now(&mut self) {
        let request = self.request();
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
    }

    /// Changes the state.
    pub fn apply(&mut self, command: Command) {
        if command::apply(self, command) {
            self.refresh();
        }
    }

    /// The chosen attribution.
    #[must_use]
    pub fn layer(&self) -> Layer {
        self.state.layer
    }

    /// Which language everything is said in, as an index into pairs of texts.
    #[must_use]
    pub fn language_index(&self) -> usize {
        usize::from(self.state.language == Language::Chinese)
    }

    fn request(&mut self) -> Request {
        self.generation += 1;
        Request {
            generation: self.generation,
            picture: self.state.picture.clone(),
            sentence: self.state.sentence.clone(),
            selection: self.state.selection,
            language: self.state.language,
            checkpoint: self.state.checkpoint.clone(),
            device: self.device.clone(),
        }
    }

    fn refresh(&mut self) {
        let request = self.request();
        if let Some(worker) = &self.worker {
            worker.ask(request);
            self.busy = true;
        }
    }

    fn take(&mut self, generation: u64, report: Report) {
        if generation != self.generation {
            return; // an answer to a question that nobody asks any more
        }
        match report {
            Report::Picture { picture, name } => {
                self.last_good_picture = self.state.picture.clone();
                self.picture = Some(picture);
                self.picture_name = name;
            }
            Report::Evidence(evidence) => {
                self.evidence = Some(Arc::new(*evidence));
                self.problem = None;
            }
            Report::Failed { message, picture } => {
                self.problem = Some(message);
                if picture {
                    // What was shown before stays, and so does the state that belongs to it.
                    self.state.picture = self.last_good_picture.clone();
                }
            }
            Report::Done(elapsed) => {
                self.busy = false;
                self.elapsed = Some(elapsed);
            }
        }
    }

    /// Gives a sample's caption in the present language to the sentence.
    fn take_caption(&mut self, key: &str) {
        let index = self.language_index();
        if let Some(sample) = self.samples.iter().find(|sample| sample.key == key) {
            self.state.sentence = sample.captions[index].clone();
            self.state.selection = sample.suggested_selection(index);
        }
    }
}

impl From<std::path::PathBuf> for CheckpointChoice {
    fn from(folder: std::path::PathBuf) -> Self {
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        Self { folder, name }
    }
}

/// The folder by the one name that it has whatever way leads to it, so that none is listed twice; a folder that isn't
/// there keeps the name it was given.
fn one_name(folder: std::path::PathBuf) -> std::path::PathBuf {
    std::fs::canonicalize(&folder).unwrap_or(folder)
}

/// Whether a method can run the checkpoint in `folder`.
fn runs(folder: &std::path::Path) -> bool {
    let class = Checkpoint::open(folder).map(|checkpoint| checkpoint.class().to_owned());
    class.is_ok_and(|class| METHODS.iter().any(|method| method.classes.contains(&class.as_str())))
}
