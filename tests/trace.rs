//! `alignscope trace` and its neighbours, run as a person runs them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use alignscope::models::opened::Opened;
use alignscope::models::picture::Picture;
use alignscope::taps::{Array, Recorder, SitePattern, Taps};
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

#[path = "common/checkpoint.rs"]
mod checkpoint;
use checkpoint::checkpoint;

const TEXTS: [&str; 2] = ["a cat and two red balls", "一只猫"];

fn alignscope(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alignscope")).args(arguments).output().expect("the program runs")
}

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data").join(name)
}

/// What the program says when it fails: one line on stderr, nothing on stdout.
fn complaint(arguments: &[&str]) -> String {
    let output = alignscope(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.starts_with("alignscope: ") && said.contains("; ") && said.trim_end().lines().count() == 1, "{said}");
    said
}

#[test]
fn a_trace_holds_what_a_direct_pass_gives() {
    let folder = checkpoint();
    let file = folder.path().join("out").join("t.safetensors");
    let pictures = [picture("scene-000101.png"), picture("chelsea.jpg")];
    let text = |path: &Path| path.display().to_string();
    let output = alignscope(&[
        "trace",
        "--checkpoint",
        &text(folder.path()),
        "--image",
        &text(&pictures[0]),
        "--image",
        &text(&pictures[1]),
        "--text",
        TEXTS[0],
        "--text",
        TEXTS[1],
        "-o",
        &text(&file),
        "--device",
        "cpu",
        "--attribution",
        "relevancy",
        "--word",
        "cat",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let expected = direct(folder.path(), &pictures);
    let found = candle_core::safetensors::load(&file, &Device::Cpu).expect("a trace");
    let mut names: Vec<&str> = found.keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut expected_names: Vec<&str> = expected.keys().map(String::as_str).collect();
    expected_names.extend(["attribution.relevancy", "attention_mask", "input_ids"]);
    expected_names.sort_unstable();
    assert_eq!(names, expected_names);
    for (name, array) in &expected {
        assert_eq!(found[name].dtype(), DType::F32, "{name}");
        let found = Array::from_tensor(&found[name]).expect("floats");
        assert_eq!(found.shape, array.shape, "{name}");
        let off = found.data.iter().zip(&array.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= 1e-6, "{name} is off by {off}");
    }
    for name in ["input_ids", "attention_mask"] {
        assert_eq!((found[name].dtype(), found[name].dims()), (DType::I64, &[2, 8][..]), "{name}");
    }
    let mask = found["attention_mask"].to_vec2::<i64>().expect("a mask");
    assert_eq!(mask, [[1; 8], [1, 1, 1, 1, 1, 0, 0, 0]]);
    assert_eq!(found["attribution.relevancy"].dims(), [2, 4, 4]);

    let bytes = std::fs::read(&file).expect("a file");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let notes = header.metadata().clone().expect("metadata");
    assert_eq!(notes["class"], "CLIPModel");
    assert_eq!(notes["grid"], "[4,4]");
    assert_eq!(notes["attribution.word"], "cat");
    let tokens: Vec<Vec<String>> = serde_json::from_str(&notes["tokens"]).expect("JSON");
    assert_eq!(tokens[0], ["[BOS]", "a", "cat", "and", "two", "red", "balls", "[EOS]"]);
    let texts: Vec<String> = serde_json::from_str(&notes["texts"]).expect("JSON");
    assert_eq!(texts, TEXTS);
}

/// The floats of a trace, computed here with the model alone.
fn direct(folder: &Path, pictures: &[PathBuf]) -> BTreeMap<String, Array> {
    let opened = Opened::open(folder, &Device::Cpu).expect("a checkpoint");
    let pictures: Vec<Picture> = pictures.iter().map(|file| Picture::open(file).expect("a picture")).collect();
    let pixels = opened.pixels(&[&pictures[0].pixels, &pictures[1].pixels]).expect("pixels");
    let batch = opened.texts(&TEXTS).expect("ids");
    let mut recorder = Recorder::new(SitePattern::patterns());
    let model = opened.dual_encoder();
    let mut taps = Taps::none().with(&mut recorder);
    let image = model.encode_image(&pixels, &mut taps).expect("a pass");
    let text = model.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut taps).expect("a pass");
    drop(taps);
    let logits = model.logits(&image.embed, &text.embed).expect("logits");
    let host = |tensor: &Tensor| Array::from_tensor(tensor).expect("floats");
    let outputs = [
        ("pixel_values", host(&pixels)),
        ("logits_per_image", host(&logits)),
        ("logits_per_text", host(&logits.t().expect("a matrix"))),
        ("image_embeds", host(&image.embed)),
        ("text_embeds", host(&text.embed)),
    ];
    let recorded = recorder.finish().activations.into_iter().map(|(site, array)| (site.to_string(), array));
    outputs.into_iter().map(|(name, array)| (name.to_owned(), array)).chain(recorded).collect()
}

#[test]
fn complaints_are_one_sentence_and_leave_no_file() {
    let folder = checkpoint();
    let (here, image) = (folder.path().display().to_string(), picture("rocket.jpg").display().to_string());
    let file = folder.path().join("t.safetensors");
    let out = file.display().to_string();
    let trace = |checkpoint: &str, image: &str, more: &[&str]| {
        let arguments = ["trace", "--checkpoint", checkpoint, "--image", image, "--text", "a cat", "-o", &out];
        complaint(&[&arguments[..], more].concat())
    };
    assert!(trace("/nowhere", &image, &[]).contains("no such checkpoint folder"));
    assert!(trace(&here, "/nowhere.png", &[]).contains("check the path: /nowhere.png"));
    assert!(trace(&here, &here, &[]).contains("that is a folder"));
    assert!(trace(&here, &image, &["--device", "abacus"]).contains("no kind of device called 'abacus'"));
    assert!(trace(&here, &image, &["--sites", "nose.*"]).contains("no site that fits 'nose.*'"));
    assert!(!file.exists());
    let onto_a_folder = ["trace", "--checkpoint", &here, "--image", &image, "--text", "a cat", "-o", &here];
    assert!(complaint(&onto_a_folder).contains(&here));
}

#[test]
fn a_text_that_is_cut_is_told() {
    let folder = checkpoint();
    let (here, image) = (folder.path().display().to_string(), picture("rocket.jpg").display().to_string());
    let out = folder.path().join("t.safetensors").display().to_string();
    let long = "cat ".repeat(5_000);
    let output = alignscope(&["trace", "--checkpoint", &here, "--image", &image, "--text", &long, "-o", &out]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("was cut to 12 tokens") && said.len() < 200, "{said}");
}

#[test]
fn wrong_use_ends_with_status_2() {
    let cases: [&[&str]; 7] = [
        &["trace"],
        &["unheard-of"],
        &["scenes", "--count", "0", "-o", "x"],
        &["scenes", "--count", "1000001", "-o", "x"],
        &["scenes", "--split", "train", "-o", "x"],
        &["trace", "--checkpoint", "c", "--image", "i", "--text", "t", "-o", "o", "--attribution", "cosine"],
        &["trace", "--checkpoint", "c", "--image", "i", "--text", "t", "-o", "o", "--attribution", "x", "--word", "w"],
    ];
    for case in cases {
        let output = alignscope(case);
        assert_eq!(output.status.code(), Some(2), "{case:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[cfg(unix)]
#[test]
fn a_text_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let text = std::ffi::OsStr::from_bytes(b"a \xED\xA0\x80 cat");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignscope"));
    let output = command.args(["trace", "--checkpoint", "c", "--image", "i", "-o", "o", "--text"]).arg(text).output();
    assert_eq!(output.expect("the program runs").status.code(), Some(2));
}

#[test]
fn scenes_are_written_and_the_same_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |place: &str, split: &str| {
        let out = folder.path().join(place).display().to_string();
        let output = alignscope(&["scenes", "--count", "2", "--seed", "5", "--split", split, "-o", &out]);
        assert!(output.status.success());
        let names = ["scene-000005.png", "scene-000005.json", "scene-000006.png", "scene-000006.json"];
        names.map(|name| std::fs::read(Path::new(&out).join(name)).expect("a file"))
    };
    assert_eq!(read("one", "test"), read("two", "test"));
    assert_ne!(read("one", "test"), read("three", "held-out"));
}

#[test]
fn models_are_listed_from_a_cache_even_when_nobody_reads_on() {
    let cache = tempfile::tempdir().expect("a folder");
    let good = checkpoint();
    let snapshot = cache.path().join("models--org--good/snapshots/abc");
    std::fs::create_dir_all(&snapshot).expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(good.path().join(name), snapshot.join(name)).expect("a file");
    }
    for number in 0..200 {
        let broken = cache.path().join(format!("models--org--broken{number}/snapshots/abc"));
        std::fs::create_dir_all(&broken).expect("a folder");
        std::fs::write(broken.join("config.json"), "{").expect("a file");
    }
    let models = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alignscope"));
        command.arg("models").args(arguments).env("HF_HUB_CACHE", cache.path());
        command
    };
    let output = models(&["--json"]).output().expect("the program runs");
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let good = entries.iter().find(|entry| entry["name"] == "org/good").expect("the good one");
    assert_eq!((&good["class"], &good["known"]), (&"CLIPModel".into(), &true.into()));
    assert_eq!(good["method"], "contrastive");
    assert!(good["parameters"].as_u64() > Some(30_000) && good["memory"].as_u64() > good["bytes"].as_u64());
    let broken = entries.iter().filter(|entry| entry["problem"].is_string());
    assert!(broken.count() >= 200);

    let table = String::from_utf8(models(&[]).output().expect("the program runs").stdout).expect("text");
    assert!(table.contains("org/good") && table.contains("Available memory: "), "{table}");

    // As `alignscope models | head -1` does.
    let mut child = models(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
