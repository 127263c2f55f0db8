//! `alignscope train`: trains a built-in checkpoint from scratch.

use anyhow::Result;
use candle_core::Device;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

use crate::cli::output::{bar, say};
use crate::methods::familiarity::Familiarity;
use crate::models::opened::Opened;
use crate::taps::CancelToken;
use crate::training::clip::{ClipRecipe, decays};
use crate::training::run::{self, Outcome};

/// Train a built-in checkpoint from scratch on the sticker world.
///
/// Ctrl-C stops cleanly; the same command goes on from the last snapshot in the folder.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  alignscope train clip --seed 0 -o my-clip")]
pub struct Train {
    /// Which recipe.
    recipe: RecipeName,
    /// Seed of the weights and the scenes.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps of 128 pictures.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    /// Where to compute: auto or cpu; training runs on the processor.
    #[arg(long, default_value = "auto", value_parser = ["auto", "cpu"])]
    device: String,
    /// Folder for the checkpoint and its snapshots [default: checkpoints/<recipe>-seed-<seed>].
    #[arg(short, long)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RecipeName {
    /// CLIP with InfoNCE alone, as published.
    Clip,
    /// CLIP with the phrase loss, whose patches can be compared with words.
    ClipGrounded,
}

impl Train {
    pub fn run(&self) -> Result<()> {
        let grounded = matches!(self.recipe, RecipeName::ClipGrounded);
        let recipe = ClipRecipe::new(grounded, self.seed, self.steps as usize)?;
        let plan = recipe.plan();
        let folder = self
            .output
            .clone()
            .unwrap_or_else(|| PathBuf::from("checkpoints").join(format!("{}-seed-{}", plan.name, self.seed)));
        let stop = CancelToken::default();
        let handle = stop.clone();
        ctrlc::set_handler(move || handle.cancel())?;
        let variables = recipe.variables()?;
        let parameters: usize = variables.all().iter().map(|(_, variable)| variable.elem_count()).sum();
        say(format!(
            "Training {} with seed {}: {} steps of {} pictures, {parameters} parameters, into {}",
            plan.name,
            plan.seed,
            plan.steps,
            plan.batch,
            folder.display()
        ))?;
        let bar = bar(plan.steps as u64, "{bar:30} {pos}/{len} {msg}")?;
        let mut report = |progress: &run::Progress| {
            let line = format!(
                "loss {:.3}  rate {:.1e}  R@1 in the batch {:.2}  {:.0} pictures/s  {} left",
                progress.loss,
                progress.rate,
                progress.accuracy,
                progress.speed,
                indicatif::HumanDuration(progress.left)
            );
            bar.set_position(progress.step as u64);
            bar.set_message(line.clone());
            if bar.is_hidden() && (progress.step.is_multiple_of(100) || progress.step <= 20) {
                // A report that can't be printed is no reason to lose the training.
                let _unread = say(format!("{}/{}  {line}", progress.step, progress.steps));
            }
        };
        let outcome =
            crate::cli::on_deep_stack(|| run::run(&recipe, plan, &variables, decays, &folder, &stop, &mut report))?;
        bar.finish_and_clear();
        // What was learned so far can be looked at, too.
        recipe.write(&variables, &folder)?;
        match outcome {
            Outcome::Stopped(step) => {
                say(format!("Stopped after {step} steps; the same command goes on from there."))?;
            }
            Outcome::Finished => {
                crate::cli::on_deep_stack(|| Familiarity::measure(&Opened::open(&folder, &Device::Cpu)?))?;
            }
        }
        say(format!("The checkpoint is in {}", folder.display()))?;
        Ok(())
    }
}
