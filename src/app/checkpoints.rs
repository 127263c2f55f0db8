//! The checkpoints that can be chosen, and which one each method runs.

use std::path::{Path, PathBuf};

use super::App;
use crate::methods::METHODS;
use crate::models::checkpoint::{Checkpoint, name_of};
use crate::models::runtime::RuntimeName;

/// A checkpoint that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointChoice {
    /// The key of the method that runs it.
    pub method: &'static str,
    /// Its name in the state and in sessions: of a built-in checkpoint its folder's name, else the whole path.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
}

impl CheckpointChoice {
    /// The name to show.
    #[must_use]
    pub fn title(&self) -> String {
        name_of(&self.folder)
    }
}

/// The checkpoints that come with the program.
pub(super) fn built_in() -> Vec<CheckpointChoice> {
    let choice = |folder: PathBuf| {
        let method = method_of(&folder)?;
        let name = folder.file_name()?.to_string_lossy().into_owned();
        Some(CheckpointChoice { method, name, folder })
    };
    crate::models::builtin::list().into_iter().map(one_name).filter_map(choice).collect()
}

impl App {
    /// The checkpoint that a method runs: the chosen one, or the usual one, or the first there is.
    #[must_use]
    pub fn checkpoint(&self, method: &str) -> Option<&CheckpointChoice> {
        let of_method = || self.checkpoints.iter().filter(|choice| choice.method == method);
        let chosen = self.state.checkpoints.get(method);
        let chosen = chosen.and_then(|name| of_method().find(|choice| choice.name == *name));
        let usual = crate::methods::named(method).map(|method| method.usual);
        let usual = || of_method().find(|choice| Some(choice.name.as_str()) == usual);
        chosen.or_else(usual).or_else(|| of_method().next())
    }

    /// Where the model of a method runs.
    #[must_use]
    pub fn runtime(&self, method: &str) -> RuntimeName {
        self.state.runtimes.get(method).unwrap_or(&self.runtime).clone()
    }

    pub(super) fn set_checkpoint(&mut self, folder: PathBuf) {
        let folder = one_name(folder);
        let known = self.checkpoints.iter().find(|choice| choice.folder == folder).cloned();
        // One that no method can run is handed to the first: what is wrong with it is said when it is opened.
        let method = || method_of(&folder).or(METHODS.first().map(|method| method.key));
        let name = folder.display().to_string();
        let Some((method, name)) =
            known.map(|choice| (choice.method, choice.name)).or_else(|| method().map(|method| (method, name)))
        else {
            return;
        };
        self.list(method, &name);
        self.state.checkpoints.insert(method.to_owned(), name);
        if self.state.method.0 != super::layout::SIDE_BY_SIDE {
            self.state.method = super::state::MethodName(method);
        }
        self.state.fusion.step = None;
        self.state.fusion.head = None;
        self.state.fusion.layer = None;
        self.state.fusion.closed.clear();
        self.state.querying.query = None;
        self.state.querying.look = Default::default();
        self.state.querying.block = None;
        self.state.querying.dropped.clear();
        // Patches of another grid, heads of another tower.
        self.state.selected.patch = None;
        self.state.attention.layer = None;
        self.state.attention.head = 0;
    }

    /// The folder of a method's checkpoint of this name.
    pub(super) fn folder_of(&self, method: &str, name: &str) -> PathBuf {
        let known = self.checkpoints.iter().find(|choice| choice.method == method && choice.name == name);
        known.map_or_else(|| one_name(PathBuf::from(name)), |choice| choice.folder.clone())
    }

    /// The method and the name in the state of the checkpoint that a person names so, or whose folder this is.
    pub(super) fn find_checkpoint(&mut self, name: &str) -> Option<(&'static str, String)> {
        let is_it = |choice: &&CheckpointChoice| choice.name == name || choice.title() == name;
        if let Some(choice) = self.checkpoints.iter().find(is_it) {
            return Some((choice.method, choice.name.clone()));
        }
        let folder = one_name(PathBuf::from(name));
        let method = method_of(&folder)?;
        let known = self.checkpoints.iter().find(|choice| choice.folder == folder);
        let name = known.map_or_else(|| folder.display().to_string(), |choice| choice.name.clone());
        self.list(method, &name);
        Some((method, name))
    }

    /// Makes the checkpoints that the state names some of those that can be chosen.
    pub(super) fn list_chosen(&mut self) {
        let own = self.state.checkpoints.clone().into_iter();
        let extra = self.state.extra_columns.values().map(|column| (column.method.clone(), column.checkpoint.clone()));
        let extra: Vec<(String, String)> = extra.collect();
        for (method, name) in own.chain(extra) {
            if let Some(entry) = crate::methods::named(&method) {
                self.list(entry.key, &name);
            }
        }
    }

    /// Makes a checkpoint one of those that can be chosen.
    pub(super) fn list(&mut self, method: &'static str, name: &str) {
        if !self.checkpoints.iter().any(|choice| choice.method == method && choice.name == name) {
            let folder = one_name(PathBuf::from(name));
            self.checkpoints.push(CheckpointChoice { method, name: name.to_owned(), folder });
        }
    }
}

/// The folder by the one name that it has whatever way leads to it, so that none is listed twice; a folder that isn't
/// there keeps the name it was given.
pub(super) fn one_name(folder: PathBuf) -> PathBuf {
    std::fs::canonicalize(&folder).unwrap_or(folder)
}

/// The key of the method that can run the checkpoint in `folder`.
fn method_of(folder: &Path) -> Option<&'static str> {
    let checkpoint = Checkpoint::open(folder).ok()?;
    let class = checkpoint.class();
    METHODS.iter().find(|method| method.classes.contains(&class)).map(|method| method.key)
}
