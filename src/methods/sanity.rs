//! Whether a map is about the model at all: weights are shuffled from the top of the model down, and a map that stays the same
//! is about something else (Adebayo et al. 2018, arXiv 1810.03292: cascading randomisation).

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

use crate::error::{Error, Result};

/// The one file of weights that is shuffled.
const WEIGHTS: &str = "model.safetensors";
/// Files beside it that a checkpoint needs are no longer than this, in bytes.
const LONGEST: u64 = 32 << 20;

/// Which weights are shuffled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffled {
    /// So many blocks of each tower, from the top.
    Blocks(usize),
    /// All weights.
    All,
}

/// What is tried, one after the other.
pub const STAGES: [Shuffled; 3] = [Shuffled::Blocks(1), Shuffled::Blocks(2), Shuffled::All];

/// The checkpoint in `folder` with some of its weights shuffled, each within its own tensor, so that their distribution
/// stays; in a folder of its own that goes away with the handle.
///
/// # Errors
/// If it isn't one file of safetensors, or a file can't be read or written.
pub fn shuffled(folder: &Path, which: Shuffled, seed: u64) -> Result<TempDir> {
    let from = folder.join(WEIGHTS);
    let bytes = std::fs::read(&from).map_err(|error| Error::io("read", &from, &error))?;
    let unreadable = |error: safetensors::SafeTensorError| {
        Error::unusable(format!("its weights can't be read ({error})"), "download it again").at(&from)
    };
    let tensors = SafeTensors::deserialize(&bytes).map_err(unreadable)?;
    let mut names: Vec<String> = tensors.names().into_iter().map(str::to_owned).collect();
    // In an order of their own they would be shuffled otherwise each time.
    names.sort();
    let depths = depths(&names);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut changed: BTreeMap<String, (safetensors::Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for name in &names {
        let tensor = tensors.tensor(name).map_err(unreadable)?;
        let mut data = tensor.data().to_vec();
        if is_shuffled(name, which, &depths) {
            shuffle(&mut data, tensor.dtype().bitsize() / 8, &mut rng);
        }
        changed.insert(name.clone(), (tensor.dtype(), tensor.shape().to_vec(), data));
    }
    let views = changed
        .iter()
        .map(|(name, (dtype, shape, data))| Ok((name.clone(), TensorView::new(*dtype, shape.clone(), data)?)));
    let views = views.collect::<std::result::Result<Vec<_>, _>>().map_err(unreadable)?;
    let written = safetensors::serialize(views, None).map_err(unreadable)?;
    let to = tempfile::tempdir().map_err(|error| Error::io("write", &std::env::temp_dir(), &error))?;
    crate::files::write(&to.path().join(WEIGHTS), &written)?;
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io("read", folder, &error))?;
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let is_small = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
        if let Some(name) = path.file_name().filter(|name| is_small && *name != WEIGHTS) {
            let contents = std::fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
            crate::files::write(&to.path().join(name), &contents)?;
        }
    }
    Ok(to)
}

/// How many blocks each tower has, by what stands before the number of a block in the names of its weights.
fn depths(names: &[String]) -> BTreeMap<String, usize> {
    let mut depths: BTreeMap<String, usize> = BTreeMap::new();
    for (tower, block) in names.iter().filter_map(|name| block_of(name)) {
        let depth = depths.entry(tower.to_owned()).or_default();
        *depth = (*depth).max(block + 1);
    }
    depths
}

/// The tower and the block that a weight belongs to: `vision_model.encoder.layers.3.mlp.fc1.weight` to block 3 of
/// `vision_model.encoder.layers`.
fn block_of(name: &str) -> Option<(&str, usize)> {
    let marks = ["layers.", "layer.", "blocks.", "block."];
    let at = marks.iter().filter_map(|mark| Some(name.find(mark)? + mark.len())).min()?;
    let number = name[at..].split('.').next()?.parse().ok()?;
    Some((&name[..at], number))
}

fn is_shuffled(name: &str, which: Shuffled, depths: &BTreeMap<String, usize>) -> bool {
    match which {
        Shuffled::All => true,
        Shuffled::Blocks(count) => {
            block_of(name).is_some_and(|(tower, block)| depths.get(tower).is_some_and(|depth| block + count >= *depth))
        }
    }
}

/// Shuffles elements of so many bytes.
fn shuffle(data: &mut [u8], width: usize, rng: &mut ChaCha8Rng) {
    if width == 0 {
        return;
    }
    let mut order: Vec<usize> = (0..data.len() / width).collect();
    order.shuffle(rng);
    let before = data.to_vec();
    for (to, from) in data.chunks_exact_mut(width).zip(order) {
        to.copy_from_slice(&before[from * width..(from + 1) * width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::builtin;

    #[test]
    fn blocks_are_found_from_the_top() {
        let names = ["a.layers.0.w", "a.layers.1.w", "b.encoder.layer.0.w", "embed"].map(str::to_owned);
        let depths = depths(&names);
        let shuffled = |which| names.iter().map(|name| is_shuffled(name, which, &depths)).collect::<Vec<_>>();
        assert_eq!(shuffled(Shuffled::Blocks(1)), [false, true, true, false]);
        assert_eq!(shuffled(Shuffled::Blocks(2)), [true, true, true, false]);
        assert_eq!(shuffled(Shuffled::All), [true; 4]);
    }

    #[test]
    fn shuffled_weights_keep_their_values() {
        let folder = builtin::folder().join("clip");
        let read = |folder: &Path| std::fs::read(folder.join(WEIGHTS)).expect("weights");
        let made = shuffled(&folder, Shuffled::Blocks(1), 0).expect("a folder");
        let (before, after) = (read(&folder), read(made.path()));
        let (before, after) =
            (SafeTensors::deserialize(&before).expect("tensors"), SafeTensors::deserialize(&after).expect("tensors"));
        let names: Vec<String> = before.names().into_iter().map(str::to_owned).collect();
        let depths = depths(&names);
        let mut changed = 0;
        for name in &names {
            let (one, other) = (before.tensor(name).expect("a tensor"), after.tensor(name).expect("a tensor"));
            let sorted = |data: &[u8]| {
                let mut values: Vec<&[u8]> = data.chunks_exact(one.dtype().bitsize() / 8).collect();
                values.sort_unstable();
                values.concat()
            };
            assert_eq!(sorted(one.data()), sorted(other.data()), "{name}");
            let differs = one.data() != other.data();
            assert!(!differs || is_shuffled(name, Shuffled::Blocks(1), &depths), "{name}");
            changed += usize::from(differs);
        }
        assert!(changed > 10, "{changed}");
        let again = shuffled(&folder, Shuffled::Blocks(1), 0).expect("a folder");
        let again = read(again.path());
        let again = SafeTensors::deserialize(&again).expect("tensors");
        let same = |name: &String| {
            again.tensor(name).expect("a tensor").data() == after.tensor(name).expect("a tensor").data()
        };
        assert!(names.iter().all(same), "a seed shuffles the same");
        assert!(made.path().join("config.json").is_file());
    }
}
