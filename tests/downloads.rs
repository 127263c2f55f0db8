//! Published checkpoints in the window: asked for, downloaded, stopped and opened by clicks and keys, against a server on
//! loopback.

mod common;
#[path = "common/hub.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod hub;
#[path = "common/interface.rs"]
mod interface;

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use alignscope::app::{App, AppState, Command, Theme};
use alignscope::models::hub::{Hub, Settings, readable};
use alignscope::world::Language;
use egui::accesskit::Role;
use egui_kittest::kittest::Queryable;
use egui_kittest::{Harness, SnapshotResults};
use hub::{Repository, Server};
use interface::{app, screen, state, tolerant};
use tempfile::TempDir;

/// A problem to be read.
const OFFLINE: &str =
    "HF_HUB_OFFLINE is set, so nothing is downloaded; unset it to download, or open a folder that is here";
const NAME: &str = "openai/clip-vit-base-patch32";

/// The screen over an app whose hub is `server`.
struct Seen {
    harness: Harness<'static>,
    app: Rc<RefCell<App>>,
    cache: TempDir,
}

impl Seen {
    fn new(server: &Server, state: AppState) -> Self {
        let cache = tempfile::tempdir().expect("a folder");
        let mut app = app(state);
        let settings = Settings { endpoint: server.url(), token: None, cache: cache.path().to_path_buf() };
        app.downloads.hub = Some(Hub::new(settings).expect("a hub"));
        let (harness, app) = screen(app);
        let mut seen = Self { harness, app, cache };
        seen.harness.run_steps(2);
        seen
    }

    /// Opens the list by way of the menu.
    fn open(&mut self) {
        self.harness.get_by_role_and_label(Role::Button, "File").click();
        self.harness.run_steps(3);
        self.harness.get_all_by_label("Download a model…").last().expect("an entry").click();
        self.wait(|app| app.downloads.is_open && !app.downloads.known.is_empty());
    }

    fn wait(&mut self, until: impl Fn(&App) -> bool) {
        let begin = Instant::now();
        while !until(&self.app.borrow()) {
            self.app.borrow_mut().receive();
            self.harness.run_steps(1);
            std::thread::sleep(Duration::from_millis(2));
            assert!(begin.elapsed() < Duration::from_secs(120), "it doesn't come to that");
        }
        self.harness.run_steps(2);
    }

    fn click(&mut self, text: &str) {
        self.harness.get_by_role_and_label(Role::Button, &format!("{text} · {NAME}")).click();
        self.harness.run_steps(2);
    }

    fn is_idle(&mut self) {
        self.wait(|app| app.downloads.under_way.is_none());
    }
}

/// A built-in checkpoint under a published name.
fn built_in() -> Repository {
    let folder = alignscope::models::builtin::folder().join("clip");
    let files = fs::read_dir(folder).expect("the built-in checkpoint").map(|entry| entry.expect("an entry"));
    files.fold(Repository { name: NAME.to_owned(), ..Repository::default() }, |repository, entry| {
        let name = entry.file_name().into_string().expect("a name");
        repository.with(&name, fs::read(entry.path()).expect("a file"))
    })
}

#[test]
fn a_model_is_asked_for_downloaded_and_opened_by_clicks() {
    let server = Server::of(&built_in());
    let mut seen = Seen::new(&server, AppState::first());
    seen.open();
    seen.click("How large?");
    seen.is_idle();
    assert_eq!(server.count("model.safetensors"), 0, "to ask isn't to load");
    let missing = seen.app.borrow().downloads.plans[NAME].missing;
    seen.click(&format!("Download {}", readable(missing)));
    seen.is_idle();
    assert_eq!(seen.app.borrow().downloads.problem, None);
    assert_eq!(server.count("model.safetensors"), 1);
    seen.click("Open");
    seen.harness.run_steps(3);
    let app = seen.app.borrow();
    assert!(!app.downloads.is_open);
    assert_eq!(app.problem, None);
    assert_eq!(app.evidence.as_ref().expect("evidence").model.name, NAME);
    drop(app);
    // It is here now, for whoever looks again.
    seen.app.borrow_mut().downloads.here.clear();
    seen.open();
    seen.wait(|app| app.downloads.here.contains_key(NAME));
    assert!(seen.harness.query_by_label(&format!("Open · {NAME}")).is_some());
    assert!(seen.cache.path().join("models--openai--clip-vit-base-patch32").is_dir());
}

#[test]
fn a_download_goes_on_behind_the_window_and_stops_when_told() {
    let repository = Repository::made_up(NAME);
    let server = Server::stalling(&repository, 2_000_000);
    let mut seen = Seen::new(&server, AppState::first());
    seen.open();
    seen.click("How large?");
    seen.is_idle();
    seen.click("Download 2.9 MiB");
    let done = |app: &App| app.downloads.under_way.as_ref()?.progress.as_ref().map(|progress| progress.done);
    // All that comes before it stalls: the config, the tokenizer and part of the weights.
    seen.wait(|app| done(app) >= Some(2_000_000));
    let loading = format!("Downloading {NAME}");
    assert!(seen.harness.query_by_role_and_label(Role::ProgressIndicator, &loading).is_some());
    // Nothing else begins meanwhile.
    seen.app.borrow_mut().apply(Command::Download("other/model".to_owned()));
    assert_eq!(seen.app.borrow().downloads.under_way.as_ref().map(|under_way| under_way.name.as_str()), Some(NAME));
    seen.harness.key_press(egui::Key::Escape);
    seen.harness.run_steps(3);
    assert!(!seen.app.borrow().downloads.is_open && seen.app.borrow().downloads.under_way.is_some());
    let again = seen.harness.get_all_by_role(Role::Button).find(|node| {
        use egui_kittest::kittest::NodeT as _;
        node.accesskit_node().label().is_some_and(|label| label.starts_with(&loading))
    });
    again.expect("the line at the bottom says so").click();
    seen.wait(|app| app.downloads.is_open);
    seen.click("Cancel");
    seen.is_idle();
    assert_eq!(seen.app.borrow().downloads.problem, None, "who stops it knows");
    seen.app.borrow_mut().apply(Command::Download(NAME.to_owned()));
    seen.is_idle();
    assert!(seen.app.borrow().downloads.here.contains_key(NAME));
    let last = server.seen().into_iter().rfind(|request| request.is_for("model.safetensors")).expect("a request");
    assert!(last.from() > 0, "it goes on where it stopped");
}

#[test]
fn other_names_are_typed_and_refusals_read() {
    let repository = Repository::made_up("org/model");
    let server = Server::of(&repository);
    let mut seen = Seen::new(&server, AppState::first());
    seen.open();
    let mut ask = |name: &str| {
        seen.harness.get_by_role_and_label(Role::TextInput, "Another model, as org/name").click();
        seen.harness.run_steps(2);
        seen.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
        seen.harness.get_by_role_and_label(Role::TextInput, "Another model, as org/name").type_text(name);
        seen.harness.run_steps(2);
        seen.harness.key_press(egui::Key::Enter);
        seen.harness.run_steps(2);
        seen.is_idle();
        seen.app.borrow().downloads.problem.clone()
    };
    assert_eq!(ask("org/model"), None);
    let problem = ask("org/nothing").expect("a problem");
    assert!(problem.contains("there is no model 'org/nothing'"), "{problem}");
    assert!(ask("../etc").expect("a problem").contains("isn't the name of a model"));
    assert!(seen.harness.query_by_label("Download 2.9 MiB · org/model").is_some(), "what was asked for stays");
    assert!(seen.harness.query_by_label_contains("isn't the name of a model").is_some(), "it is read in the list");
    assert_eq!(seen.app.borrow().problem, None);
}

#[test]
fn the_list_looks_as_it_should() {
    let mut results = SnapshotResults::new();
    let server = Server::of(&Repository::made_up(NAME));
    let looks = [("dark-english", Theme::Dark, Language::English), ("light-chinese", Theme::Light, Language::Chinese)];
    for (look, theme, language) in looks {
        let mut seen = Seen::new(&server, state(theme, language));
        // Tall enough for the panel behind the list, whose scroll bar else comes and goes from frame to frame, as its pictures
        // grow and shrink with the room beside it; and how many frames there are depends on how soon the server answers.
        seen.harness.set_size(egui::vec2(1600.0, 1100.0));
        seen.app.borrow_mut().apply(Command::ToggleDownloads);
        seen.app.borrow_mut().apply(Command::AskHub(NAME.to_owned()));
        seen.is_idle();
        let folder = seen.cache.path().to_path_buf();
        seen.app.borrow_mut().downloads.here.insert("Salesforce/blip-itm-base-coco".to_owned(), folder);
        seen.app.borrow_mut().downloads.problem = Some(OFFLINE.to_owned());
        seen.harness.run_steps(3);
        seen.harness.snapshot_options(format!("downloads-{look}"), &tolerant());
        results.extend_harness(&mut seen.harness);
    }
}
