//! A folder of pictures: every picture as a vector, made on a thread of its own, kept on disk, brought to a plane and searched
//! by words or by one of the pictures.
//!
//! The thread has a model of its own beside the worker's, opened only once a picture or a text isn't known yet, and without
//! what a person has changed in the model of the column: what is kept is what the checkpoint itself says.

mod encoder;
mod kept;
mod list;
mod reading;

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Instant;

use super::desk::Shared;
use super::state::ReductionName;
use super::{App, Progress, Wake};
use crate::error::{Error, Result};
use crate::models::runtime::RuntimeName;
use crate::taps::CancelToken;
pub use list::holds_pictures;

/// Endings of the pictures that can be read.
pub const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];
/// Side of a small picture, in pixels.
pub const THUMBNAIL: u32 = 48;
/// Pictures of a folder that are looked at; with small pictures and vectors that is about 200 MB.
pub const MOST_PICTURES: usize = 20_000;
/// Pictures up to which neighbourhoods (t-SNE, UMAP) are laid into the plane; beyond that it would take an hour.
pub const MOST_NEIGHBOURS: usize = 5_000;
/// Pictures that can't be read which are named.
const MOST_NAMED: usize = 200;
/// Deep enough for candle, which walks and drops its graph recursively.
const STACK: usize = 64 << 20;
/// Reports that may wait for the window, and that it takes up at a time.
const REPORTS: usize = 16;

/// What a person has chosen of a folder of pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlbumState {
    /// The folder, if one is open.
    pub folder: Option<PathBuf>,
    /// What is searched for.
    pub wanted: Wanted,
    /// How it is brought to two dimensions, by the key in [`crate::reduction::REDUCTIONS`].
    pub reduction: ReductionName,
}

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// Pictures that fit to a text; nothing where it is empty.
    Text(String),
    /// Pictures like this one of the folder.
    Like(PathBuf),
}

impl Default for Wanted {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Wanted {
    /// Whether nothing is searched for.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }
}

/// A picture of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlbumPicture {
    /// Its file.
    pub path: PathBuf,
    /// The middle square of it, [`THUMBNAIL`] pixels a side, as bytes of RGB.
    pub thumbnail: Box<[u8]>,
}

impl AlbumPicture {
    /// The name of its file.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// The pictures in two dimensions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlbumPlane {
    /// The key of the reduction.
    pub reduction: &'static str,
    /// Where each picture lies.
    pub places: Vec<[f32; 2]>,
    /// Share of the variance that each axis shows, from 0 to 1; empty where the reduction has no such number.
    pub shares: Vec<f32>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What was searched for.
    pub wanted: Wanted,
    /// The cosine of each picture with it.
    pub cosines: Vec<f32>,
    /// The pictures, the best first; of equals the first.
    pub order: Vec<usize>,
}

impl Found {
    /// Puts pictures into the order of their `cosines`.
    #[must_use]
    pub fn new(wanted: Wanted, cosines: Vec<f32>) -> Self {
        let mut order: Vec<usize> = (0..cosines.len()).collect();
        order.sort_by(|one, other| cosines[*other].total_cmp(&cosines[*one]));
        Self { wanted, cosines, order }
    }
}

/// What the thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Pictures are read and encoded.
    Reading,
    /// They are laid into the plane.
    Reducing,
}

/// What the thread has to do.
#[derive(Clone, Debug, PartialEq)]
struct Job {
    folder: PathBuf,
    checkpoint: PathBuf,
    runtime: RuntimeName,
    /// Where embeddings are kept, if anywhere.
    kept: Option<PathBuf>,
}

/// A folder of pictures, as far as it was read.
pub struct Album {
    /// Another for each folder that is opened, and for each time.
    pub id: u64,
    /// The folder.
    pub folder: PathBuf,
    /// Its pictures that were read, by their paths. The later ones only ever stand behind the earlier.
    pub pictures: Vec<Arc<AlbumPicture>>,
    /// How many pictures it has, read or not; 0 until that is known.
    pub all: usize,
    /// Whether it has more than [`MOST_PICTURES`], the rest of which is left out.
    pub more: bool,
    /// How many of them were known from before.
    pub recalled: usize,
    /// How many can't be read.
    pub unreadable: usize,
    /// What is wrong with the first of those, in one sentence each.
    pub complaints: Vec<String>,
    /// What is under way.
    pub work: Option<(Doing, Progress)>,
    /// Whether the reading was stopped before its end.
    pub stopped: bool,
    /// The pictures in two dimensions.
    pub plane: Option<Arc<AlbumPlane>>,
    /// What was found.
    pub found: Option<Arc<Found>>,
    /// What went wrong, in one sentence.
    pub problem: Option<String>,
    job: Option<Job>,
    thread: Handle,
    reports: Receiver<Report>,
}

/// What the thread is told through; dropping it ends the thread.
#[derive(Default)]
struct Handle(Arc<Shared<Desk>>);

enum Report {
    Listed {
        all: usize,
        more: bool,
    },
    /// Pictures, with where they lie as far as a plane is known, and how many of them were known from before.
    Read {
        pictures: Vec<Arc<AlbumPicture>>,
        places: Vec<[f32; 2]>,
        recalled: usize,
        complaints: Vec<String>,
    },
    Doing(Doing, f32),
    Plane(AlbumPlane),
    Found(Found),
    Problem(String),
    /// Nothing is under way any more.
    Rests {
        stopped: bool,
    },
}

#[derive(Default)]
struct Desk {
    asked: Asked,
    under_way: CancelToken,
    closed: bool,
}

/// What is asked of the pictures.
#[derive(Clone, Debug, Default, PartialEq)]
struct Asked {
    wanted: Wanted,
    reduction: &'static str,
}

impl Shared<Desk> {
    /// What is asked now; `None` at the end.
    fn asked(&self) -> Option<Asked> {
        let desk = self.desk();
        (!desk.closed).then(|| desk.asked.clone())
    }

    /// Something new is begun, which this stops.
    fn begin(&self) -> CancelToken {
        let mut desk = self.desk();
        if !desk.closed {
            desk.under_way = CancelToken::default();
        }
        desk.under_way.clone()
    }

    /// Waits until something else is asked than what was `answered`; `None` at the end.
    fn next(&self, answered: &Asked) -> Option<Asked> {
        let mut desk = self.desk();
        loop {
            if desk.closed {
                return None;
            }
            if desk.asked != *answered {
                return Some(desk.asked.clone());
            }
            desk = self.wait(desk);
        }
    }
}

impl Album {
    fn start(job: Job, wake: Wake) -> Result<Self> {
        let (sender, reports) = sync_channel(REPORTS);
        let mut album = Self { job: Some(job.clone()), reports, ..Self::made(job.folder.clone(), Vec::new()) };
        album.work = Some((Doing::Reading, Progress { share: 0.0, since: Instant::now() }));
        let shared = Arc::clone(&album.thread.0);
        let work = move || {
            let say = |report| sender.send(report).inspect(|()| wake()).is_ok();
            reading::run(&shared, &job, &say);
            drop(sender);
            wake();
        };
        let thread = std::thread::Builder::new().name("album".into()).stack_size(STACK).spawn(work);
        thread.map_err(|error| {
            Error::unusable(format!("no thread could be started ({error})"), "close other programs")
        })?;
        Ok(album)
    }

    /// A folder of these pictures, of which nothing more becomes known.
    #[must_use]
    pub fn made(folder: PathBuf, pictures: Vec<Arc<AlbumPicture>>) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let (_, reports) = sync_channel(1);
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            folder,
            all: pictures.len(),
            pictures,
            more: false,
            recalled: 0,
            unreadable: 0,
            complaints: Vec::new(),
            work: None,
            stopped: false,
            plane: None,
            found: None,
            problem: None,
            job: None,
            thread: Handle::default(),
            reports,
        }
    }

    /// A copy to draw from on another thread.
    #[must_use]
    pub fn still(&self) -> Self {
        Self {
            all: self.all,
            more: self.more,
            recalled: self.recalled,
            unreadable: self.unreadable,
            complaints: self.complaints.clone(),
            stopped: self.stopped,
            plane: self.plane.clone(),
            found: self.found.clone(),
            problem: self.problem.clone(),
            ..Self::made(self.folder.clone(), self.pictures.clone())
        }
    }

    /// Takes up what became known since.
    pub fn receive(&mut self) {
        for _ in 0..REPORTS {
            match self.reports.try_recv() {
                Ok(report) => self.take(report),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    // A thread ends by itself only where its folder or its checkpoint can't be read.
                    if self.work.take().is_some() && self.problem.is_none() {
                        let remedy = "please report it together with the folder";
                        let error = Error::unusable("reading broke off, which is a defect of the program", remedy);
                        self.problem = Some(error.to_string());
                    }
                    return;
                }
            }
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Listed { all, more } => (self.all, self.more) = (all, more),
            Report::Read { mut pictures, places, recalled, complaints } => {
                self.pictures.append(&mut pictures);
                self.recalled += recalled;
                self.unreadable += complaints.len();
                let room = MOST_NAMED.saturating_sub(self.complaints.len());
                self.complaints.extend(complaints.into_iter().take(room));
                if let Some(plane) = &mut self.plane {
                    Arc::make_mut(plane).places.extend(places);
                }
            }
            Report::Doing(doing, share) => match &mut self.work {
                Some((known, progress)) if *known == doing => progress.share = share,
                work => *work = Some((doing, Progress { share, since: Instant::now() })),
            },
            Report::Plane(plane) => self.plane = Some(Arc::new(plane)),
            Report::Found(found) => self.found = Some(Arc::new(found)),
            Report::Problem(problem) => self.problem = Some(problem),
            Report::Rests { stopped } => {
                self.work = None;
                self.stopped |= stopped;
            }
        }
    }

    /// What was found of what is searched for, if it is known.
    #[must_use]
    pub fn found(&self, wanted: &Wanted) -> Option<&Found> {
        self.found.as_deref().filter(|found| found.wanted == *wanted && !wanted.is_nothing())
    }

    /// The same, or what was found before as long as it isn't known: while a person types, nothing flickers.
    #[must_use]
    pub fn shown(&self, wanted: &Wanted) -> Option<&Found> {
        self.found.as_deref().filter(|_| !wanted.is_nothing())
    }

    /// The number of the picture that this file is, if it is one of them.
    #[must_use]
    pub fn number_of(&self, file: &Path) -> Option<usize> {
        self.pictures.binary_search_by(|picture| picture.path.as_path().cmp(file)).ok()
    }

    fn ask(&self, asked: Asked) {
        let mut desk = self.thread.0.desk();
        if desk.asked != asked {
            desk.asked = asked;
            self.thread.0.notify();
        }
    }

    fn stop(&self) {
        self.thread.0.desk().under_way.cancel();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut desk = self.0.desk();
        desk.closed = true;
        desk.under_way.cancel();
        self.0.notify();
    }
}

impl App {
    /// Lets the folder of pictures that the state names be read, by the checkpoint that it names, and asked what it asks.
    pub(super) fn attend_album(&mut self) {
        let Some(wake) = &self.wake else { return }; // nothing computes yet
        let state = &self.state.album;
        let (Some(folder), Some(choice)) = (&state.folder, self.checkpoint("contrastive")) else {
            self.album = None;
            return;
        };
        let job = Job {
            folder: folder.clone(),
            checkpoint: choice.folder.clone(),
            runtime: self.runtime("contrastive"),
            kept: self.kept.clone(),
        };
        let is_this = |album: &Album| album.job.as_ref().map_or(album.folder == job.folder, |known| *known == job);
        let asked = Asked { wanted: state.wanted.clone(), reduction: state.reduction.0 };
        if !self.album.as_ref().is_some_and(is_this) {
            // The old thread ends, and its model's memory is free before the new one takes its own.
            self.album = None;
            match Album::start(job, Arc::clone(wake)) {
                Ok(album) => self.album = Some(album),
                Err(error) => self.problem = Some(error.to_string()),
            }
        }
        if let Some(album) = &self.album {
            album.ask(asked);
        }
    }

    /// Stops what is under way with the folder of pictures. A plane that isn't made is no longer asked for.
    pub(super) fn stop_album(&mut self) {
        let Some(album) = &self.album else { return };
        album.stop();
        if matches!(album.work, Some((Doing::Reducing, _)))
            && let Some(plane) = &album.plane
        {
            self.state.album.reduction = ReductionName(plane.reduction);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_of_equals_the_first() {
        let found = Found::new(Wanted::Text("a cat".into()), vec![0.1, 0.3, -0.2, 0.3, f32::MIN]);
        assert_eq!(found.order, [1, 3, 0, 2, 4]);
    }

    #[test]
    fn blanks_are_nothing_to_search_for() {
        assert!(Wanted::default().is_nothing() && Wanted::Text("  \n".into()).is_nothing());
        assert!(!Wanted::Text("a".into()).is_nothing() && !Wanted::Like(PathBuf::new()).is_nothing());
    }
}
