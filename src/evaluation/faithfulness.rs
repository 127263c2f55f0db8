//! Whether maps are true of their model, over many scenes: the areas of deletion and insertion by method and map, beside random
//! orders, the object's own patches, and occlusion, which asks the model itself.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::fmt;
use std::path::Path;

use super::asked::AskedScene;
use super::interval::Share;
use crate::attribution::Asked as _;
use crate::attribution::hiding::Fill;
use crate::error::{Error, Result};
use crate::methods::faithful::{along, area, descending, ends};
use crate::methods::{Holder, Intervention, Measure, Method, entry_of};
use crate::models::checkpoint::Checkpoint;
use crate::models::runtime::RuntimeName;
use crate::taps::CancelToken;
use crate::world::Language;

/// Random orders of each scene.
const RANDOM_ORDERS: usize = 2;
/// What stands for random orders in the table.
const RANDOM: &str = "random";

/// How one way to order patches fares.
#[derive(Clone, Debug, Serialize)]
pub struct Areas {
    /// The map, or `random`, or `object`.
    pub map: String,
    /// The area while patches are hidden: the lower, the truer.
    pub deletion: Share,
    /// The area while patches are shown: the higher, the truer.
    pub insertion: Share,
}

/// What was measured of a checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Faithful {
    /// The checkpoint.
    pub checkpoint: String,
    /// The key of its method.
    pub method: &'static str,
    /// In what the areas are measured.
    pub measure: &'static str,
    /// The language of the words.
    pub language: Language,
    /// What stood in the place of hidden patches.
    pub fill: Fill,
    /// Scenes, a phrase each.
    pub scenes: usize,
    /// The seed of the scenes.
    pub seed: u32,
    /// What is changed in the model, as on the command line.
    pub changes: Vec<String>,
    /// By map.
    pub areas: Vec<Areas>,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct FaithfulPlan {
    /// The seed of the scenes.
    pub seed: u32,
    /// How many.
    pub scenes: usize,
    /// What stands in the place of hidden patches.
    pub fill: Fill,
}

/// What was measured with English and with Chinese words.
#[derive(Clone, Debug, Serialize)]
pub struct InBothLanguages(pub [Faithful; 2]);

/// Measures the checkpoint in `folder`, with these `changes` in its model.
///
/// # Errors
/// If no method runs it, or it gives no maps of words.
pub fn evaluate(
    folder: &Path,
    runtime: &RuntimeName,
    plan: FaithfulPlan,
    changes: &[Intervention],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<InBothLanguages> {
    let [english, chinese] = [0, 1].map(|part| {
        let mut of_both = |done, all| progress(part * all + done, 2 * all);
        in_language(folder, runtime, plan, (Language::ALL[part], changes), &mut of_both)
    });
    Ok(InBothLanguages([english?, chinese?]))
}

fn in_language(
    folder: &Path,
    runtime: &RuntimeName,
    plan: FaithfulPlan,
    (language, changes): (Language, &[Intervention]),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Faithful> {
    let cancel = &CancelToken::default();
    let checkpoint = Checkpoint::open(folder)?;
    let entry = entry_of(&checkpoint)?;
    let mut method = (entry.open)(folder, &runtime.find()?)?;
    let mut found: Vec<(String, Vec<[f64; 2]>)> = Vec::new();
    let mut measure = Measure::Cosine;
    let scenes = AskedScene::several(plan.seed, plan.scenes, language, changes);
    for (at, asked) in scenes.iter().enumerate() {
        progress(at, scenes.len());
        let of_scene = of_scene(method.as_mut(), asked, plan, at, cancel, &mut measure)?;
        for (map, areas) in of_scene {
            match found.iter_mut().find(|(known, _)| *known == map) {
                Some((_, all)) => all.push(areas),
                None => found.push((map, vec![areas])),
            }
        }
    }
    if found.is_empty() {
        return Err(Error::unusable("the checkpoint gives no maps of words", "name another checkpoint").at(folder));
    }
    let share = |all: &[[f64; 2]], which: usize| Share::of(&all.iter().map(|areas| areas[which]).collect::<Vec<_>>());
    let areas = found.into_iter().map(|(map, all)| Areas { map, deletion: share(&all, 0), insertion: share(&all, 1) });
    Ok(Faithful {
        checkpoint: checkpoint.name(),
        method: entry.key,
        measure: match measure {
            Measure::Cosine => "cosine",
            Measure::Matching => "matching",
            Measure::Probability => "probability",
        },
        language,
        fill: plan.fill,
        scenes: scenes.len(),
        seed: plan.seed,
        changes: changes.iter().map(ToString::to_string).collect(),
        areas: areas.collect(),
    })
}

/// The areas of every map of a scene's phrase.
fn of_scene(
    method: &mut dyn Method,
    asked: &AskedScene,
    plan: FaithfulPlan,
    at: usize,
    cancel: &CancelToken,
    measure: &mut Measure,
) -> Result<Vec<(String, [f64; 2])>> {
    let Some((mut maps, hiding)) = asked.maps(method, plan.fill, cancel)? else { return Ok(Vec::new()) };
    let patches = hiding.patches();
    let mut holder = Holder::new(method, (&asked.input, asked.claim()), hiding, cancel);
    maps.push(("object".into(), holder.hiding().covered(&asked.mask)));
    let both_ends = ends(&mut holder)?;
    *measure = holder.measure();
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(plan.seed) << 32 | 1 << 31 | at as u64);
    let mut orders: Vec<(String, Vec<usize>)> =
        maps.into_iter().map(|(name, map)| (name, descending(&map, &mut rng))).collect();
    for _ in 0..RANDOM_ORDERS {
        let mut order: Vec<usize> = (0..patches).collect();
        order.shuffle(&mut rng);
        orders.push((RANDOM.into(), order));
    }
    let mut areas: Vec<(String, [f64; 2])> = Vec::new();
    for (name, order) in orders {
        let mut of = |inserts| -> Result<f64> { Ok(f64::from(area(&along(&mut holder, &order, inserts, both_ends)?))) };
        let both = [of(false)?, of(true)?];
        // Random orders are one, the mean of all.
        let both = if name == RANDOM { both.map(|area| area / RANDOM_ORDERS as f64) } else { both };
        match areas.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => sum.iter_mut().zip(both).for_each(|(sum, part)| *sum += part),
            None => areas.push((name, both)),
        }
    }
    Ok(areas)
}

impl fmt::Display for InBothLanguages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| write!(formatter, "{part}"))
    }
}

impl fmt::Display for Faithful {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fill = match self.fill {
            Fill::Mean => "mean colour",
            Fill::Blur => "blur",
        };
        let Self { checkpoint, method, scenes, seed, measure, .. } = self;
        let words = super::report::word(self.language);
        writeln!(
            formatter,
            "{checkpoint} ({method}), {words}, {scenes} scenes, seed {seed}, hidden by {fill}: areas of {measure}"
        )?;
        if !self.changes.is_empty() {
            writeln!(formatter, "  changed: {}", self.changes.join(" "))?;
        }
        writeln!(formatter, "  {:32}{:>20}{:>20}", "", "deletion (low)", "insertion (high)")?;
        for areas in &self.areas {
            let cell = |share: Share| format!("{:.2} [{:.2} {:.2}]", share.value, share.low, share.high);
            writeln!(formatter, "  {:32}{:>20}{:>20}", areas.map, cell(areas.deletion), cell(areas.insertion))?;
        }
        Ok(())
    }
}
