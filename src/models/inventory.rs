//! Which checkpoints are here, and what it would take to open them. No weights are read.

use serde::Serialize;
use std::path::PathBuf;

use super::checkpoint::Checkpoint;
use super::memory::{Needed, available};
use super::runtime::Precision;
use super::weights::extent;
use super::{MODELS, builtin, cache};

/// How a class aligns vision and language, by the beginning of its name; the first that fits counts.
const METHODS: [(&str, &str); 8] = [
    ("CLIP", "contrastive"),
    ("Siglip", "contrastive"),
    ("Llava", "projector"),
    ("Blip2", "querying transformer"),
    ("InstructBlip", "querying transformer"),
    ("Blip", "cross-attention"),
    ("Idefics", "cross-attention"),
    ("OpenFlamingo", "cross-attention"),
];

/// A checkpoint that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Whether it ships with Alignscope; else it lies in the Hugging Face cache.
    pub built_in: bool,
    /// Name of the folder, or `org/name`.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// Class name in `config.json`; empty if it has none.
    pub class: String,
    /// How it aligns vision and language, if that is known of its class.
    pub method: Option<&'static str>,
    /// Whether Alignscope opens this class.
    pub known: bool,
    /// How many numbers it holds.
    pub parameters: Option<usize>,
    /// Length of the files with weights, in bytes.
    pub bytes: Option<u64>,
    /// Memory that opening and running it takes, in bytes.
    pub memory: Option<u64>,
    /// The same with its weights in 16 bits.
    pub half: Option<u64>,
    /// Whether that much memory is available now; `None` if either is unknown.
    pub fits: Option<bool>,
    /// The same where attention is kept of what is looked at alone.
    pub least_fits: Option<bool>,
    /// The same with its weights in 16 bits.
    pub half_fits: Option<bool>,
    /// Why it can't be opened, as far as the files say without being read.
    pub problem: Option<String>,
}

/// Everything that is built in or lies in the local Hugging Face cache.
#[must_use]
pub fn list() -> Vec<Entry> {
    let available = available();
    let built_in = builtin::list().into_iter().map(|folder| {
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        Entry::look(true, name, folder, available)
    });
    let cached = cache::root().map(|root| cache::snapshots(&root)).unwrap_or_default();
    let cached = cached.into_iter().map(|(name, folder)| Entry::look(false, name, folder, available));
    built_in.chain(cached).collect()
}

impl Entry {
    /// What the files of the checkpoint in `folder` say, with so many bytes of memory available.
    #[must_use]
    pub fn look(built_in: bool, name: String, folder: PathBuf, available: Option<u64>) -> Self {
        let checkpoint = Checkpoint::open(&folder);
        let class = checkpoint.as_ref().map(|checkpoint| checkpoint.class().to_owned()).unwrap_or_default();
        let extent = extent(&folder);
        let config = checkpoint.as_ref().map(|checkpoint| &checkpoint.config).ok();
        let needed = |precision| {
            let extent = extent.as_ref().ok()?;
            Some(Needed::with(extent, config.unwrap_or(&serde_json::Value::Null), precision))
        };
        let (full, half) = (needed(Precision::F32), needed(Precision::F16));
        let (memory, half) = (full.map(|needed| needed.peak()), half.map(|needed| needed.peak()));
        Self {
            built_in,
            name,
            method: method_of(&class),
            known: MODELS.iter().any(|family| family.class == class),
            class,
            parameters: extent.as_ref().ok().map(|extent| extent.parameters),
            bytes: extent.as_ref().ok().map(|extent| extent.bytes),
            memory,
            half,
            fits: memory.zip(available).map(|(needed, available)| needed <= available),
            least_fits: full.zip(available).map(|(needed, available)| needed.least() <= available),
            half_fits: half.zip(available).map(|(needed, available)| needed <= available),
            problem: checkpoint.err().or(extent.err()).map(|error| error.to_string()),
            folder,
        }
    }
}

/// How a class aligns vision and language, if that is known.
pub(super) fn method_of(class: &str) -> Option<&'static str> {
    METHODS.iter().find(|(start, _)| class.starts_with(start)).map(|(_, method)| *method)
}
