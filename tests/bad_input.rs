//! Damaged checkpoints and strange texts give one clear sentence that names the file, quickly, and never a panic.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use alignscope::models::opened::Opened;
use alignscope::models::record::Wanted;
use alignscope::taps::{Interventions, SitePattern};
use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use proptest::prelude::*;
use serde_json::{Value, json};

#[path = "common/checkpoint.rs"]
mod checkpoint;
use checkpoint::{CONTEXT, SIDE, checkpoint, read, write};

const FILES: [&str; 4] = ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"];

fn open(folder: &Path) -> Result<Opened, String> {
    let start = Instant::now();
    let opened = Opened::open(folder, &Device::Cpu).map_err(|error| error.to_string());
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    opened
}

/// What is said about a checkpoint that `spoil` has been at: one sentence with the folder's path.
fn refused(what: &str, spoil: impl FnOnce(&Path)) -> String {
    let folder = checkpoint();
    spoil(folder.path());
    let said = open(folder.path()).err().unwrap_or_else(|| panic!("{what} was accepted"));
    assert!(said.contains("; ") && !said.contains('\n'), "{what}: {said}");
    assert!(said.contains(&folder.path().display().to_string()), "{what}: {said}");
    assert!(said.len() < 600, "{what}: {said}");
    said
}

#[test]
fn the_unspoilt_checkpoint_opens() {
    open(checkpoint().path()).expect("a checkpoint");
}

#[test]
fn missing_files() {
    for name in FILES {
        let said = refused(name, |folder| fs::remove_file(folder.join(name)).unwrap());
        assert!(said.contains(name), "{said}");
        let said = refused(name, |folder| {
            fs::remove_file(folder.join(name)).unwrap();
            fs::create_dir(folder.join(name)).unwrap();
        });
        assert!(said.contains(name), "{said}");
    }
    let said = Opened::open(Path::new("/nowhere/at/all"), &Device::Cpu).err().unwrap().to_string();
    assert!(said.starts_with("there is no such checkpoint folder"), "{said}");
}

#[test]
fn files_that_are_empty_garbage_or_far_too_large() {
    for name in FILES {
        for content in [&b""[..], b"\0\0\0\0\0\0\0\0", b"{", b"null", b"[]", b"\"x\"", b"\xFF\xFE{}", &[b'['; 100_000]]
        {
            refused(name, |folder| fs::write(folder.join(name), content).unwrap());
        }
        // A sparse file: 300 MB that take no room, and must not be read.
        let said = refused(name, |folder| {
            fs::File::create(folder.join(name)).and_then(|file| file.set_len(300_000_000)).unwrap();
        });
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn sizes_that_make_no_sense() {
    let absurd = || vec![json!(1_000_000_000_000_u64), json!(1e12), json!(-1), json!(0), json!("24"), json!(null)];
    let block = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"];
    let mut cases = Vec::new();
    for part in ["vision_config", "text_config"] {
        for key in block {
            cases.extend(absurd().into_iter().map(|value| (part, key, value)));
        }
        cases.push((part, "hidden_size", json!(23)));
        cases.push((part, "num_attention_heads", json!(5)));
        cases.push((part, "num_hidden_layers", json!(1_000_000)));
        cases.push((part, "num_hidden_layers", json!(200)));
        cases.push((part, "hidden_act", json!("unheard-of")));
        cases.extend([json!(-1e-5), json!(1e300), json!("x")].into_iter().map(|value| (part, "layer_norm_eps", value)));
    }
    for key in ["image_size", "patch_size", "num_channels"] {
        cases.extend(absurd().into_iter().map(|value| ("vision_config", key, value)));
    }
    cases.push(("vision_config", "image_size", json!(4096)));
    cases.push(("vision_config", "image_size", json!(7)));
    cases.push(("vision_config", "patch_size", json!(33)));
    for key in ["vocab_size", "max_position_embeddings"] {
        cases.extend(absurd().into_iter().map(|value| ("text_config", key, value)));
    }
    cases.push(("text_config", "vocab_size", json!(1_000_000_000_000_000_u64)));
    cases.push(("text_config", "eos_token_id", json!(-3)));
    for (part, key, value) in cases {
        let said = refused(&format!("{part}.{key} = {value}"), |folder| {
            let mut config = read(&folder.join("config.json"));
            config[part][key] = value.clone();
            write(folder, "config.json", &config);
        });
        assert!(!said.contains("report it"), "{part}.{key} = {value}: {said}");
    }
}

#[test]
fn configs_of_something_else() {
    let cases = [
        ("architectures", json!(["BertModel"]), "the config says it is a 'BertModel'"),
        ("architectures", json!(["SiglipModel"]), "model.safetensors"),
        ("text_config", json!("x"), "can't be understood"),
        ("vision_config", json!([1, 2]), "config.json"),
        ("projection_dim", json!(0), "projection_dim = 0"),
        ("projection_dim", json!(25), "visual_projection"),
    ];
    for (key, value, expected) in cases {
        let said = refused(key, |folder| {
            let mut config = read(&folder.join("config.json"));
            config[key] = value;
            write(folder, "config.json", &config);
        });
        assert!(said.contains(expected), "{said}");
    }
    let said = refused("no class", |folder| drop(write(folder, "config.json", &json!({}))));
    assert!(said.contains("names no class") && said.contains("CLIPModel"), "{said}");
}

#[test]
fn weights_that_are_cut_off() {
    let folder = checkpoint();
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let lengths = (0..20).chain((0..whole.len()).step_by(whole.len() / 60)).chain([whole.len() - 1]);
    for length in lengths {
        fs::write(&path, &whole[..length]).unwrap();
        let said = open(folder.path()).err().unwrap();
        assert!(said.contains("fetch it again") && said.contains("model.safetensors"), "{length}: {said}");
    }
    fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(open(folder.path()).is_err());
}

#[test]
fn headers_that_promise_what_is_not_there() {
    let tensor = |shape: &str, end: &str| {
        format!(r#"{{"logit_scale":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let huge = "18446744073709551615";
    let headers = [
        tensor("[1]", "4000000000"),
        tensor("[1000000000]", "4000000000"),
        tensor("[4611686018427387904, 4]", "4"),
        tensor(&format!("[{huge}]"), huge),
        tensor("[-1]", "4"),
        // The end of the last tensor and the length of the header add up to more than a number holds.
        r#"{"a":{"dtype":"F4","shape":[2305843009213693951, 2],"data_offsets":[0,2305843009213693951]}}"#.to_owned(),
    ];
    for header in headers {
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat();
        refused(&header, |folder| fs::write(folder.join("model.safetensors"), bytes).unwrap());
    }
    let long = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    refused("a header without end", |folder| fs::write(folder.join("model.safetensors"), long).unwrap());
}

/// The checkpoint's weights with one of them replaced.
fn with_weight(folder: &Path, name: &str, change: impl FnOnce(&Tensor) -> Tensor) {
    let path = folder.join("model.safetensors");
    let mut weights = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let weight = change(&weights[name]);
    weights.insert(name.to_owned(), weight);
    candle_core::safetensors::save(&weights, path).unwrap();
}

#[test]
fn weights_of_the_wrong_kind() {
    let name = "text_model.final_layer_norm.weight";
    type Change = fn(&Tensor) -> Tensor;
    let cases: [(Change, &str); 5] = [
        (|weight| weight.narrow(0, 0, 31).unwrap(), "has shape [31], but config.json asks for [32]"),
        (|weight| weight.reshape((2, 16)).unwrap(), "has shape [2, 16]"),
        (|weight| weight.to_dtype(DType::I64).unwrap(), "is stored as I64"),
        (|weight| (weight * f64::NAN).unwrap(), "aren't finite"),
        (|weight| (weight / 0.0).unwrap(), "aren't finite"),
    ];
    for (change, expected) in cases {
        let said = refused(expected, |folder| with_weight(folder, name, change));
        assert!(said.contains(expected) && said.contains(name), "{said}");
    }
}

#[test]
fn indexes_that_point_astray() {
    let cases = [
        (json!({}), "no 'weight_map'"),
        (json!({"weight_map": {}}), "no 'weight_map'"),
        (json!({"weight_map": {"logit_scale": 3}}), "isn't a file beside it"),
        (json!({"weight_map": {"logit_scale": "missing.safetensors"}}), "missing.safetensors"),
        (json!({"weight_map": {"logit_scale": "../model.safetensors"}}), "isn't a file beside it"),
        (json!({"weight_map": {"logit_scale": "/etc/passwd"}}), "isn't a file beside it"),
        (json!({"weight_map": {"logit_scale": ".."}}), "isn't a file beside it"),
        (json!({"weight_map": {"logit_scale": ""}}), "isn't a file beside it"),
        (json!({"weight_map": {"logit_scale": "config.json"}}), "isn't a safetensors file"),
    ];
    for (index, expected) in cases {
        let said = refused(&index.to_string(), |folder| {
            fs::remove_file(folder.join("model.safetensors")).unwrap();
            write(folder, "model.safetensors.index.json", &index);
        });
        assert!(said.contains(expected), "{said}");
    }
    // And one that is right.
    let folder = checkpoint();
    fs::rename(folder.path().join("model.safetensors"), folder.path().join("model-1.safetensors")).unwrap();
    write(folder.path(), "model.safetensors.index.json", &json!({"weight_map": {"a": "model-1.safetensors"}}));
    open(folder.path()).expect("a checkpoint in parts");
}

#[test]
fn tokenizers_that_contradict_themselves() {
    // The library itself takes this file, and panics on the first text.
    let said = refused("a template without ids", |folder| {
        let mut tokenizer = read(&folder.join("tokenizer.json"));
        tokenizer["post_processor"]["special_tokens"] = json!({});
        write(folder, "tokenizer.json", &tokenizer);
    });
    assert!(said.contains("puts in '[BOS]', which has no id"), "{said}");
}

fn ask(opened: &Opened, text: &str) -> Result<(), String> {
    let picture = RgbImage::new(SIDE, SIDE);
    let (pictures, texts) = ([&picture], [text.to_owned()]);
    let sites = SitePattern::patterns();
    let under = Interventions::default();
    let pass = opened.record(&Wanted { pictures: &pictures, texts: &texts, sites, prompt: None, most: 0, under });
    pass.map(|pass| assert!(pass.floats["logits_per_image"].data[0].is_finite())).map_err(|error| error.to_string())
}

#[test]
fn strange_texts_are_read() {
    let folder = checkpoint();
    let opened = open(folder.path()).unwrap();
    let long = "a cat ".repeat(100_000);
    let texts = ["", " ", "\0", "a\0cat", "🐈 👩‍👩‍👧 e\u{301}", "\u{FFFD}\u{200D}\u{FEFF}", "[EOS] [PAD]", "\n\t", &long];
    for text in texts {
        ask(&opened, text).unwrap();
        let tokens = opened.tokenizer.encode(text).unwrap();
        assert!(tokens.ids.len() <= CONTEXT);
        for span in tokens.spans.into_iter().flatten() {
            assert!(text.get(span.0..span.1).is_some(), "{text:?}: {span:?}");
        }
    }
    assert!(opened.tokenizer.encode(&long).unwrap().cut);
    assert!(!opened.tokenizer.encode("a cat").unwrap().cut);
    let none: [String; 0] = [];
    assert!(opened.texts(&none).err().unwrap().to_string().contains("no text"));
}

#[test]
fn parts_that_do_not_belong_together() {
    let folder = checkpoint();
    write(folder.path(), "tokenizer.json", &alignscope::training::tokenizer::tokenizer_json());
    let opened = open(folder.path()).unwrap();
    let last = alignscope::training::tokenizer::words().pop().unwrap();
    let said = ask(&opened, &last).unwrap_err();
    assert!(said.contains("the model knows 99 tokens; use the tokenizer.json"), "{said}");

    let folder = checkpoint();
    let processor = json!({"image_processor_type": "CLIPImageProcessor", "size": 40, "crop_size": 40});
    write(folder.path(), "preprocessor_config.json", &processor);
    let said = ask(&open(folder.path()).unwrap(), "a cat").unwrap_err();
    assert!(said.contains("takes pictures of 32 x 32 pixels, not 40 x 40; correct"), "{said}");

    let folder = checkpoint();
    with_weight(folder.path(), "logit_scale", |scale| scale.affine(0.0, 1000.0).unwrap());
    let said = ask(&open(folder.path()).unwrap(), "a cat").unwrap_err();
    assert!(said.contains("scores that aren't finite"), "{said}");
}

/// Any JSON that a damaged file could hold in one place.
fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0u64..100).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[0, -1], {"id": u64::MAX}])),
    ]
}

/// The value in a JSON tree that `at` leads to, whatever the tree's shape.
fn place(value: &mut Value, mut at: usize) -> &mut Value {
    let children = match value {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    // One way in a few stops here, so that whole parts are replaced too.
    if children == 0 || at % 7 == 6 {
        return value;
    }
    let which = at % children;
    at /= children;
    match value {
        Value::Object(map) => place(map.values_mut().nth(which).expect("counted"), at),
        Value::Array(list) => place(&mut list[which], at),
        _ => unreachable!("has children"),
    }
}

/// Opens the folder and, if that works, uses it: a sentence is fine, a panic is not.
fn survive(folder: &Path) {
    if let Err(said) = open(folder).and_then(|opened| ask(&opened, "two red balls left of a zzz cat")) {
        assert!(said.contains("; ") && !said.contains('\n'), "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_in_any_file(which in 0usize..4, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        refused("random bytes", |folder| fs::write(folder.join(FILES[which]), &bytes).unwrap());
    }

    #[test]
    fn changed_bytes_in_the_header(at in 0usize..2000, byte in any::<u8>()) {
        let folder = checkpoint();
        let path = folder.path().join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] = byte;
        fs::write(&path, bytes).unwrap();
        survive(folder.path());
    }

    #[test]
    fn changed_values_in_the_config(at in any::<usize>(), value in any_json()) {
        let folder = checkpoint();
        let mut config = read(&folder.path().join("config.json"));
        *place(&mut config, at) = value;
        write(folder.path(), "config.json", &config);
        survive(folder.path());
    }

    #[test]
    fn changed_values_in_the_tokenizer(at in any::<usize>(), value in any_json()) {
        let folder = checkpoint();
        let mut tokenizer = read(&folder.path().join("tokenizer.json"));
        *place(&mut tokenizer, at) = value;
        write(folder.path(), "tokenizer.json", &tokenizer);
        survive(folder.path());
    }
}
