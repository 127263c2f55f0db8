//! Downloads by name, from a server on loopback that speaks the hub's protocol, in good order and in every kind of disorder.

#[path = "common/hub.rs"]
mod hub;

use alignscope::Error;
use alignscope::models::cache::snapshots;
use alignscope::models::hub::{Hub, Progress, Settings};
use alignscope::models::opened::Opened;
use alignscope::taps::CancelToken;
use candle_core::Device;
use hub::{COMMIT, Reply, Repository, Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAME: &str = "org/model";

/// A cache of its own, and what is loaded into it.
struct Client {
    cache: TempDir,
    hub: Hub,
    pauses: Arc<Mutex<Vec<u64>>>,
    cancel: CancelToken,
    progress: Vec<Progress>,
}

impl Client {
    fn new(server: &Server) -> Self {
        Self::with(server, None, tempfile::tempdir().expect("a folder"))
    }

    fn with(server: &Server, token: Option<&str>, cache: TempDir) -> Self {
        let pauses: Arc<Mutex<Vec<u64>>> = Arc::default();
        let noted = Arc::clone(&pauses);
        let settings =
            Settings { endpoint: server.url(), token: token.map(str::to_owned), cache: cache.path().to_path_buf() };
        // Pauses are noted, not spent.
        let hub = Hub::new(settings).expect("a hub").waiting(Arc::new(move |pause, _: &CancelToken| {
            noted.lock().expect("a lock").push(pause.as_secs());
        }));
        Self { cache, hub, pauses, cancel: CancelToken::default(), progress: Vec::new() }
    }

    fn load(&mut self) -> alignscope::Result<PathBuf> {
        let plan = self.hub.ask(NAME, &self.cancel)?;
        let progress = &mut self.progress;
        self.hub.load(&plan, &self.cancel, &mut |news| progress.push(news))
    }

    fn fail(&mut self) -> String {
        self.load().expect_err("a refusal").to_string()
    }

    fn model(&self, inner: &str) -> PathBuf {
        self.cache.path().join("models--org--model").join(inner)
    }

    fn pauses(&self) -> Vec<u64> {
        self.pauses.lock().expect("a lock").clone()
    }
}

fn holds(folder: &Path, repository: &Repository, files: &[&str]) {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    assert_eq!(names, files);
    for file in files {
        assert_eq!(fs::read(folder.join(file)).expect("a file"), repository.files[*file], "{file}");
    }
}

const USUAL: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

#[test]
fn what_is_read_here_is_loaded_in_pythons_layout() {
    let repository = Repository::made_up(NAME);
    let server = Server::of(&repository);
    let mut client = Client::new(&server);
    let plan = client.hub.ask(NAME, &client.cancel).expect("a plan");
    let bytes: usize = USUAL.iter().map(|file| repository.files[*file].len()).sum();
    assert_eq!((plan.class.as_str(), plan.bytes), ("CLIPModel", bytes as u64));
    assert_eq!(plan.missing, plan.bytes - repository.files["config.json"].len() as u64);
    assert!(plan.free.is_some());
    assert!(snapshots(client.cache.path()).is_empty(), "nothing counts as a checkpoint before it is whole");

    let folder = client.load().expect("a folder");
    assert_eq!(folder, client.model("snapshots").join(COMMIT));
    holds(&folder, &repository, &USUAL);
    assert_eq!(fs::read_to_string(client.model("refs/main")).expect("a reference"), COMMIT);
    assert_eq!(snapshots(client.cache.path()), [(NAME.to_owned(), folder.clone())]);
    #[cfg(unix)]
    for file in USUAL {
        let target = fs::read_link(folder.join(file)).expect("a link");
        assert_eq!(target, Path::new("../../blobs").join(repository.digits(file)));
    }
    assert_eq!(fs::read_dir(client.model("blobs")).expect("a folder").count(), USUAL.len(), "nothing else is left");

    let last = client.progress.last().expect("progress");
    assert_eq!((last.done, last.all), (plan.bytes, plan.bytes));
    assert!(client.progress.windows(2).all(|pair| pair[0].done <= pair[1].done));
    assert!(client.progress.iter().any(|news| news.file == "model.safetensors" && news.done < news.all));
    assert_eq!(server.count("pytorch_model.bin") + server.count("README.md"), 0);

    // What is here isn't asked for again.
    let asked = server.count("model.safetensors");
    client.load().expect("a folder");
    assert_eq!((server.count("model.safetensors"), server.count("config.json")), (asked, 1));
}

#[test]
fn shards_are_those_that_the_index_lists() {
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let repository = Repository::made_up(NAME)
        .without("model.safetensors")
        .with("model.safetensors.index.json", index)
        .with("model-00001-of-00002.safetensors", "one")
        .with("model-00002-of-00002.safetensors", "two")
        .with("model-00001-of-00003.safetensors", "left over");
    let server = Server::of(&repository);
    let mut client = Client::new(&server);
    let files = [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ];
    holds(&client.load().expect("a folder"), &repository, &files);

    let lost = Server::of(&repository.clone().without("model-00002-of-00002.safetensors"));
    let said = Client::new(&lost).fail();
    assert!(said.contains("has no model-00002-of-00002.safetensors"), "{said}");

    let old = repository.without("model.safetensors.index.json");
    let server = Server::of(&old);
    holds(
        &Client::new(&server).load().expect("a folder"),
        &old,
        &["config.json", "pytorch_model.bin", "tokenizer.json"],
    );
}

#[test]
fn a_cut_connection_goes_on_where_it_broke() {
    let repository = Repository::made_up(NAME);
    let served = repository.clone();
    let server = Server::start(move |request| {
        let reply = served.answer(request);
        let cut = (request.is_for("model.safetensors") && request.before < 2).then_some(400_000);
        Reply { cut, ..reply }
    });
    let mut client = Client::new(&server);
    holds(&client.load().expect("a folder"), &repository, &USUAL);
    let begins: Vec<_> =
        server.seen().iter().filter(|request| request.is_for("model.safetensors")).map(hub::Request::from).collect();
    assert_eq!(begins, [0, 400_000, 800_000]);
    assert_eq!(client.pauses(), [1, 2]);
    assert!(client.progress.iter().any(|news| news.pause == Some(Duration::from_secs(2)) && news.done > 800_000));
}

#[test]
fn what_another_call_began_is_gone_on_with_and_what_is_damaged_begins_anew() {
    let repository = Repository::made_up(NAME);
    let weights = &repository.files["model.safetensors"];
    let begin = |content: &[u8]| {
        let server = Server::of(&repository);
        let mut client = Client::new(&server);
        fs::create_dir_all(client.model("blobs")).expect("a folder");
        let path = client.model("blobs").join(format!("{}.incomplete", repository.digits("model.safetensors")));
        fs::write(path, content).expect("a file");
        let plan = client.hub.ask(NAME, &client.cancel).expect("a plan");
        holds(&client.load().expect("a folder"), &repository, &USUAL);
        let asked = server.seen().into_iter().filter(|request| request.is_for("model.safetensors"));
        (plan.bytes - plan.missing, asked.map(|request| request.from()).collect::<Vec<_>>())
    };
    let config = repository.files["config.json"].len() as u64;
    assert_eq!(begin(&weights[..1_000_000]), (config + 1_000_000, vec![1_000_000]));
    // All of it, but for its name.
    assert_eq!(begin(weights), (config + weights.len() as u64, vec![]));
    assert_eq!(begin(&[7; 1000]), (config + 1000, vec![1000, 0]), "its checksum is wrong");
    assert_eq!(begin(&[7; 4_000_000]), (config, vec![0]), "longer than the file");
}

#[test]
fn servers_without_ranges_or_with_others_are_understood() {
    for kind in 0..3 {
        let repository = Repository::made_up(NAME);
        let served = repository.clone();
        let server = Server::start(move |request| {
            let whole = served.answer(&hub::Request { headers: std::collections::BTreeMap::new(), ..request.clone() });
            match (request.is_for("model.safetensors"), request.before, kind) {
                (true, 0, _) => Reply { cut: Some(1_500_000), ..whole },
                (true, 1, 1) => Reply::status(416),
                (true, 1, 2) => Reply { status: 206, ..whole }.header("Content-Range", "bytes 5-2999999/3000000"),
                _ => whole,
            }
        });
        let mut client = Client::new(&server);
        holds(&client.load().expect("a folder"), &repository, &USUAL);
    }
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let repository = Repository::made_up(NAME);
    let weights = repository.files["model.safetensors"].clone();
    let store = Server::start(move |request| match request.path.as_str() {
        "/store/blob?signature=abc" => Reply::part(request, &weights),
        _ => Reply::status(403),
    });
    let served = repository.clone();
    let target = format!("{}/store/blob?signature=abc", store.url());
    let server = Server::start(move |request| {
        if request.headers.get("authorization").map(String::as_str) != Some("Bearer hf_secret") {
            return Reply::status(401);
        }
        match request.path.strip_prefix("/moved") {
            Some(path) => served.answer(&hub::Request { path: path.to_owned(), ..request.clone() }),
            None if request.is_for("model.safetensors") => Reply::status(302).header("Location", &target),
            // A model that was renamed, at the same address.
            None => Reply::status(307).header("Location", &format!("/moved{}", request.path)),
        }
    });
    let mut client = Client::with(&server, Some("hf_secret"), tempfile::tempdir().expect("a folder"));
    holds(&client.load().expect("a folder"), &repository, &USUAL);
    let seen = store.seen();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|request| !request.headers.contains_key("authorization")), "{seen:?}");
    assert!(!format!("{seen:?}").contains("hf_secret"));
}

#[test]
fn a_store_that_refuses_is_asked_again_by_way_of_the_hub() {
    let repository = Repository::made_up(NAME);
    let weights = repository.files["model.safetensors"].clone();
    let store = Server::start(move |request| match request.before {
        0 => Reply::status(403),
        _ => Reply::part(request, &weights),
    });
    let (served, target) = (repository.clone(), format!("{}/signed", store.url()));
    let server = Server::start(move |request| {
        let leads_on = Reply::status(302).header("Location", &target);
        if request.is_for("model.safetensors") { leads_on } else { served.answer(request) }
    });
    holds(&Client::new(&server).load().expect("a folder"), &repository, &USUAL);
    assert_eq!(server.count("model.safetensors"), 2);
}

#[test]
fn redirects_that_lead_astray_end() {
    for target in ["/loop", "file:///etc/passwd", "http://", "data:,x"] {
        let server = Server::start(move |_| Reply::status(302).header("Location", target));
        let said = Client::new(&server).fail();
        assert!(said.contains("leads") && said.contains("try again later"), "{said}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    let say = |status| {
        let server = Server::start(move |_| Reply::status(status));
        let mut client = Client::new(&server);
        let said = client.fail();
        assert_eq!(client.pauses(), Vec::<u64>::new(), "{said}");
        assert_eq!(server.seen().len(), 1);
        (said, server.url())
    };
    for status in [401, 403] {
        let (said, url) = say(status);
        assert!(said.contains("HF_TOKEN") && said.contains(&format!("licence on {url}/{NAME}")), "{said}");
    }
    let (said, url) = say(404);
    assert!(said.starts_with(&format!("there is no model '{NAME}' on {url}")), "{said}");
    assert!(say(418).0.contains("status 418"));
}

#[test]
fn limits_are_waited_for_as_long_as_they_ask() {
    let repository = Repository::made_up(NAME);
    let served = repository.clone();
    let server = Server::start(move |request| match request.before {
        0 => Reply::status(429).header("Retry-After", "7"),
        1 => Reply::status(429).header("RateLimit", "\"api\";r=0;t=55"),
        2 => Reply::status(500),
        _ => served.answer(request),
    });
    let mut client = Client::new(&server);
    holds(&client.load().expect("a folder"), &repository, &USUAL);
    assert_eq!(client.pauses(), [7, 55, 4].repeat(4), "the list of files and three files");

    let server = Server::start(|_| Reply::status(429).header("Retry-After", "86400"));
    let mut client = Client::new(&server);
    let said = client.fail();
    assert!(said.contains("asks to wait 86400 s") && client.pauses().is_empty(), "{said}");
}

#[test]
fn what_fails_always_is_said_once() {
    let server = Server::start(|_| Reply::status(500));
    let mut client = Client::new(&server);
    let said = client.fail();
    assert!(said.contains("7 times over (status 500)") && said.contains("what was loaded is kept"), "{said}");
    assert_eq!(client.pauses(), [1, 2, 4, 8, 16, 30]);

    let url = server.url();
    drop(server);
    let settings = Settings { endpoint: url, token: None, cache: client.cache.path().to_path_buf() };
    let gone = Hub::new(settings).expect("a hub").waiting(Arc::new(|_, _: &CancelToken| ()));
    let said = gone.ask(NAME, &CancelToken::default()).expect_err("nobody there").to_string();
    assert!(said.contains("doesn't send what it is asked for"), "{said}");
}

#[test]
fn what_isnt_what_the_hub_said_is_thrown_away() {
    let wrong: [fn(&mut Vec<u8>); 3] =
        [|body| body[1_000_000] ^= 1, |body| body.push(0), |body| body.truncate(2_000_000)];
    for (kind, spoil) in wrong.into_iter().enumerate() {
        let served = Repository::made_up(NAME);
        let server = Server::start(move |request| {
            let mut reply = served.answer(request);
            if request.is_for("model.safetensors") {
                // From wherever it is asked, it is wrong.
                reply = served.answer(&hub::Request { headers: std::collections::BTreeMap::new(), ..request.clone() });
                spoil(&mut reply.body);
            }
            reply
        });
        let mut client = Client::new(&server);
        let said = client.fail();
        let expected =
            if kind == 2 { "ended too early" } else { "what the hub sends as 'model.safetensors' isn't what it said" };
        assert!(said.contains(expected), "{said}");
        assert!(!client.model("blobs").join(Repository::made_up(NAME).digits("model.safetensors")).exists());
        assert!(snapshots(client.cache.path()).is_empty());
    }
}

/// A hub that says something else of its files than is true.
fn saying(repository: Repository, listing: &serde_json::Value) -> Server {
    let listing = listing.to_string();
    Server::start(move |request| {
        let asks = request.path.starts_with("/api/");
        if asks { Reply::ok(listing.clone()) } else { repository.answer(request) }
    })
}

#[test]
fn names_from_the_server_lead_nowhere() {
    let evil = |change: &dyn Fn(&mut serde_json::Value)| {
        let repository = Repository::made_up(NAME);
        let mut listing = repository.listing();
        change(&mut listing);
        let server = saying(repository, &listing);
        let outer = tempfile::tempdir().expect("a folder");
        let mut client = Client::with(&server, None, tempfile::tempdir_in(outer.path()).expect("a folder"));
        let result = client.load().map_err(|error| error.to_string());
        assert_eq!(fs::read_dir(outer.path()).expect("a folder").count(), 1, "outside of the cache");
        (result.map(|folder| fs::read_dir(folder).expect("a folder").count()), client)
    };
    let add = |name: &str| {
        let file =
            serde_json::json!({ "rfilename": name, "size": 2, "blobId": "9e26dfeeb6e641a33dae4961196235bdb965b21b" });
        let (loaded, _) = evil(&|listing| listing["siblings"].as_array_mut().expect("a list").push(file.clone()));
        assert_eq!(loaded, Ok(3), "{name}");
    };
    for name in ["../../../evil.json", "/tmp/evil.json", "..\\config.json", "a/../../config.json", "C:\\config.json"] {
        add(name);
    }
    for sha in ["../../../../evil", "main", "", "0123456789ABCDEF0123456789abcdef01234567"] {
        let said = evil(&|listing| listing["sha"] = sha.into()).0.expect_err("a refusal");
        assert!(said.contains("names no revision"), "{said}");
    }
    for digits in ["../../../../../evil", "", "0123"] {
        let said = evil(&|listing| {
            for file in listing["siblings"].as_array_mut().expect("a list") {
                file["blobId"] = digits.into();
            }
        });
        assert!(said.0.expect_err("a refusal").contains("what its checksum is"));
    }
    let index = r#"{"weight_map": {"a": "../../../evil.safetensors"}}"#;
    let repository = Repository::made_up(NAME).without("model.safetensors").with("model.safetensors.index.json", index);
    let said = Client::new(&Server::of(&repository)).fail();
    assert!(said.contains("isn't a file beside it"), "{said}");
    let server = Server::of(&Repository::made_up(NAME));
    let client = Client::new(&server);
    for name in ["../../etc", "org/model/more", "org--model"] {
        let said = client.hub.ask(name, &client.cancel).expect_err("a refusal").to_string();
        assert!(said.contains("isn't the name of a model"), "{said}");
    }
    assert!(server.seen().is_empty());
}

#[test]
fn absurd_sizes_and_answers_take_neither_room_nor_time() {
    let say = |change: fn(&mut serde_json::Value)| {
        let repository = Repository::made_up(NAME);
        let mut listing = repository.listing();
        change(&mut listing);
        let server = saying(repository, &listing);
        let said = Client::new(&server).fail();
        assert_eq!(server.count("model.safetensors"), 0, "{said}");
        said
    };
    fn file<'a>(listing: &'a mut serde_json::Value, name: &str) -> &'a mut serde_json::Value {
        let files = listing["siblings"].as_array_mut().expect("a list");
        files.iter_mut().find(|file| file["rfilename"] == name).expect("a file")
    }
    let said = say(|listing| file(listing, "model.safetensors")["lfs"]["size"] = (1_u64 << 60).into());
    assert!(said.contains("takes 1.0 EiB on the disk") && said.contains("free some disk space"), "{said}");
    let said = say(|listing| file(listing, "model.safetensors")["lfs"]["size"] = u64::MAX.into());
    assert!(said.contains("longer together than any disk"), "{said}");
    let said = say(|listing| file(listing, "model.safetensors")["lfs"]["size"] = (-1).into());
    assert!(said.contains("can't be understood"), "{said}");
    let said = say(|listing| file(listing, "tokenizer.json")["size"] = (1_u64 << 40).into());
    assert!(said.contains("far too large"), "{said}");
    let said = say(|listing| listing["siblings"] = "none".into());
    assert!(said.contains("can't be understood"), "{said}");
    let said = say(|listing| file(listing, "tokenizer.json")["rfilename"] = "other".into());
    assert!(said.contains("has no tokenizer.json"), "{said}");

    let endless = Server::start(|_| Reply::ok(vec![b' '; 17 << 20]));
    assert!(Client::new(&endless).fail().contains("far too long"));
    let other = Repository::made_up(NAME).with("config.json", r#"{"architectures": ["BertModel"]}"#);
    let server = Server::of(&other);
    let said = Client::new(&server).fail();
    assert!(said.contains("is a 'BertModel', which Alignscope doesn't open"), "{said}");
    assert_eq!(server.count("model.safetensors"), 0);
}

#[test]
fn it_stops_when_it_is_told_to_and_goes_on_later() {
    let repository = Repository::made_up(NAME);
    let server = Server::stalling(&repository, 1_000_000);
    let mut client = Client::new(&server);
    let plan = client.hub.ask(NAME, &client.cancel).expect("a plan");
    let mut asked = None;
    let cancel = client.cancel.clone();
    let stopped = client.hub.load(&plan, &client.cancel, &mut |news| {
        if news.done >= 1_000_000 {
            cancel.cancel();
            asked.get_or_insert_with(Instant::now);
        }
    });
    assert!(matches!(stopped, Err(Error::Cancelled)));
    // A request waits half a minute for its peer; far less than that tells that nobody waited for it.
    assert!(asked.expect("it was asked").elapsed() < Duration::from_secs(15));
    client.cancel = CancelToken::default();
    holds(&client.load().expect("a folder"), &repository, &USUAL);
    let last = server.seen().into_iter().rfind(|request| request.is_for("model.safetensors")).expect("a request");
    assert!(last.from() >= 900_000, "{last:?}");
}

#[test]
fn what_python_loaded_isnt_loaded_again() {
    let repository = Repository::made_up(NAME);
    let layouts: [fn(&Client, &str, &str); 2] = [
        |client, _, digits| {
            fs::create_dir_all(client.model("blobs")).expect("a folder");
            fs::write(client.model("blobs").join(digits), &Repository::made_up(NAME).files["model.safetensors"])
                .expect("a file");
        },
        // Where no links are possible, files lie under their names alone.
        |client, file, _| {
            let folder = client.model("snapshots").join(COMMIT);
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(file), &Repository::made_up(NAME).files["model.safetensors"]).expect("a file");
        },
    ];
    for lay in layouts {
        let server = Server::of(&repository);
        let mut client = Client::new(&server);
        lay(&client, "model.safetensors", &repository.digits("model.safetensors"));
        holds(&client.load().expect("a folder"), &repository, &USUAL);
        assert_eq!(server.count("model.safetensors"), 0);
    }
}

#[test]
fn two_at_once_load_it_once() {
    let repository = Repository::made_up(NAME);
    let server = Server::of(&repository);
    let client = Client::new(&server);
    let load = || {
        let never = CancelToken::default();
        let plan = client.hub.ask(NAME, &never).expect("a plan");
        client.hub.load(&plan, &never, &mut |_| ()).expect("a folder")
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        for thread in threads {
            holds(&thread.join().expect("no panic"), &repository, &USUAL);
        }
    });
    assert_eq!(server.count("model.safetensors"), 1);
}

#[test]
fn a_checkpoint_that_was_loaded_opens() {
    let source = alignscope::models::builtin::folder().join("clip");
    let files = fs::read_dir(&source).expect("the built-in checkpoint").map(|entry| entry.expect("an entry"));
    let repository = files.fold(Repository { name: NAME.to_owned(), ..Repository::default() }, |repository, entry| {
        let name = entry.file_name().into_string().expect("a name");
        repository.with(&name, fs::read(entry.path()).expect("a file"))
    });
    let server = Server::of(&repository);
    let mut client = Client::new(&server);
    let folder = client.load().expect("a folder");
    let opened = Opened::open(&folder, &Device::Cpu).expect("a model");
    assert!(opened.parameters > 100_000);
}

fn program(server: &Server, cache: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignscope"));
    command.args(arguments).env("HF_ENDPOINT", server.url()).env("HF_HUB_CACHE", cache).env("HF_HOME", cache);
    for variable in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(variable);
    }
    command
}

fn run(server: &Server, cache: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (bool, String, String) {
    let output = program(server, cache, arguments).envs(variables.iter().copied()).output().expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_line_loads_says_how_much_and_stays_offline_when_told() {
    let repository = Repository::made_up("openai/clip-vit-base-patch32");
    let server = Server::of(&repository);
    let cache = tempfile::tempdir().expect("a folder");
    let fetch = ["models", "--fetch", "openai/clip-vit-base-patch32"];
    let (done, _, said) = run(&server, cache.path(), &[("HF_HUB_OFFLINE", "1")], &fetch);
    assert!(!done && said.contains("HF_HUB_OFFLINE is set"), "{said}");
    assert!(server.seen().is_empty());

    let (done, found, said) = run(&server, cache.path(), &[("HF_TOKEN", "hf_mine")], &fetch);
    assert!(done, "{said}");
    assert!(found.contains("2.9 MiB") && found.contains("MIT (code)") && found.contains("free"), "{found}");
    let folder = cache.path().join("models--openai--clip-vit-base-patch32/snapshots").join(COMMIT);
    assert_eq!(found.lines().last(), Some(folder.to_str().expect("a path")));
    holds(&folder, &repository, &USUAL);
    assert!(server.seen().iter().all(|request| request.headers["authorization"] == "Bearer hf_mine"));

    let (done, found, _) = run(&server, cache.path(), &[], &fetch);
    assert!(done && found.contains("all of it is here"), "{found}");
    let (done, _, said) = run(&server, cache.path(), &[], &["models", "--fetch", "nobody/nothing"]);
    assert!(!done && said.contains("there is no model 'nobody/nothing'") && said.lines().count() == 1, "{said}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_loaded() {
    let repository = Repository::made_up(NAME);
    let server = Server::stalling(&repository, 1_000_000);
    let cache = tempfile::tempdir().expect("a folder");
    let fetch = ["models", "--fetch", NAME];
    let mut command = program(&server, cache.path(), &fetch);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    let blobs = cache.path().join("models--org--model/blobs");
    let partial = blobs.join(format!("{}.incomplete", repository.digits("model.safetensors")));
    while fs::metadata(&partial).map_or(0, |about| about.len()) < 900_000 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("a signal").success());
    let output = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("the same command goes on from here"), "{said}");
    let (done, _, said) = run(&server, cache.path(), &[], &fetch);
    assert!(done, "{said}");
    assert!(
        server.seen().iter().rfind(|request| request.is_for("model.safetensors")).expect("a request").from() >= 900_000
    );
}
