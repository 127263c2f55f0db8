//! The figures of a model that says something, of any kind: each split in each language is measured in turn.

use serde::Serialize;
use std::fmt;

use super::contrastive::Plan;
use super::{SPLITS, fresh_scenes};
use crate::error::{Error, Result};
use crate::models::checkpoint::Checkpoint;
use crate::world::{Language, Scene, Split};

/// The figures of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures<Part> {
    /// The name of its folder.
    pub checkpoint: String,
    /// Its class.
    pub class: String,
    /// How many numbers it holds.
    pub parameters: usize,
    /// The seed of the scenes.
    pub seed: u32,
    /// How many scenes there are of each split.
    pub scenes: usize,
    /// The figures on each split in each language.
    pub parts: Vec<Part>,
}

impl<Part> Figures<Part> {
    /// Sees the scenes of each split once with `see`, and measures them in each language with `measure`; `progress` hears how
    /// many parts of how many are done.
    pub(super) fn measure<Seen>(
        checkpoint: &Checkpoint,
        parameters: usize,
        plan: Plan,
        progress: &mut dyn FnMut(usize, usize),
        see: impl Fn(&[Scene]) -> Result<Seen>,
        measure: impl Fn(&[Scene], &Seen, Split, Language) -> Result<Part>,
    ) -> Result<Self> {
        let mut parts = Vec::new();
        let all = SPLITS.len() * Language::ALL.len();
        for split in SPLITS {
            let scenes = fresh_scenes(split, plan.seed, plan.scenes);
            if !scenes.iter().any(|scene| scene.things().len() > 1) {
                return Err(Error::unusable("no scene has two different things", "ask for more scenes"));
            }
            let seen = see(&scenes)?;
            for language in Language::ALL {
                progress(parts.len(), all);
                parts.push(measure(&scenes, &seen, split, language)?);
            }
        }
        progress(all, all);
        Ok(Self {
            checkpoint: checkpoint.name(),
            class: checkpoint.class().to_owned(),
            parameters,
            seed: plan.seed,
            scenes: plan.scenes,
            parts,
        })
    }

    /// The line above the table.
    pub(super) fn head(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checkpoint, class, parameters, seed, scenes, .. } = self;
        writeln!(formatter, "{checkpoint}: {class}, {parameters} parameters, {scenes} scenes a split, seed {seed}")
    }
}
