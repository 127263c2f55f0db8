//! `alignscope scenes`: writes scenes of the sticker world.

use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

use crate::cli::output::{bar, say};
use crate::world::{Split, write_scenes};

/// Write scenes of the sticker world: each a PNG, and a JSON file with all that is true of it.
///
/// The JSON holds captions, questions and phrases in English and Chinese, and boxes and masks of the objects. The
/// same seed gives the same scenes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  alignscope scenes --count 20 --seed 7 -o my-scenes")]
pub struct Scenes {
    /// How many.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Seed of the first scene; the next one has the next seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the files.
    #[arg(short, long)]
    output: PathBuf,
    /// Which scenes.
    #[arg(long, default_value = "test")]
    split: SplitName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitName {
    /// The scenes that the built-in checkpoints learn from.
    Training,
    /// Fresh scenes of the same kind.
    Test,
    /// Fresh scenes, each with a combination that is never learned.
    HeldOut,
}

impl Scenes {
    pub fn run(&self) -> Result<()> {
        let split = match self.split {
            SplitName::Training => Split::Training,
            SplitName::Test => Split::Test,
            SplitName::HeldOut => Split::HeldOut,
        };
        let bar = bar(u64::from(self.count), "{bar:30} {pos}/{len} scenes  {eta} left")?;
        let mut progress = |written: usize| bar.set_position(written as u64);
        write_scenes(&self.output, split, self.seed, self.count as usize, &mut progress)?;
        bar.finish_and_clear();
        let (count, plural) = (self.count, if self.count == 1 { "" } else { "s" });
        say(format!("Wrote {count} scene{plural} into {}", self.output.display()))
    }
}
