//! `alignscope eval`: measures checkpoints on fresh scenes.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::attribution::hiding::Fill;
use crate::cli::output::{bar, say};
use crate::cli::runtime::Where;
use crate::error::Error;
use crate::evaluation::MOST_SCENES;
use crate::evaluation::contrastive::{self, Plan};
use crate::evaluation::faithfulness::{self, FaithfulPlan};
use crate::evaluation::{self, fusion, heads, projector, querying, sanity};
use crate::files;
use crate::methods::interventions::Ablation;
use crate::methods::{Intervention, METHODS, grounding};
use crate::models::bottleneck::{self, OpenedBottleneck};
use crate::models::builtin;
use crate::models::checkpoint::Checkpoint;
use crate::models::fusion::{CLASSES, OpenedFusion};
use crate::models::opened::Opened;
use crate::models::projector::{CLASSES as WITH_PROJECTOR, OpenedProjector};
use crate::models::querying::{CLASSES as WITH_QUERIES, OpenedQuerying};
use crate::models::runtime::Runtime;
use crate::taps::CancelToken;

/// Measure grounding and retrieval on fresh scenes, with 95 % confidence intervals.
///
/// Two kinds of scenes: "test" are like those of the training, "held out" have combinations that it never showed.
///
/// Found first: the best of 256 captions for a picture, and the best of 256 pictures for a caption. A find that is true
/// by accident counts as right; the JSON also has the strict figures.
///
/// Pointing game: for every noun phrase of a scene with at least two different things, whether the highest patch of the
/// map lies on a pixel of an object that the phrase names. "Random map" is what chance gives.
///
/// Of models whose words look at the picture (--method cross-attention): whether true sentences are told from nearly true
/// ones, answers by kind of question beside what needs no look at the picture, the nouns of captions, and the pointing game
/// while a noun is read and while it is written.
///
/// Of models whose queries look at the picture (--method querying): found first by the best of the queries, and true or
/// nearly true; or, where a language model stands behind them, answers and captions as above. The pointing game goes from
/// words to queries to patches; beside the query that wins stands the mean of all of them, which no word changes.
///
/// Of models that read pictures as words (--method projector): answers and captions as above, the pointing game in their own
/// row, and the share of an object's patches whose nearest word names it, by depth.
///
/// Of the bottleneck experiment (--method bottleneck): answers and captions, and how much a linear map reads of places from
/// what the language model is handed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  alignscope eval --checkpoint my-clip --seed 1 --json figures.json")]
pub struct Eval {
    /// Which way of aligning is measured.
    #[arg(long, value_enum, default_value_t = Method::Contrastive)]
    method: Method,
    /// Checkpoint folders [default: the built-in ones].
    #[arg(long, value_name = "DIR", num_args = 1..)]
    checkpoint: Vec<PathBuf>,
    /// In place of all that: whether the maps are true of their model. Patches are hidden (deletion) or shown (insertion) in
    /// the order of each map; printed are the areas under the model's own score, beside random orders and the object's
    /// patches. Without --checkpoint, of the usual checkpoint of each method.
    #[arg(long)]
    faithfulness: bool,
    /// In place of all that: whether the maps are about the model at all. Weights are shuffled from the top of the model down;
    /// printed is how far each map still ranks patches as before, where 1 is the same map. Without --checkpoint, of the usual
    /// checkpoint of each method.
    #[arg(long, conflicts_with = "faithfulness")]
    sanity: bool,
    /// In place of all that: which head grounds. For each head of the attention by which words reach patches, the share of nouns
    /// on whose object it is highest. Without --checkpoint, of the usual checkpoint of each method.
    #[arg(long, conflicts_with_all = ["faithfulness", "sanity"])]
    heads: bool,
    /// Keep what --heads finds beside the weights, where the window reads it.
    #[arg(long, requires = "heads")]
    keep: bool,
    /// Change something in the model before --faithfulness is measured; give the option again for more. Written as for
    /// 'alignscope board'.
    #[arg(long, value_name = "CHANGE", requires = "faithfulness")]
    change: Vec<Intervention>,
    /// What stands in the place of patches that are hidden for --faithfulness and --sanity.
    #[arg(long, value_enum, default_value_t = FillName::Mean)]
    fill: FillName,
    /// Seed of the scenes.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Scenes of each kind.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_SCENES)))]
    scenes: u32,
    /// Write the figures as JSON to this file, or without a name to the standard output in place of the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
    #[command(flatten)]
    runtime: Where,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FillName {
    /// The picture's mean colour.
    Mean,
    /// The picture, blurred.
    Blur,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Method {
    /// Two encoders and one space: CLIP, SigLIP.
    Contrastive,
    /// Words that look at the picture: BLIP's three classes, Flamingo as IDEFICS.
    CrossAttention,
    /// Queries that look at the picture: BLIP-2's two classes, InstructBLIP.
    Querying,
    /// Pictures that are read as words: LLaVA.
    Projector,
    /// What 'alignscope train bottleneck' has written.
    Bottleneck,
}

impl Eval {
    pub fn run(&self) -> Result<()> {
        if self.faithfulness || self.sanity || self.heads {
            return self.measure_maps();
        }
        let plan = Plan { seed: self.seed, scenes: self.scenes as usize };
        match self.method {
            Method::Contrastive => self.measure("contrastive", &contrastive::CLASSES, |folder, runtime, progress| {
                let opened = Opened::open(folder, runtime)?;
                contrastive::evaluate(&opened, plan, &CancelToken::default(), progress)
            }),
            Method::CrossAttention => self.measure("cross-attention", &CLASSES, |folder, runtime, progress| {
                let opened = OpenedFusion::open(folder, runtime)?;
                fusion::evaluate(&opened, plan, &CancelToken::default(), progress)
            }),
            Method::Querying => self.measure("querying", &WITH_QUERIES, |folder, runtime, progress| {
                let opened = OpenedQuerying::open(folder, runtime)?;
                querying::evaluate(&opened, plan, &CancelToken::default(), progress)
            }),
            Method::Projector => self.measure("projector", &WITH_PROJECTOR, |folder, runtime, progress| {
                let opened = OpenedProjector::open(folder, runtime)?;
                projector::evaluate(&opened, plan, &CancelToken::default(), progress)
            }),
            Method::Bottleneck => self.measure("bottleneck", &[bottleneck::CLASS], |folder, runtime, progress| {
                let opened = OpenedBottleneck::open(folder, runtime)?;
                evaluation::bottleneck::evaluate(&opened, plan, &CancelToken::default(), progress)
            }),
        }
    }

    /// Whether maps are true, in both languages, or about their model at all; or which head grounds.
    fn measure_maps(&self) -> Result<()> {
        let folders = if self.checkpoint.is_empty() {
            METHODS.iter().map(|method| builtin::folder().join(method.usual)).collect()
        } else {
            self.checkpoint.clone()
        };
        let fill = match self.fill {
            FillName::Mean => Fill::Mean,
            FillName::Blur => Fill::Blur,
        };
        let (seed, scenes) = (self.seed, self.scenes as usize);
        let is_mean = |change: &&Intervention| matches!(change, Intervention::HeadOff { by: Ablation::Mean, .. });
        if let Some(change) = self.change.iter().find(is_mean) {
            let problem = format!("'{change}' can't be measured over scenes");
            return Err(Error::unusable(problem, "name the head without its mean").into());
        }
        let plan = FaithfulPlan { seed, scenes, fill };
        if self.heads {
            return self.measure_each("heads", folders, |folder, runtime, progress| {
                let heads = heads::measure(folder, runtime, (scenes, seed), &CancelToken::default(), progress)?;
                if self.keep {
                    grounding::write(folder, heads.scenes, heads.heads.clone())?;
                }
                Ok(heads)
            });
        }
        if self.sanity {
            return self.measure_each("sanity", folders, |folder, _, progress| {
                sanity::evaluate(folder, &self.runtime.name(), plan, progress)
            });
        }
        self.measure_each("faithfulness", folders, |folder, _, progress| {
            faithfulness::evaluate(folder, &self.runtime.name(), plan, &self.change, progress)
        })
    }

    /// Measures each checkpoint by `evaluate`, and prints or writes the figures.
    fn measure<Figures: Display + Serialize + Send>(
        &self,
        method: &str,
        classes: &[&str],
        evaluate: impl Fn(&Path, &Runtime, &mut dyn FnMut(usize, usize)) -> crate::Result<Figures> + Sync,
    ) -> Result<()> {
        self.measure_each(method, self.checkpoints(classes)?, evaluate)
    }

    /// [`Eval::measure`] of these folders.
    fn measure_each<Figures: Display + Serialize + Send>(
        &self,
        method: &str,
        folders: Vec<PathBuf>,
        evaluate: impl Fn(&Path, &Runtime, &mut dyn FnMut(usize, usize)) -> crate::Result<Figures> + Sync,
    ) -> Result<()> {
        let to_screen = self.json.as_deref() == Some(Path::new("-"));
        let runtime = self.runtime.name().find()?;
        let mut reports: Vec<Figures> = Vec::new();
        for folder in folders {
            let bar = bar(0, "{msg} {bar:30} {pos}/{len} {eta} left")?;
            bar.set_message(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
            let report = crate::cli::on_deep_stack(|| {
                evaluate(&folder, &runtime, &mut |done, passes| {
                    bar.set_length(passes as u64);
                    bar.set_position(done as u64);
                })
            })?;
            bar.finish_and_clear();
            if !to_screen {
                say(&report)?;
            }
            reports.push(report);
        }
        let figures = format!("{:#}", json!({"method": method, "checkpoints": reports}));
        match &self.json {
            Some(_) if to_screen => say(figures)?,
            Some(file) => files::write(file, format!("{figures}\n").as_bytes())?,
            None => {}
        }
        Ok(())
    }

    /// The named folders, or else the built-in ones that can be measured so.
    fn checkpoints(&self, classes: &[&str]) -> Result<Vec<PathBuf>> {
        if !self.checkpoint.is_empty() {
            return Ok(self.checkpoint.clone());
        }
        let mut found = builtin::list();
        found.retain(|folder| Checkpoint::open(folder).is_ok_and(|found| classes.contains(&found.class())));
        if found.is_empty() {
            let remedy = "name one with --checkpoint, or train one with 'alignscope train clip'";
            return Err(Error::unusable("there is no built-in checkpoint", remedy).at(&builtin::folder()).into());
        }
        Ok(found)
    }
}
