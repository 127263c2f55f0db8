//! The columns that stand side by side: each method's own, and extra ones, which run another checkpoint of a method, or the same
//! one in another precision.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::App;
use super::layout::SIDE_BY_SIDE;
use super::loaded::Wanted;
use crate::error::{Error, Result};
use crate::methods::{METHODS, named};
use crate::models::checkpoint::name_of;
use crate::models::runtime::{Precision, RuntimeName};

/// Extra columns, at most.
pub const MOST_EXTRA: usize = 4;

/// Which of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ColumnKey {
    /// A method's own, by the method's key.
    Own(&'static str),
    /// An extra one, by its number in [`super::AppState::extra_columns`].
    Extra(usize),
}

impl From<&'static str> for ColumnKey {
    fn from(method: &'static str) -> Self {
        Self::Own(method)
    }
}

/// An extra column, as a person asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraColumn {
    /// The key of the method.
    pub method: String,
    /// The checkpoint, by the name that it has in [`super::CheckpointChoice`].
    pub checkpoint: String,
    /// Where it runs, and how its weights are held.
    pub runtime: RuntimeName,
}

/// A column with the model that it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnModel {
    /// Which column.
    pub key: ColumnKey,
    /// The key of its method.
    pub method: &'static str,
    /// Its model.
    pub model: Wanted,
}

impl ColumnModel {
    /// The name of its checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        name_of(&self.model.folder)
    }

    /// How its weights are held.
    #[must_use]
    pub fn precision(&self) -> &'static str {
        self.model.runtime.precision.name()
    }

    /// What an extra column is called: its checkpoint, and how the weights are held.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} · {}", self.checkpoint(), self.precision())
    }
}

impl App {
    /// The columns that are shown: side by side all of them, else the one of the method.
    #[must_use]
    pub fn shown_columns(&self) -> Vec<ColumnKey> {
        let method = self.state.method.0;
        if method != SIDE_BY_SIDE {
            return vec![ColumnKey::Own(method)];
        }
        let own = METHODS.iter().map(|entry| ColumnKey::Own(entry.key));
        own.chain(self.state.extra_columns.keys().copied().map(ColumnKey::Extra)).collect()
    }

    /// The model that a column runs; `None` where there is no checkpoint for it.
    #[must_use]
    pub fn column_model(&self, key: impl Into<ColumnKey>) -> Option<ColumnModel> {
        let key = key.into();
        let (method, model) = match key {
            ColumnKey::Own(method) => {
                let folder = self.checkpoint(method)?.folder.clone();
                (method, Wanted { folder, runtime: self.runtime(method) })
            }
            ColumnKey::Extra(number) => {
                let ExtraColumn { method, checkpoint, runtime } = self.state.extra_columns.get(&number)?;
                let method = named(method)?.key;
                (method, Wanted { folder: self.folder_of(method, checkpoint), runtime: runtime.clone() })
            }
        };
        Some(ColumnModel { key, method, model })
    }

    /// The models of the methods' own columns.
    pub(super) fn own_models(&self) -> Vec<ColumnModel> {
        METHODS.iter().filter_map(|entry| self.column_model(entry.key)).collect()
    }

    /// The models of all columns, whether they are shown or not.
    pub(super) fn all_models(&self) -> Vec<ColumnModel> {
        let extra = self.state.extra_columns.keys().copied().map(ColumnKey::Extra);
        self.own_models().into_iter().chain(extra.filter_map(|key| self.column_model(key))).collect()
    }

    /// The extra column that is asked for as `CHECKPOINT` or `CHECKPOINT:PRECISION`: a checkpoint by its name, or a folder.
    ///
    /// # Errors
    /// If there is no such checkpoint.
    pub fn extra_column(&mut self, asked: &str) -> Result<ExtraColumn> {
        let precision = |name: &str| Precision::ALL.into_iter().find(|known| known.name() == name);
        let split = asked.rsplit_once(':').and_then(|(name, held)| Some((name, Some(precision(held)?))));
        let (name, precision) = split.unwrap_or((asked, None));
        let (method, checkpoint) = self.find_checkpoint(name).ok_or_else(|| {
            let names: Vec<&str> = self.checkpoints.iter().map(|choice| choice.name.as_str()).collect();
            let remedy = format!("name a folder or one of {}, with :f32, :f16 or :bf16 if you like", names.join(", "));
            Error::unusable(format!("there is no checkpoint '{asked}' to stand beside the others"), remedy)
        })?;
        let usual = self.runtime(method);
        let runtime = RuntimeName { precision: precision.unwrap_or(usual.precision), ..usual };
        Ok(ExtraColumn { method: method.to_owned(), checkpoint, runtime })
    }

    /// Puts one more column beside the others, as long as there is room.
    pub(super) fn add_column(&mut self, column: ExtraColumn) {
        let columns = &mut self.state.extra_columns;
        if let Some(free) = (0..MOST_EXTRA).find(|number| !columns.contains_key(number)) {
            columns.insert(free, column);
        }
    }

    /// What another model has said in an extra column is no longer shown there.
    pub(super) fn forget_changed_columns(&mut self, before: &BTreeMap<usize, ExtraColumn>) {
        let now = &self.state.extra_columns;
        if now == before {
            return;
        }
        let stays = |key: &ColumnKey| match key {
            ColumnKey::Own(_) => true,
            ColumnKey::Extra(number) => now.contains_key(number) && now.get(number) == before.get(number),
        };
        self.columns.retain(|key, _| stays(key));
        self.planes.retain(|key, _| stays(key));
        self.failures.retain(|key, _| stays(key));
        self.tested.retain(|(key, _), _| stays(key));
        self.costs.retain(|(key, _)| stays(key));
    }
}
