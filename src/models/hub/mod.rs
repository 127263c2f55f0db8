//! Published checkpoints, downloaded by name from the Hugging Face hub into the local cache, in whose layout Python's
//! `huggingface_hub` finds them, too.
//!
//! This is a narrow downloader on `ureq`, not the crate `hf-hub`: its release 1.0 begins a file that was cut off anew, compares
//! no checksum, doesn't look at the disk, can't be told to stop, and brings an asynchronous runtime and the whole of
//! `hf-xet` along. What is loaded here goes on where it stopped, is held against the hub's checksum, and stands under its name
//! only when it is whole.
//!
//! [`Hub::ask`] says what there is to load, [`Hub::load`] loads it. The token goes to the hub's own address and nowhere else.

mod blob;
mod files;
mod parts;
mod request;
mod retry;
mod settings;
mod store;

pub use files::{Checksum, RemoteFile};
pub use parts::Others;
pub use retry::{Wait, wait};
pub use settings::Settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::MODELS;
use super::checkpoint::{Checkpoint, read_json};
use super::weights::shards;
use crate::error::{Error, Result};
use crate::taps::CancelToken;
use files::Listing;
use request::Caller;
use retry::Tries;
use store::Store;

/// What stays free on the disk: a full disk stops more than a download.
const SPARE: u64 = 512 << 20;

/// The hub, as it is set here.
#[derive(Clone)]
pub struct Hub {
    settings: Settings,
    caller: Caller,
    wait: Wait,
}

/// What there is to load of a model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `org/name`.
    pub name: String,
    /// The revision that `main` is at.
    pub commit: String,
    /// Its class in `config.json`.
    pub class: String,
    /// The files that Alignscope reads.
    pub files: Vec<RemoteFile>,
    /// What else belongs to it and lies elsewhere.
    pub others: Others,
    /// The length of all of it, in bytes.
    pub bytes: u64,
    /// What isn't here yet of that, in bytes.
    pub missing: u64,
    /// What is free on the disk of the cache, in bytes, if the system says.
    pub free: Option<u64>,
}

impl Plan {
    /// Refuses what the disk has no room for.
    ///
    /// # Errors
    /// If it would leave less than half a gibibyte free.
    pub fn check_room(&self) -> Result<()> {
        let Some(free) = self.free else { return Ok(()) };
        if self.missing > 0 && self.missing.saturating_add(SPARE) > free {
            return Err(Error::unusable(
                format!(
                    "'{}' takes {} on the disk, where {} are free and {} have to stay so",
                    self.name,
                    readable(self.missing),
                    readable(free),
                    readable(SPARE)
                ),
                "free some disk space, or set HF_HUB_CACHE to a folder on another disk",
            ));
        }
        Ok(())
    }
}

/// How far a download has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The file that is being loaded.
    pub file: String,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes of all files.
    pub all: u64,
    /// How long it waits until it tries again, if it does.
    pub pause: Option<Duration>,
}

impl Hub {
    /// The hub of these settings. Nothing is asked yet.
    ///
    /// # Errors
    /// If the address of the hub isn't one of HTTP.
    pub fn new(settings: Settings) -> Result<Self> {
        let caller = Caller::new(&settings.endpoint, settings.token.clone())?;
        Ok(Self { settings, caller, wait: Arc::new(wait) })
    }

    /// The hub that the environment names.
    ///
    /// # Errors
    /// If it says to stay offline, or what it says makes no sense.
    pub fn from_environment() -> Result<Self> {
        Self::new(Settings::from_environment()?)
    }

    /// The same, waiting in another way before it tries again.
    #[must_use]
    pub fn waiting(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// Asks what there is to load of a model. Its config and the list of its weights, which say that, are loaded for it.
    ///
    /// # Errors
    /// If there is no such model or it isn't shown, if Alignscope doesn't open its class, if the hub can't be reached or says
    /// what makes no sense, or if it is cancelled.
    pub fn ask(&self, name: &str, cancel: &CancelToken) -> Result<Plan> {
        files::check_name(name)?;
        if let Some(assembly) = parts::assembly(name)? {
            return self.ask_assembled(name, assembly, cancel);
        }
        let (plan, class) = self.ask_one(name, cancel)?;
        if MODELS.iter().any(|family| family.class == class) {
            return Ok(plan);
        }
        Err(Error::unusable(
            format!("'{name}' is a '{class}', which Alignscope doesn't open"),
            format!("choose a model of another class; {} says more of this one", self.page(name)),
        ))
    }

    /// The same of one repository, whatever class it is of, which is given, too.
    fn ask_one(&self, name: &str, cancel: &CancelToken) -> Result<(Plan, String)> {
        let about = self.about(name, cancel)?;
        let store = Store::new(&self.settings.cache, name);
        let fetch = |file: &RemoteFile| {
            self.fetch((name, &about.commit), &store, file, cancel, &mut |_, _| ())?;
            Ok::<PathBuf, Error>(store.place(file, &about.commit))
        };
        let config = read_json(&fetch(&about.config()?)?)?;
        let class = Checkpoint { folder: PathBuf::from(name), config, gguf: None }.class().to_owned();
        let mut chosen = about.companions()?;
        chosen.extend(match about.weights()? {
            files::Weights::Single(file) => vec![file],
            files::Weights::Sharded(index) => {
                let listed = shards(&fetch(&index)?)?;
                let names = listed.iter().filter_map(|path| path.file_name()?.to_str());
                let parts = names.map(|shard| about.named(shard)).collect::<Result<Vec<_>>>()?;
                std::iter::once(index).chain(parts).collect()
            }
        });
        Ok((self.plan(name, (about.commit, class.clone()), chosen, Others::default())?, class))
    }

    /// What there is to load, and how much of it isn't here.
    fn plan(
        &self,
        name: &str,
        (commit, class): (String, String),
        files: Vec<RemoteFile>,
        others: Others,
    ) -> Result<Plan> {
        let store = Store::new(&self.settings.cache, name);
        let (bytes, missing) = parts::lengths(&store, &commit, &files, &others)?;
        let free = store::free(&self.settings.cache);
        Ok(Plan { name: name.to_owned(), commit, class, files, others, bytes, missing, free })
    }

    /// Loads what isn't here yet, and returns the folder of the checkpoint.
    ///
    /// # Errors
    /// If there is no room, if the hub can't be reached or sends something else than it said, or if it is cancelled. What was
    /// loaded stays, and the next call goes on from there.
    pub fn load(&self, plan: &Plan, cancel: &CancelToken, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        let store = |plan: &Plan| Store::new(&self.settings.cache, &plan.name);
        let missing = |plan: &Plan| total(plan.files.iter().map(|file| store(plan).missing(file, &plan.commit)));
        let all = plan.all().map(missing).collect::<Result<Vec<_>>>()?;
        let free = store::free(&self.settings.cache);
        Plan { missing: total(all.into_iter())?, free, ..plan.clone() }.check_room()?;
        let mut before = 0;
        for one in plan.all() {
            for file in &one.files {
                let place = (one.name.as_str(), one.commit.as_str());
                self.fetch(place, &store(one), file, cancel, &mut |done, pause| {
                    progress(Progress { file: file.name.clone(), done: before + done, all: plan.bytes, pause });
                })?;
                before += file.bytes;
            }
        }
        for plan in plan.all() {
            // The config comes last: with it, the folder counts as a checkpoint.
            let (config, others): (Vec<_>, Vec<_>) = plan.files.iter().partition(|file| file.name == files::CONFIG);
            for file in others.into_iter().chain(config) {
                store(plan).link(file, &plan.commit, cancel)?;
            }
            self.put_together(plan)?;
            store(plan).point_main_to(&plan.commit)?;
        }
        Ok(store(plan).snapshot(&plan.commit))
    }

    /// The address of the hub, without a slash at its end.
    #[must_use]
    pub fn address(&self) -> &str {
        self.caller.address()
    }

    /// The folder of the cache.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.settings.cache
    }

    /// The model's page.
    #[must_use]
    pub fn page(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    fn about(&self, name: &str, cancel: &CancelToken) -> Result<Listing> {
        let path = format!("api/models/{name}/revision/main?blobs=true");
        let ask = || self.accept(name, self.caller.get(&path, 0, cancel)?)?.text(files::LARGEST_LISTING, cancel);
        let mut tries = Tries::default();
        loop {
            match ask() {
                Ok(text) => return Listing::read(name, &text),
                Err(failure) => self.pause(tries.pause(failure, false, self.address())?, cancel)?,
            }
        }
    }
}

/// The sum of what the hub says, which may be anything.
fn total(lengths: impl Iterator<Item = u64>) -> Result<u64> {
    lengths.into_iter().try_fold(0_u64, u64::checked_add).ok_or_else(|| {
        Error::unusable("the files are said to be longer together than any disk", "choose another model")
    })
}

/// A number of bytes as a person reads it, in binary units.
#[must_use]
pub fn readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{size:.1} {unit}") }
}
