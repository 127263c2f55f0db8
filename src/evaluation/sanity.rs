//! Whether maps are about their model at all, over many scenes: how far each ranks patches as before once weights are shuffled
//! from the top of the model down (Adebayo et al. 2018, arXiv 1810.03292: cascading randomisation).

use serde::Serialize;
use std::fmt;
use std::path::Path;

use super::asked::{AskedScene, Maps};
use super::faithfulness::FaithfulPlan;
use super::interval::Share;
use crate::error::{Error, Result};
use crate::methods::faithful::rank_correlation;
use crate::methods::sanity::{STAGES, Shuffled, shuffled};
use crate::methods::{Method, entry_of};
use crate::models::checkpoint::Checkpoint;
use crate::models::runtime::RuntimeName;
use crate::taps::CancelToken;
use crate::world::Language;

/// How a map fares.
#[derive(Clone, Debug, Serialize)]
pub struct Stays {
    /// The map.
    pub map: String,
    /// Mean rank correlation with what it was, by what is shuffled, in the order of [`STAGES`]; nothing where it is the same
    /// everywhere.
    pub alike: Vec<Option<Share>>,
}

/// What was measured of a checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Sanity {
    /// The checkpoint.
    pub checkpoint: String,
    /// The key of its method.
    pub method: &'static str,
    /// Scenes, an English phrase each.
    pub scenes: usize,
    /// The seed of scenes and shuffling.
    pub seed: u32,
    /// By map.
    pub maps: Vec<Stays>,
}

/// Measures the checkpoint in `folder`.
///
/// # Errors
/// If no method runs it, it gives no maps of words, or its weights can't be shuffled.
pub fn evaluate(
    folder: &Path,
    runtime: &RuntimeName,
    plan: FaithfulPlan,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Sanity> {
    let cancel = &CancelToken::default();
    let checkpoint = Checkpoint::open(folder)?;
    let entry = entry_of(&checkpoint)?;
    let scenes = AskedScene::several(plan.seed, plan.scenes, Language::English, &[]);
    let all = scenes.len() * (STAGES.len() + 1);
    let mut done = 0;
    let mut of = |method: &mut dyn Method| -> Result<Vec<Maps>> {
        let of_scene = |asked: &AskedScene| {
            progress(done, all);
            done += 1;
            Ok(asked.maps(method, plan.fill, cancel)?.map(|(maps, _)| maps).unwrap_or_default())
        };
        scenes.iter().map(of_scene).collect()
    };
    let own = of((entry.open)(folder, &runtime.find()?)?.as_mut())?;
    let Some(names) = own.first().filter(|maps| !maps.is_empty()) else {
        return Err(Error::unusable("the checkpoint gives no maps of words", "name another checkpoint").at(folder));
    };
    let names: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
    let mut maps: Vec<Stays> = names.into_iter().map(|map| Stays { map, alike: Vec::new() }).collect();
    for stage in STAGES {
        let other = shuffled(folder, stage, u64::from(plan.seed))?;
        let others = of((entry.open)(other.path(), &runtime.find()?)?.as_mut())?;
        for stays in &mut maps {
            let named = |maps: &Maps| maps.iter().find(|(name, _)| *name == stays.map).map(|(_, map)| map.clone());
            let alike =
                own.iter().zip(&others).filter_map(|(own, other)| rank_correlation(&named(own)?, &named(other)?));
            let alike: Vec<f64> = alike.filter(|alike| alike.is_finite()).map(f64::from).collect();
            stays.alike.push((!alike.is_empty()).then(|| Share::of(&alike)));
        }
    }
    let (checkpoint, method) = (checkpoint.name(), entry.key);
    Ok(Sanity { checkpoint, method, scenes: scenes.len(), seed: plan.seed, maps })
}

impl fmt::Display for Sanity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checkpoint, method, scenes, seed, .. } = self;
        writeln!(
            formatter,
            "{checkpoint} ({method}), English, {scenes} scenes, seed {seed}: rank correlation with the map of shuffled weights"
        )?;
        write!(formatter, "  {:32}", "")?;
        for stage in STAGES {
            let what = match stage {
                Shuffled::Blocks(1) => "top block".to_owned(),
                Shuffled::Blocks(count) => format!("top {count} blocks"),
                Shuffled::All => "all".to_owned(),
            };
            write!(formatter, "{what:>20}")?;
        }
        writeln!(formatter)?;
        for Stays { map, alike } in &self.maps {
            write!(formatter, "  {map:32}")?;
            for share in alike {
                let cell = share.map(|share| format!("{:.2} [{:.2} {:.2}]", share.value, share.low, share.high));
                write!(formatter, "{:>20}", cell.as_deref().unwrap_or("-"))?;
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}
