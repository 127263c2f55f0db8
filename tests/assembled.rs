//! An OpenFlamingo as it is published: loaded from three repositories, and opened with what its parts know of texts and pictures.

#[path = "common/checkpoint.rs"]
mod checkpoint;
#[path = "common/hub.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod hub;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alignscope::models::cache::snapshots;
use alignscope::models::catalogue::{Published, published};
use alignscope::models::fusion::OpenedFusion;
use alignscope::models::hub::{Hub, Settings};
use alignscope::models::preprocess::{Class, ImageProcessor};
use alignscope::taps::CancelToken;
use candle_core::Device;
use hub::{COMMIT, Reply, Repository, Server};
use serde_json::Value;
use tempfile::TempDir;

const NAME: &str = "openflamingo/OpenFlamingo-3B-vitl-mpt1b";

fn entry() -> Published {
    published().expect("a catalogue").into_iter().find(|model| model.name == NAME).expect("an entry")
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/open-flamingo").join(name)
}

/// All files of a folder, as a model on the hub has them.
fn repository(name: &str, folder: &Path) -> Repository {
    let mut repository = Repository { name: name.to_owned(), ..Repository::default() };
    for file in fs::read_dir(folder).expect("a folder").flatten().filter(|file| file.path().is_file()) {
        let content = fs::read(file.path()).expect("a file");
        repository = repository.with(&file.file_name().to_string_lossy(), content);
    }
    repository
}

/// What a config says of a token.
fn token(folder: &Path, key: &str) -> u64 {
    let config: Value = serde_json::from_slice(&fs::read(folder.join("config.json")).expect("a file")).expect("JSON");
    config[key].as_u64().expect("a number")
}

/// The three of them, made of a fixture; the language model knows `words` words, as many as it needs unless it is said.
fn repositories(name: &str, words: Option<u64>) -> [Repository; 3] {
    let (entry, folder) = (entry(), fixture(name));
    let parts = entry.assembly.expect("an assembly").parts;
    let words = words.unwrap_or_else(|| token(&folder, "eoc_token_id"));
    let tokenizer = checkpoint::first_words(words).to_string();
    let side = if name == "gpt-neox" { 12 } else { 16 };
    [
        repository(NAME, &folder).without("config.json").without("reference.safetensors"),
        repository(&parts["language_model"], &folder.join("language_model")).with("tokenizer.json", tokenizer),
        repository(&parts["vision_encoder"], &folder.join("vision_encoder"))
            .with("tokenizer.json", "{}")
            .with("preprocessor_config.json", ImageProcessor::new(Class::Clip, side).to_json()),
    ]
}

fn serve(repositories: [Repository; 3]) -> Server {
    Server::start(move |request| {
        let answers = repositories.iter().map(|repository| repository.answer(request));
        answers.into_iter().find(|reply| reply.status != 404).unwrap_or_else(|| Reply::status(404))
    })
}

fn client(server: &Server) -> (TempDir, Hub) {
    let cache = tempfile::tempdir().expect("a folder");
    let settings = Settings { endpoint: server.url(), token: None, cache: cache.path().to_path_buf() };
    (cache, Hub::new(settings).expect("a hub"))
}

/// Loads what is served, and lets the config be that of the fixture, whose tables are small.
fn loaded(name: &str, words: Option<u64>) -> (TempDir, PathBuf) {
    let server = serve(repositories(name, words));
    let (cache, hub) = client(&server);
    let cancel = CancelToken::default();
    let plan = hub.ask(NAME, &cancel).expect("a plan");
    let folder = hub.load(&plan, &cancel, &mut |_| ()).expect("a folder");
    fs::copy(fixture(name).join("config.json"), folder.join("config.json")).expect("a config");
    (cache, folder)
}

#[test]
fn its_parts_are_loaded_each_into_its_place_and_its_folder_leads_to_them() {
    let repositories = repositories("every-block", None);
    let bytes: usize = repositories.iter().flat_map(|repository| repository.files.values()).map(Vec::len).sum();
    let server = serve(repositories.clone());
    let (cache, hub) = client(&server);
    let cancel = CancelToken::default();
    let plan = hub.ask(NAME, &cancel).expect("a plan");
    assert_eq!((plan.class.as_str(), plan.bytes as usize), ("OpenFlamingo", bytes));
    assert_eq!(plan.count(), repositories.iter().map(|repository| repository.files.len()).sum::<usize>());
    assert!(snapshots(cache.path()).is_empty(), "nothing counts as a checkpoint before it is whole");

    let mut progress = Vec::new();
    let folder = hub.load(&plan, &cancel, &mut |news| progress.push((news.done, news.all))).expect("a folder");
    assert_eq!(progress.last(), Some(&(plan.bytes, plan.bytes)));
    assert!(progress.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    let config: Value = serde_json::from_slice(&fs::read(folder.join("config.json")).expect("a file")).expect("JSON");
    assert_eq!(config, entry().assembly.expect("an assembly").config);
    for (part, repository) in [("language_model", &repositories[1]), ("vision_encoder", &repositories[2])] {
        for (file, content) in &repository.files {
            assert_eq!(&fs::read(folder.join(part).join(file)).expect("a file"), content, "{part}/{file}");
        }
    }
    // Where Python would look for them, too.
    let own = cache.path().join("models--openai--clip-vit-large-patch14/snapshots").join(COMMIT);
    assert!(own.join("config.json").is_file());
    assert!(snapshots(cache.path()).iter().any(|(name, found)| name == NAME && *found == folder));

    // Once more: nothing is left to load, and nothing is asked for again.
    let again = hub.ask(NAME, &cancel).expect("a plan");
    assert_eq!(again.missing, 0);
    let before = server.count("checkpoint.pt");
    hub.load(&again, &cancel, &mut |_| ()).expect("a folder");
    assert_eq!(server.count("checkpoint.pt"), before);
}

#[test]
fn a_part_that_is_not_there_is_named() {
    let [own, language, vision] = repositories("every-block", None);
    let lost = language.name.clone();
    let server = serve([own, vision, Repository::default()]);
    let (cache, hub) = client(&server);
    let said = hub.ask(NAME, &CancelToken::default()).expect_err("a refusal").to_string();
    assert!(said.contains(&lost) && said.contains("; ") && !said.contains('\n'), "{said}");
    assert!(snapshots(cache.path()).is_empty());
}

#[test]
fn what_was_loaded_reads_texts_and_pictures_as_its_parts_do() {
    for name in ["every-block", "gpt-neox"] {
        let (_cache, folder) = loaded(name, None);
        let opened = OpenedFusion::open(&folder, &Device::Cpu).expect("a model");
        for (text, key) in [("<image>", "media_token_id"), ("<|endofchunk|>", "eoc_token_id")] {
            let id = token(&folder, key) as u32;
            assert_eq!(opened.tokenizer.id(text), Some(id), "{name}");
            assert!(opened.tokenizer.encode(text).expect("tokens").ids.contains(&id), "{name}: {text}");
        }
        let out = folder.join("trace.safetensors");
        let mut trace = Command::new(env!("CARGO_BIN_EXE_alignscope"));
        trace.args(["trace", "--text", "a cat", "--image"]);
        trace.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/scene-000101.png"));
        let done = trace.arg("--checkpoint").arg(&folder).arg("-o").arg(&out).output().expect("the program starts");
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        let tensors = candle_core::safetensors::load(&out, &Device::Cpu).expect("a trace");
        assert!(tensors.keys().any(|site| site.contains("cross_attn")), "{name}: {:?}", tensors.keys());
    }
}

#[test]
fn a_tokenizer_with_other_ids_is_refused() {
    let (_cache, folder) = loaded("every-block", Some(40));
    let said = OpenedFusion::open(&folder, &Device::Cpu).err().expect("a refusal").to_string();
    assert!(said.contains("<image> has the id 41") && said.contains("config.json says 56"), "{said}");
}
