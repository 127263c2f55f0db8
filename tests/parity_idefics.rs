//! Flamingo, as IDEFICS, against transformers, number by number and token by token, on random checkpoints (written by
//! `tests/reference/idefics.py`); and that its gates, caches and taps change nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use alignscope::Error;
use alignscope::models::Model;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::idefics::{Idefics, Prompt, Writing};
use alignscope::models::opened::Opened;
use alignscope::taps::{
    Array, Attn, CancelToken, Change, GradProbe, Interventions, Point, Recorder, Recording, Site, SitePattern, Taps,
    Tower,
};
use candle_core::{DType, Device, IndexOp, Tensor};

const TOLERANCE: f32 = 1e-4;
const INPUTS: [&str; 4] = ["pixel_values", "input_ids", "attention_mask", "image_attention_mask"];

struct Fixture {
    name: String,
    folder: PathBuf,
    model: Box<Idefics>,
    reference: BTreeMap<String, Tensor>,
    prompt: Prompt,
}

fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/idefics");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).expect("fixtures").flatten().map(|e| e.path()).collect();
    folders.sort();
    assert!(folders.len() >= 4);
    folders.into_iter().map(Fixture::open).collect()
}

impl Fixture {
    fn open(folder: PathBuf) -> Self {
        let reference: BTreeMap<String, Tensor> =
            candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu)
                .expect("a reference")
                .into_iter()
                .collect();
        let unsigned = |name: &str| reference[name].to_dtype(DType::U32).expect("whole numbers");
        let prompt = Prompt {
            ids: unsigned("input_ids"),
            attention_mask: Some(unsigned("attention_mask")),
            pixels: reference["pixel_values"].clone(),
            image_mask: unsigned("image_attention_mask"),
        };
        let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
        let Model::Flamingo(model) = Model::open(&checkpoint, &Device::Cpu).expect("a model").0 else {
            panic!("{}: not a Flamingo", folder.display());
        };
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        Self { name, folder, model, reference, prompt }
    }

    /// Logits with everything recorded.
    fn observed(&self) -> (Tensor, Recording) {
        let mut recorder = Recorder::new(SitePattern::new("*"));
        let logits = self.model.forward(&self.prompt, &mut Taps::none().with(&mut recorder)).expect("a pass");
        (logits, recorder.finish())
    }

    /// One text of the batch with its pictures.
    fn row(&self, row: usize) -> Prompt {
        let only = |tensor: &Tensor| tensor.narrow(0, row, 1).expect("a row");
        Prompt {
            ids: only(&self.prompt.ids),
            attention_mask: self.prompt.attention_mask.as_ref().map(only),
            pixels: only(&self.prompt.pixels),
            image_mask: only(&self.prompt.image_mask),
        }
    }
}

fn host(tensor: &Tensor) -> Array {
    Array::from_tensor(tensor).expect("a host array")
}

fn difference(ours: &Array, theirs: &Tensor) -> f32 {
    assert_eq!(ours.shape, theirs.dims(), "shapes differ");
    let pairs = ours.data.iter().zip(host(theirs).data);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn everything_equals_the_reference() {
    for fixture in fixtures() {
        let (logits, recording) = fixture.observed();
        let mut ours: BTreeMap<String, Array> =
            recording.activations.into_iter().map(|(site, array)| (site.to_string(), array)).collect();
        let media = fixture.model.see(&fixture.prompt.pixels, &mut Taps::none()).expect("a pass");
        let mut closed = Interventions(vec![Change::GatesClosed { layers: None }]);
        let shut = fixture.model.forward(&fixture.prompt, &mut Taps::none().with(&mut closed)).expect("a pass");
        for (name, tensor) in [("logits", &logits), ("media", &media), ("logits.closed", &shut)] {
            ours.insert(name.to_owned(), host(tensor));
        }
        let gates = fixture.model.gates().expect("gates");
        let open: Vec<f32> = gates.iter().flat_map(|(attention, forward)| [*attention, *forward]).collect();
        ours.insert("gates".to_owned(), Array { shape: vec![gates.len(), 2], data: open });
        let mut worst = ("", 0.0);
        let mut compared = 0;
        for (name, theirs) in &fixture.reference {
            if INPUTS.contains(&name.as_str()) || name == "generated_ids" {
                continue;
            }
            let ours = ours.get(name).unwrap_or_else(|| panic!("{}: no {name}", fixture.name));
            let off = difference(ours, theirs);
            assert!(off <= TOLERANCE, "{}: {name} is off by {off}", fixture.name);
            if off >= worst.1 {
                worst = (name, off);
            }
            compared += 1;
        }
        println!("{}: {compared} tensors, the largest difference is {:e} in {}", fixture.name, worst.1, worst.0);
        assert!(compared >= 19, "{}: only {compared} tensors compared", fixture.name);
        let fused = fixture.model.forward(&fixture.prompt, &mut Taps::none()).expect("a pass");
        let off = difference(&host(&fused), &fixture.reference["logits"]);
        assert!(off <= TOLERANCE, "{}: fused logits are off by {off}", fixture.name);
    }
}

fn write(fixture: &Fixture, row: usize, how: &Writing, taps: &mut Taps<'_>) -> alignscope::Result<Vec<u32>> {
    fixture.model.generate(&fixture.row(row), how, taps, &mut |_| true)
}

#[test]
fn writing_equals_the_reference_with_and_without_a_cache() {
    for fixture in fixtures() {
        for row in 0..2 {
            let theirs = fixture.reference["generated_ids"].i(row).and_then(|ids| ids.to_dtype(DType::U32));
            let theirs = theirs.and_then(|ids| ids.to_vec1::<u32>()).expect("ids");
            for cached in [true, false] {
                let how = Writing { most: theirs.len(), ends: Vec::new(), cached };
                let ours = write(&fixture, row, &how, &mut Taps::none()).expect("tokens");
                assert_eq!(ours, theirs, "{}, text {row}, cached: {cached}", fixture.name);
            }
            // An end token is the last, and a listener that has enough gets nothing more.
            let end = theirs[3];
            let first = theirs.iter().position(|token| *token == end).expect("it is there");
            let how = Writing { most: theirs.len(), ends: vec![end], cached: true };
            let ours = write(&fixture, row, &how, &mut Taps::none()).expect("tokens");
            assert_eq!(ours, theirs[..=first]);
            let how = Writing { ends: Vec::new(), ..how };
            let mut heard = Vec::new();
            let mut listener = |token| {
                heard.push(token);
                heard.len() < 5
            };
            let ours = fixture.model.generate(&fixture.row(row), &how, &mut Taps::none(), &mut listener);
            assert_eq!(ours.expect("tokens"), theirs[..5]);
            assert_eq!(heard, theirs[..5]);
        }
    }
}

#[test]
fn a_cancelled_pass_stops() {
    let fixture = &fixtures()[0];
    let token = CancelToken::default();
    let how = Writing { most: 20, ends: Vec::new(), cached: true };
    let mut heard = 0;
    let written = fixture.model.generate(&fixture.row(0), &how, &mut Taps::none().cancelled_by(&token), &mut |_| {
        heard += 1;
        if heard == 3 {
            token.cancel();
        }
        true
    });
    assert!(matches!(written, Err(Error::Cancelled)), "{written:?}");
    assert_eq!(heard, 3);
}

#[test]
fn closed_gates_leave_the_language_model_to_the_bit() {
    for fixture in fixtures() {
        let alone =
            fixture.model.language(&fixture.prompt.ids, fixture.prompt.attention_mask.as_ref(), &mut Taps::none());
        let alone = host(&alone.expect("a pass"));
        let mut closed = Interventions(vec![Change::GatesClosed { layers: None }]);
        let shut = fixture.model.forward(&fixture.prompt, &mut Taps::none().with(&mut closed)).expect("a pass");
        let same = host(&shut).data.iter().zip(&alone.data).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{}: closed gates let something through", fixture.name);
        // One closed gate adds nothing, and the others stay open.
        let mut first = Interventions(vec![Change::GatesClosed { layers: Some(vec![0]) }]);
        let mut recorder = Recorder::new(SitePattern::new("*.gate_attn,*.gate_ffn"));
        let mut taps = Taps::none().with(&mut first).with(&mut recorder);
        fixture.model.forward(&fixture.prompt, &mut taps).expect("a pass");
        drop(taps);
        for (site, array) in recorder.finish().activations {
            assert_eq!(array.data.iter().all(|added| *added == 0.0), site.layer == 0, "{}: {site}", fixture.name);
        }
    }
}

#[test]
fn a_token_before_the_first_picture_gets_nothing() {
    for fixture in fixtures() {
        let (_, recording) = fixture.observed();
        let sees: Vec<Vec<Vec<u32>>> = fixture.prompt.image_mask.to_vec3().expect("a mask");
        let added = recording.get(Site::new(Tower::Decoder, 0, Point::GateAttn)).expect("a gate");
        let pattern = recording.get(Site::new(Tower::Decoder, 0, Point::Pattern(Attn::CrossAttn))).expect("a pattern");
        let (tokens, width) = (added.shape[1], added.shape[2]);
        let (heads, keys) = (pattern.shape[1], pattern.shape[3]);
        let each = keys / fixture.prompt.pixels.dims()[1];
        for (row, sees) in sees.iter().enumerate() {
            for (token, sees) in sees.iter().enumerate() {
                let start = (row * tokens + token) * width;
                let nothing = added.data[start..start + width].iter().all(|added| *added == 0.0);
                assert_eq!(nothing, sees.iter().all(|seen| *seen == 0), "{}: {row}, {token}", fixture.name);
                if nothing {
                    continue;
                }
                // Exactly nothing goes to a picture that the token may not see.
                for head in 0..heads {
                    let start = ((row * heads + head) * tokens + token) * keys;
                    for (key, weight) in pattern.data[start..start + keys].iter().enumerate() {
                        assert!(sees[key / each] == 1 || *weight == 0.0, "{}: {row}, {token}", fixture.name);
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_reach_every_map() {
    for fixture in fixtures() {
        let mut probe = GradProbe::new(SitePattern::patterns());
        let logits = fixture.model.forward(&fixture.prompt, &mut Taps::none().with(&mut probe)).expect("a pass");
        let last = logits.dim(1).expect("an axis") - 1;
        let score = logits.i((.., last, 5)).and_then(|scores| scores.sum_all()).expect("a score");
        let recording = probe.backward(&score).expect("gradients");
        for (site, gradient) in &recording.gradients {
            assert!(gradient.data.iter().any(|value| *value != 0.0), "{}: nothing at {site}", fixture.name);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_in_one_sentence() {
    let fixture = &fixtures()[0];
    let refused = |prompt: &Prompt| {
        let said = fixture.model.forward(prompt, &mut Taps::none()).expect_err("a refusal").to_string();
        assert!(said.contains("; ") && !said.contains("report it"), "{said}");
        said
    };
    let prompt = &fixture.prompt;
    let short = |tensor: &Tensor, axis: usize| tensor.narrow(axis, 0, tensor.dims()[axis] - 1).expect("a part");
    assert!(refused(&Prompt { image_mask: short(&prompt.image_mask, 1), ..prompt.clone() }).contains("image"));
    assert!(refused(&Prompt { pixels: short(&prompt.pixels, 0), ..prompt.clone() }).contains("pixels"));
    assert!(refused(&Prompt { pixels: short(&prompt.pixels, 4), ..prompt.clone() }).contains("pixels"));
    let mask = prompt.attention_mask.as_ref().map(|mask| short(mask, 1));
    assert!(refused(&Prompt { attention_mask: mask, ..prompt.clone() }).contains("attention mask"));
    let ids = (&prompt.ids + 1000.0).and_then(|ids| ids.to_dtype(DType::U32)).expect("ids");
    assert!(refused(&Prompt { ids, ..prompt.clone() }).contains("token"));
    let said = fixture.model.generate(
        prompt,
        &Writing { most: 1, ends: Vec::new(), cached: true },
        &mut Taps::none(),
        &mut |_| true,
    );
    assert!(said.expect_err("a refusal").to_string().contains("give one text"));
    let said = Opened::open(&fixture.folder, &Device::Cpu).err().expect("a refusal").to_string();
    assert!(said.contains("'IdeficsForVisionText2Text', which isn't a dual encoder; "), "{said}");
}

#[test]
fn configs_that_make_no_sense() {
    let fixture = fixtures().into_iter().find(|fixture| fixture.name == "resampler").expect("a fixture");
    let cases = [
        (None, "num_attention_heads", serde_json::json!(3)),
        (None, "num_attention_heads", serde_json::json!(4)),
        (None, "cross_layer_interval", serde_json::json!(3)),
        (None, "cross_layer_interval", serde_json::json!(0)),
        (None, "additional_vocab_size", serde_json::json!(u64::MAX)),
        (None, "additional_vocab_size", serde_json::json!(4)),
        (None, "vocab_size", serde_json::json!(1_000_000_000)),
        (None, "vocab_size", serde_json::json!(51)),
        (None, "alpha_type", serde_json::json!("scalar")),
        (None, "alpha_type", serde_json::json!("float")),
        (None, "qk_layer_norms", serde_json::json!(true)),
        (None, "rms_norm_eps", serde_json::json!(-1)),
        (None, "hidden_act", serde_json::json!("unheard-of")),
        (None, "num_hidden_layers", serde_json::json!(6)),
        (None, "eos_token_id", serde_json::json!("x")),
        (Some("vision_config"), "embed_dim", serde_json::json!(0)),
        (Some("vision_config"), "image_size", serde_json::json!(1_000_000)),
        (Some("perceiver_config"), "resampler_head_dim", serde_json::json!(0)),
        (Some("perceiver_config"), "resampler_n_heads", serde_json::json!(1_000_000)),
        (Some("perceiver_config"), "resampler_n_latents", serde_json::json!(6)),
        (Some("perceiver_config"), "resampler_depth", serde_json::json!(3)),
    ];
    for (part, key, value) in cases {
        let mut checkpoint = Checkpoint::open(&fixture.folder).expect("a checkpoint");
        match part {
            Some(part) => checkpoint.config[part][key] = value.clone(),
            None => checkpoint.config[key] = value.clone(),
        }
        let said =
            Model::open(&checkpoint, &Device::Cpu).err().unwrap_or_else(|| panic!("{key} = {value} was accepted"));
        let said = said.to_string();
        assert!(said.contains("; ") && !said.contains('\n') && !said.contains("report it"), "{key}: {said}");
    }
}
