//! OpenFlamingo against its formulas in plain PyTorch, number by number and token by token, on random checkpoints in its
//! own layout (written by `tests/reference/open_flamingo.py`); that gates, caches and taps change nothing else; and that
//! a damaged or hostile `.pt` is refused and never executed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alignscope::Error;
use alignscope::models::Model;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::idefics::{Prompt, Writing};
use alignscope::models::open_flamingo::OpenFlamingo;
use alignscope::models::opened::Opened;
use alignscope::models::weights::{Weights, extent};
use alignscope::taps::{
    Array, Attn, CancelToken, Change, GradProbe, Interventions, Point, Recorder, Recording, Site, SitePattern, Taps,
    Tower,
};
use candle_core::{DType, Device, IndexOp, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOLERANCE: f32 = 1e-4;
const INPUTS: [&str; 4] = ["pixel_values", "input_ids", "attention_mask", "generated_ids"];

struct Fixture {
    name: String,
    folder: PathBuf,
    model: Box<OpenFlamingo>,
    reference: BTreeMap<String, Tensor>,
    prompt: Prompt,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/open-flamingo").join(name)
}

fn fixtures() -> Vec<Fixture> {
    let mut names: Vec<String> = fs::read_dir(folder(""))
        .expect("fixtures")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 6);
    names.into_iter().map(Fixture::open).collect()
}

fn open(folder: &Path) -> alignscope::Result<Box<OpenFlamingo>> {
    match Model::open(&Checkpoint::open(folder)?, &Device::Cpu)?.0 {
        Model::OpenFlamingo(model) => Ok(model),
        _ => panic!("{}: not an OpenFlamingo", folder.display()),
    }
}

impl Fixture {
    fn open(name: String) -> Self {
        let folder = folder(&name);
        let reference: BTreeMap<String, Tensor> =
            candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu)
                .expect("a reference")
                .into_iter()
                .collect();
        let unsigned = |name: &str| reference[name].to_dtype(DType::U32).expect("whole numbers");
        let model = open(&folder).expect("a model");
        let (ids, pixels) = (unsigned("input_ids"), reference["pixel_values"].clone());
        let image_mask = model.image_mask(&ids, pixels.dims()[1]).expect("an image mask");
        let prompt = Prompt { ids, attention_mask: Some(unsigned("attention_mask")), pixels, image_mask };
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
            if INPUTS.contains(&name.as_str()) {
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
        assert!(compared >= 25, "{}: only {compared} tensors compared", fixture.name);
        let fused = fixture.model.forward(&fixture.prompt, &mut Taps::none()).expect("a pass");
        let off = difference(&host(&fused), &fixture.reference["logits"]);
        assert!(off <= TOLERANCE, "{}: fused logits are off by {off}", fixture.name);
    }
}

#[test]
fn writing_equals_the_reference_with_and_without_a_cache() {
    for fixture in fixtures() {
        for row in 0..2 {
            let theirs = fixture.reference["generated_ids"].i(row).and_then(|ids| ids.to_dtype(DType::U32));
            let theirs = theirs.and_then(|ids| ids.to_vec1::<u32>()).expect("ids");
            for cached in [true, false] {
                let how = Writing { most: theirs.len(), ends: Vec::new(), cached };
                let ours = fixture.model.generate(&fixture.row(row), &how, &mut Taps::none(), &mut |_| true);
                assert_eq!(ours.expect("tokens"), theirs, "{}, text {row}, cached: {cached}", fixture.name);
            }
            let end = theirs[3];
            let first = theirs.iter().position(|token| *token == end).expect("it is there");
            let how = Writing { most: theirs.len(), ends: vec![end], cached: true };
            let ours = fixture.model.generate(&fixture.row(row), &how, &mut Taps::none(), &mut |_| true);
            assert_eq!(ours.expect("tokens"), theirs[..=first]);
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
    }
}

#[test]
fn a_token_sees_the_picture_before_it_and_nothing_before_the_first() {
    for fixture in fixtures() {
        let image = fixture.model.config().media_token_id;
        let latents = fixture.model.config().perceiver.num_latents;
        let (_, recording) = fixture.observed();
        let ids: Vec<Vec<u32>> = fixture.prompt.ids.to_vec2().expect("ids");
        let added = recording.get(Site::new(Tower::Decoder, 0, Point::GateAttn)).expect("a gate");
        let pattern = recording.get(Site::new(Tower::Decoder, 0, Point::Pattern(Attn::CrossAttn))).expect("a pattern");
        let (tokens, width) = (added.shape[1], added.shape[2]);
        let (heads, keys) = (pattern.shape[1], pattern.shape[3]);
        for (row, ids) in ids.iter().enumerate() {
            let mut before = 0;
            for (token, id) in ids.iter().enumerate() {
                before += usize::from(*id == image);
                let start = (row * tokens + token) * width;
                let nothing = added.data[start..start + width].iter().all(|added| *added == 0.0);
                assert_eq!(nothing, before == 0, "{}: {row}, {token}", fixture.name);
                for head in (0..heads).filter(|_| before > 0) {
                    let start = ((row * heads + head) * tokens + token) * keys;
                    for (key, weight) in pattern.data[start..start + keys].iter().enumerate() {
                        assert!(key / latents + 1 == before || *weight == 0.0, "{}: {row}, {token}", fixture.name);
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
    let all = fixtures();
    let fixture = all.iter().find(|fixture| fixture.name == "older").expect("a fixture");
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
    let ids = (&prompt.ids + 1000.0).and_then(|ids| ids.to_dtype(DType::U32)).expect("ids");
    assert!(refused(&Prompt { ids, ..prompt.clone() }).contains("token"));
    // Six pictures, and the resampler has places for four.
    let twice = |tensor: &Tensor, axis: usize| Tensor::cat(&[tensor, tensor], axis).expect("twice as much");
    let (pixels, image_mask) = (twice(&prompt.pixels, 1), twice(&prompt.image_mask, 2));
    assert!(refused(&Prompt { pixels, image_mask, ..prompt.clone() }).contains("places for 4"));
    let said = fixture.model.image_mask(&prompt.ids, 2).expect_err("a refusal").to_string();
    assert!(said.contains("3 places for pictures, and 2 were given; "), "{said}");
    let how = Writing { most: 1, ends: Vec::new(), cached: true };
    let said = fixture.model.generate(prompt, &how, &mut Taps::none(), &mut |_| true);
    assert!(said.expect_err("a refusal").to_string().contains("give one text"));
    let said = Opened::open(&fixture.folder, &Device::Cpu).err().expect("a refusal").to_string();
    assert!(said.contains("'OpenFlamingo', which isn't a dual encoder; "), "{said}");
}

/// A copy of a fixture to spoil.
fn copy(name: &str) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder").flatten() {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).expect("a file");
            }
        }
    }
    let to = TempDir::new().expect("a temporary folder");
    copy(&folder(name), to.path());
    to
}

/// What is said about a copy of a fixture that `spoil` has been at.
fn refused(what: &str, name: &str, spoil: impl FnOnce(&Path)) -> String {
    let folder = copy(name);
    spoil(folder.path());
    let start = Instant::now();
    let said = open(folder.path()).err().unwrap_or_else(|| panic!("{what} was accepted")).to_string();
    assert!(start.elapsed() < Duration::from_secs(2), "{what} took {:?}", start.elapsed());
    assert!(said.contains("; ") && !said.contains('\n') && !said.contains("report it"), "{what}: {said}");
    assert!(said.contains(&folder.path().display().to_string()) && said.len() < 600, "{what}: {said}");
    said
}

#[test]
fn configs_that_make_no_sense() {
    let change_of = |fixture: &str, file: &str, part: Option<&str>, key: &str, value: Value| {
        refused(&format!("{file} with {key} = {value}"), fixture, |folder| {
            let path = folder.join(file);
            let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
            match part {
                Some(part) => config[part][key] = value.clone(),
                None => config[key] = value.clone(),
            }
            fs::write(&path, config.to_string()).expect("a file");
        })
    };
    let change =
        |file: &str, part: Option<&str>, key: &str, value: Value| change_of("interval", file, part, key, value);
    for (part, key, value) in [
        (None, "cross_attn_every_n_layers", json!(0)),
        (None, "cross_attn_every_n_layers", json!(6)),
        (None, "cross_attn_every_n_layers", json!(1)),
        (None, "cross_attn_every_n_layers", json!(null)),
        (None, "media_token_id", json!(53)),
        (None, "media_token_id", json!("<image>")),
        (None, "eoc_token_id", json!(u32::MAX)),
        (None, "vocab_size", json!(54)),
        (None, "vocab_size", json!(u64::MAX)),
        (None, "only_attend_immediate_media", json!(false)),
        (Some("cross_attention"), "heads", json!(4)),
        (Some("cross_attention"), "heads", json!(1_000_000)),
        (Some("cross_attention"), "dim_head", json!(0)),
        (Some("perceiver"), "num_latents", json!(6)),
        (Some("perceiver"), "num_latents", json!(0)),
        (Some("perceiver"), "depth", json!(3)),
        (Some("perceiver"), "heads", json!(1_000_000)),
        (Some("perceiver"), "max_num_media", json!(4)),
        (Some("perceiver"), "max_num_frames", json!(u64::MAX)),
    ] {
        change("config.json", part, key, value);
    }
    for (part, key, value) in [
        (None, "d_model", json!(0)),
        (None, "d_model", json!(18)),
        (None, "n_heads", json!(3)),
        (None, "n_layers", json!(6)),
        (None, "vocab_size", json!(1_000_000_000)),
        (None, "expansion_ratio", json!(3)),
        (None, "logit_scale", json!("inv_sqrt_d_model")),
        (None, "no_bias", json!(false)),
        (None, "attn_config", json!("x")),
        (Some("attn_config"), "alibi", json!(false)),
        (Some("attn_config"), "alibi_bias_max", json!(-1)),
        (Some("attn_config"), "clip_qkv", json!(6)),
        (Some("attn_config"), "softmax_scale", json!(0.1)),
        (Some("attn_config"), "qk_ln", json!(true)),
        (Some("attn_config"), "attn_type", json!("multiquery_attention")),
    ] {
        let said = change("language_model/config.json", part, key, value);
        assert!(said.contains("language_model"), "{key}: {said}");
    }
    for (key, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(27)),
        ("num_attention_heads", json!(8)),
        ("num_hidden_layers", json!(5)),
        ("intermediate_size", json!(u64::MAX)),
        ("vocab_size", json!(1_000_000_000)),
        ("hidden_act", json!("unheard-of")),
        ("layer_norm_eps", json!(-1)),
        ("rotary_emb_base", json!(0)),
        ("rotary_pct", json!(0.25)),
        ("use_parallel_residual", json!(true)),
        ("attention_bias", json!(false)),
        ("tie_word_embeddings", json!(true)),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0})),
    ] {
        let said = change_of("gpt-neox", "language_model/config.json", None, key, value);
        assert!(said.contains("language_model"), "{key}: {said}");
    }
    for (key, value) in [("patch_size", json!(0)), ("hidden_size", json!(15)), ("hidden_act", json!("unheard-of"))] {
        change("vision_encoder/config.json", None, key, value);
    }
}

#[test]
fn missing_and_damaged_files() {
    for file in ["checkpoint.pt", "language_model/pytorch_model.bin", "vision_encoder/model.safetensors"] {
        refused(&format!("no {file}"), "interval", |folder| fs::remove_file(folder.join(file)).expect("a file"));
        let whole = fs::read(folder("interval").join(file)).expect("a file");
        for part in 0..24 {
            let length = whole.len() * part / 24;
            let said = refused(&format!("{length} bytes of {file}"), "interval", |folder| {
                fs::write(folder.join(file), &whole[..length]).expect("a file");
            });
            assert!(said.contains(file), "{said}");
        }
        for content in [&b"x"[..], b"PK\x03\x04", &[0; 4000], &b"PK\x03\x04".repeat(1000), b"\x80\x02}q\0."] {
            refused(&format!("{content:?} as {file}"), "interval", |folder| {
                fs::write(folder.join(file), content).expect("a file");
            });
        }
        // A sparse file: 300 MB that take no room, and must not be read.
        refused(&format!("an empty {file} of 300 MB"), "interval", |folder| {
            fs::File::create(folder.join(file)).and_then(|file| file.set_len(300_000_000)).expect("a file");
        });
    }
    for part in ["language_model", "vision_encoder"] {
        let said = refused(&format!("no {part}"), "interval", |folder| {
            fs::remove_dir_all(folder.join(part)).expect("a folder");
        });
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_changed_byte_does_no_harm() {
    let folder = copy("one-head");
    let path = folder.path().join("checkpoint.pt");
    let whole = fs::read(&path).expect("a file");
    let mut refused = 0;
    for turn in 0..300 {
        let mut bytes = whole.clone();
        bytes[turn * 7919 % whole.len()] ^= 1 << (turn % 8);
        fs::write(&path, bytes).expect("a file");
        if let Err(error) = open(folder.path()) {
            let said = error.to_string();
            assert!(said.contains("; ") && !said.contains('\n') && !said.contains("report it"), "{said}");
            refused += 1;
        }
    }
    // Names of dates and the like don't matter; all numbers have a checksum.
    assert!(refused > 150, "{refused}");
}

/// The archive `path` with another list of tensors.
fn relist(path: &Path, program: &[u8]) {
    let mut archive = zip::ZipArchive::new(fs::File::open(path).expect("a file")).expect("an archive");
    let names: Vec<String> = archive.file_names().map(|name| name.expect("a name").into_owned()).collect();
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in names {
        let mut content = Vec::new();
        archive.by_name(&name).expect("a file").read_to_end(&mut content).expect("bytes");
        if name.ends_with("data.pkl") {
            content = program.to_vec();
        }
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        out.start_file(name, options).expect("a file");
        out.write_all(&content).expect("room");
    }
    let bytes = out.finish().expect("an archive").into_inner();
    fs::write(path, bytes).expect("a file");
}

/// A text as a pickle holds it.
fn pickled(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short text");
    [&b"X"[..], &length.to_le_bytes(), text.as_bytes()].concat()
}

#[test]
fn nothing_in_a_file_is_executed() {
    let elsewhere = TempDir::new().expect("a temporary folder");
    let mark = elsewhere.path().join("was-here");
    let order = pickled(&format!("touch {}", mark.display()));
    let shells: [&[u8]; 4] =
        [b"cos\nsystem\n", b"cposix\nsystem\n", b"c__builtin__\neval\n", b"csubprocess\ngetoutput\n"];
    for file in ["checkpoint.pt", "language_model/pytorch_model.bin"] {
        for shell in shells {
            let asks = [shell, order.as_slice(), b"\x85R"].concat();
            let alone = [&b"\x80\x02"[..], &asks, b"."].concat();
            let within = [&b"\x80\x02}"[..], &pickled("weights"), &asks, b"s."].concat();
            for program in [alone, within] {
                let said = refused("a hostile file", "interval", |folder| {
                    relist(&folder.join(file), &program);
                });
                assert!(said.contains("asks to run '"), "{said}");
            }
            // By itself, as torch wrote before it wrote archives.
            refused("a hostile file", "interval", |folder| {
                fs::write(folder.join(file), [&b"\x80\x02"[..], &asks, b"."].concat()).expect("a file");
            });
        }
    }
    assert!(!mark.exists(), "the file was executed");
}

#[test]
fn lists_of_tensors_that_ask_for_too_much() {
    let tensor = |shape: &[u8], stride: &[u8]| {
        let storage = [&pickled("storage")[..], b"ctorch\nFloatStorage\n", &pickled("1"), &pickled("cpu")].concat();
        let made = [&b"ctorch._utils\n_rebuild_tensor_v2\n(("[..], &storage, b"K\x01tQK\0", shape, stride].concat();
        [&b"\x80\x02}"[..], &pickled("perceiver.latents"), &made, b"\x89)tRs."].concat()
    };
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let cases = [
        (tensor(&[&huge[..], huge, b"\x86"].concat(), b"K\x01K\x01\x86"), "has shape [9223372036854775807, "),
        (tensor(&[&huge[..], b"K\x01\x86"].concat(), b"K\x01K\x01\x86"), "has shape [9223372036854775807, 1]"),
        // Of the right shape, but in a smaller storage, or not in order.
        (tensor(b"K\x04K\x08\x86", b"K\x08K\x01\x86"), "only a part"),
        (tensor(b"K\x04K\x08\x86", b"K\x01K\x04\x86"), "in order"),
        (tensor(b")", b")"), "has shape []"),
        (tensor(b"K\x05", b"K\x01"), "without a shape"),
        ([&[b')'][..], &[0x85; 500_000], b"."].concat(), "by name"),
        (b"}".repeat(17 << 20), "longer than it can be"),
        (b"}".repeat(2 << 20), "on and on"),
        (b"\x80\x02X\xff\xff\xff\xff.".to_vec(), "damaged"),
    ];
    for (program, expected) in cases {
        let said = refused(expected, "every-block", |folder| relist(&folder.join("checkpoint.pt"), &program));
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn the_extent_is_that_of_all_parts() {
    for fixture in fixtures() {
        let extent = extent(&fixture.folder).expect("an extent");
        let weights = Weights::open(&fixture.folder, &Device::Cpu).expect("weights");
        assert_eq!(extent.parameters, weights.parameter_count());
        let shapes = weights.shapes();
        assert_eq!(extent.parameters, shapes.values().map(|shape| shape.iter().product::<usize>()).sum::<usize>());
        assert!(shapes.contains_key("perceiver.latents"), "{}", fixture.name);
        let tables = ["language_model.transformer.wte.weight", "language_model.gpt_neox.embed_in.weight"];
        assert!(tables.iter().any(|name| shapes.contains_key(*name)), "{}: no table of words", fixture.name);
        assert!(shapes.keys().any(|name| name.starts_with("vision_encoder.vision_model.")), "{}", fixture.name);
        assert!(extent.bytes > 50_000);
    }
}

#[test]
fn a_picture_that_was_seen_before_needs_no_second_look() {
    for fixture in fixtures() {
        let whole = Prompt { attention_mask: None, ..fixture.row(0) };
        let at_once = fixture.model.forward(&whole, &mut Taps::none()).expect("a pass");
        let seen = fixture.model.see(&whole.pixels, &mut Taps::none()).expect("a pass");
        let later = fixture.model.read(&whole.ids, &seen, &whole.image_mask, &mut Taps::none()).expect("a pass");
        assert_eq!(host(&at_once), host(&later), "{}", fixture.name);
    }
}
