//! The targets of the fuzzers in `fuzz` once more: what was found stays harmless, and so do properties of random files.

use std::borrow::Cow;
use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

use proptest::prelude::*;

#[path = "common/bounded.rs"]
mod bounded;
use bounded::{alone, paths, within};

// The targets of the fuzzers are used here as they stand there, with what they share.
extern crate self as alignscope_fuzz;
#[path = "../fuzz/src/lib.rs"]
mod shared;
pub use shared::*;

#[path = "../fuzz/targets"]
mod fuzzed {
    pub mod chat_template;
    pub mod config;
    pub mod gguf;
    pub mod picture;
    pub mod preprocessor;
    pub mod safetensors;
    pub mod session;
    pub mod tokenizer;
    pub mod torch;
}

/// What a target does with bytes.
type Take = fn(&[u8]);

/// The targets by name.
const TARGETS: [(&str, Take); 9] = [
    ("chat_template", fuzzed::chat_template::take),
    ("config", fuzzed::config::take),
    ("gguf", fuzzed::gguf::take),
    ("picture", fuzzed::picture::take),
    ("preprocessor", fuzzed::preprocessor::take),
    ("safetensors", fuzzed::safetensors::take),
    ("session", fuzzed::session::take),
    ("tokenizer", fuzzed::tokenizer::take),
    ("torch", fuzzed::torch::take),
];

#[test]
fn what_the_fuzzers_found_does_no_harm_any_more() {
    let _alone = alone();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile");
    for file in paths(&folder).into_iter().filter(|path| path.is_file()) {
        let target = file.parent().and_then(Path::file_name).expect("a folder").to_string_lossy().into_owned();
        let (_, take) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
        println!("{}", file.display());
        let data = fs::read(&file).expect("a file");
        within(1536, move || take(&data));
    }
}

#[test]
fn every_target_is_explained_and_repeated_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let text = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
    let (manifest, about) = (text("Cargo.toml"), text("README.md"));
    let (_, bins) = manifest.split_once("[[bin]]").expect("targets");
    let named: Vec<&str> = bins.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert_eq!(named, TARGETS.map(|(name, _)| name), "the targets here and in fuzz/Cargo.toml");
    for name in named {
        assert!(about.contains(&format!("| `{name}` |")), "fuzz/README.md says nothing of {name}");
    }
}

/// True files of a target that reads no JSON.
fn whole(target: &str) -> Vec<Vec<u8>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let read = |path: &str| fs::read(fixtures.join(path)).expect("a fixture");
    match target {
        "chat_template" => vec![TEMPLATE.as_bytes().to_vec()],
        "gguf" => {
            let file = |at: u8, name: &str| [vec![at], read(&format!("gguf/f32/{name}"))].concat();
            vec![file(0, "model.gguf"), file(1, "mmproj-model.gguf")]
        }
        "picture" => {
            ["grey.png", "landscape.jpg", "progressive.jpg", "lossless.webp", "lossy.webp", "palette.gif", "plain.bmp"]
                .map(|name| read(&format!("pictures/{name}")))
                .into()
        }
        "safetensors" => vec![read("clip/first-end/model.safetensors")],
        "torch" => {
            let archive = read("open-flamingo/interval/checkpoint.pt");
            let mut opened = zip::ZipArchive::new(Cursor::new(&archive)).expect("an archive");
            let names = opened.file_names().flatten().map(Cow::into_owned).collect::<Vec<_>>();
            let name = names.iter().find(|name| name.ends_with("data.pkl")).expect("a list of tensors");
            let mut pickle = Vec::new();
            opened.by_name(name).expect("a file").read_to_end(&mut pickle).expect("bytes");
            vec![archive, pickle]
        }
        _ => Vec::new(),
    }
}

/// A template that uses much of what is allowed.
const TEMPLATE: &str = "{% if messages[0].role == 'system' %}{% set system = messages[0].content | trim %}{% endif %}\
    {{ bos_token }}{% for m in messages -%}{% if loop.first and not system %}{{ m['role'].upper() ~ ': ' }}{% else %}\
    {% for part in m.content | selectattr('type', 'equalto', 'text') %}{{ part['text'].replace('a', 'bb') + ' ' }}\
    {% endfor %}{% endif %}{% if loop.index0 % 2 == 1 %}{% break %}{% endif %}{% endfor %}";

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of any bytes, and, where the target reads JSON, of any changes to a whole file.
    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..32) {
        for (_, take) in TARGETS {
            take(&data);
            take(&[&[kind][..], &data].concat());
        }
    }

    /// Of a true file in which bytes are changed, taken out and put in.
    #[test]
    fn changed_bytes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
        which in any::<prop::sample::Index>(),
    ) {
        for (target, take) in TARGETS {
            let whole = whole(target);
            if whole.is_empty() {
                continue;
            }
            let mut data = which.get(&whole).clone();
            for (place, byte, kind) in &changes {
                // Most of what matters stands in the beginning.
                let at = place.index(if *kind == 0 { data.len() } else { data.len().min(400) });
                match kind {
                    0 | 1 => data[at] = *byte,
                    _ if byte % 2 == 0 => drop(data.remove(at)),
                    _ => data.insert(at, *byte),
                }
            }
            take(&data);
        }
    }
}
