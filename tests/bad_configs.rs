//! Configs with absurd values, of every family: an error or a model, but never a panic, and never much time or memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alignscope::models::Model;
use alignscope::models::checkpoint::Checkpoint;
use candle_core::Device;
use serde_json::{Value, json};

/// One checkpoint of each class.
fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let families = [
        "clip",
        "siglip",
        "blip-retrieval",
        "blip-captioning",
        "blip-answering",
        "blip2-retrieval",
        "blip2-generation",
        "instructblip",
        "idefics",
        "open-flamingo",
        "llava",
        "llava-original",
    ];
    let first = |family: &str| {
        let entries = std::fs::read_dir(root.join(family)).expect("fixtures").flatten().map(|entry| entry.path());
        let mut folders: Vec<PathBuf> = entries.filter(|path| path.join("config.json").is_file()).collect();
        folders.sort();
        folders.swap_remove(0)
    };
    families.iter().map(|family| first(family)).collect()
}

/// The ways to every value of a config.
fn places(config: &Value, way: &str, found: &mut Vec<String>) {
    if let Value::Object(fields) = config {
        for (key, value) in fields {
            let way = format!("{way}/{key}");
            found.push(way.clone());
            places(value, &way, found);
        }
    }
}

#[test]
fn absurd_values_do_no_harm() {
    let absurd = [
        json!(0),
        json!(-1),
        json!(7),
        json!(1u64 << 40),
        json!(1e300),
        json!(0.5),
        json!("x"),
        json!(null),
        json!([]),
        json!({}),
        json!(true),
        json!(false),
    ];
    let (mut opened, mut refused) = (0, 0);
    for folder in fixtures() {
        let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
        Model::open(&checkpoint, &Device::Cpu).expect("the model as it is");
        let mut ways = Vec::new();
        places(&checkpoint.config, "", &mut ways);
        for way in ways {
            for value in &absurd {
                let mut spoilt = checkpoint.clone();
                *spoilt.config.pointer_mut(&way).expect("a place") = value.clone();
                let begin = Instant::now();
                match Model::open(&spoilt, &Device::Cpu) {
                    Ok(_) => opened += 1,
                    Err(error) => {
                        refused += 1;
                        let said = error.to_string();
                        assert!(said.contains("; ") && !said.contains('\n'), "{way} = {value}: {said}");
                        assert!(said.contains(&folder.display().to_string()), "{way} = {value}: {said}");
                    }
                }
                assert!(begin.elapsed() < Duration::from_secs(2), "{way} = {value} took {:?}", begin.elapsed());
            }
        }
    }
    assert!(opened > 100 && refused > 500, "{opened} opened, {refused} refused");
}
