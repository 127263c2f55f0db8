//! `alignscope train`: trains a built-in checkpoint from scratch.

use anyhow::{Result, bail};
use candle_core::Device;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

use crate::cli::output::{bar, say};
use crate::evaluation::{contrastive, heads};
use crate::methods::familiarity::Familiarity;
use crate::methods::{METHODS, grounding};
use crate::models::bottleneck::Connector;
use crate::models::builtin;
use crate::models::checkpoint::Checkpoint;
use crate::models::fusion::{CLASSES, OpenedFusion};
use crate::models::opened::Opened;
use crate::models::projector::{CLASSES as WITH_PROJECTOR, OpenedProjector};
use crate::models::querying::{CLASSES as WITH_QUERIES, OpenedQuerying};
use crate::models::runtime::{Runtime, choose};
use crate::taps::CancelToken;
use crate::training::Variables;
use crate::training::blip::BlipRecipe;
use crate::training::blip_2::Blip2Recipe;
use crate::training::blip_answers::BlipAnswersRecipe;
use crate::training::bottleneck::BottleneckRecipe;
use crate::training::clip::ClipRecipe;
use crate::training::flamingo::{FlamingoRecipe, FlamingoStage};
use crate::training::live::Watched;
use crate::training::llava::{LlavaRecipe, LlavaStage};
use crate::training::lm::LmRecipe;
use crate::training::querying_writer::QueryingWriterRecipe;
use crate::training::recorded::Recording;
use crate::training::run::{self, Outcome, Recipe};

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
    /// Number of steps.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    /// Pictures in a step [default: 128 for clip, clip-grounded and bottleneck, 32 for llava, else 64].
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=4096))]
    batch: Option<u32>,
    /// Folder of the CLIP checkpoint whose tower Flamingo, LLaVA and bottleneck take and BLIP starts from [default: the built-in
    /// clip-grounded].
    #[arg(long, value_name = "DIR")]
    tower: Option<PathBuf>,
    /// Folder that the recipe blip has written, whose tower blip-answers takes [default: checkpoints/blip-seed-<seed>], and
    /// blip2, with the text encoder to start from [default: the built-in blip-retrieval].
    #[arg(long, value_name = "DIR")]
    blip: Option<PathBuf>,
    /// Folder that the recipe blip2 has written, the first stage that blip2-captioning and instructblip go on from [default:
    /// checkpoints/blip2-seed-<seed>].
    #[arg(long, value_name = "DIR")]
    blip2: Option<PathBuf>,
    /// Folder of the language model that Flamingo, LLaVA, blip2-captioning, instructblip and bottleneck take [default: the one
    /// that comes with the program, which the recipe lm has made].
    #[arg(long, value_name = "DIR")]
    language: Option<PathBuf>,
    /// Folder that the recipes flamingo, blip2-captioning and instructblip have written, to learn on from (give it another
    /// seed, for other scenes); or of the first stage of Flamingo or LLaVA, which the second goes on from, or of its second
    /// [default there: checkpoints/<recipe>-stage1-seed-<seed>].
    #[arg(long, value_name = "DIR")]
    start: Option<PathBuf>,
    /// What stands between tower and language model in the bottleneck experiment: projector-64, pool-16, pool-4, pool-1,
    /// shuffle-16, shuffle-4, queries-16, queries-8, queries-4, queries-2 or queries-1.
    #[arg(long, default_value = "projector-64", value_name = "NAME")]
    connector: Connector,
    /// Stage of LLaVA: 1 the projector alone, from captions; 2 projector and language model, from captions and answers. Stage
    /// of Flamingo: 1 the resampler alone, what lies where; 2 all that connects tower and language model, from captions and
    /// answers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    stage: u8,
    /// Where to compute: auto, cpu, cuda:N or metal. A seed gives the same weights on every processor; on a GPU, sums are
    /// taken in any order, so no two trainings are the same to the last digit.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Also writes what the run looks like to this file, now and then: the panel "Watch it learn" can go through it without
    /// waiting. For clip, clip-grounded and blip2, on the processor.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
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
    /// BLIP: one tower with three heads (matching, captions, answers), written as three checkpoints.
    Blip,
    /// BLIP's answers again, over the tower that the recipe blip has trained and that stays as it is.
    BlipAnswers,
    /// The small language model under Flamingo, BLIP-2, InstructBLIP and LLaVA, which never sees a picture.
    Lm,
    /// Flamingo, one stage after the other: resampler and gated cross-attention between the frozen tower of CLIP and the
    /// frozen language model.
    Flamingo,
    /// The first stage of BLIP-2: queries on the frozen tower of BLIP, by contrast, matching and writing.
    #[value(name = "blip2")]
    Blip2,
    /// The second stage of BLIP-2: its queries speak to the frozen language model, which writes captions and answers.
    #[value(name = "blip2-captioning")]
    Blip2Captioning,
    /// InstructBLIP: the same with queries that read what is asked.
    #[value(name = "instructblip")]
    InstructBlip,
    /// LLaVA, one stage after the other: a projector between the frozen tower of CLIP and the language model.
    Llava,
    /// The bottleneck experiment: the same language model behind one of many connectors (see --connector).
    Bottleneck,
}

impl RecipeName {
    /// Pictures in a step.
    fn batch(self) -> usize {
        match self {
            Self::Clip | Self::ClipGrounded | Self::Bottleneck => 128,
            Self::Blip
            | Self::BlipAnswers
            | Self::Lm
            | Self::Flamingo
            | Self::Blip2
            | Self::Blip2Captioning
            | Self::InstructBlip => 64,
            Self::Llava => 32,
        }
    }
}

impl Train {
    pub fn run(&self) -> Result<()> {
        let can_be_recorded = matches!(self.recipe, RecipeName::Clip | RecipeName::ClipGrounded | RecipeName::Blip2);
        if self.record.is_some() && !(can_be_recorded && self.device == "cpu") {
            bail!("--record is for clip, clip-grounded and blip2 with --device cpu; leave it out");
        }
        let (seed, steps) = (self.seed, self.steps as usize);
        let batch = self.batch.map_or(self.recipe.batch(), |batch| batch as usize);
        match self.recipe {
            RecipeName::Clip => self.train_watched(&ClipRecipe::new(false, seed, steps, batch)?),
            RecipeName::ClipGrounded => self.train_watched(&ClipRecipe::new(true, seed, steps, batch)?),
            RecipeName::Blip => self.train(&BlipRecipe::new(seed, steps, batch, Some(&self.tower()))?),
            RecipeName::BlipAnswers => {
                let folder = self.blip.clone().unwrap_or_else(|| self.trained("blip"));
                self.train(&BlipAnswersRecipe::new(seed, steps, batch, &folder)?)
            }
            RecipeName::Lm => self.train(&LmRecipe::new(seed, steps, batch)?),
            RecipeName::Flamingo => {
                let frozen = (self.tower(), self.language());
                let (stage, start) = match (self.stage, &self.start) {
                    (1, start) => (FlamingoStage::Resampler, start.clone()),
                    (_, None) => (FlamingoStage::Together, Some(self.trained("flamingo-stage1"))),
                    (_, start) => (FlamingoStage::Together, start.clone()),
                };
                let frozen = (frozen.0.as_path(), frozen.1.as_path());
                self.train(&FlamingoRecipe::new(stage, seed, steps, batch, frozen, start.as_deref())?)
            }
            RecipeName::Llava if self.stage == 1 => {
                let (tower, language) = (self.tower(), self.language());
                let stage = LlavaStage::Projector { tower: &tower, language: &language };
                self.train(&LlavaRecipe::new(seed, steps, batch, stage)?)
            }
            RecipeName::Llava => {
                let start = self.start.clone().unwrap_or_else(|| self.trained("llava-stage1"));
                self.train(&LlavaRecipe::new(seed, steps, batch, LlavaStage::Together { start: &start })?)
            }
            RecipeName::Bottleneck => {
                let (tower, language) = (self.tower(), self.language());
                let recipe = BottleneckRecipe::new(self.connector, seed, steps, batch, (&tower, &language))?;
                self.train_into(&recipe, self.trained(&format!("bottleneck-{}", self.connector)))
            }
            RecipeName::Blip2 => {
                let folder = self.blip.clone().unwrap_or_else(builtin::folder).join("blip-retrieval");
                self.train_watched(&Blip2Recipe::new(seed, steps, batch, &folder)?)
            }
            RecipeName::Blip2Captioning | RecipeName::InstructBlip => {
                let instructed = matches!(self.recipe, RecipeName::InstructBlip);
                let first_stage = self.blip2.clone().unwrap_or_else(|| self.trained("blip2"));
                let language = self.language();
                let (from, start) = ((first_stage.as_path(), language.as_path()), self.start.as_deref());
                self.train(&QueryingWriterRecipe::new(instructed, seed, steps, batch, from, start)?)
            }
        }
    }

    /// Where a recipe writes unless it is told otherwise.
    fn trained(&self, recipe: &str) -> PathBuf {
        PathBuf::from("checkpoints").join(format!("{recipe}-seed-{}", self.seed))
    }

    /// The folder of the language model.
    fn language(&self) -> PathBuf {
        self.language.clone().unwrap_or_else(builtin::language_model)
    }

    /// The folder of the tower to start from.
    fn tower(&self) -> PathBuf {
        self.tower.clone().unwrap_or_else(|| builtin::folder().join("clip-grounded"))
    }

    fn train<R: Recipe>(&self, recipe: &R) -> Result<()> {
        self.train_into(recipe, self.trained(recipe.plan().name))
    }

    /// Trains as [`Train::train`], and writes the recording if one is asked for.
    fn train_watched<R: Watched>(&self, recipe: &R) -> Result<()> {
        let usual = self.trained(recipe.plan().name);
        let Some(path) = &self.record else { return self.train_into(recipe, usual) };
        let mut recording: Option<Recording> = None;
        self.train_with(recipe, usual, |variables, progress| {
            let plan = recipe.plan();
            let recording = match &mut recording {
                Some(recording) => recording,
                none => none.insert(Recording::resumed(path, plan, progress.step)?),
            };
            recording.note(recipe, variables, progress)?;
            recording.write(path)
        })
    }

    /// Trains in the folder that was asked for, or else in `usual`.
    fn train_into<R: Recipe>(&self, recipe: &R, usual: PathBuf) -> Result<()> {
        self.train_with(recipe, usual, |_, _| Ok(()))
    }

    /// Trains, and calls `watch` every few steps.
    fn train_with<R: Recipe>(
        &self,
        recipe: &R,
        usual: PathBuf,
        mut watch: impl FnMut(&Variables, &run::Progress) -> crate::Result<()> + Send,
    ) -> Result<()> {
        let plan = recipe.plan();
        let folder = self.output.clone().unwrap_or(usual);
        let stop = CancelToken::default();
        let handle = stop.clone();
        ctrlc::set_handler(move || handle.cancel())?;
        let device = choose(&self.device)?;
        let variables = recipe.variables(&device)?;
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
        let mut unwatched = Ok(());
        let mut report = |progress: &run::Progress| {
            if unwatched.is_ok() {
                unwatched = watch(&variables, progress);
            }
            let line = format!(
                "loss {:.3}  rate {:.1e}  {} {:.2}  {:.0} pictures/s  {} left",
                progress.loss,
                progress.rate,
                plan.measure,
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
        let outcome = crate::cli::on_deep_stack(|| run::run(recipe, &variables, &folder, &stop, &mut report))?;
        bar.finish_and_clear();
        unwatched?;
        // What was learned so far can be looked at, too.
        let written = recipe.write(&variables, &folder)?;
        if let Outcome::Stopped(step) = outcome {
            say(format!("Stopped after {step} steps; the same command goes on from there."))?;
        }
        for folder in written {
            if outcome == Outcome::Finished {
                measure(&folder)?;
            }
            say(format!("The checkpoint is in {}", folder.display()))?;
        }
        Ok(())
    }
}

/// Measures what the window shows of a checkpoint, and keeps it beside the weights. A part of one isn't shown.
fn measure(folder: &Path) -> Result<()> {
    let found = Checkpoint::open(folder)?;
    if !METHODS.iter().any(|method| method.classes.contains(&found.class())) {
        return Ok(());
    }
    let measured = || {
        if contrastive::CLASSES.contains(&found.class()) {
            let opened = Opened::open(folder, &Device::Cpu)?;
            Familiarity::measure(folder, |pictures, taps| {
                opened.dual_encoder().encode_image(&opened.pixels(pictures)?, taps).map(|_| ())
            })?;
        }
        if CLASSES.contains(&found.class()) {
            let opened = OpenedFusion::open(folder, &Device::Cpu)?;
            Familiarity::measure(folder, |pictures, taps| opened.see(&opened.pixels(pictures)?, taps).map(|_| ()))?;
        }
        if WITH_QUERIES.contains(&found.class()) {
            let opened = OpenedQuerying::open(folder, &Device::Cpu)?;
            Familiarity::measure(folder, |pictures, taps| opened.see(&opened.pixels(pictures)?, taps).map(|_| ()))?;
        }
        if WITH_PROJECTOR.contains(&found.class()) {
            let opened = OpenedProjector::open(folder, &Device::Cpu)?;
            Familiarity::measure(folder, |pictures, taps| opened.see(&opened.pixels(pictures)?, taps).map(|_| ()))?;
        }
        let heads = heads::measure(
            folder,
            &Runtime::from(&Device::Cpu),
            heads::USUAL,
            &CancelToken::default(),
            &mut |_, _| (),
        )?;
        grounding::write(folder, heads.scenes, heads.heads)
    };
    Ok(crate::cli::on_deep_stack(measured)?)
}
