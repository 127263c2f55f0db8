//! The screen driven as a person would, without a display: snapshots of every view, clicks and keys through accessible
//! names, and what is said about bad input.

mod common;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use alignscope::app::samples::{SampleSource, samples};
use alignscope::app::{App, AppState, Command, PictureSource, Theme};
use alignscope::ui::screen::Screen;
use alignscope::ui::textures::Textures;
use alignscope::ui::theme;
use alignscope::ui::views::{Brush, VIEWS};
use alignscope::world::Language;
use egui_kittest::kittest::Queryable;
use egui_kittest::{Harness, SnapshotOptions, SnapshotResults};

/// Computes on a stack as deep as the worker's.
fn compute(app: &mut App) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("computation".into()).stack_size(64 << 20);
        let handle = thread.spawn_scoped(scope, || app.compute_now()).expect("a thread");
        handle.join().expect("a computation without panic");
    });
}

fn app(state: AppState) -> App {
    let mut app = App::new(state);
    compute(&mut app);
    app
}

fn state(theme: Theme, language: Language) -> AppState {
    AppState { theme, language, ..AppState::default() }
}

/// The looks in which everything is drawn: each theme and each language once.
fn looks() -> [(&'static str, AppState); 2] {
    [("dark-english", state(Theme::Dark, Language::English)), ("light-chinese", state(Theme::Light, Language::Chinese))]
}

/// Other processors round a model's numbers differently, which may move a colour by a level or two; a changed letter is
/// more than that.
fn tolerant() -> SnapshotOptions {
    SnapshotOptions::new().threshold(1.0).max_failed_pixels(10)
}

fn builder<State>() -> egui_kittest::HarnessBuilder<State> {
    Harness::builder().with_context_setup(theme::install).renderer(common::RasterRenderer::default())
}

/// The whole screen over an app, which applies commands and computes at once.
fn screen(app: App) -> (Harness<'static>, Rc<RefCell<App>>) {
    let app = Rc::new(RefCell::new(app));
    let shared = Rc::clone(&app);
    let mut screen = Screen::default();
    let harness = builder().with_size([1600.0, 1000.0]).build_ui(move |ui| {
        let (commands, _) = screen.show(ui, &shared.borrow());
        for command in commands {
            let pointer_only = matches!(command, Command::HoverPatch(_) | Command::HoverPoint(_));
            shared.borrow_mut().apply(command);
            if !pointer_only {
                compute(&mut shared.borrow_mut());
            }
        }
    });
    (harness, app)
}

#[test]
fn every_view_looks_as_it_should() {
    let mut results = SnapshotResults::new();
    for (look, state) in looks() {
        let app = app(state);
        let evidence = app.evidence.clone().expect("evidence");
        for view in VIEWS {
            let mut textures = Textures::default();
            let (app, evidence) = (&app, &evidence);
            let mut harness = builder().with_size([620.0, 720.0]).build_ui(move |ui| {
                ui.ctx().set_theme(if app.state.theme == Theme::Dark { egui::Theme::Dark } else { egui::Theme::Light });
                let mut commands = Vec::new();
                let mut brush = Brush { app, textures: &mut textures, commands: &mut commands };
                theme::card(&brush.palette()).show(ui, |ui| view.show(ui, evidence, &mut brush));
            });
            harness.run_steps(4);
            harness.snapshot_options(format!("{}-{look}", view.key()), &tolerant());
            results.extend_harness(&mut harness);
        }
    }
}

#[test]
fn the_screen_looks_as_it_should() {
    let mut results = SnapshotResults::new();
    for (look, state) in looks() {
        let (mut harness, _) = screen(app(state));
        harness.run_steps(4);
        harness.snapshot_options(format!("screen-{look}"), &tolerant());
        results.extend_harness(&mut harness);
    }
}

#[test]
fn a_click_on_a_word_selects_it_and_shift_extends() {
    let (mut harness, app) = screen(app(AppState::default()));
    harness.run_steps(2);
    harness.get_by_label("cat").click();
    harness.run_steps(3);
    assert_eq!(app.borrow().evidence.as_ref().expect("evidence").phrase, "cat");
    harness.get_by_label("red").click();
    harness.run_steps(3);
    harness.get_by_label("ball").click_modifiers(egui::Modifiers::SHIFT);
    harness.run_steps(3);
    assert_eq!(app.borrow().evidence.as_ref().expect("evidence").phrase, "red ball");
    harness.key_press(egui::Key::Escape);
    harness.run_steps(3);
    assert_eq!(app.borrow().state.selection, None);
}

#[test]
fn samples_checkpoints_maps_and_themes_can_be_chosen_by_name() {
    let (mut harness, app) = screen(app(AppState::default()));
    harness.run_steps(2);
    let caption = app.borrow().samples[1].captions[0].clone();
    harness.get_by_label(&caption).click();
    harness.run_steps(3);
    assert_eq!(app.borrow().state.sentence, caption);
    harness.get_by_label("Attention rollout").click();
    harness.run_steps(3);
    assert_eq!(app.borrow().layer().0, "rollout");
    harness.get_by_label("Light").click();
    harness.get_by_label("中文").click();
    harness.run_steps(3);
    assert_eq!(app.borrow().state.theme, Theme::Light);
    assert_eq!(app.borrow().state.sentence, app.borrow().samples[1].captions[1]);
    harness.get_by_label("整句").click();
    harness.run_steps(2);
}

/// A file that a person drops onto the window.
#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

#[test]
fn a_picture_and_a_checkpoint_can_be_dropped() {
    let (mut harness, app) = screen(app(AppState::default()));
    harness.run_steps(2);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut drop = |path: PathBuf| {
        harness.input_mut().dropped_files.push(std::sync::Arc::new(Dropped(path)));
        harness.run_steps(3);
    };
    drop(root.join("sample-data/coffee.jpg"));
    assert_eq!(app.borrow().state.picture, PictureSource::File(root.join("sample-data/coffee.jpg")));
    assert_eq!(app.borrow().picture_name, "coffee.jpg");
    drop(root.join("assets/checkpoints/clip-grounded"));
    assert_eq!(app.borrow().evidence.as_ref().expect("evidence").model.name, "clip-grounded");
    assert_eq!(app.borrow().problem, None);
}

#[test]
fn bad_input_is_one_sentence_and_nothing_is_lost() {
    let (mut harness, app) = screen(app(AppState::default()));
    harness.run_steps(2);
    let before = app.borrow().state.clone();
    app.borrow_mut().apply(Command::OpenPicture(PathBuf::from("no/such/picture.png")));
    compute(&mut app.borrow_mut());
    harness.run_steps(2);
    let problem = app.borrow().problem.clone().expect("a problem");
    assert!(problem.contains("no/such/picture.png") && !problem.contains('\n'), "{problem}");
    assert_eq!(app.borrow().state.picture, before.picture);
    assert!(app.borrow().evidence.is_some() && app.borrow().picture.is_some());
    harness.get_by_label("Dismiss").click();
    harness.run_steps(2);
    assert_eq!(app.borrow().problem, None);

    app.borrow_mut().apply(Command::SetSentence("   ".into()));
    compute(&mut app.borrow_mut());
    assert!(app.borrow().problem.as_ref().is_some_and(|problem| problem.contains("no text")));
    app.borrow_mut().apply(Command::SetSentence("a cat ".repeat(60)));
    compute(&mut app.borrow_mut());
    assert_eq!(app.borrow().problem, None);
    assert!(app.borrow().evidence.as_ref().expect("evidence").tokens.cut);
    harness.run_steps(2);
    app.borrow_mut().apply(Command::SetCheckpoint(PathBuf::from("no/such/folder")));
    compute(&mut app.borrow_mut());
    assert!(app.borrow().problem.as_ref().is_some_and(|problem| problem.contains("no/such/folder")));
    harness.run_steps(2);
}

#[test]
fn a_photograph_is_said_to_be_strange_and_a_sticker_scene_is_not() {
    let mut wrong = Vec::new();
    for folder in alignscope::models::builtin::list() {
        for sample in samples() {
            let state = AppState {
                picture: PictureSource::Sample(sample.key.clone()),
                sentence: "a cat".into(),
                checkpoint: Some(folder.clone()),
                ..AppState::default()
            };
            let evidence = app(state).evidence.expect("evidence");
            let familiar = evidence.familiarity.expect("a built-in checkpoint knows its world");
            println!("{} {}: {familiar:?}", evidence.model.name, sample.key);
            if familiar.is_strange() != matches!(sample.source, SampleSource::Photograph(_)) {
                wrong.push((folder.clone(), sample.key));
            }
        }
    }
    assert!(wrong.is_empty(), "taken for the other: {wrong:?}");
}

#[test]
fn a_checkpoint_is_listed_once_by_whatever_way_it_is_named() {
    let known = App::new(AppState::default()).checkpoints.len();
    let roundabout = PathBuf::from("assets/../assets/checkpoints/clip");
    let mut app = App::new(AppState { checkpoint: Some(roundabout.clone()), ..AppState::default() });
    app.apply(Command::SetCheckpoint(roundabout));
    assert_eq!(app.checkpoints.len(), known);
}

#[test]
fn the_board_is_drawn_the_same_every_time() {
    let app = app(AppState::default());
    let draw = || alignscope::ui::board::draw(&app, 1200.0, 800.0, 1.0);
    let (first, second) = (draw(), draw());
    assert!(first == second, "two boards of the same state differ");
    let colours: std::collections::BTreeSet<_> = first.pixels().map(|pixel| pixel.0).collect();
    assert!(colours.len() > 1000, "the board shows a picture, not {} colours", colours.len());
}
