//! Published checkpoints that are known to fit: their true configurations build here, with every weight that their files list
//! (`tests/published.rs`).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use super::checkpoint::read_json;
use super::inventory::{Entry, method_of};
use crate::error::{Error, Result};
use crate::resources;

/// A published checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// `org/name` on the Hugging Face hub.
    pub name: String,
    /// Its class in `config.json`.
    pub class: String,
    /// How many numbers it holds.
    pub parameters: u64,
    /// Under which licence it is published; its page says more.
    pub licence: String,
    /// What to look at, in English and Chinese.
    pub look: [String; 2],
    /// How it is put together, where it is published in several places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assembly: Option<Assembly>,
}

/// What is published in several places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assembly {
    /// Its `config.json`, which isn't published.
    pub config: Value,
    /// Folders in it, and the names of the models on the hub that stand there.
    pub parts: BTreeMap<String, String>,
}

impl Published {
    /// How it aligns vision and language.
    #[must_use]
    pub fn method(&self) -> Option<&'static str> {
        method_of(&self.class)
    }

    /// Its entry among the checkpoints that are here, if it is.
    #[must_use]
    pub fn here<'a>(&self, entries: &'a [Entry]) -> Option<&'a Entry> {
        entries.iter().find(|entry| !entry.built_in && entry.name == self.name)
    }
}

/// All of them, in the order in which they are shown.
///
/// # Errors
/// If the catalogue is missing or damaged.
pub fn published() -> Result<Vec<Published>> {
    let missing = || Error::unusable("the catalogue of published checkpoints is missing", "reinstall the program");
    let path = resources::folder("assets/catalogue").ok_or_else(missing)?.join("models.json");
    serde_json::from_value(read_json(&path)?)
        .map_err(|error| Error::unusable(error.to_string(), "reinstall the program").at(&path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MODELS;

    #[test]
    fn everything_in_the_catalogue_can_be_opened_here() {
        let all = published().expect("a catalogue");
        assert!(all.len() >= 15);
        for entry in &all {
            assert!(MODELS.iter().any(|family| family.class == entry.class), "{}", entry.name);
            assert!(entry.method().is_some() && entry.parameters > 1_000_000, "{}", entry.name);
            assert!(entry.look.iter().all(|text| text.ends_with(['.', '。', '?', '？'])), "{}", entry.name);
            assert_eq!(all.iter().filter(|other| other.name == entry.name).count(), 1);
        }
    }
}
