//! The screen driven as a person would, without a display: snapshots of every view, clicks and keys through accessible
//! names, and what is said about bad input.

mod common;
#[path = "common/interface.rs"]
mod interface;

use std::path::PathBuf;

use alignscope::app::layout::SIDE_BY_SIDE;
use alignscope::app::samples::{SampleSource, samples};
use alignscope::app::state::MethodName;
use alignscope::app::{App, AppState, Ask, Command, ExtraColumn, PictureSource, Theme};
use alignscope::methods::METHODS;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::runtime::{Precision, RuntimeName};
use alignscope::ui::columns;
use alignscope::ui::textures::Textures;
use alignscope::ui::views::{Brush, VIEWS};
use alignscope::world::Language;
use egui_kittest::SnapshotResults;
use egui_kittest::kittest::Queryable;
use interface::{app, app_of, builder, screen, screen_of, settle, state, tolerant};

/// Each theme and each language once.
fn looks() -> [(&'static str, AppState); 2] {
    [("dark-english", state(Theme::Dark, Language::English)), ("light-chinese", state(Theme::Light, Language::Chinese))]
}

#[test]
fn every_view_looks_as_it_should() {
    let mut results = SnapshotResults::new();
    for (look, state) in looks() {
        for view in VIEWS {
            let app = app_of(*view, state.clone());
            let evidence = app.evidence.clone().expect("evidence");
            let mut textures = Textures::default();
            let (app, evidence) = (&app, &evidence);
            let mut harness = builder().with_size([640.0, 720.0]).build_ui(move |ui| {
                let theme = if app.state.look.theme == Theme::Dark { egui::Theme::Dark } else { egui::Theme::Light };
                ui.ctx().set_theme(theme);
                let mut commands = Vec::new();
                let mut brush = Brush { app, textures: &mut textures, commands: &mut commands };
                columns::alone(ui, evidence, &mut brush, *view);
            });
            harness.run_steps(4);
            harness.snapshot_options(format!("{}-{look}", view.key()), &tolerant());
            results.extend_harness(&mut harness);
        }
    }
}

/// Sizes of the window in points, with pixels a point.
const SIZES: [([f32; 2], f32); 4] =
    [([1280.0, 800.0], 1.0), ([1920.0, 1080.0], 1.0), ([1280.0, 800.0], 2.0), ([1920.0, 1080.0], 2.0)];

#[test]
fn the_screen_looks_as_it_should() {
    let mut results = SnapshotResults::new();
    let mut draw = |state: AppState, size: [f32; 2], scale: f32, name: &str| {
        let (mut harness, _) = screen_of(app(state), size, scale);
        harness.run_steps(4);
        harness.snapshot_options(name, &tolerant());
        results.extend_harness(&mut harness);
    };
    for (theme, theme_name) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        for (language, language_name) in [(Language::English, "english"), (Language::Chinese, "chinese")] {
            for (size, scale) in SIZES {
                let name = format!("screen-{}x{}@{scale}-{theme_name}-{language_name}", size[0], size[1]);
                draw(state(theme, language), size, scale, &name);
            }
        }
    }
}

#[test]
fn extra_columns_look_as_they_should() {
    let mut results = SnapshotResults::new();
    for (look, state) in looks() {
        let runtime = |precision| RuntimeName { precision, ..RuntimeName::default() };
        let extra = |checkpoint: &str, method: &str, precision| ExtraColumn {
            method: method.into(),
            checkpoint: checkpoint.into(),
            runtime: runtime(precision),
        };
        let mut state = AppState { method: MethodName(SIDE_BY_SIDE), ..state };
        state.extra_columns.insert(0, extra("clip-grounded", "contrastive", Precision::F32));
        state.extra_columns.insert(1, extra("llava", "projector", Precision::F16));
        let (mut harness, _) = screen_of(app(state), [1600.0, 1000.0], 1.0);
        harness.run_steps(4);
        harness.snapshot_options(format!("extra-columns-{look}"), &tolerant());
        results.extend_harness(&mut harness);
    }
}

#[test]
fn the_column_of_cross_attention_looks_as_it_should() {
    let mut results = SnapshotResults::new();
    for (look, state) in looks() {
        let state = AppState { method: MethodName("cross-attention"), ..state };
        let (mut harness, _) = screen_of(app(state), [1600.0, 1000.0], 1.0);
        harness.run_steps(4);
        harness.snapshot_options(format!("cross-attention-{look}"), &tolerant());
        results.extend_harness(&mut harness);
    }
}

#[test]
fn a_click_on_a_word_selects_it_and_shift_extends() {
    let (mut harness, app) = screen(app(AppState::first()));
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
    assert_eq!(app.borrow().state.selected.words, None);
}

#[test]
fn what_the_pointer_has_left_is_no_longer_lit() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    // In one leap, as from a fast hand: to where nothing can be pointed at, and out of the window.
    let nowhere = harness.get_by_label("The method").rect().center();
    for leave in [egui::Event::PointerMoved(nowhere), egui::Event::PointerGone] {
        for label in ["cat", "Picture with the map of red ball · Relevancy", "Similarity of pictures and captions"] {
            harness.get_by_label(label).hover();
            harness.run_steps(2);
            assert!(app.borrow().hovered.is_some(), "{label}");
            harness.event(leave.clone());
            harness.run_steps(3);
            assert_eq!(app.borrow().hovered, None, "{label}, {leave:?}");
        }
    }
}

#[test]
fn a_tap_means_the_patch_under_the_finger() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    let pos = harness.get_by_label_contains("Picture with the map of").rect().lerp_inside(egui::vec2(0.05, 0.05));
    let button = egui::PointerButton::Primary;
    let press = |pressed| egui::Event::PointerButton { pos, button, pressed, modifiers: egui::Modifiers::NONE };
    // All in one frame, since a finger is gone with its tap.
    let tap = [egui::Event::PointerMoved(pos), press(true), press(false), egui::Event::PointerGone];
    harness.input_mut().events.extend(tap);
    harness.run_steps(3);
    assert_eq!(app.borrow().state.selected.patch, Some(0));
}

#[test]
fn the_arrow_keys_go_on_over_the_map_while_the_pointer_is_over_words() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    harness.get_by_label_contains("Picture with the map of").click();
    harness.run_steps(2);
    let patch = app.borrow().state.selected.patch.expect("a patch");
    harness.get_by_label("cat").hover();
    harness.run_steps(3);
    harness.key_press(egui::Key::ArrowRight);
    harness.run_steps(2);
    assert_eq!(app.borrow().state.selected.patch, Some(patch + 1));
}

#[test]
fn samples_checkpoints_maps_and_themes_can_be_chosen_by_name() {
    let (mut harness, app) = screen(app(AppState::first()));
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
    assert_eq!(app.borrow().state.look.theme, Theme::Light);
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
    let (mut harness, app) = screen(app(AppState::first()));
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
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    let before = app.borrow().state.clone();
    app.borrow_mut().apply(Command::OpenPicture(PathBuf::from("no/such/picture.png")));
    settle(&mut app.borrow_mut());
    harness.run_steps(2);
    let problem = app.borrow().problem.clone().expect("a problem");
    assert!(problem.contains("no/such/picture.png") && !problem.contains('\n'), "{problem}");
    assert_eq!(app.borrow().state.picture, before.picture);
    assert!(app.borrow().evidence.is_some() && app.borrow().picture.is_some());
    harness.get_by_label("Dismiss").click();
    harness.run_steps(2);
    assert_eq!(app.borrow().problem, None);

    app.borrow_mut().apply(Command::SetSentence("   ".into()));
    settle(&mut app.borrow_mut());
    assert!(app.borrow().problem.as_ref().is_some_and(|problem| problem.contains("no text")));
    app.borrow_mut().apply(Command::SetSentence("a cat ".repeat(60)));
    settle(&mut app.borrow_mut());
    assert_eq!(app.borrow().problem, None);
    assert!(app.borrow().evidence.as_ref().expect("evidence").tokens.cut);
    harness.run_steps(2);
    app.borrow_mut().apply(Command::SetCheckpoint(PathBuf::from("no/such/folder")));
    settle(&mut app.borrow_mut());
    assert!(app.borrow().problem.as_ref().is_some_and(|problem| problem.contains("no/such/folder")));
    harness.run_steps(2);
}

#[test]
fn a_photograph_is_said_to_be_strange_and_a_sticker_scene_is_not() {
    let mut wrong = Vec::new();
    for folder in alignscope::models::builtin::list() {
        let class = Checkpoint::open(&folder).expect("a checkpoint").class().to_owned();
        let method = METHODS.iter().find(|method| method.classes.contains(&class.as_str())).expect("a method").key;
        for sample in samples() {
            let state = AppState {
                picture: PictureSource::Sample(sample.key.clone()),
                sentence: "a cat".into(),
                method: MethodName(method),
                checkpoints: [(method.to_owned(), folder.display().to_string())].into(),
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
    let mut app = App::new(AppState::default());
    app.apply(Command::SetCheckpoint(roundabout));
    assert_eq!(app.checkpoints.len(), known);
}

#[test]
fn the_board_is_drawn_the_same_every_time() {
    let app = app(AppState::first());
    let draw = || alignscope::ui::board::draw(&app, 1200.0, 800.0, 1.0);
    let (first, second) = (draw(), draw());
    assert!(first == second, "two boards of the same state differ");
    let colours: std::collections::BTreeSet<_> = first.pixels().map(|pixel| pixel.0).collect();
    assert!(colours.len() > 1000, "the board shows a picture, not {} colours", colours.len());
}

#[test]
fn a_pasted_picture_is_handed_on_to_be_kept() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    let pasted = egui::ColorImage::filled([3, 2], egui::Color32::RED);
    harness.event(egui::Event::PasteImage(std::sync::Arc::new(pasted)));
    harness.run_steps(2);
    let asks = app.borrow().asks.clone();
    let [Ask::KeepPasted(picture)] = asks.as_slice() else { panic!("{asks:?}") };
    assert_eq!((picture.dimensions(), picture.get_pixel(2, 1).0), ((3, 2), [255, 0, 0]));
}
