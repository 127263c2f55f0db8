//! The models that are open, each where it was asked to run, or on the processor where that can't be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::compute::Computer;
use crate::error::{Error, Result};
use crate::methods::{self, Method};
use crate::models::checkpoint::Checkpoint;
use crate::models::runtime::{Runtime, RuntimeName};

/// A model that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The folder of its checkpoint.
    pub folder: PathBuf,
    /// Where it runs, and how its weights are held.
    pub runtime: RuntimeName,
}

/// The open models.
#[derive(Default)]
pub(super) struct Models {
    /// The same weights at the same place once, whoever wants them.
    pub(super) open: Vec<Loaded>,
    /// Devices that failed; what was to run there runs on the processor.
    failed: BTreeSet<String>,
    /// What a person has to be told of that.
    told: Vec<String>,
}

/// A method with its model.
pub(super) struct Loaded {
    pub(super) wanted: Wanted,
    on_processor: bool,
    pub(super) method: Box<dyn Method>,
}

impl Models {
    /// Gives up the models that nobody wants any more, so that their memory is free before another one takes its own.
    pub(super) fn keep(&mut self, wanted: &[Wanted]) {
        self.open.retain(|known| wanted.contains(&known.wanted));
    }

    /// Says once that `device` failed, and uses it no more.
    fn give_up(&mut self, device: &str, error: &Error) {
        if self.failed.insert(device.to_owned()) {
            self.told.push(format!("{device} can't be used, so the processor computes ({error})"));
        }
    }
}

impl Computer {
    /// The model that is wanted, opened if it isn't yet.
    ///
    /// # Errors
    /// If it can't be opened, on the processor either.
    pub(super) fn method(&mut self, wanted: &Wanted) -> Result<&mut Box<dyn Method>> {
        let models = &mut self.models;
        let at = match models.open.iter().position(|known| known.wanted == *wanted) {
            Some(at) => at,
            None => {
                let Wanted { folder, runtime: name } = wanted;
                let entry = methods::entry_of(&Checkpoint::open(folder)?)?;
                let on =
                    |runtime: &Runtime| (entry.open)(folder, runtime).map(|method| (method, runtime.device.is_cpu()));
                let place = if models.failed.contains(&name.device) { name.on_processor() } else { name.clone() };
                let ((method, on_processor), failed) = place.open(on)?;
                if let Some(error) = failed {
                    models.give_up(&name.device, &error);
                }
                models.open.push(Loaded { wanted: wanted.clone(), on_processor, method });
                models.open.len() - 1
            }
        };
        models.open.get_mut(at).map(|loaded| &mut loaded.method).ok_or(Error::Cancelled)
    }

    /// Gives up the models of this checkpoint.
    pub(super) fn forget(&mut self, folder: &Path) {
        self.models.open.retain(|known| known.wanted.folder != folder);
    }

    /// After a pass failed: gives up the devices that aren't the processor, which may have run out of memory. Whether there
    /// was one, so that it is worth to try again.
    pub(super) fn fall_back(&mut self, error: &Error) -> bool {
        let elsewhere: Vec<String> = self
            .models
            .open
            .iter()
            .filter(|known| !known.on_processor)
            .map(|known| known.wanted.runtime.device.clone())
            .collect();
        self.models.open.retain(|known| known.on_processor);
        elsewhere.iter().for_each(|device| self.models.give_up(device, error));
        !elsewhere.is_empty()
    }

    /// What a person has to be told of devices that failed, once.
    pub(super) fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.models.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::runtime::Precision;

    #[test]
    fn weights_are_held_once_and_let_go_when_nobody_wants_them() {
        let wanted = |name: &str, precision| {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/checkpoints").join(name);
            Wanted { folder, runtime: RuntimeName { precision, ..RuntimeName::default() } }
        };
        let full = wanted("clip", Precision::F32);
        let half = wanted("clip", Precision::F16);
        let other = wanted("clip-grounded", Precision::F32);
        let mut computer = Computer::default();
        for model in [&full, &half, &other, &full, &half] {
            computer.method(model).unwrap();
        }
        assert_eq!(computer.models.open.len(), 3);
        computer.models.keep(&[other.clone(), full]);
        assert!(computer.models.open.iter().all(|known| known.wanted != half));
        computer.forget(&other.folder);
        assert_eq!(computer.models.open.len(), 1);
    }
}
