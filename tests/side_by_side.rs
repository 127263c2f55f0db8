//! One picture and the same words in the eyes of all four methods.

mod common;
#[path = "common/interface.rs"]
mod interface;

use alignscope::app::layout::SIDE_BY_SIDE;
use alignscope::app::state::MethodName;
use alignscope::app::{App, AppState, ColumnKey, Command, ExtraColumn, PictureSource, Theme, session};
use alignscope::methods::{Evidence, METHODS};
use alignscope::models::runtime::{Precision, RuntimeName};
use alignscope::ui::views::named;
use alignscope::world::Language;
use egui_kittest::kittest::{NodeT, Queryable};
use interface::{app, drawn, screen, settle, state};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

fn together(language: Language) -> AppState {
    AppState { method: MethodName(SIDE_BY_SIDE), ..state(Theme::Dark, language) }
}

fn select(app: &mut App, words: &str) {
    let start = app.state.sentence.find(words).expect("the words stand in the sentence");
    app.apply(Command::SelectWords { start, end: start + words.len(), extend: false });
    settle(app);
}

/// What the view shows of the four, as text.
fn shown(app: &App) -> Vec<String> {
    let view = named("four-ways").expect("the view");
    let evidence = app.evidence.clone().expect("evidence");
    assert_eq!(view.numbers(&evidence, app).len(), METHODS.len());
    shown_of(app)
}

fn shown_of(app: &App) -> Vec<String> {
    let (harness, _) = screen(app.still());
    let said = |node: egui_kittest::Node<'_>| node.accesskit_node().label().or(node.accesskit_node().value());
    harness.root().children_recursive().filter_map(said).collect()
}

#[test]
fn all_four_methods_say_where_the_words_land() {
    for (language, words) in [(Language::English, "red ball"), (Language::Chinese, "红色的球")] {
        let mut app = app(together(language));
        assert!(app.problem.is_none(), "{:?}", app.problem);
        let known: Vec<ColumnKey> = app.columns.keys().copied().collect();
        assert_eq!(known.len(), METHODS.len(), "{known:?}");
        select(&mut app, words);
        let truth = app.truth().expect("the scene is known");
        for evidence in app.columns.values() {
            let covered = truth.covered(evidence.seen, evidence.grid);
            assert_eq!(covered.len(), evidence.grid.0 * evidence.grid.1);
            assert!(covered.iter().any(|share| *share > 0.9), "a ball covers whole patches");
        }
        let (share, overlap) = match language {
            Language::English => ("on the object", "overlap"),
            Language::Chinese => ("落在物体上", "交并比"),
        };
        let texts = shown(&app);
        let facts: Vec<&String> = texts.iter().filter(|text| text.starts_with(share)).collect();
        assert_eq!(facts.len(), METHODS.len(), "{texts:?}");
        assert!(facts.iter().all(|text| text.contains('%') && text.contains(overlap)), "{facts:?}");
    }
}

#[test]
fn truth_follows_the_words_and_a_photograph_has_none() {
    let mut app = App::new(together(Language::English));
    let cover = |app: &App| app.truth().map(|truth| truth.covered([0.0, 0.0, 256.0, 256.0], (8, 8)));
    let covers: Vec<_> = ["guitar", "cat", "red ball"]
        .into_iter()
        .map(|words| {
            let start = app.state.sentence.find(words).expect("the words");
            app.apply(Command::SelectWords { start, end: start + words.len(), extend: false });
            cover(&app).expect("an object")
        })
        .collect();
    assert!(covers[0] != covers[1] && covers[1] != covers[2] && covers[0] != covers[2]);
    app.apply(Command::SelectSentence);
    let all = cover(&app).expect("all objects");
    let sum = |cover: &[f32]| cover.iter().sum::<f32>();
    assert!(sum(&all) > covers.iter().map(|cover| sum(cover)).sum::<f32>() - 1e-3, "the sentence names a rabbit, too");
    app.apply(Command::SetSentence("a zebra".into()));
    assert!(app.truth().is_none(), "no zebra is there");
    let written = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/scene-000101.png");
    app.apply(Command::OpenPicture(written));
    app.apply(Command::SetSentence("a cat".into()));
    assert_eq!(cover(&app), Some(covers[1].clone()), "its description stands beside it");
    let photograph = app.samples.iter().rev().find(|sample| !sample.key.starts_with("scene")).expect("a photograph");
    let key = photograph.key.clone();
    app.apply(Command::OpenSample(key));
    assert!(app.truth().is_none());
}

#[test]
fn a_name_leads_to_its_column_and_a_checkpoint_stays_side_by_side() {
    let (mut harness, app) = screen(app(together(Language::English)));
    harness.run_steps(3);
    let chosen = app.borrow().checkpoints.iter().find(|choice| choice.name == "clip-grounded").cloned();
    app.borrow_mut().apply(Command::SetCheckpoint(chosen.expect("a checkpoint").folder));
    settle(&mut app.borrow_mut());
    harness.run_steps(2);
    assert_eq!(app.borrow().state.method.0, SIDE_BY_SIDE);
    assert_eq!(app.borrow().columns[&ColumnKey::Own("contrastive")].model.name, "clip-grounded");
    // The second is the name over the picture; the first is the tab.
    let name = harness.query_all_by_label("Cross-attention").last().expect("a name");
    name.click();
    harness.run_steps(3);
    assert_eq!(app.borrow().state.method.0, "cross-attention");
    let evidence = app.borrow().evidence.clone().expect("evidence");
    assert_eq!(evidence.method, "cross-attention");
}

#[test]
fn a_patch_is_lit_in_all_pictures_and_each_method_names_its_words() {
    let mut app = app(together(Language::English));
    select(&mut app, "red ball");
    app.apply(Command::SelectPatch(Some(45)));
    settle(&mut app);
    let texts = shown(&app).join("\n");
    assert_eq!(texts.matches("Patch 6·6:").count(), METHODS.len(), "{texts}");
    app.apply(Command::OpenPicture("no such file.png".into()));
    settle(&mut app);
    assert!(app.problem.as_ref().is_some_and(|problem| problem.contains("no such file")), "{:?}", app.problem);
    assert!(matches!(app.state.picture, PictureSource::Sample(_)) && app.columns.len() == METHODS.len());
}

#[test]
fn the_page_holds_what_stands_side_by_side() {
    use alignscope::app::{Export, Format};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("board.html");
    let app = app(together(Language::Chinese));
    let export = Export { view: None, format: Format::Html };
    alignscope::ui::export::write(&app, &export, &path).expect("a page");
    let page = std::fs::read_to_string(&path).expect("a page");
    assert!(page.contains("四种方法") && page.contains("blip2-retrieval") && page.contains("llava"));
    // Maps, stickers, clouds, ledger and bottleneck; nothing is learned yet.
    assert_eq!(page.matches("data:text/csv").count(), 5);
}

#[test]
fn a_sticker_goes_where_the_pointer_is_released() {
    let (mut harness, app) = screen(app(together(Language::English)));
    let places = |app: &App| app.scene().expect("a scene").objects.iter().map(|object| object.x).collect::<Vec<_>>();
    let before = places(&app.borrow());
    let sticker = harness.get_all_by_label_contains("ball · ").next().expect("the ball").rect();
    let button = |pos, pressed| {
        let (button, modifiers) = (egui::PointerButton::Primary, egui::Modifiers::NONE);
        egui::Event::PointerButton { pos, button, pressed, modifiers }
    };
    let [from, over, to] = [0.0, -15.0, -40.0].map(|left| sticker.center() + egui::vec2(left, 0.0));
    let frames = [
        vec![egui::Event::PointerMoved(from), button(from, true)],
        vec![egui::Event::PointerMoved(over)],
        // A quick hand, or a slow machine.
        vec![egui::Event::PointerMoved(to), button(to, false)],
    ];
    for events in frames {
        harness.input_mut().events.extend(events);
        harness.run_steps(1);
    }
    harness.run_steps(2);
    let after = places(&app.borrow());
    let side = harness.get_all_by_label_contains("ball · ").next().expect("the ball").rect();
    assert!(
        (side.center().x - to.x).abs() < 2.0,
        "it lies at {:?} in place of {to:?}: {before:?} {after:?}",
        side.center()
    );
}

#[test]
fn a_sticker_that_is_dragged_is_followed_by_all_four() {
    let mut app = app(together(Language::English));
    select(&mut app, "red ball");
    let scene = app.scene().expect("a scene").clone();
    let ball = scene.objects.iter().position(|object| object.thing.name() == "red ball").expect("a ball");
    let before: Vec<_> = METHODS.iter().map(|method| app.landed(method.key).expect("a map")).collect();
    for x in [100, 60, 20, 4] {
        app.apply(Command::SetScene { scene: Box::new(scene.with_place(ball, x, 8)), dragging: true });
    }
    settle(&mut app);
    // What follows a drag is brief: the maps of the selected words, of the last place.
    let brief: Vec<_> = METHODS.iter().map(|method| app.landed(method.key).expect("a map")).collect();
    assert!(app.columns.values().any(|evidence| !evidence.complete));
    app.apply(Command::Settle);
    settle(&mut app);
    assert!(app.columns.values().all(|evidence| evidence.complete || evidence.queries.is_some()));
    for (method, (before, brief)) in METHODS.iter().zip(before.iter().zip(&brief)) {
        let now = app.landed(method.key).expect("a map");
        assert_ne!(now.shares, before.shares, "{}", method.key);
        let apart = now.values.iter().zip(&brief.values).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{}: brief and full differ by {apart}", method.key);
        assert!(now.fares.is_some(), "the truth goes along");
    }
    app.apply(Command::Undo);
    assert_eq!(app.scene(), Some(&scene), "a drag is one step");
}

#[test]
fn what_is_pinned_is_compared_with() {
    let mut app = app(together(Language::English));
    select(&mut app, "red ball");
    app.apply(Command::Pin);
    assert!(shown(&app).iter().any(|text| text.contains("Unpin")));
    let scene = app.scene().expect("a scene").clone();
    let ball = scene.objects.iter().position(|object| object.thing.name() == "red ball").expect("a ball");
    app.apply(Command::SetScene { scene: Box::new(scene.without(ball)), dragging: false });
    settle(&mut app);
    let texts = shown(&app);
    assert!(texts.iter().any(|text| text.contains(" → ")), "an answer or a figure has changed: {texts:?}");
    assert!(app.pinned.as_deref().is_some_and(|pinned| pinned.scene() == Some(&scene)));
    app.apply(Command::Unpin);
    assert!(!shown(&app).iter().any(|text| text.contains(" → ")));
}

#[test]
fn a_photograph_is_painted_cropped_and_shifted() {
    use alignscope::app::retouch::{Change, kept};
    let mut app = app(AppState { picture: PictureSource::Sample("coffee".into()), ..together(Language::English) });
    let original = app.picture.clone().expect("a picture");
    let paint = Change::Paint { at: [kept(0.5), kept(0.5)], radius: kept(0.2) };
    app.apply(Command::ChangePicture { change: paint, dragging: false });
    app.apply(Command::ChangePicture { change: Change::Crop { to: [0.0, 0.0, 0.5, 1.0].map(kept) }, dragging: false });
    settle(&mut app);
    let changed = app.picture.clone().expect("a picture");
    assert_eq!((changed.width(), changed.height()), (original.width() / 2, original.height()));
    app.apply(Command::ForgetChanges);
    settle(&mut app);
    assert_eq!(app.picture.as_deref(), Some(&*original));
}

#[test]
fn clouds_and_costs_are_there_for_all_four() {
    let app = app(together(Language::English));
    for method in METHODS {
        let (evidence, plane) = (&app.columns[&method.key.into()], &app.planes[&method.key.into()]);
        assert_eq!(plane.points.len(), evidence.cloud.points.len(), "{}", method.key);
        let (_, cost) = app.costs.iter().find(|(key, _)| *key == ColumnKey::Own(method.key)).expect("a cost");
        assert_eq!(cost.trained + cost.frozen, evidence.model.parameters, "{}", method.key);
        assert!(cost.operations.iter().all(|count| *count > 1_000_000), "{}: {:?}", method.key, cost.operations);
    }
}

#[test]
fn a_question_as_a_whole_is_no_hit_and_no_miss() {
    let mut app = app(AppState { sentence: "what is below the cat?".into(), ..together(Language::English) });
    assert!(METHODS.iter().all(|method| app.landed(method.key).is_none_or(|landed| landed.fares.is_none())));
    select(&mut app, "cat");
    assert!(METHODS.iter().all(|method| app.landed(method.key).is_some_and(|landed| landed.fares.is_some())));
}

/// What is drawn of a watched map is that map: of another run after as many steps it is another, and so with another opacity.
#[test]
fn the_watched_map_is_drawn_anew_when_it_changes() {
    let mut app = App::new(together(Language::English));
    app.compute_now();
    app.apply(Command::ShowRecording("clip-grounded".to_owned()));
    app.apply(Command::ShowLook(Some(30)));
    let app = Rc::new(RefCell::new(app));
    let mut harness = drawn(named("watch").expect("the view"), Rc::clone(&app), [900.0, 700.0]);
    let mut picture = || {
        harness.run_steps(3);
        harness.render().expect("a picture")
    };
    let before = picture();
    assert!(before == picture(), "it changes by itself");
    if let Some(learning) = &mut app.borrow_mut().learning {
        learning.looks[30].look.map.reverse();
    }
    let other = picture();
    assert!(before != other, "the map of another run looks like that of the first");
    app.borrow_mut().apply(Command::SetOpacity(0.1));
    assert!(other != picture(), "the opacity changes nothing");
}

fn extra(method: &str, checkpoint: &str, precision: Precision) -> ExtraColumn {
    let runtime = RuntimeName { precision, ..RuntimeName::default() };
    ExtraColumn { method: method.into(), checkpoint: checkpoint.into(), runtime }
}

/// How far what is shown of two columns is apart: their maps, and the vectors of their clouds.
fn apart(app: &App, one: ColumnKey, other: ColumnKey) -> f32 {
    let values = |key: ColumnKey| {
        let points = &app.columns[&key].cloud.points;
        let vectors = points.iter().flat_map(|point| point.vector.iter().copied());
        app.landed(key).expect("a map").values.into_iter().chain(vectors).collect::<Vec<f32>>()
    };
    let (one, other) = (values(one), values(other));
    assert_eq!(one.len(), other.len());
    one.iter().zip(&other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[test]
fn two_checkpoints_of_a_method_say_what_each_says_alone() {
    let mut app = app(together(Language::English));
    select(&mut app, "red ball");
    app.apply(Command::AddColumn(extra("contrastive", "clip-grounded", Precision::F32)));
    app.apply(Command::AddColumn(extra("contrastive", "clip", Precision::F32)));
    settle(&mut app);
    let (own, grounded, again) = (ColumnKey::Own("contrastive"), ColumnKey::Extra(0), ColumnKey::Extra(1));
    assert_eq!(app.columns[&grounded].model.name, "clip-grounded");
    assert_eq!(apart(&app, own, again), 0.0, "the same checkpoint twice");
    assert!(apart(&app, own, grounded) > 1e-3, "another checkpoint says something else");
    let said = app.landed(grounded).expect("a map");
    assert!(said.fares.is_some() && app.planes.contains_key(&grounded));
    assert!(app.costs.iter().any(|(key, _)| *key == grounded));
    let chosen = app.checkpoints.iter().find(|choice| choice.name == "clip-grounded").cloned();
    app.apply(Command::SetCheckpoint(chosen.expect("a checkpoint").folder));
    settle(&mut app);
    assert_eq!(app.landed(own), Some(said), "in its own column it says the same");
    assert_eq!(apart(&app, own, grounded), 0.0);
    assert!(apart(&app, own, again) > 1e-3);
}

/// The weights of this checkpoint are stored in 16 bits.
#[test]
fn a_model_in_two_precisions_says_the_same() {
    let mut app = app(together(Language::English));
    select(&mut app, "red ball");
    app.apply(Command::AddColumn(extra("projector", "llava", Precision::F16)));
    settle(&mut app);
    let far = apart(&app, ColumnKey::Own("projector"), ColumnKey::Extra(0));
    assert!(far < 1e-5, "{far} apart");
    assert_eq!(app.said("projector"), app.said(ColumnKey::Extra(0)));
    let bytes = |key: ColumnKey| app.costs.iter().find(|(known, _)| *known == key).expect("a cost").1.bytes;
    assert!(bytes(ColumnKey::Extra(0)) < bytes(ColumnKey::Own("projector")), "it takes less memory");
}

#[test]
fn extra_columns_are_changed_removed_undone_and_kept() {
    let mut app = app(together(Language::English));
    let columns = [
        extra("contrastive", "clip-grounded", Precision::F32),
        extra("cross-attention", "blip-captioning", Precision::F32),
        extra("contrastive", "clip", Precision::Bf16),
    ];
    for column in &columns[..2] {
        app.apply(Command::AddColumn(column.clone()));
    }
    app.apply(Command::SetColumn(0, columns[2].clone()));
    settle(&mut app);
    assert_eq!(app.columns[&ColumnKey::Extra(0)].model.name, "clip");
    app.apply(Command::Undo);
    assert!(!app.columns.contains_key(&ColumnKey::Extra(0)), "what another model has said isn't shown");
    settle(&mut app);
    assert_eq!(app.columns[&ColumnKey::Extra(0)].model.name, "clip-grounded");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("session.json");
    session::write(&path, &app.state).expect("a session");
    app.apply(Command::RemoveColumn(0));
    settle(&mut app);
    let extra_ones = |app: &App| app.columns.keys().filter(|key| matches!(key, ColumnKey::Extra(_))).count();
    assert_eq!(extra_ones(&app), 1);
    assert_eq!(app.columns[&ColumnKey::Extra(1)].model.name, "blip-captioning", "the other keeps its number");
    app.apply(Command::OpenSession(path));
    settle(&mut app);
    assert_eq!(app.state.extra_columns.values().cloned().collect::<Vec<_>>(), columns[..2]);
    assert_eq!(extra_ones(&app), 2);
    for column in columns.iter().cycle().take(9) {
        app.apply(Command::AddColumn(column.clone()));
    }
    assert_eq!(app.state.extra_columns.len(), 4, "there are at most four");
    app.apply(Command::SetColumn(7, columns[0].clone()));
    app.apply(Command::RemoveColumn(usize::MAX));
    assert_eq!(app.state.extra_columns.len(), 4);
}

#[test]
fn what_is_wrong_with_an_extra_column_is_said_in_its_place() {
    let mut app = app(together(Language::English));
    app.apply(Command::AddColumn(extra("contrastive", "no/such/folder", Precision::F32)));
    app.apply(Command::AddColumn(extra("contrastive", "clip-grounded", Precision::F32)));
    settle(&mut app);
    assert_eq!(app.problem, None, "the others are there");
    assert_eq!(app.columns.len(), METHODS.len() + 1);
    let (harness, _) = screen(app.still());
    let said = app.failures[&ColumnKey::Extra(0)].clone();
    assert!(said.contains("no/such/folder") && !said.contains('\n'), "{said}");
    harness.get_by_label(&said);
    app.apply(Command::SetColumn(0, extra("contrastive", "clip", Precision::F16)));
    settle(&mut app);
    assert!(app.failures.is_empty() && app.columns.contains_key(&ColumnKey::Extra(0)));
}

#[test]
fn extra_columns_follow_a_drag_and_are_compared_with_the_pinned_state() {
    let mut app = app(together(Language::English));
    select(&mut app, "red ball");
    app.apply(Command::AddColumn(extra("contrastive", "clip-grounded", Precision::F32)));
    settle(&mut app);
    let key = ColumnKey::Extra(0);
    let maps = |app: &App| app.columns.iter().map(|(key, said)| (*key, Arc::as_ptr(said))).collect::<Vec<_>>();
    let (before, known) = (app.landed(key).expect("a map"), maps(&app));
    app.apply(Command::Pin);
    let scene = app.scene().expect("a scene").clone();
    let ball = scene.objects.iter().position(|object| object.thing.name() == "red ball").expect("a ball");
    app.apply(Command::SetScene { scene: Box::new(scene.with_place(ball, 4, 8)), dragging: true });
    settle(&mut app);
    let brief = app.landed(key).expect("a map");
    assert_ne!(brief.shares, before.shares);
    assert!(maps(&app).iter().zip(&known).all(|(now, then)| now != then), "one of them stays behind");
    assert_eq!(app.pinned.as_deref().and_then(|pinned| pinned.landed(key)), Some(before));
    assert!(shown_of(&app).iter().any(|text| text.contains(" → ")));
}

/// Where a model is changed, the extra columns run it as it is, and say so.
#[test]
fn a_changed_model_stands_beside_the_unchanged_one() {
    let mut app = app(together(Language::English));
    app.apply(Command::AddColumn(extra("contrastive", "clip", Precision::F32)));
    select(&mut app, "red ball");
    let as_it_was = app.landed("contrastive");
    app.apply(Command::SetMethod(MethodName("contrastive")));
    app.apply(Command::HidePatches(vec![44, 45, 46]));
    app.apply(Command::SetMethod(MethodName(SIDE_BY_SIDE)));
    settle(&mut app);
    assert_ne!(app.landed("contrastive"), as_it_was);
    assert_eq!(app.landed(ColumnKey::Extra(0)), as_it_was);
    assert!(shown_of(&app).iter().any(|text| text.starts_with("unchanged model")));
}

#[test]
fn columns_are_added_changed_and_removed_by_clicks_and_keys() {
    let (mut harness, app) = screen(app(together(Language::English)));
    harness.run_steps(3);
    harness.get_by_label("Add a column…").click();
    harness.run_steps(3);
    harness.get_by_label("clip-grounded · f32").click();
    harness.run_steps(3);
    let names = |app: &App| app.columns.get(&ColumnKey::Extra(0)).map(|said: &Arc<Evidence>| said.model.name.clone());
    assert_eq!(names(&app.borrow()).as_deref(), Some("clip-grounded"));
    // The name of the column leads to the menu; there the precision is chosen with the keyboard.
    harness.get_by_label("clip-grounded · f32").focus();
    harness.key_press(egui::Key::Enter);
    harness.run_steps(3);
    harness.get_by_label("clip · f16").focus();
    harness.key_press(egui::Key::Enter);
    harness.run_steps(3);
    assert_eq!(app.borrow().state.extra_columns[&0], extra("contrastive", "clip", Precision::F16));
    assert_eq!(names(&app.borrow()).as_deref(), Some("clip"));
    harness.get_by_label("Remove the column clip · f16").click();
    harness.run_steps(3);
    assert!(app.borrow().state.extra_columns.is_empty() && names(&app.borrow()).is_none());
}

#[test]
fn maps_of_extra_columns_are_tested_too() {
    let mut app = app(together(Language::English));
    app.apply(Command::AddColumn(extra("contrastive", "clip-grounded", Precision::F32)));
    select(&mut app, "red ball");
    let key = ColumnKey::Extra(0);
    let landed = app.landed(key).expect("a map");
    app.apply(Command::TestMap(key, landed.kind));
    settle(&mut app);
    assert!(app.tested(key, &landed).is_some() && app.tested("contrastive", &landed).is_none());
}
