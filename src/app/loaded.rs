//! The models that are open, each where it was asked to run, or on the processor where that can't be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::compute::Computer;
use crate::error::{Error, Result};
use crate::methods::{self, Method};
use crate::models::checkpoint::Checkpoint;
use crate::models::runtime::{Runtime, RuntimeName};

/// Where the model of each method runs, by the method's key.
pub type Runtimes = BTreeMap<&'static str, RuntimeName>;

/// Where the model of a method runs.
pub(super) fn runtime_of(runtimes: &Runtimes, method: &str) -> RuntimeName {
    runtimes.get(method).cloned().unwrap_or_default()
}

/// The open models.
#[derive(Default)]
pub(super) struct Models {
    /// By the method's key.
    open: BTreeMap<&'static str, Loaded>,
    /// Devices that failed; what was to run there runs on the processor.
    failed: BTreeSet<String>,
    /// What a person has to be told of that.
    told: Vec<String>,
}

/// A method with its model.
struct Loaded {
    folder: PathBuf,
    runtime: RuntimeName,
    on_processor: bool,
    method: Box<dyn Method>,
}

impl Models {
    /// Says once that `device` failed, and uses it no more.
    fn give_up(&mut self, device: &str, error: &Error) {
        if self.failed.insert(device.to_owned()) {
            self.told.push(format!("{device} can't be used, so the processor computes ({error})"));
        }
    }
}

impl Computer {
    /// The model of the checkpoint in `folder`, opened if it isn't yet.
    ///
    /// # Errors
    /// If it can't be opened, on the processor either.
    pub(super) fn method(&mut self, folder: &Path, runtimes: &Runtimes) -> Result<&mut Box<dyn Method>> {
        let models = &mut self.models;
        let is_asked =
            |(key, known): &(&&str, &Loaded)| known.folder == folder && known.runtime == runtime_of(runtimes, key);
        let key = match models.open.iter().find(is_asked).map(|(key, _)| *key) {
            Some(key) => key,
            None => {
                let entry = methods::entry_of(&Checkpoint::open(folder)?)?;
                models.open.remove(entry.key); // the old one's memory is free before the new one takes its own
                let name = runtime_of(runtimes, entry.key);
                let on =
                    |runtime: &Runtime| (entry.open)(folder, runtime).map(|method| (method, runtime.device.is_cpu()));
                let wanted = if models.failed.contains(&name.device) { name.on_processor() } else { name.clone() };
                let (method, on_processor) = match wanted.find().and_then(|runtime| on(&runtime)) {
                    // What is wrong with the checkpoint is wrong with it everywhere, and is said then.
                    Err(error) if !wanted.is_processor() => {
                        let opened = on(&name.on_processor().find()?)?;
                        models.give_up(&name.device, &error);
                        opened
                    }
                    done => done?,
                };
                let loaded = Loaded { folder: folder.to_path_buf(), runtime: name, on_processor, method };
                models.open.insert(entry.key, loaded);
                entry.key
            }
        };
        models.open.get_mut(key).map(|loaded| &mut loaded.method).ok_or(Error::Cancelled)
    }

    /// Gives up the model of this checkpoint.
    pub(super) fn forget(&mut self, folder: &Path) {
        self.models.open.retain(|_, known| known.folder != folder);
    }

    /// After a pass failed: gives up the devices that aren't the processor, which may have run out of memory. Whether there
    /// was one, so that it is worth to try again.
    pub(super) fn fall_back(&mut self, error: &Error) -> bool {
        let elsewhere: Vec<String> = self
            .models
            .open
            .values()
            .filter(|known| !known.on_processor)
            .map(|known| known.runtime.device.clone())
            .collect();
        self.models.open.retain(|_, known| known.on_processor);
        elsewhere.iter().for_each(|device| self.models.give_up(device, error));
        !elsewhere.is_empty()
    }

    /// What a person has to be told of devices that failed, once.
    pub(super) fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.models.told)
    }
}
