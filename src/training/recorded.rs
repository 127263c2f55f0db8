//! A recorded run: what a training has learned by and by, so that it can be looked at without waiting for it.
//!
//! One safetensors file holds the loss of every few steps and, for each language, what [`Look`] holds at some of them.

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::live::{Look, Stage, Stepped, Watched};
use super::run::{Plan, Progress};
use super::variables::Variables;
use crate::error::{Error, Result};
use crate::files;
use crate::world::{Language, Scene};

/// The entry of the file's metadata that holds [`Head`].
const HEAD: &str = "recording";
/// A recording of the built-in checkpoints takes less than a megabyte.
const MOST_BYTES: u64 = 64 << 20;

/// Which run it was, and on which scenes it was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The recipe's name.
    pub recipe: String,
    /// Its seed.
    pub seed: u64,
    /// Its steps.
    pub steps: usize,
    /// Pictures in a step.
    pub batch: usize,
    scenes: Vec<Scene>,
}

/// A recorded run.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Which run it was.
    pub head: Head,
    /// Loss and accuracy of every few steps.
    pub steps: Vec<Stepped>,
    /// The steps at which it was looked at, in rising order.
    pub moments: Vec<usize>,
    /// What was seen then, in English and Chinese.
    pub looks: [Vec<Look>; 2],
}

impl Recording {
    /// Nothing of a run yet.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let head = Head {
            recipe: plan.name.to_owned(),
            seed: plan.seed,
            steps: plan.steps,
            batch: plan.batch,
            scenes: Stage::usual_scenes(),
        };
        Self { head, steps: Vec::new(), moments: Vec::new(), looks: Default::default() }
    }

    /// The recording in the file at `path`, whose next report is of `step`; a new one if there is none.
    ///
    /// # Errors
    /// If the file is there and can't be read, or is one of another run.
    pub fn resumed(path: &Path, plan: &Plan, step: usize) -> Result<Self> {
        let new = Self::new(plan);
        if !path.exists() {
            return Ok(new);
        }
        let mut recording = Self::read(path)?;
        if recording.head != new.head {
            return Err(Error::unusable("the recording is of another run", "name another file").at(path));
        }
        recording.steps.retain(|stepped| stepped.step < step);
        recording.moments.retain(|moment| *moment < step);
        recording.looks.iter_mut().for_each(|looks| looks.truncate(recording.moments.len()));
        Ok(recording)
    }

    /// The pictures and texts that were looked at.
    #[must_use]
    pub fn stage(&self, language: Language) -> Stage {
        Stage::of(self.head.scenes.clone(), language)
    }

    /// Takes up what is known after a step, and looks at the model where it changes quickly.
    ///
    /// # Errors
    /// If the pass fails.
    pub fn note<R: Watched>(&mut self, recipe: &R, variables: &Variables, progress: &Progress) -> Result<()> {
        let step = progress.step;
        let stepped = Stepped { step, loss: progress.loss as f32, accuracy: progress.accuracy as f32 };
        self.steps.push(stepped);
        if is_moment(step, progress.steps) {
            self.look(recipe, variables, step)?;
        }
        Ok(())
    }

    /// Looks at the model after `step` steps.
    ///
    /// # Errors
    /// If the pass fails.
    pub fn look<R: Watched>(&mut self, recipe: &R, variables: &Variables, step: usize) -> Result<()> {
        for (looks, language) in self.looks.iter_mut().zip(Language::ALL) {
            let stage = Stage::of(self.head.scenes.clone(), language);
            looks.push(recipe.look(variables, &stage)?);
        }
        self.moments.push(step);
        Ok(())
    }

    /// Writes it as a file.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut tensors = BTreeMap::new();
        let mut keep = |name: String, values: Vec<f32>, dtype: DType| -> Result<()> {
            let count = values.len();
            tensors.insert(name, Tensor::from_vec(values, count, &Device::Cpu)?.to_dtype(dtype)?);
            Ok(())
        };
        let numbers = |numbers: &mut dyn Iterator<Item = usize>| numbers.map(|number| number as f32).collect();
        keep("moments".into(), numbers(&mut self.moments.iter().copied()), DType::F32)?;
        keep("steps".into(), numbers(&mut self.steps.iter().map(|stepped| stepped.step)), DType::F32)?;
        keep("loss".into(), self.steps.iter().map(|stepped| stepped.loss).collect(), DType::F32)?;
        keep("accuracy".into(), self.steps.iter().map(|stepped| stepped.accuracy).collect(), DType::F32)?;
        for (looks, language) in self.looks.iter().zip(Language::ALL) {
            for (name, values) in FIELDS.iter().zip(fields(looks)) {
                // Half precision is more than a colour shows.
                keep(format!("{}.{name}", name_of(language)), values, DType::F16)?;
            }
        }
        let head = serde_json::to_string(&self.head).unwrap_or_default();
        files::write_safetensors(path, &tensors, HashMap::from([(HEAD.to_owned(), head)]))
    }

    /// Reads a file that [`Recording::write`] has written.
    ///
    /// # Errors
    /// If it can't be read, or doesn't hold a recording.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |what: String| {
            Error::unusable(
                format!("the file holds no recorded training ({what})"),
                "write it with 'alignscope train clip --record FILE'",
            )
            .at(path)
        };
        Self::from_bytes(&files::read(path, MOST_BYTES)?).map_err(wrong)
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, String> {
        let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let head = metadata.metadata().as_ref().and_then(|map| map.get(HEAD)).ok_or("it doesn't say of which run")?;
        let head: Head = serde_json::from_str(head).map_err(|error| error.to_string())?;
        if head.scenes.is_empty() || head.scenes.len() > 64 {
            return Err("it has no scenes".into());
        }
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu).map_err(|error| error.to_string())?;
        let values = |name: &str| -> std::result::Result<Vec<f32>, String> {
            let tensor = tensors.get(name).ok_or_else(|| format!("there is no {name}"))?;
            let values = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F32)?.to_vec1::<f32>());
            let values = values.map_err(|error| error.to_string())?;
            if values.iter().any(|value| !value.is_finite()) {
                return Err(format!("{name} isn't finite"));
            }
            Ok(values)
        };
        let moments: Vec<usize> = values("moments")?.iter().map(|moment| *moment as usize).collect();
        if moments.is_empty() || !moments.is_sorted() {
            return Err("nothing was looked at".into());
        }
        let (steps, loss, accuracy) = (values("steps")?, values("loss")?, values("accuracy")?);
        if steps.len() != loss.len() || steps.len() != accuracy.len() {
            return Err("steps and losses don't fit".into());
        }
        let steps = steps.iter().zip(loss).zip(accuracy);
        let steps = steps.map(|((step, loss), accuracy)| Stepped { step: *step as usize, loss, accuracy }).collect();
        let mut looks: [Vec<Look>; 2] = Default::default();
        for (looks, language) in looks.iter_mut().zip(Language::ALL) {
            let all = FIELDS.map(|name| values(&format!("{}.{name}", name_of(language))));
            let [cosines, pictures, texts, map, temperature] = all;
            let of = [cosines?, pictures?, texts?, map?, temperature?];
            *looks = unpacked(&of, moments.len(), head.scenes.len()).ok_or("its parts don't fit together")?;
        }
        Ok(Self { head, steps, moments, looks })
    }
}

/// What the looks in a language are called in the file.
fn name_of(language: Language) -> &'static str {
    match language {
        Language::English => "english",
        Language::Chinese => "chinese",
    }
}

/// What a look consists of, by name.
const FIELDS: [&str; 5] = ["cosines", "pictures", "texts", "map", "temperature"];

/// The values of all looks, one list a field, look by look.
fn fields(looks: &[Look]) -> [Vec<f32>; 5] {
    let all = |of: &dyn Fn(&Look) -> Vec<f32>| looks.iter().flat_map(of).collect();
    [
        all(&|look| look.cosines.clone()),
        all(&|look| look.pictures.concat()),
        all(&|look| look.texts.concat()),
        all(&|look| look.map.clone()),
        all(&|look| vec![look.temperature]),
    ]
}

/// The `count` looks at `pairs` pairs that [`fields`] has packed, if that is what they are.
fn unpacked(fields: &[Vec<f32>; 5], count: usize, pairs: usize) -> Option<Vec<Look>> {
    let each: Vec<usize> = fields.iter().map(|values| values.len() / count).collect();
    let fits = fields.iter().zip(&each).all(|(values, each)| *each > 0 && values.len() == each * count);
    let [cosines, pictures, texts, map, _] = each[..] else { return None };
    let width = pictures / pairs;
    if !fits || cosines != pairs * pairs || width == 0 || pictures != width * pairs || texts != pictures {
        return None;
    }
    let rows = |values: &[f32]| values.chunks_exact(width).map(<[f32]>::to_vec).collect();
    let part = |field: usize, at: usize, each: usize| &fields[field][at * each..(at + 1) * each];
    let look = |at: usize| Look {
        cosines: part(0, at, cosines).to_vec(),
        pictures: rows(part(1, at, pictures)),
        texts: rows(part(2, at, texts)),
        map: part(3, at, map).to_vec(),
        temperature: fields[4][at],
    };
    Some((0..count).map(look).collect())
}

/// Whether a run of `steps` steps is looked at after this one: most changes at the beginning.
fn is_moment(step: usize, steps: usize) -> bool {
    let every = match step {
        ..=199 => 10,
        200..=799 => 20,
        _ => 50,
    };
    step.is_multiple_of(every) || step == steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Recording {
        let scenes = Stage::usual_scenes();
        let pairs = scenes.len();
        let row = |at: usize| vec![at as f32 / 16.0; 4];
        let look = |at: usize| Look {
            cosines: vec![at as f32 / 8.0; pairs * pairs],
            pictures: (0..pairs).map(row).collect(),
            texts: (0..pairs).map(row).collect(),
            map: vec![0.25; 64],
            temperature: 0.125,
        };
        let looks: Vec<Look> = (0..3).map(look).collect();
        Recording {
            head: Head { recipe: "clip".into(), seed: 1, steps: 30, batch: 2, scenes },
            steps: (1..=3).map(|at| Stepped { step: 10 * at, loss: 1.0 / at as f32, accuracy: 0.5 }).collect(),
            moments: vec![10, 20, 30],
            looks: [looks.clone(), looks],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.safetensors");
        let recording = made();
        recording.write(&path).expect("a file");
        assert_eq!(Recording::read(&path).expect("a recording"), recording);
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.safetensors");
        let mut recording = made();
        recording.looks[1].pop();
        recording.write(&path).expect("a file");
        let problem = Recording::read(&path).expect_err("a look is missing").to_string();
        assert!(problem.contains("run.safetensors") && problem.contains("fit"), "{problem}");
        std::fs::write(&path, b"nothing").expect("a file");
        Recording::read(&path).expect_err("no safetensors");
    }
}
