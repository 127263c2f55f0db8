//! Which checkpoints are here, and what it would take to open them. No weights are read.

use serde::Serialize;
use std::path::PathBuf;

use super::checkpoint::Checkpoint;
use super::weights::{Extent, extent};
use super::{MODELS, builtin, cache};

/// Activations take a part of what the weights take, but even a tiny model needs room for pictures and patterns.
const LEAST_FOR_ACTIVATIONS: u64 = 64 << 20;

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
    /// Whether that much memory is available now; `None` if either is unknown.
    pub fits: Option<bool>,
    /// Why it can't be opened, as far as the files say without being read.
    pub problem: Option<String>,
}

/// Everything that is built in or lies in the local Hugging Face cache.
#[must_use]
pub fn list() -> Vec<Entry> {
    let available = available_memory();
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
        let memory = extent.as_ref().ok().map(needed);
        Self {
            built_in,
            name,
            method: method_of(&class),
            known: MODELS.iter().any(|family| family.class == class),
            class,
            parameters: extent.as_ref().ok().map(|extent| extent.parameters),
            bytes: extent.as_ref().ok().map(|extent| extent.bytes),
            memory,
            fits: memory.zip(available).map(|(needed, available)| needed <= available),
            problem: checkpoint.err().or(extent.err()).map(|error| error.to_string()),
            folder,
        }
    }
}

/// How a class aligns vision and language, if that is known.
pub(super) fn method_of(class: &str) -> Option<&'static str> {
    METHODS.iter().find(|(start, _)| class.starts_with(start)).map(|(_, method)| *method)
}

/// Memory for a checkpoint: the files, which are read whole, the weights as f32 beside them, and a quarter of that
/// again for activations.
fn needed(extent: &Extent) -> u64 {
    let weights = (extent.parameters as u64).saturating_mul(4);
    extent.bytes.saturating_add(weights).saturating_add((weights / 4).max(LEAST_FOR_ACTIVATIONS))
}

/// Memory that programs can have now, in bytes; `None` where the system doesn't say.
#[must_use]
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
