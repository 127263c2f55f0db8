//! Every command, as a person reaches it: through the catalogue, the palette, the menus, keys and the bars of the views.

mod common;
#[path = "common/interface.rs"]
mod interface;

use std::collections::BTreeSet;

use alignscope::app::state::MethodName;
use alignscope::app::{App, AppState, Ask, Command, Export, Format, Theme, Thing};
use alignscope::methods::reading::Place;
use alignscope::ui::catalogue::{Menu, catalogue, title_key};
use alignscope::ui::texts;
use alignscope::ui::views::VIEWS;
use alignscope::world::Language;
use egui::Key;
use egui_kittest::kittest::{NodeT as _, Queryable};
use interface::{app, builder, runs, screen, screen_by, settle, state};

/// What a command may change.
type Shown = (AppState, [bool; 2], &'static str, usize, Option<Thing>, [Option<String>; 2]);

fn shown(app: &App) -> Shown {
    let (problem, news) = (app.problem.clone(), app.news.clone());
    let open = [app.palette_is_open, app.downloads.is_open];
    (app.state.clone(), open, app.help, app.asks.len(), app.hovered, [problem, news])
}

#[test]
fn every_entry_has_a_name_and_keys_of_its_own() {
    let app = App::new(AppState::first());
    let mut keys = BTreeSet::new();
    let mut titles = BTreeSet::new();
    for entry in catalogue(&app) {
        assert!(!entry.title.trim().is_empty() && titles.insert(entry.title.clone()), "{} twice", entry.title);
        if let Some(shortcut) = entry.keys {
            assert!(keys.insert(format!("{shortcut:?}")), "{} has the keys of another: {shortcut:?}", entry.title);
        }
    }
    for menu in Menu::ALL {
        assert!(catalogue(&app).iter().any(|entry| entry.menu == menu), "{menu:?} is empty");
    }
}

#[test]
fn every_entry_does_something_or_already_is_so() {
    let mut app = app(AppState::first());
    app.apply(Command::SelectPatch(Some(3)));
    app.apply(Command::SetFactor(Some(10.0)));
    app.apply(Command::SelectNothing);
    app.apply(Command::Undo);
    let base = app.state.clone();
    for entry in catalogue(&app) {
        app.state = base.clone();
        let before = shown(&app);
        app.apply(entry.command.clone());
        settle(&mut app);
        // Cancelling and the usual things change nothing where there is nothing to do.
        let idle = entry.chosen == Some(true)
            || !entry.enabled
            || matches!(entry.command, Command::Cancel | Command::Recompute)
            || matches!(entry.command, Command::ResetLayout | Command::ResetComparison)
            || entry.command == Command::SetZoom(1.0)
            || matches!(entry.command, Command::ShowView(..) | Command::Undo | Command::Redo);
        assert!(idle || shown(&app) != before, "{} does nothing", entry.title);
        assert_eq!(app.problem, None, "{}", entry.title);
        app.asks.clear();
    }
}

#[test]
fn the_palette_runs_every_entry_by_its_name() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    let entries = catalogue(&app.borrow());
    let base = app.borrow().state.clone();
    for entry in entries.into_iter().filter(|entry| entry.enabled && entry.command != Command::TogglePalette) {
        app.borrow_mut().state = base.clone();
        harness.run_steps(1);
        let start = shown(&app.borrow());
        harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::K);
        harness.run_steps(2);
        assert!(app.borrow().palette_is_open, "before {}", entry.title);
        harness.get_by_role_and_label(egui::accesskit::Role::TextInput, &field(&app.borrow())).type_text(&entry.title);
        harness.run_steps(2);
        harness.key_press(Key::Enter);
        harness.run_steps(3);
        assert!(!app.borrow().palette_is_open, "after {}", entry.title);
        let mut expected = App::new(start.0.clone());
        expected.help = start.2;
        expected.apply(entry.command.clone());
        let now = shown(&app.borrow());
        // What is undone hangs on what was done; all else can be said beforehand.
        if !matches!(entry.command, Command::Undo | Command::Redo) {
            assert_eq!(now.0, expected.state, "{}", entry.title);
            assert_eq!((now.2, now.3), (expected.help, expected.asks.len()), "{}", entry.title);
        }
        app.borrow_mut().asks.clear();
    }
}

/// The accessible name of the palette's field.
fn field(app: &App) -> String {
    texts::say(app.state.look.language, texts::PALETTE_FIELD.0).to_owned()
}

#[test]
fn the_palette_takes_paths() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    let mut run = |typed: &str| {
        harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::K);
        harness.run_steps(2);
        harness.get_by_role_and_label(egui::accesskit::Role::TextInput, &field(&app.borrow())).type_text(typed);
        harness.run_steps(2);
        harness.key_press(Key::Enter);
        harness.run_steps(3);
    };
    let session = folder.path().join("lesson.json");
    run(&session.display().to_string());
    assert!(session.is_file());
    let picture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/coffee.jpg");
    run(&picture.display().to_string());
    assert_eq!(app.borrow().picture_name, "coffee.jpg");
    run(&session.display().to_string());
    assert_eq!(app.borrow().picture_name, "scene-000101", "the session has the sample");
    let board = folder.path().join("board.png");
    run(&board.display().to_string());
    let asked = app.borrow().asks.clone();
    let export = Export { view: None, format: Format::Png(2) };
    assert_eq!(asked, [Ask::Export(export, Some(board))]);
}

#[test]
fn menus_open_and_their_entries_work() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    harness.get_by_role_and_label(egui::accesskit::Role::Button, "Map").click();
    harness.run_steps(3);
    harness.get_all_by_label("Attention rollout").last().expect("an entry").click();
    harness.run_steps(3);
    assert_eq!(app.borrow().layer().0, "rollout");
    harness.get_by_label("Edit").click();
    harness.run_steps(3);
    let undo = harness.get_all_by_label_contains("Undo").next().expect("an entry");
    undo.click();
    harness.run_steps(3);
    assert_eq!(app.borrow().layer().0, "relevancy");
}

#[test]
fn keys_work_wherever_the_focus_is() {
    let (mut harness, app) = screen(app(state(Theme::Dark, Language::English)));
    harness.run_steps(2);
    let command_shift = egui::Modifiers::COMMAND.plus(egui::Modifiers::SHIFT);
    let mut press = |modifiers, key| {
        harness.key_press_modifiers(modifiers, key);
        harness.run_steps(2);
    };
    press(command_shift, Key::J);
    assert_eq!(app.borrow().state.look.language, Language::Chinese);
    press(egui::Modifiers::COMMAND, Key::Z);
    assert_eq!(app.borrow().state.look.language, Language::English);
    press(command_shift, Key::Z);
    assert_eq!(app.borrow().state.look.language, Language::Chinese);
    press(command_shift, Key::L);
    press(egui::Modifiers::COMMAND, Key::Plus);
    assert!((app.borrow().state.look.zoom - 1.1).abs() < 1e-5);
    press(egui::Modifiers::COMMAND, Key::Num0);
    assert!((app.borrow().state.look.zoom - 1.0).abs() < 1e-5);
    press(command_shift, Key::O);
    assert_eq!(app.borrow().asks, [Ask::OpenSession], "not Ctrl-O");
}

#[test]
fn the_focus_reaches_everything_by_the_tab_key() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    let mut reached = BTreeSet::new();
    for _ in 0..400 {
        harness.key_press(Key::Tab);
        harness.run_steps(1);
        let focused = harness
            .query_all(egui_kittest::kittest::By::new().predicate(|node| node.is_focused() && !node.is_hidden()));
        for node in focused {
            reached.insert(node.accesskit_node().label().or(node.accesskit_node().value()).unwrap_or_default());
        }
    }
    let map = format!("Picture with the map of red ball · {}", "Relevancy");
    for name in ["File", "Open…", "red", "clip-grounded", "中文", "Opacity", "t-SNE", "Softmax, captions", &map] {
        assert!(reached.iter().any(|label| label.starts_with(name)), "{name} isn't among {reached:?}");
    }
    drop(app);
}

#[test]
fn arrows_walk_over_the_picture_and_the_matrix() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    let columns = app.borrow().evidence.as_ref().expect("evidence").grid.1;
    harness.get_by_label("Picture with the map of red ball · Relevancy").click();
    harness.run_steps(2);
    let start = app.borrow().state.selected.patch.expect("a patch");
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    assert_eq!(app.borrow().state.selected.patch, Some(start + 1));
    harness.key_press(Key::ArrowUp);
    harness.run_steps(2);
    assert_eq!(app.borrow().state.selected.patch, Some(start + 1 - columns));
    harness.get_by_label("Similarity of pictures and captions").click();
    harness.run_steps(2);
    let Some(Thing::Cell { picture, text }) = app.borrow().state.selected.pair else { panic!("no cell is selected") };
    harness.key_press(Key::ArrowLeft);
    harness.run_steps(2);
    let moved = Thing::Cell { picture: picture - 1, text };
    assert_eq!(app.borrow().state.selected.pair, Some(moved));
}

#[test]
fn views_are_enlarged_closed_and_brought_back() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    for view in VIEWS.iter().filter(|view| runs(view.method())) {
        let title = texts::say(Language::English, &title_key(*view)).to_owned();
        app.borrow_mut().apply(Command::ShowView(view.method(), view.key()));
        harness.run_steps(3);
        harness.get_by_label(&format!("Maximise · {title}")).click();
        harness.run_steps(3);
        let large = app.borrow().state.layout.maximised.clone();
        assert_eq!(large, Some((view.method().to_owned(), view.key().to_owned())));
        harness.get_by_label(&format!("Restore · {title}")).click();
        harness.run_steps(3);
        assert_eq!(app.borrow().state.layout.maximised, None);
        harness.get_by_label(&format!("Close · {title}")).click();
        harness.run_steps(3);
        assert!(!app.borrow().state.layout.has(view.method(), view.key()), "{title} is still there");
    }
    assert!(harness.query_by_label_contains("All views are closed").is_some());
    for _ in VIEWS.iter().filter(|view| runs(view.method())) {
        harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::Z);
        harness.run_steps(2);
    }
    app.borrow_mut().apply(Command::SetMethod(MethodName("contrastive")));
    harness.run_steps(3);
    harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::Num4);
    harness.run_steps(3);
    assert!(harness.query_by_label("Similarity of pictures and captions").is_some());
}

#[test]
fn a_double_click_on_a_tab_enlarges_the_view() {
    // Frames as fast as on a screen: two clicks of a double click are near each other.
    let quick = builder().with_size([1600.0, 1000.0]).with_step_dt(1.0 / 60.0);
    let (mut harness, app) = screen_by(quick, app(AppState::first()));
    harness.run_steps(2);
    let pos = harness.get_all_by_label("Embedding space").next().expect("a tab").rect().center();
    harness.event(egui::Event::PointerMoved(pos));
    for pressed in [true, false, true, false] {
        let (button, modifiers) = (egui::PointerButton::Primary, egui::Modifiers::NONE);
        harness.event(egui::Event::PointerButton { pos, button, pressed, modifiers });
        harness.run_steps(1);
    }
    harness.run_steps(3);
    let large = app.borrow().state.layout.maximised.clone();
    assert_eq!(large, Some(("contrastive".to_owned(), "embedding".to_owned())));
}

#[test]
fn what_is_pointed_at_lights_up_in_every_view() {
    let mut app = app(AppState::first());
    use alignscope::app::Light;
    let own = app.evidence.as_ref().expect("evidence").cloud.pairs() - 1;
    app.apply(Command::Hover(Some(Thing::Cell { picture: 2, text: 5 })));
    assert_eq!(app.light(Thing::Picture(2)), Light::Hovered);
    assert_eq!(app.light(Thing::Text(5)), Light::Hovered);
    assert_eq!(app.light(Thing::Text(2)), Light::None);
    app.apply(Command::Hover(Some(Thing::Picture(3))));
    assert_eq!(app.light(Thing::Cell { picture: 3, text: 1 }), Light::Hovered);
    app.apply(Command::Hover(None));
    // Words light up the captions in which they stand.
    let lit: Vec<usize> = (0..=own).filter(|text| app.light(Thing::Text(*text)) == Light::Selected).collect();
    let texts = &app.evidence.as_ref().expect("evidence").scores.texts;
    let expected: Vec<usize> = (0..=own).filter(|text| texts[*text].contains("red ball")).collect();
    assert_eq!(lit, expected);
    // A word under the pointer shows its own map, which is already there.
    let cat = app.state.sentence.find("cat").expect("a cat");
    app.apply(Command::Hover(Some(Thing::Words(cat, cat + 3))));
    let evidence = app.evidence.clone().expect("evidence");
    assert_eq!(app.phrase(&evidence), "cat");
}

#[test]
fn a_drag_is_one_step_of_undo() {
    let mut app = app(AppState::first());
    let before = app.state.clone();
    for opacity in 1..50 {
        app.apply(Command::SetOpacity(opacity as f32 / 50.0));
    }
    app.apply(Command::Settle);
    app.apply(Command::SetOpacity(0.2));
    app.apply(Command::Undo);
    assert!((app.state.map.opacity - 49.0 / 50.0).abs() < 1e-6);
    app.apply(Command::Undo);
    assert_eq!(app.state, before);
    assert!(!app.can_undo());
}

#[test]
fn what_failed_is_no_step() {
    let mut app = app(AppState::first());
    app.apply(Command::OpenPicture("no/such/picture.png".into()));
    settle(&mut app);
    assert!(app.problem.is_some() && !app.can_undo());
    app.apply(Command::SetCheckpoint("no/such/folder".into()));
    settle(&mut app);
    assert!(app.problem.as_ref().is_some_and(|problem| problem.contains("no/such/folder")) && !app.can_undo());
}

#[test]
fn a_computation_can_be_stopped_and_begun_again() {
    let mut app = app(AppState::first());
    app.apply(Command::SetSentence("a dog, a horse and a tree".into()));
    assert!(app.busy && app.progress.is_some());
    app.apply(Command::Cancel);
    assert!(!app.busy && app.progress.is_none());
    std::thread::sleep(std::time::Duration::from_millis(50));
    app.receive();
    let phrase = |app: &App| app.evidence.as_ref().expect("evidence").phrase.clone();
    assert_eq!(phrase(&app), "red ball", "late answers are not taken");
    app.apply(Command::Recompute);
    settle(&mut app);
    assert_eq!(phrase(&app), "a dog, a horse and a tree");
}

#[test]
fn a_picture_of_the_comparison_that_cannot_be_read_is_said_and_left_out() {
    use alignscope::app::PictureSource;
    use alignscope::app::state::Compared;
    let mut app = app(AppState::first());
    let pairs = app.evidence.as_ref().expect("evidence").cloud.pairs();
    let picture = PictureSource::File("no/such/picture.png".into());
    app.apply(Command::AddCompared(Compared { picture, caption: Some("a dog".into()) }));
    settle(&mut app);
    assert!(app.problem.as_ref().is_some_and(|problem| problem.contains("no/such/picture.png")));
    assert_eq!(app.evidence.as_ref().expect("evidence").cloud.pairs(), pairs);
    app.apply(Command::RemoveCompared(app.state.comparison.len() - 1));
    settle(&mut app);
    assert_eq!(app.problem, None);
}

#[test]
fn what_went_wrong_elsewhere_stays_until_it_is_read() {
    let mut app = app(AppState::first());
    app.apply(Command::Complain("the last session can't be restored".into()));
    app.apply(Command::SetSentence("a cat".into()));
    settle(&mut app);
    assert!(app.problem.is_some());
    app.apply(Command::DismissProblem);
    assert_eq!(app.problem, None);
}

/// What is clicked in each view and panel, and what has to follow.
type Click = (&'static str, &'static str, fn(&AppState) -> bool);

const CLICKS: &[Click] = &[
    ("heatmap", "Corrected cosine", |state| state.map.layer.0 == "cosine-corrected"),
    ("heatmap", "Patches", |state| !state.map.smooth),
    ("heatmap", "One scale for all words", |state| state.map.scale == alignscope::app::Scale::Own),
    ("heatmap", "Mark sinks", |state| !state.map.sinks),
    ("attention", "Layer 2 · head 3", |state| (state.attention.layer, state.attention.head) == (Some(1), 2)),
    ("attention", "Text tower", |state| state.attention.tower == alignscope::app::thing::TowerName::Text),
    ("embedding", "UMAP", |state| state.space.reduction.0 == "umap"),
    ("embedding", "Another seed (0)", |state| state.space.seed == 1),
    ("embedding", "Words", |state| state.space.drawn == alignscope::app::state::Drawn::Words),
    ("embedding", "Join pairs", |state| !state.space.pairs),
    ("matrix", "Softmax, captions", |state| state.matrix.reading == alignscope::app::state::Reading::OverTexts),
    ("ranking", "a key left of a purple box: 0.0 %   cos 0.25", |state| {
        matches!(state.selected.pair, Some(Thing::Text(_)))
    }),
    ("words", "while it is read", |state| state.fusion.place == Place::Read),
    ("words", "Next word", |state| state.fusion.step.is_some()),
    ("cross-heads", "Layer 2 · head 3", |state| state.fusion.head == Some((1, 2))),
    ("word-patches", "Words by patches", |state| state.selected.patch.is_some()),
    ("mixing", "Layer of the hidden states", |state| state.fusion.layer.is_some()),
    ("explainers-words", "Sliding occlusion", |state| {
        state.map.explanations.iter().any(|key| key == "sliding-occlusion")
    }),
    ("what-if-words", "words → picture · layer 2", |state| state.interventions.contains_key("cross-attention")),
    ("words", "flamingo", |state| state.checkpoints.get("cross-attention").is_some_and(|name| name == "flamingo")),
    ("gates", "Gate 2", |state| state.fusion.closed == [1]),
    ("latents", "Latent 3", |state| state.selected.patch.is_some_and(|patch| patch != 5)),
    ("gates", "Close all gates", |state| state.fusion.closed == [0, 1, 2, 3]),
    ("explainers", "Integrated gradients", |state| {
        state.map.explanations.iter().any(|key| key == "integrated-gradients")
    }),
    ("what-if", "words → other words · layer 2", |state| state.interventions.contains_key("contrastive")),
    ("heatmap", "clip-grounded", |state| {
        state.checkpoints.get("contrastive").is_some_and(|name| name == "clip-grounded")
    }),
];

#[test]
fn every_view_is_worked_by_clicks() {
    let (mut harness, app) = screen(app(AppState::first()));
    harness.run_steps(2);
    for (view, label, follows) in CLICKS {
        let method = VIEWS.iter().find(|of| of.key() == *view).expect("a view").method();
        app.borrow_mut().apply(Command::ShowView(method, view));
        harness.run_steps(2);
        let before = app.borrow().state.clone();
        assert!(!follows(&before), "{label} is so already");
        harness.get_all_by_label(label).next().unwrap_or_else(|| panic!("no {label}")).click();
        harness.run_steps(3);
        assert!(follows(&app.borrow().state), "a click on {label} in {view} changes nothing");
        app.borrow_mut().apply(Command::Undo);
        harness.run_steps(2);
        let undone = app.borrow().state == before;
        assert!(undone, "{label} isn't undone");
        app.borrow_mut().apply(Command::Redo);
        harness.run_steps(2);
    }
    // Each view was clicked into; what was expected of a word is clicked below.
    // The folder of pictures is worked in `album`, the views of queries in `query_views`, those of the projector in
    // `projector_views`, and all methods together in `side_by_side`.
    let elsewhere = ["querying", "projector", "side-by-side"];
    for view in
        VIEWS.iter().filter(|view| !["expected", "album"].contains(&view.key()) && !elsewhere.contains(&view.method()))
    {
        assert!(CLICKS.iter().any(|(key, ..)| *key == view.key()), "{} isn't clicked into", view.key());
    }
}

#[test]
fn a_word_that_was_expected_takes_the_place_of_the_one_that_stands_there() {
    let (mut harness, app) = screen(app(AppState::first()));
    app.borrow_mut().apply(Command::ShowView("cross-attention", "expected"));
    app.borrow_mut().apply(Command::SetSentence("a cat and a red ball".into()));
    app.borrow_mut().apply(Command::SelectWords { start: 2, end: 5, extend: false });
    harness.run_steps(3);
    let reading = app.borrow().evidence.as_ref().and_then(|evidence| evidence.reading.clone()).expect("a reading");
    let step = app.borrow().step(&reading).expect("a word");
    let (line, at) = reading.step(step).expect("a word");
    assert_eq!(line.steps[at].text, "cat");
    let (word, share) = line.steps[at].expected.iter().find(|(word, _)| word != "cat").cloned().expect("another");
    harness.get_by_label(&format!("{word}: {:.1} %", share * 100.0)).click();
    harness.run_steps(3);
    assert_eq!(app.borrow().state.sentence, format!("a {word} and a red ball"));
}

#[test]
fn stepping_through_a_sentence_moves_the_map_from_one_thing_to_the_other() {
    // The example of the column: the highest patch of the weighted map lies on the cat, then on the ball.
    use alignscope::app::samples::{Sample, SampleSource};
    use alignscope::methods::reading::Weighting;
    let mut app = app(AppState { method: MethodName("cross-attention"), ..AppState::first() });
    app.apply(Command::SetSentence("a cat above a red ball".into()));
    settle(&mut app);
    let sample = Sample::named("scene-000101").expect("a sample");
    let SampleSource::Scene(scene) = sample.source else { panic!("a scene") };
    let evidence = app.evidence.clone().expect("evidence");
    let reading = evidence.reading.clone().expect("a reading");
    for (word, name) in [("cat", "cat"), ("ball", "red ball")] {
        let start = app.state.sentence.find(word).expect("the word");
        let step = reading.step_of((start, start + word.len())).expect("a step");
        let (line, at) = reading.step(step).expect("a step");
        let how = (Place::Predict, Weighting::Gradient);
        let map = line.map(at, how, None, (reading.layers, reading.heads)).expect("a map");
        let peak = map.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("patches").0;
        let (rows, columns) = evidence.grid;
        let middle = |at: usize, count: usize| (256 * (2 * at + 1) / (2 * count)) as i32;
        let (x, y) = (middle(peak % columns, columns), middle(peak / columns, rows));
        let object = scene.objects.iter().find(|object| object.thing.name() == name).expect("the thing");
        assert!(object.bounds().contains(x, y), "“{word}” is looked for at {x}, {y}");
    }
}

#[test]
fn a_phrase_has_the_sum_of_the_maps_of_its_words() {
    use alignscope::methods::reading::Weighting;
    let mut app = app(AppState { method: MethodName("cross-attention"), ..AppState::first() });
    let start = app.state.sentence.find("red ball").expect("the phrase");
    let words = VIEWS.iter().find(|view| view.key() == "words").expect("a view");
    let map = |app: &App| {
        let evidence = app.evidence.clone().expect("evidence");
        words
            .numbers(&evidence, app)
            .into_iter()
            .find(|array| array.name == "gradient_x_attention")
            .expect("a map")
            .values
    };
    app.apply(Command::SelectWords { start, end: start + 8, extend: false });
    settle(&mut app);
    let evidence = app.evidence.clone().expect("evidence");
    let reading = evidence.reading.clone().expect("a reading");
    let of = |from: usize, to: usize| {
        let (line, at) = reading.step(reading.step_of((from, to)).expect("a step")).expect("a step");
        let how = (Place::Predict, Weighting::Gradient);
        line.map(at, how, None, (reading.layers, reading.heads)).expect("a map")
    };
    let (red, ball) = (of(start, start + 3), of(start + 4, start + 8));
    let sum: Vec<f32> = red.iter().zip(&ball).map(|(a, b)| a + b).collect();
    assert_eq!(map(&app), sum);
    app.apply(Command::SelectStep(reading.step_of((start, start + 3))));
    assert_eq!(map(&app), red);
}
