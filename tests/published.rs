//! The published checkpoints: their true configurations build, and every weight that their files list is asked for by its name and
//! shape. No weight takes memory: each is one zero that is said to have that shape.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use alignscope::methods::METHODS;
use alignscope::models::MODELS;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::nn::{Parameters, Scope};
use alignscope::{Error, Result};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// The weights of a published checkpoint, by name, with what was asked for.
struct Index {
    shapes: BTreeMap<String, Vec<usize>>,
    asked: Mutex<BTreeSet<String>>,
}

impl Parameters for Index {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match self.shapes.get(name) {
            Some(known) if known == shape => {
                self.asked.lock().expect("a lock").insert(name.to_owned());
                Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)?)
            }
            known => Err(Error::unusable(
                format!("'{name}' is {known:?} in the published file, and asked for as {shape:?}"),
                "mend the model",
            )),
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// Names with the numbers of blocks in the place of `#`.
fn index(published: &Value) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let numbers = |value: &Value| -> Vec<usize> {
        value.as_array().expect("a list").iter().map(|number| number.as_u64().expect("a number") as usize).collect()
    };
    for (name, entry) in published["weights"].as_object().expect("weights") {
        let (shape, blocks) = (numbers(&entry[0]), numbers(&entry[1]));
        if blocks.is_empty() {
            shapes.insert(name.clone(), shape);
            continue;
        }
        for block in blocks {
            shapes.insert(name.replace('#', &block.to_string()), shape.clone());
        }
    }
    shapes
}

fn published() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/published");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).expect("fixtures").flatten().map(|e| e.path()).collect();
    files.sort();
    files
}

#[test]
fn every_published_checkpoint_has_the_names_and_shapes_that_are_asked_for() {
    let mut wrong = Vec::new();
    let files = published();
    assert!(files.len() >= 18);
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let published = read(&file);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.json"), published["config"].to_string()).expect("a config");
        for (part, config) in published["parts"].as_object().into_iter().flatten() {
            std::fs::create_dir(folder.path().join(part)).expect("a folder");
            std::fs::write(folder.path().join(part).join("config.json"), config.to_string()).expect("a config");
        }
        let checkpoint = Checkpoint::open(folder.path()).expect("a checkpoint");
        let family = MODELS.iter().find(|family| family.class == checkpoint.class());
        let family = family.unwrap_or_else(|| panic!("{name}: {} isn't known", checkpoint.class()));
        let index = Index { shapes: index(&published), asked: Mutex::default() };
        let held: usize = index.shapes.values().map(|shape| shape.iter().product::<usize>()).sum();
        assert_eq!(held as u64, published["numbers"].as_u64().expect("a number"), "{name}");
        match (family.load)(&checkpoint, &Scope::root(&index)) {
            Ok(_) => {
                let asked = index.asked.lock().expect("a lock").clone();
                let left: Vec<&String> = index.shapes.keys().filter(|name| !asked.contains(*name)).collect();
                if left.iter().any(|name| !is_spare(name)) {
                    wrong.push(format!("{name}: nobody asks for {left:?}"));
                }
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Tables of tokens of OpenFlamingo's language models, as they were before.
const OWN_TABLES: [&str; 3] = [
    "language_model.transformer.wte.weight",
    "language_model.gpt_neox.embed_in.weight",
    "language_model.embed_out.weight",
];

/// What a file holds and no model computes with.
fn is_spare(name: &str) -> bool {
    // LLaVA looks at states before the last norm of its tower; positions count themselves.
    name.ends_with("vision_model.post_layernorm.weight")
        || name.ends_with("vision_model.post_layernorm.bias")
        || name.ends_with("position_ids")
        // OpenFlamingo stands on the vision tower of a whole CLIP, and has trained tables of tokens of its own.
        || (name.starts_with("vision_encoder.") && !name.starts_with("vision_encoder.vision_model."))
        || OWN_TABLES.contains(&name)
}

#[test]
fn everything_in_the_catalogue_was_compared_with_its_published_index() {
    for model in alignscope::models::catalogue::published().expect("a catalogue") {
        let name = model.name.rsplit('/').next().expect("a name");
        let runs = METHODS.iter().any(|method| method.classes.contains(&model.class.as_str()));
        assert!(runs, "{name} has no column");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/published/{name}.json"));
        let index = read(&file);
        assert_eq!(index["numbers"].as_u64(), Some(model.parameters), "{name}");
        assert_eq!(index["config"]["architectures"][0].as_str(), Some(model.class.as_str()), "{name}");
        if let Some(assembly) = &model.assembly {
            assert_eq!(index["config"], assembly.config, "{name}");
            let parts: Vec<&String> = index["parts"].as_object().expect("parts").keys().collect();
            assert_eq!(parts, assembly.parts.keys().collect::<Vec<_>>(), "{name}");
        }
    }
}
