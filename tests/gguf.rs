//! Files as llama.cpp has them: texts against transformers' converter of such tokenizers, folders, and files that are damaged,
//! hostile or of something else. Their numbers are held against the reference in `parity_llava`.

use std::path::{Path, PathBuf};

use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::gguf::{Header, Pair};
use alignscope::models::projector::OpenedProjector;
use alignscope::models::runtime::{Precision, Runtime};
use alignscope::models::weights::extent;
use alignscope::world::{Scene, Split};
use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Value};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name)
}

const ALL: [&str; 4] = ["vicuna-q8", "k-quants", "layers-bf16", "f32"];

#[test]
fn texts_become_the_ids_that_transformers_gives() {
    for name in ALL {
        let opened = OpenedProjector::open(&fixture(name), &Device::Cpu).expect("a checkpoint");
        let texts = std::fs::read_to_string(fixture(name).join("texts.json")).expect("texts");
        let texts: serde_json::Value = serde_json::from_str(&texts).expect("JSON");
        let texts = texts.as_array().expect("texts");
        assert!(texts.len() >= 6);
        for given in texts {
            let text = given["text"].as_str().expect("a text");
            let ids = opened.tokenizer.encode(text).expect("ids").ids;
            assert_eq!(serde_json::json!(ids), given["ids"], "{name}: {text}");
            let plain = text.trim_start();
            let written = opened.tokenizer.decode(&opened.tokenizer.encode(plain).expect("ids").ids[1..]);
            assert_eq!(written.expect("a text"), plain, "{name}");
        }
    }
}

/// What a person reads of single tokens: no marks of the tokenizer, and bytes by their names.
#[test]
fn tokens_are_shown_as_they_are_read() {
    let opened = OpenedProjector::open(&fixture("f32"), &Device::Cpu).expect("a checkpoint");
    let shown = |name: &str| opened.tokenizer.token(opened.tokenizer.id(name).expect("a token"));
    let expected =
        [("▁cat", " cat"), ("cat", "cat"), ("<0x6D>", "m"), ("<0x81>", "<0x81>"), ("<s>", "<s>"), ("猫", "猫")];
    for (name, text) in expected {
        assert_eq!(shown(name), text, "{name}");
    }
    assert_eq!(opened.tokenizer.token(u32::MAX), "");
}

#[test]
fn pictures_conversations_and_precisions_work_as_of_any_other_checkpoint() {
    let picture = Scene::random(Split::Test, 3).draw();
    for name in ALL {
        for precision in Precision::ALL {
            let runtime = Runtime { device: Device::Cpu, precision };
            let opened = OpenedProjector::open(&fixture(name), &runtime).expect("a checkpoint");
            let asked = opened.asked("what is there?", 1).expect("a prompt");
            if name == "k-quants" {
                assert!(asked.starts_with("user: "), "{asked}");
            } else {
                assert_eq!(asked, "USER: <image>\nwhat is there? ASSISTANT:");
            }
            let tokens = opened.tokens_about(&asked).expect("tokens");
            assert!(
                tokens.ids.iter().filter(|id| **id == opened.model().placeholder()).count() > 0 || name == "k-quants"
            );
            let pixels = opened.pixels(&[&picture]).expect("pixels");
            let dims = pixels.dims4().expect("four axes");
            assert_eq!((dims.2, dims.3), (opened.model().config().vision_config.tower.image_size, dims.2));
        }
        let sizes = extent(&fixture(name)).expect("an extent");
        assert!(sizes.parameters > 10_000 && sizes.bytes > 20_000, "{name}: {sizes:?}");
    }
}

#[test]
fn a_folder_or_the_file_of_the_language_model_names_both_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let copy = |from: &str, to: &str| {
        std::fs::copy(fixture("f32").join(from), place(to)).expect("a copy");
    };
    let said = |path: &Path| Checkpoint::open(path).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(Pair::at(folder.path()).expect("nothing").is_none());
    copy("model.gguf", "llava-q4.gguf");
    assert!(said(folder.path()).contains("lacks a vision file"), "{}", said(folder.path()));
    copy("mmproj-model.gguf", "llava-MMPROJ-f16.GGUF");
    let whole = Checkpoint::open(folder.path()).expect("a checkpoint");
    assert_eq!(whole.class(), "LlavaForConditionalGeneration");
    copy("model.gguf", "llava-q8.gguf");
    assert!(said(folder.path()).contains("several language models"), "{}", said(folder.path()));
    let one = Checkpoint::open(&place("llava-q8.gguf")).expect("a checkpoint");
    assert_eq!(one.gguf.expect("files").language.path, place("llava-q8.gguf"));
    OpenedProjector::open(&place("llava-q8.gguf"), &Device::Cpu).expect("a model");
    copy("mmproj-model.gguf", "mmproj-2.gguf");
    assert!(said(&place("llava-q8.gguf")).contains("several vision files"));
    std::fs::remove_file(place("llava-q4.gguf")).expect("removed");
    std::fs::remove_file(place("llava-q8.gguf")).expect("removed");
    std::fs::remove_file(place("mmproj-2.gguf")).expect("removed");
    assert!(said(folder.path()).contains("lacks a language model"));
}

/// A file with these keys and no tensors.
fn file(folder: &Path, keys: &[(&str, Value)]) -> PathBuf {
    let path = folder.join("made.gguf");
    let keys: Vec<(&str, &Value)> = keys.iter().map(|(key, value)| (*key, value)).collect();
    let mut out = std::fs::File::create(&path).expect("a file");
    gguf_file::write(&mut out, &keys, &[]).expect("written");
    path
}

#[test]
fn what_is_damaged_or_hostile_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |bytes: &[u8]| {
        let path = folder.path().join("bad.gguf");
        std::fs::write(&path, bytes).expect("written");
        let said = Header::read(&path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("; ") && !said.contains('\n'), "{said}");
    };
    let whole = std::fs::read(fixture("f32").join("model.gguf")).expect("a file");
    for length in [0, 3, 4, 8, 20, 24, 100, 4000, whole.len() - 1] {
        refused(&whole[..length]);
    }
    // Counts and lengths that no file has.
    for at in [8, 16, 24] {
        let mut changed = whole.clone();
        changed[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        refused(&changed);
    }
    let zero = file(folder.path(), &[("general.alignment", Value::U32(0))]);
    refused(&std::fs::read(zero).expect("a file"));
    let fine = file(folder.path(), &[("general.alignment", Value::U32(32))]);
    assert!(Header::read(&fine).is_ok());
    assert!(Header::read(folder.path()).is_err() && Header::read(&folder.path().join("none.gguf")).is_err());
}

#[test]
fn what_isnt_known_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = |keys: &[(&str, Value)]| {
        let language = file(folder.path(), keys);
        let pair = Pair { language, vision: fixture("f32").join("mmproj-model.gguf") };
        pair.read().and_then(|headers| headers.config()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let text = |text: &str| Value::String(text.to_owned());
    assert!(config(&[("general.architecture", text("mamba"))]).contains("'mamba'"));
    assert!(config(&[("general.architecture", text("llama"))]).contains("llama.attention.head_count"));
    let experts = [("general.architecture", text("llama")), ("llama.expert_count", Value::U32(8))];
    assert!(config(&experts).contains("experts"));
    // The two files the wrong way round.
    let folder = fixture("f32");
    let swapped = Pair { language: folder.join("mmproj-model.gguf"), vision: folder.join("model.gguf") };
    let swapped = swapped.read().expect("two files");
    assert!(swapped.config().is_err() && swapped.tokenizer(10).is_err() && swapped.processor().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes stand in the header, it is an error or a header, and so is the model that is made of it.
    #[test]
    fn changed_bytes_never_bring_it_down(changes in prop::collection::vec((0usize..9000, any::<u8>()), 1..6), vision in any::<bool>()) {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["model.gguf", "mmproj-model.gguf"] {
            let mut bytes = std::fs::read(fixture("f32").join(name)).expect("a file");
            if vision == name.starts_with("mmproj") {
                for (at, byte) in &changes {
                    let last = bytes.len() - 1;
                    bytes[(*at).min(last)] = *byte;
                }
            }
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        if let Err(error) = OpenedProjector::open(folder.path(), &Device::Cpu) {
            let said = error.to_string();
            prop_assert!(said.contains("; ") && !said.contains('\n'), "{}", said);
        }
    }
}
