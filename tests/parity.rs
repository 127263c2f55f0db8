//! Every registered model against transformers, number by number, on random checkpoints
//! (written by `tests/reference/make_fixtures.py`; nothing here needs Python).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::{MODELS, Model};
use alignscope::taps::{Array, GradProbe, Recorder, SitePattern, Taps};
use candle_core::{DType, Device, Tensor};

const TOLERANCE: f32 = 1e-4;

type Tensors = BTreeMap<String, Tensor>;

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found = Vec::new();
    for family in std::fs::read_dir(root).expect("fixtures are there").flatten() {
        for folder in std::fs::read_dir(family.path()).into_iter().flatten().flatten() {
            if folder.path().join("reference.safetensors").is_file() {
                found.push(folder.path());
            }
        }
    }
    found.sort();
    found
}

fn reference(folder: &Path) -> Tensors {
    candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu)
        .expect("a reference")
        .into_iter()
        .collect()
}

fn difference(ours: &Array, theirs: &Tensor) -> f32 {
    assert_eq!(ours.shape, theirs.dims(), "shapes differ");
    let theirs = theirs.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("floats");
    let pairs = ours.data.iter().zip(&theirs);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

struct Pass {
    model: Model,
    pixels: Tensor,
    ids: Tensor,
    mask: Option<Tensor>,
}

fn open(folder: &Path, reference: &Tensors) -> Pass {
    let checkpoint = Checkpoint::open(folder).expect("a checkpoint");
    let unsigned = |name: &str| {
        let tensor = reference.get(name)?;
        Some(tensor.to_dtype(DType::U32).expect("ids"))
    };
    Pass {
        model: Model::open(&checkpoint, &Device::Cpu).expect("a model").0,
        pixels: reference["pixel_values"].clone(),
        ids: unsigned("input_ids").expect("ids"),
        mask: unsigned("attention_mask"),
    }
}

#[test]
fn every_model_has_four_fixtures() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for folder in fixtures() {
        let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
        *counts.entry(checkpoint.class().to_owned()).or_default() += 1;
    }
    for family in MODELS {
        let count = counts.get(family.class).copied().unwrap_or(0);
        assert!(count >= 4, "{} has {count} parity fixtures", family.class);
    }
}

#[test]
fn models_equal_the_reference() {
    for folder in fixtures() {
        let reference = reference(&folder);
        let Pass { model, pixels, ids, mask } = open(&folder, &reference);
        let Model::DualEncoder(model) = model else { continue };
        let mut recorder = Recorder::new(SitePattern::new("*"));
        let mut taps = Taps::none().with(&mut recorder);
        let image = model.encode_image(&pixels, &mut taps).expect("an image pass");
        let text = model.encode_text(&ids, mask.as_ref(), &mut taps).expect("a text pass");
        let logits = model.logits(&image.embed, &text.embed).expect("logits");
        drop(taps);

        let mut ours: BTreeMap<String, Array> = BTreeMap::new();
        for (site, array) in recorder.finish().activations {
            ours.insert(site.to_string(), array);
        }
        let outputs = [
            ("image_embeds", &image.embed),
            ("text_embeds", &text.embed),
            ("vision.pooler_output", &image.pooled),
            ("text.pooler_output", &text.pooled),
            ("logits_per_image", &logits),
            ("logits_per_text", &logits.t().expect("a matrix")),
        ];
        for (name, tensor) in outputs {
            ours.insert(name.to_owned(), Array::from_tensor(tensor).expect("host"));
        }
        let mut compared = 0;
        for (name, theirs) in &reference {
            let name = name.replace("vision.head.pattern", "pooler.blocks.0.cross_attn.pattern");
            let inputs = ["pixel_values", "input_ids", "attention_mask"];
            let derived = ["relevancy", "rollout"];
            if inputs.contains(&name.as_str())
                || derived.iter().any(|part| name.starts_with(part))
                || name.ends_with(".grad")
            {
                continue;
            }
            let ours = ours.get(&name).unwrap_or_else(|| panic!("{}: no {name}", folder.display()));
            let off = difference(ours, theirs);
            assert!(off <= TOLERANCE, "{}: {name} is off by {off}", folder.display());
            compared += 1;
        }
        assert!(compared > 8, "{}: only {compared} tensors compared", folder.display());

        // The fused path, which nobody observes, must give the same.
        let fused_image = model.encode_image(&pixels, &mut Taps::none()).expect("a pass");
        let fused_text = model.encode_text(&ids, mask.as_ref(), &mut Taps::none()).expect("a pass");
        let fused = model.logits(&fused_image.embed, &fused_text.embed).expect("logits");
        let off = difference(&Array::from_tensor(&fused).expect("host"), &reference["logits_per_image"]);
        assert!(off <= TOLERANCE, "{}: fused logits are off by {off}", folder.display());
    }
}

#[test]
fn gradients_at_patterns_equal_the_reference() {
    let mut compared = 0;
    for folder in fixtures() {
        let reference = reference(&folder);
        if !reference.keys().any(|name| name.ends_with(".grad")) {
            continue;
        }
        let Pass { model, pixels, ids, mask } = open(&folder, &reference);
        let Model::DualEncoder(model) = model else { continue };
        let mut probe = GradProbe::new(SitePattern::patterns());
        let mut taps = Taps::none().with(&mut probe);
        let image = model.encode_image(&pixels, &mut taps).expect("a pass");
        let text = model.encode_text(&ids, mask.as_ref(), &mut taps).expect("a pass");
        let logits = model.logits(&image.embed, &text.embed).expect("logits");
        drop(taps);
        let pair = |at: usize| logits.get(at).and_then(|row| row.get(at)).expect("a pair");
        let score = (pair(0) + pair(1)).expect("a sum");
        let recording = probe.backward(&score).expect("gradients");
        for (site, gradient) in &recording.gradients {
            let theirs = &reference[&format!("{site}.grad")];
            let off = difference(gradient, theirs);
            let largest = theirs.abs().and_then(|t| t.max_all()).and_then(|t| t.to_scalar::<f32>()).expect("floats");
            assert!(off <= TOLERANCE * largest.max(1.0), "{}: {site} is off by {off}", folder.display());
            compared += 1;
        }
    }
    assert!(compared >= 8, "only {compared} gradients compared");
}
