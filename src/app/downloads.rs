//! Published checkpoints: which of them are here, how large others are, and the download that goes on. Whatever takes time runs
//! on a thread of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::App;
use crate::error::{Error, Result};
use crate::models::cache;
use crate::models::catalogue::{Published, published};
use crate::models::hub::{Hub, Plan, Progress};
use crate::models::weights::bytes_in;
use crate::taps::CancelToken;

/// Reports that may wait for the window.
const REPORTS: usize = 16;

/// How far a download is, as it says itself; only the latest counts.
type Latest = Arc<Mutex<Option<Progress>>>;

/// What is known of published checkpoints.
pub struct Downloads {
    /// Whether they are shown.
    pub is_open: bool,
    /// The hub that is asked; that of the environment, unless another was put here before they are shown.
    pub hub: Option<Hub>,
    /// The catalogue.
    pub known: Arc<Vec<Published>>,
    /// Which models are here and whole, with their folders.
    pub here: BTreeMap<String, PathBuf>,
    /// What there is to load, of those that were asked for.
    pub plans: BTreeMap<String, Plan>,
    /// What is being asked or loaded.
    pub under_way: Option<UnderWay>,
    /// What went wrong last.
    pub problem: Option<String>,
    sender: SyncSender<Report>,
    reports: Receiver<Report>,
}

/// A model that the hub is asked for, or that is loaded.
pub struct UnderWay {
    /// Its name.
    pub name: String,
    /// How far the download is, once it has begun.
    pub progress: Option<Progress>,
    /// When it had loaded how much, at first.
    since: Option<(Instant, u64)>,
    latest: Latest,
    cancel: CancelToken,
}

impl UnderWay {
    /// How far the download is, from 0 to 1, once it has begun.
    #[must_use]
    pub fn share(&self) -> Option<f32> {
        self.progress.as_ref().map(|progress| (progress.done as f64 / progress.all.max(1) as f64) as f32)
    }

    /// The time that is left if it goes on like this.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let (Some(progress), Some((since, begun))) = (&self.progress, self.since) else { return None };
        let loaded = progress.done.saturating_sub(begun);
        let left = progress.all.saturating_sub(progress.done);
        let seconds = since.elapsed().as_secs_f64() * left as f64 / loaded as f64;
        Duration::try_from_secs_f64(seconds).ok().filter(|_| loaded > 0)
    }
}

enum Report {
    Here(BTreeMap<String, PathBuf>),
    Planned(Plan),
    Loaded(String, PathBuf),
    Failed(Error),
}

impl Default for Downloads {
    fn default() -> Self {
        let (sender, reports) = sync_channel(REPORTS);
        Self {
            is_open: false,
            hub: None,
            known: Arc::default(),
            here: BTreeMap::new(),
            plans: BTreeMap::new(),
            under_way: None,
            problem: None,
            sender,
            reports,
        }
    }
}

impl Drop for Downloads {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Downloads {
    /// Models that aren't in the catalogue, but were asked for.
    #[must_use]
    pub fn others(&self) -> Vec<String> {
        let asked = self.plans.keys().chain(self.under_way.as_ref().map(|under_way| &under_way.name));
        let mut others: Vec<String> =
            asked.filter(|name| !self.known.iter().any(|known| known.name == **name)).cloned().collect();
        others.sort();
        others.dedup();
        others
    }

    /// Stops what is under way. What was loaded stays.
    pub(super) fn stop(&self) {
        if let Some(under_way) = &self.under_way {
            under_way.cancel.cancel();
        }
    }

    /// Takes up what has happened since.
    pub(super) fn receive(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            let latest = under_way.latest.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(progress) = latest {
                under_way.since.get_or_insert((Instant::now(), progress.done));
                under_way.progress = Some(progress);
            }
        }
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Here(here) => self.here = here,
                Report::Planned(plan) => {
                    self.plans.insert(plan.name.clone(), plan);
                    self.under_way = None;
                }
                Report::Loaded(name, folder) => {
                    self.here.insert(name, folder);
                    self.under_way = None;
                }
                Report::Failed(error) => {
                    self.problem = (!matches!(error, Error::Cancelled)).then(|| error.to_string());
                    self.under_way = None;
                }
            }
        }
    }

    /// Does `work` elsewhere; what it ends with is reported.
    fn elsewhere(&self, wake: Arc<dyn Fn() + Send + Sync>, work: impl FnOnce() -> Result<Report> + Send + 'static) {
        let sender = self.sender.clone();
        let run = move || {
            // If the window is gone meanwhile, nobody is to be told.
            if sender.send(work().unwrap_or_else(Report::Failed)).is_ok() {
                wake();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("models".into()).spawn(run) {
            let problem = Error::unusable(format!("no thread could be started ({error})"), "close other programs");
            let _kept = self.sender.try_send(Report::Failed(problem));
        }
    }
}

impl App {
    /// Shows the published checkpoints, or no longer. A download goes on meanwhile.
    pub(super) fn toggle_downloads(&mut self) {
        let downloads = &mut self.downloads;
        downloads.is_open = !downloads.is_open;
        if !downloads.is_open {
            return;
        }
        downloads.problem = None;
        match published() {
            Ok(known) => downloads.known = Arc::new(known),
            Err(error) => downloads.problem = Some(error.to_string()),
        }
        if downloads.hub.is_none() {
            match Hub::from_environment() {
                Ok(hub) => downloads.hub = Some(hub),
                Err(error) => downloads.problem = Some(error.to_string()),
            }
        }
        let root = downloads.hub.as_ref().map(|hub| hub.cache().to_path_buf()).or_else(cache::root);
        let wake = self.wake();
        self.downloads.elsewhere(wake, move || Ok(Report::Here(root.as_deref().map(whole).unwrap_or_default())));
    }

    /// Asks how large a model is.
    pub(super) fn ask_hub(&mut self, name: String) {
        self.begin(name, |hub, name, cancel, _| Ok(Report::Planned(hub.ask(name, cancel)?)));
    }

    /// Loads a model.
    pub(super) fn download(&mut self, name: String) {
        self.begin(name, |hub, name, cancel, latest| {
            let plan = hub.ask(name, cancel)?;
            let folder = hub.load(&plan, cancel, &mut |progress| {
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
            })?;
            Ok(Report::Loaded(plan.name, folder))
        });
    }

    /// One after the other: what is under way comes to its end first.
    fn begin(&mut self, name: String, work: fn(&Hub, &str, &CancelToken, &Latest) -> Result<Report>) {
        let wake = self.wake();
        let downloads = &mut self.downloads;
        let (Some(hub), None) = (downloads.hub.clone(), &downloads.under_way) else { return };
        downloads.problem = None;
        let cancel = CancelToken::default();
        let latest = Latest::default();
        let (asked, token, slot) = (name.clone(), cancel.clone(), Arc::clone(&latest));
        downloads.under_way = Some(UnderWay { name, progress: None, since: None, latest, cancel });
        downloads.elsewhere(wake, move || work(&hub, &asked, &token, &slot));
    }

    fn wake(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.wake.clone().unwrap_or_else(|| Arc::new(|| ()))
    }
}

/// The models of a cache that have all their weights, with their folders.
fn whole(root: &Path) -> BTreeMap<String, PathBuf> {
    cache::snapshots(root).into_iter().filter(|(_, folder)| bytes_in(folder).is_ok()).collect()
}
