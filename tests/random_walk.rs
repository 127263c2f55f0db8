//! Thousands of random commands and inputs: nothing panics, the screen can always be drawn, and undo returns to the start.

mod common;
#[path = "common/interface.rs"]
mod interface;

use std::path::PathBuf;

use alignscope::app::album::Wanted;
use alignscope::app::state::{Compared, Drawn, MaskName, MethodName, Reading, ReductionName};
use alignscope::app::thing::TowerName;
use alignscope::app::{App, AppState, Command, ExtraColumn, PictureSource, Thing, session};
use alignscope::methods::Intervention;
use alignscope::methods::METHODS;
use alignscope::methods::interventions::{Ablation, ROUTES};
use alignscope::methods::queries::{QueryLook, QueryOrder};
use alignscope::methods::reading::{Place, Weighting};
use alignscope::models::runtime::{Precision, RuntimeName};
use alignscope::reduction::REDUCTIONS;
use alignscope::taps::{Attn, Tower};
use alignscope::ui::catalogue::catalogue;
use egui::{Event, Key, Modifiers, PointerButton, pos2};
use interface::{app, screen_of, settle};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Commands of the walk; every so many the worker is waited for and the screen drawn.
const STEPS: usize = 4000;
const DRAWN_EVERY: usize = 100;

fn sentence(random: &mut impl Rng) -> String {
    const WORDS: [&str; 14] =
        ["a", "red", "ball", "cat", ",", "and", "猫", "红色的", "球", "zebra", "é", "\n", "  ", "left of"];
    let count = random.random_range(0..12);
    (0..count).map(|_| *WORDS.choose(random).expect("a word")).collect::<Vec<_>>().join(" ")
}

fn thing(random: &mut impl Rng) -> Option<Thing> {
    let at = |random: &mut ChaCha8Rng| random.random_range(0..70usize);
    let mut own = ChaCha8Rng::seed_from_u64(random.random());
    let random = &mut own;
    match random.random_range(0..8) {
        0 => None,
        1 => Some(Thing::Patch(at(random))),
        2 => Some(Thing::Words(at(random), at(random))),
        3 => Some(Thing::Picture(at(random))),
        4 => Some(Thing::Text(at(random))),
        5 => Some(Thing::Cell { picture: at(random), text: at(random) }),
        6 => Some(Thing::Query(at(random))),
        _ => Some(Thing::Head { layer: at(random), head: at(random) }),
    }
}

fn compared(random: &mut impl Rng) -> Compared {
    let picture = match random.random_range(0..4) {
        0 => PictureSource::File(PathBuf::from("no/such/picture.png")),
        1 => PictureSource::Sample("no such sample".into()),
        _ => PictureSource::Sample("scene-000103".into()),
    };
    let caption = random.random_bool(0.5).then(|| sentence(random));
    Compared { picture, caption }
}

fn extra(random: &mut impl Rng) -> ExtraColumn {
    let method = METHODS.choose(random).expect("a method").key.to_owned();
    let checkpoint = *["clip", "clip-grounded", "llava", "no/such/folder", ""].choose(random).expect("a name");
    let device = *["auto", "cpu", "nothing"].choose(random).expect("a device");
    let precision = *Precision::ALL.choose(random).expect("a precision");
    let runtime = RuntimeName { device: device.to_owned(), precision };
    ExtraColumn { method, checkpoint: checkpoint.to_owned(), runtime }
}

/// A command that the catalogue offers, or one with values that no button has.
fn command(app: &App, random: &mut ChaCha8Rng) -> Command {
    let at = random.random_range(0..60usize);
    let far = [f32::NAN, f32::INFINITY, -1e9, 0.0, 0.3, 1.0, 7.0, 1e9];
    let value = *far.choose(random).expect("a value");
    match random.random_range(0..53) {
        0 => Command::SetSentence(sentence(random)),
        1 => Command::SelectWords { start: at, end: random.random_range(0..60), extend: random.random_bool(0.5) },
        2 => Command::SelectPatch(random.random_bool(0.8).then_some(at)),
        3 => Command::SelectPair(thing(random)),
        4 => Command::Hover(thing(random)),
        5 => Command::SetOpacity(value),
        6 => Command::SetFactor(random.random_bool(0.8).then_some(value)),
        7 => Command::SetShift(value),
        8 => Command::SetZoom(value),
        9 => Command::SetSeed(random.random()),
        10 => Command::SelectHead { layer: at, head: at },
        11 => Command::AddCompared(compared(random)),
        12 => Command::RemoveCompared(at % 20),
        13 => Command::SetCaption(at % 20, sentence(random)),
        14 => Command::SetDesk { inputs: value, inspector: value, window: Some([value, value]) },
        15 => Command::Undo,
        16 => Command::Redo,
        17 => Command::OpenPicture(PathBuf::from("no/such/picture.png")),
        18 => Command::SetCheckpoint(PathBuf::from("no/such/folder")),
        19 => Command::OpenSession(PathBuf::from("no/such/session.json")),
        20 => Command::SetReduction(ReductionName(REDUCTIONS.choose(random).expect("a reduction").key)),
        21 => Command::SetTower(*TowerName::ALL.choose(random).expect("a tower")),
        22 => Command::SetDrawn(*Drawn::ALL.choose(random).expect("a way")),
        46 => Command::OpenAlbum(PathBuf::from("no/such/folder")),
        47 => Command::SearchAlbum(Wanted::Text(sentence(random))),
        48 => Command::ReduceAlbum(ReductionName(REDUCTIONS.choose(random).expect("a reduction").key)),
        24 => Command::SetMethod(MethodName(METHODS.choose(random).expect("a method").key)),
        32 => Command::SelectLook {
            step: at,
            words: random.random_bool(0.5).then_some((at, random.random_range(0..60))),
            patch: random.random_bool(0.5).then_some(at),
        },
        25 => Command::SelectStep(random.random_bool(0.8).then_some(at)),
        26 => Command::SetPlace(*[Place::Read, Place::Predict].choose(random).expect("a place")),
        27 => Command::SetWeighting(*[Weighting::Raw, Weighting::Gradient].choose(random).expect("a weighting")),
        28 => Command::SelectFusionHead(random.random_bool(0.8).then_some((at % 5, at))),
        29 => Command::ToggleGate(at),
        30 => Command::CloseGates(if random.random_bool(0.5) { at } else { usize::MAX }),
        31 => Command::SetHiddenLayer(random.random_bool(0.8).then_some(at)),
        33 => Command::SelectQuery(random.random_bool(0.8).then_some(at)),
        34 => Command::SelectQueryWith {
            query: at,
            patch: random.random_bool(0.5).then_some(at),
            step: random.random_bool(0.5).then_some(at),
            words: random.random_bool(0.5).then_some((at, random.random_range(0..60))),
        },
        35 => {
            let one = |random: &mut ChaCha8Rng| random.random_bool(0.7).then_some(at % 14);
            Command::SetQueryLook(QueryLook { layer: one(random), head: one(random) })
        }
        36 => Command::SetQueryBlock(random.random_bool(0.8).then_some(at % 14)),
        37 => Command::SetQueryOrder(*QueryOrder::ALL.choose(random).expect("an order")),
        38 => Command::ToggleQuery(at),
        39 => Command::DropQueries((0..at * 10).rev().chain([at, usize::MAX]).collect()),
        40 => Command::CompareInstruction(random.random_bool(0.7).then(|| sentence(random))),
        42 => Command::Intervene(match random.random_range(0..3) {
            0 => {
                let tower = *Tower::ALL.choose(random).expect("a tower");
                Intervention::HeadOff { tower, attn: Attn::SelfAttn, layer: at, head: at % 4, by: Ablation::Zero }
            }
            1 => {
                let route = ROUTES.choose(random).expect("a route");
                Intervention::Cut { route: (*route).to_owned(), first: at % 3, last: at }
            }
            _ => Intervention::Hidden { patches: vec![at, usize::MAX, at] },
        }),
        41 => Command::SetMask(*MaskName::ALL.choose(random).expect("a mask")),
        43 => Command::AddColumn(extra(random)),
        44 => Command::SetColumn(at % 6, extra(random)),
        45 => Command::RemoveColumn(at % 6),
        23 => Command::SetReading(*Reading::ALL.choose(random).expect("a reading")),
        _ => catalogue(app).choose(random).expect("an entry").command.clone(),
    }
}

/// What a person does to the window itself.
fn input(random: &mut ChaCha8Rng) -> Event {
    let pos = pos2(random.random_range(-10.0..1300.0), random.random_range(-10.0..820.0));
    let modifiers = *[Modifiers::NONE, Modifiers::COMMAND, Modifiers::SHIFT].choose(random).expect("modifiers");
    let keys = [Key::Tab, Key::Enter, Key::Escape, Key::ArrowLeft, Key::ArrowDown, Key::K, Key::Z, Key::Backspace];
    match random.random_range(0..6) {
        0 | 1 => Event::PointerMoved(pos),
        2 => {
            let button = *[PointerButton::Primary, PointerButton::Secondary].choose(random).expect("a button");
            Event::PointerButton { pos, button, pressed: random.random_bool(0.5), modifiers }
        }
        3 => Event::Text(sentence(random)),
        4 => Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: egui::vec2(0.0, random.random_range(-200.0..200.0)),
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Unknown,
            modifiers,
        },
        _ => {
            let key = *keys.choose(random).expect("a key");
            Event::Key { key, physical_key: None, pressed: random.random_bool(0.7), repeat: false, modifiers }
        }
    }
}

#[test]
fn a_random_walk_does_no_harm_and_undo_returns_to_the_start() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let start = app(AppState::first());
    let first = start.state.clone();
    let (mut harness, app) = screen_of(start, [1280.0, 800.0], 1.0);
    harness.run_steps(2);
    for step in 0..STEPS {
        let next = command(&app.borrow(), &mut random);
        app.borrow_mut().apply(next);
        if step % DRAWN_EVERY == 0 {
            settle(&mut app.borrow_mut());
            harness.run_steps(1);
            let state = app.borrow().state.clone();
            let mut mended = state.clone();
            mended.mend();
            assert_eq!(mended, state, "a state that needs mending, at step {step}");
        }
        app.borrow_mut().asks.clear();
    }
    // Undo until there is nothing more; what failed on the way was no step.
    settle(&mut app.borrow_mut());
    let last = app.borrow().state.clone();
    let mut undone = 0;
    while app.borrow().can_undo() {
        app.borrow_mut().apply(Command::Undo);
        undone += 1;
    }
    assert!(undone > STEPS / 10, "only {undone} steps");
    assert_eq!(app.borrow().state, first);
    for _ in 0..undone {
        app.borrow_mut().apply(Command::Redo);
    }
    assert_eq!(app.borrow().state, last);
    settle(&mut app.borrow_mut());
    harness.run_steps(1);
}

#[test]
fn random_clicks_and_keys_do_no_harm() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let (mut harness, app) = screen_of(app(AppState::first()), [1280.0, 800.0], 1.0);
    harness.run_steps(2);
    for step in 0..1500 {
        for _ in 0..3 {
            harness.event(input(&mut random));
        }
        harness.run_steps(1);
        app.borrow_mut().asks.clear();
        if step % 200 == 0 {
            assert!(app.borrow().evidence.is_some());
        }
    }
}

#[test]
fn random_damage_to_a_session_does_no_harm() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("session.json");
    let mut state = AppState::first();
    state.layout.close("contrastive", "ranking");
    session::write(&path, &state).expect("a session");
    let whole = std::fs::read(&path).expect("a file");
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut read = 0;
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] = random.random(),
                1 => bytes.truncate(at.max(1)),
                2 => bytes[at] = *b"0123456789-e".choose(&mut random).expect("a digit"),
                _ => {
                    let end = (at + 40).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        std::fs::write(&path, &bytes).expect("a file");
        match session::read(&path) {
            Ok(state) => {
                let mut mended = state.clone();
                mended.mend();
                assert_eq!(mended, state, "a state that needs mending");
                read += 1;
            }
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
    assert!(read > 20, "only {read} could be read");
}
