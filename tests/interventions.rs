//! What happens when a model is changed: nothing where nothing is changed, and nothing of the picture is left where all that
//! leads to it is cut.

mod common;
#[path = "common/interface.rs"]
mod interface;
#[path = "common/method.rs"]
mod method;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use alignscope::app::patching::PatchedWords;
use alignscope::app::state::MethodName;
use alignscope::app::{App, AppState, Command, PictureSource, Theme};
use alignscope::methods::interventions::{Ablation, LAST};
use alignscope::methods::{About, Claim, Evidence, Input, Intervention, METHODS, Method};
use alignscope::taps::{Attn, CancelToken, Change, Notes, Places, SitePattern, Tower};
use alignscope::world::{Language, Scene, Split};
use egui::Pos2;
use egui_kittest::Harness;
use egui_kittest::kittest::{By, Queryable};
use image::RgbImage;
use interface::{app, screen, state};
use method::{last, open};

const CHECKPOINTS: [(&str, &str); 9] = [
    ("contrastive", "clip"),
    ("cross-attention", "blip-retrieval"),
    ("cross-attention", "blip-captioning"),
    ("cross-attention", "blip-answering"),
    ("cross-attention", "flamingo"),
    ("querying", "blip2-retrieval"),
    ("querying", "blip2-captioning"),
    ("querying", "instructblip"),
    ("projector", "llava"),
];

fn scene(seed: u64) -> Scene {
    Scene::random(Split::Test, seed)
}

fn input(seed: u64) -> Input {
    let sentence = scene(seed).full_caption(Language::English);
    Input::new(Arc::new(scene(seed).draw()), sentence, Language::English)
}

fn holds(method: &mut dyn Method, input: &Input, picture: &RgbImage) -> f32 {
    let pictures = std::slice::from_ref(picture);
    // The first word of a text behind a picture is predicted by the picture's own last position.
    let claim = Claim::Words(Some((2, input.sentence.len())));
    method.hold(input, &About::new(claim, pictures), &CancelToken::default()).expect("a number").values[0]
}

/// What is said of the picture, as numbers.
fn numbers(evidence: &Evidence) -> Vec<f32> {
    let mut numbers: Vec<f32> =
        evidence.maps.values().flat_map(|maps| maps.values()).flat_map(|map| map.values.clone()).collect();
    numbers.extend(&evidence.scores.cosines);
    if let Some(reading) = &evidence.reading {
        numbers.extend(reading.lines.iter().flat_map(|line| &line.maps).flat_map(|(.., maps)| maps.iter()));
        numbers.extend(reading.lines.iter().flat_map(|line| &line.steps).filter_map(|step| step.probability));
        numbers.extend(reading.matching);
    }
    if let Some(queries) = &evidence.queries {
        numbers.extend(queries.maps.iter());
        numbers.extend(queries.matching.iter().map(|(_, whole)| *whole));
        numbers.extend(queries.written.iter().filter_map(|step| step.probability));
    }
    numbers
}

/// A list that changes nothing (a route that the model doesn't have, no patches) leaves every number as it is, to the bit; a
/// head that is switched off doesn't; and switched on again, everything is as it was.
#[test]
fn what_changes_nothing_is_bit_equal() {
    for (key, checkpoint) in CHECKPOINTS {
        let mut method = open(key, checkpoint);
        let plain = input(3);
        let before = numbers(&last(method.as_mut(), &plain));
        assert!(before.len() > 10, "{checkpoint}");
        let nothing = vec![Intervention::Cut { route: "nowhere".into(), first: 0, last: LAST }];
        let said = numbers(&last(method.as_mut(), &Input { interventions: nothing, ..plain.clone() }));
        assert_eq!(before, said, "{checkpoint}");
        let tower = if checkpoint == "flamingo" { Tower::Decoder } else { Tower::Vision };
        let off = Intervention::HeadOff { tower, attn: Attn::SelfAttn, layer: 0, head: 1, by: Ablation::Zero };
        let said = numbers(&last(method.as_mut(), &Input { interventions: vec![off], ..plain.clone() }));
        assert_ne!(before, said, "{checkpoint}: a head does nothing");
        assert_eq!(before, numbers(&last(method.as_mut(), &plain)), "{checkpoint}: it isn't as it was");
    }
}

/// With all that leads to the picture cut, or with all patches hidden, one picture is as good as another: what is left is
/// what the text alone says.
#[test]
fn nothing_of_the_picture_is_left() {
    let (one, other) = (scene(3).draw(), scene(8).draw());
    for (key, checkpoint) in CHECKPOINTS {
        let mut method = open(key, checkpoint);
        let plain = input(3);
        assert_ne!(holds(method.as_mut(), &plain, &one), holds(method.as_mut(), &plain, &other), "{checkpoint}");
        let anatomy = method.anatomy(&plain).expect("an anatomy");
        let ways: Vec<&str> =
            anatomy.routes.iter().map(|route| route.key).filter(|key| key.ends_with("-to-picture")).collect();
        // Two encoders never meet; there, the class token sees the patches.
        let ways = if key == "contrastive" { vec!["class-to-patches"] } else { ways };
        assert!(!ways.is_empty(), "{checkpoint}");
        let cut = |route: &&str| Intervention::Cut { route: (*route).to_owned(), first: 0, last: LAST };
        let patches = anatomy.patches[0].at.len();
        let hidden = Intervention::Hidden { patches: (0..patches).collect() };
        for tried in [ways.iter().map(cut).collect::<Vec<_>>(), vec![hidden]] {
            let tried = Input { tried, ..plain.clone() };
            let [one, other] = [&one, &other].map(|picture| holds(method.as_mut(), &tried, picture));
            assert_eq!(one, other, "{checkpoint}: {:?}", tried.tried);
        }
    }
}

/// With every patch's state behind the last block but one replaced by that of another picture, and the class token's too,
/// the model sees that picture; replaced by its own, nothing changes.
#[test]
fn states_of_another_picture_make_it_that_picture() {
    let (one, other) = (scene(3).draw(), scene(8).draw());
    for (key, checkpoint) in [("contrastive", "clip"), ("cross-attention", "blip-captioning"), ("projector", "llava")] {
        let mut method = open(key, checkpoint);
        let plain = input(3);
        let notes = Notes::default();
        let noted = Change::Noted { wanted: SitePattern::new("vision.blocks.1.resid_post"), notes: notes.clone() };
        let noting = Input { tried: vec![Intervention::Other(noted)], ..plain.clone() };
        let mut state_of = |picture: &RgbImage| {
            let held = holds(method.as_mut(), &noting, picture);
            let (site, array) = notes.finish().into_iter().next().expect("a state");
            (held, site, Arc::new(array))
        };
        let (whole, site, own) = state_of(&one);
        let (of_other, _, theirs) = state_of(&other);
        let mut replaced = |by| {
            let change = Change::Replaced { site, places: Places::All, by };
            holds(method.as_mut(), &Input { tried: vec![Intervention::Other(change)], ..plain.clone() }, &one)
        };
        assert_eq!(replaced(own), whole, "{checkpoint}");
        assert!((replaced(theirs) - of_other).abs() < 1e-6, "{checkpoint}");
    }
}

/// Without a worker: everything is computed when it is asked for.
fn in_column(method: &'static str) -> App {
    App::new(AppState {
        method: MethodName(method),
        sentence: "a guitar, a rabbit, a cat and a red ball".into(),
        ..state(Theme::Light, Language::English)
    })
}

/// In the program: a head goes off and on, undo brings it back, what it does is known, and each of four columns has its own.
#[test]
fn changes_are_made_undone_and_measured() {
    for method in METHODS {
        let mut app = in_column(method.key);
        app.compute_now();
        let parts = app.parts().expect("parts").clone();
        assert!(parts.stacks.iter().any(|stack| stack.tower == Tower::Vision), "{}", method.key);
        assert!(!parts.routes.is_empty() && app.touched().is_none());
        let stack = &parts.stacks[0];
        let off = Intervention::HeadOff {
            tower: stack.tower,
            attn: stack.attn,
            layer: stack.layers[1],
            head: 0,
            by: Ablation::Zero,
        };
        app.apply(Command::Intervene(off.clone()));
        assert_eq!(app.interventions(method.key), std::slice::from_ref(&off));
        app.compute_now();
        let touched = app.touched().expect("what it does");
        let held = touched.holds;
        assert!(held.iter().all(|held| held.is_finite()) && held[0] != held[1], "{}: {held:?}", method.key);
        app.apply(Command::Undo);
        assert!(app.interventions(method.key).is_empty() && app.touched().is_none());

        app.apply(Command::MeasureEffects);
        app.compute_now();
        let effects = app.effects().expect("effects").clone();
        assert!((effects.whole - held[0]).abs() < 1e-6, "{}: {} {held:?}", method.key, effects.whole);
        let of_head = effects.heads[0][effects.parts.stacks[0].heads];
        assert!((of_head - held[1]).abs() < 1e-6, "{}: measured {of_head}, and found {held:?}", method.key);
        // For another picture they were not measured.
        app.apply(Command::OpenSample(app.samples[1].key.clone()));
        assert!(app.effects().is_none());
    }
}

/// A pinned picture gives its states; where all is said by one patch nothing else matters, so some patches do nothing.
#[test]
fn a_pinned_picture_gives_its_states() {
    let mut app = App::new(AppState { method: MethodName("side-by-side"), ..state(Theme::Light, Language::English) });
    app.compute_now();
    app.apply(Command::Pin);
    app.apply(Command::OpenSample(app.samples[1].key.clone()));
    assert_ne!(app.state.picture, PictureSource::default());
    app.apply(Command::SetMethod(MethodName("contrastive")));
    app.compute_now();
    app.apply(Command::MeasureEffects);
    app.compute_now();
    let effects = app.effects().expect("effects");
    let patched = effects.patched.as_ref().expect("what the pinned picture does");
    assert_eq!((patched.layers.len(), patched.layers[0].len()), (4, 64));
    assert_ne!(patched.whole, effects.whole);
    // Behind the last block only the class token is read.
    assert!(patched.layers[3].iter().all(|held| (held - effects.whole).abs() < 1e-6));
    assert!(patched.layers[0].iter().any(|held| (held - effects.whole).abs() > 1e-3));
}

/// What is changed in a model goes through a session file.
#[test]
fn changes_are_kept() {
    let off =
        Intervention::HeadOff { tower: Tower::Text, attn: Attn::CrossAttn, layer: 2, head: 1, by: Ablation::Zero };
    let cut = Intervention::Cut { route: "words-to-picture".into(), first: 0, last: LAST };
    let mut state = AppState::default();
    let changed = vec![off, cut, Intervention::Hidden { patches: vec![3, 4] }];
    state.interventions.insert("cross-attention".into(), changed);
    let text = serde_json::to_string(&state).expect("a text");
    let mut read: AppState = serde_json::from_str(&text).expect("a state");
    read.mend();
    assert_eq!(read.interventions, state.interventions);
    read.interventions.insert("no method".into(), vec![Intervention::Hidden { patches: vec![0] }]);
    read.mend();
    assert_eq!(read.interventions, state.interventions);
}

/// A click on a cell switches it off, a second one on; the chip takes it back as well, and the notice all of them. A lesson is
/// about the models as they are.
#[test]
fn cells_are_clicked() {
    let state = AppState { method: MethodName("projector"), ..state(Theme::Light, Language::English) };
    let (mut harness, app) = screen(app(state));
    // Large, so that no table has to be scrolled to.
    app.borrow_mut().apply(Command::ToggleMaximised("projector", "what-if-row"));
    harness.run_steps(3);
    let here = |app: &Rc<RefCell<App>>| app.borrow().interventions("projector").to_vec();
    let cut = Intervention::Cut { route: "words-to-picture".into(), first: 3, last: 3 };
    let off =
        Intervention::HeadOff { tower: Tower::Decoder, attn: Attn::SelfAttn, layer: 1, head: 2, by: Ablation::Zero };
    let mut click = |label: &str| {
        harness.run_steps(3);
        // Behind its name stands what is known of it.
        let named = By::new().predicate(|node| node.label().is_some_and(|name| name.starts_with(label)));
        harness.get_all(named).next().unwrap_or_else(|| panic!("no {label}")).click();
        harness.run_steps(3);
    };
    click("words → picture · layer 4");
    click("Language model · self-attention · layer 2 · head 3");
    assert_eq!(here(&app), [cut.clone(), off]);
    click("Language model · self-attention · layer 2 · head 3");
    assert_eq!(here(&app), [cut]);
    click("Remove words → picture · layer 4");
    assert_eq!(here(&app), []);
    app.borrow_mut().apply(Command::Undo);
    click("Undo all changes to the model");
    assert_eq!(here(&app), []);
    app.borrow_mut().apply(Command::Undo);
    assert_eq!(here(&app).len(), 1);
    app.borrow_mut().apply(Command::OpenLesson("01-contrastive".into()));
    assert_eq!(here(&app), []);
}

/// Side by side a changed model says what it says in its own column, the number of changes is known there, and all of them
/// are taken back at once.
#[test]
fn a_changed_model_is_changed_side_by_side() {
    let off =
        Intervention::HeadOff { tower: Tower::Vision, attn: Attn::SelfAttn, layer: 1, head: 2, by: Ablation::Zero };
    let cosine = |app: &App| app.evidence_of("contrastive").expect("evidence").scores.own().last().copied();
    let mut app = in_column("contrastive");
    app.compute_now();
    let before = cosine(&app);
    app.apply(Command::Intervene(off));
    app.compute_now();
    let after = cosine(&app);
    assert!(before != after && app.changes_shown() == 1);
    app.apply(Command::SetMethod(MethodName("querying")));
    assert_eq!(app.changes_shown(), 0);
    app.apply(Command::LeaveAlone);
    app.apply(Command::SetMethod(MethodName("side-by-side")));
    app.compute_now();
    assert_eq!((cosine(&app), app.changes_shown()), (after, 1));
    app.apply(Command::LeaveAlone);
    app.compute_now();
    assert_eq!((cosine(&app), app.changes_shown()), (before, 0));
}

/// Dragged over, a route is cut in a window of layers, which a click with Shift widens; over the picture, a stroke hides patches
/// from all attention, and a second one shows them again.
#[test]
fn windows_and_strokes_are_dragged() {
    let state = AppState { method: MethodName("projector"), ..state(Theme::Light, Language::English) };
    let (mut harness, app) = screen(app(state));
    app.borrow_mut().apply(Command::ToggleMaximised("projector", "what-if-row"));
    harness.run_steps(3);
    let here = |app: &Rc<RefCell<App>>| app.borrow().interventions("projector").to_vec();
    let place = |harness: &Harness<'_>, label: &str| {
        let named = By::new().predicate(|node| node.label().is_some_and(|name| name.starts_with(label)));
        harness.get_all(named).next().unwrap_or_else(|| panic!("no {label}")).rect()
    };
    let drag = |harness: &mut Harness<'_>, from: Pos2, to: Pos2| {
        harness.hover_at(from);
        harness.run_steps(1);
        harness.drag_at(from);
        harness.run_steps(1);
        for step in 1..=4u8 {
            harness.hover_at(from + (to - from) * (f32::from(step) / 4.0));
            harness.run_steps(1);
        }
        harness.drop_at(to);
        harness.run_steps(3);
    };
    let cut = |first, last| Intervention::Cut { route: "words-to-picture".into(), first, last };
    let cells = [1, 2].map(|layer| place(&harness, &format!("words → picture · layer {layer}")).center());
    drag(&mut harness, cells[0], cells[1]);
    assert_eq!(here(&app), [cut(0, 1)]);
    // What stands above the tables has grown.
    let third = place(&harness, "words → picture · layer 3").center();
    harness.event_modifiers(egui::Event::PointerMoved(third), egui::Modifiers::SHIFT);
    harness.run_steps(1);
    for pressed in [true, false] {
        let (button, modifiers) = (egui::PointerButton::Primary, egui::Modifiers::SHIFT);
        let event = egui::Event::PointerButton { pos: third, button, pressed, modifiers };
        harness.event_modifiers(event, modifiers);
        harness.run_steps(1);
    }
    harness.run_steps(2);
    assert_eq!(here(&app), [cut(0, 2)]);
    // A click on any of its cells takes the window back.
    place(&harness, "words → picture · layer 2");
    harness.get_all_by_label("words → picture · layer 2").next().expect("a cell").click();
    harness.run_steps(3);
    assert_eq!(here(&app), []);
    let picture = place(&harness, "Brush patches away");
    let patch = |row: f32, column: f32| picture.min + picture.size() * egui::vec2(column + 0.5, row + 0.5) / 8.0;
    drag(&mut harness, patch(0.0, 0.0), patch(0.0, 1.0));
    let [Intervention::Hidden { patches }] = &here(&app)[..] else { panic!("{:?}", here(&app)) };
    assert!(patches.contains(&0) && patches.len() <= 4, "{patches:?}");
    let stroke = patches.clone();
    app.borrow_mut().apply(Command::Undo);
    assert_eq!(here(&app), [], "a stroke is one step");
    app.borrow_mut().apply(Command::HidePatches(stroke.clone()));
    app.borrow_mut().apply(Command::HidePatches(Vec::new()));
    assert_eq!(here(&app), []);
}

/// A head that gives its mean is another model than one that gives zeros, and one whose mean is what it gives anyway is the same.
#[test]
fn a_head_gives_its_mean() {
    let cosine = |app: &App| app.evidence_of("contrastive").expect("evidence").scores.own().last().copied();
    let mut app = in_column("contrastive");
    app.compute_now();
    let plain = cosine(&app);
    let off = |by| Intervention::HeadOff { tower: Tower::Vision, attn: Attn::SelfAttn, layer: 1, head: 2, by };
    let mut with = |by| {
        app.apply(Command::Intervene(off(by)));
        app.compute_now();
        let said = cosine(&app);
        assert_eq!(app.touched().map(|touched| touched.interventions.clone()), Some(vec![off(by)]));
        app.apply(Command::LeaveAlone);
        said
    };
    let (zero, mean) = (with(Ablation::Zero), with(Ablation::Mean));
    assert!(zero != plain && mean != plain && zero != mean, "{plain:?} {zero:?} {mean:?}");
    // What it would do is measured in the same way.
    app.apply(Command::SetAblation(Ablation::Mean));
    app.compute_now();
    app.apply(Command::MeasureEffects);
    app.compute_now();
    let effects = app.effects().expect("effects").clone();
    let at = effects.parts.stacks.iter().position(|stack| stack.tower == Tower::Vision).expect("a tower");
    let heads = effects.parts.stacks[at].heads;
    app.apply(Command::Intervene(off(Ablation::Mean)));
    app.compute_now();
    let live = app.touched().expect("a difference").holds[1];
    assert!((effects.heads[at][heads + 2] - live).abs() < 1e-6, "{} {live}", effects.heads[at][heads + 2]);
    app.apply(Command::SetAblation(Ablation::Zero));
    assert!(app.effects().is_none(), "zeros are another measurement");
}

/// How well each head grounds stands beside the weights of built-in checkpoints, and is measured anew on request.
#[test]
fn which_head_grounds_is_known_and_measured() {
    for method in METHODS {
        let mut app = in_column(method.key);
        app.compute_now();
        let parts = app.parts().expect("parts").as_ref().clone();
        let of = |app: &App| {
            let known =
                parts.stacks.iter().filter_map(|stack| Some((stack.clone(), app.grounding(&parts, stack)?.to_vec())));
            known.collect::<Vec<_>>()
        };
        let before = of(&app);
        let [(stack, shares)] = &before[..] else { panic!("{}: {} tables", method.key, before.len()) };
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{}: {stack:?}", method.key);
        app.apply(Command::MeasureHeads);
        app.compute_now();
        assert!(app.problem.is_none(), "{}: {:?}", method.key, app.problem);
        let after = of(&app);
        let [(again, anew)] = &after[..] else { panic!("{}: {} tables", method.key, after.len()) };
        assert_eq!(again, stack);
        // Other scenes, but the same heads.
        let far = shares.iter().zip(anew).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(far > 0.0 && far < 0.2, "{}: {far}", method.key);
    }
}

/// The states of a pinned text that differs in one word: behind the last block the model holds to what it would to that text, at the
/// position that is read; of a text of another length it is said that there are none.
#[test]
fn words_are_patched() {
    for (key, pinned, present) in [
        ("contrastive", "a red ball", "a blue ball"),
        ("cross-attention", "a red ball and a cat", "a blue ball and a cat"),
        ("projector", "a red ball and a cat", "a blue ball and a cat"),
    ] {
        let mut app = in_column("side-by-side");
        app.apply(Command::SetSentence(pinned.into()));
        app.compute_now();
        app.apply(Command::Pin);
        app.apply(Command::SetMethod(MethodName(key)));
        app.apply(Command::SetSentence(present.into()));
        app.compute_now();
        app.apply(Command::MeasureEffects);
        app.compute_now();
        assert!(app.problem.is_none(), "{key}: {:?}", app.problem);
        let effects = app.effects().expect("effects").clone();
        let Some(PatchedWords::Alike { whole, positions, layers, .. }) = &effects.patched_words else {
            panic!("{key}: {:?}", effects.patched_words)
        };
        assert!(layers.len() > 1 && layers.iter().all(|layer| layer.len() == positions.len()), "{key}");
        assert_ne!(*whole, effects.whole, "{key}");
        let far = |held: &f32| (held - effects.whole).abs();
        assert!(layers[0].iter().any(|held| far(held) > 1e-3), "{key}: nothing does anything");
        if key == "contrastive" {
            // Of a text its last position is read.
            let last = layers.last().expect("a layer");
            let nearest = last.iter().map(|held| (held - whole).abs()).fold(f32::MAX, f32::min);
            assert!(nearest < 1e-5, "{last:?} {whole}");
        } else {
            // A word that is the same, before the one that differs, has the same state under a mask that looks back.
            assert!(far(&layers[0][0]) < 1e-5, "{key}: {:?}", layers[0]);
        }
        app.apply(Command::SetSentence("a cat".into()));
        app.compute_now();
        app.apply(Command::MeasureEffects);
        app.compute_now();
        let unlike = app.effects().expect("effects").patched_words.clone();
        assert!(matches!(unlike, Some(PatchedWords::Unlike(here, there)) if here < there), "{key}: {unlike:?}");
    }
}
