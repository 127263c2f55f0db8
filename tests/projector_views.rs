//! The views of patches that stand among words: worked by clicks, and drawn in odd sizes.

mod common;
#[path = "common/interface.rs"]
mod interface;

use std::cell::RefCell;
use std::rc::Rc;

use alignscope::app::{AppState, Command, Theme};
use alignscope::methods::reading::Place;
use alignscope::methods::spliced::PatchReading;
use alignscope::ui::views::{VIEWS, named};
use alignscope::world::Language;
use egui_kittest::kittest::Queryable;
use interface::{app_of, drawn, state};

/// What is clicked in each view, and what has to follow.
type Click = (&'static str, &'static str, fn(&AppState) -> bool);

const CLICKS: &[Click] = &[
    ("patch-words", "Logit lens", |state| state.projector.reading == PatchReading::Lens),
    ("patch-words", "The word that each patch is nearest to", |state| state.selected.patch.is_some()),
    ("patch-words", "Layer of the hidden states", |state| state.fusion.layer.is_some()),
    ("row-words", "while it is read", |state| state.fusion.place == Place::Read),
    ("row-heads", "Layer 2 · head 3", |state| state.fusion.head == Some((1, 2))),
    ("row-patches", "Words by patches", |state| state.selected.patch.is_some()),
    ("row-space", "Layer of the hidden states", |state| state.fusion.layer.is_some()),
    ("explainers-row", "Relevancy", |state| state.map.explanations.iter().any(|key| key == "relevancy")),
    ("projector-change", "Before and behind the projector · neighbours kept", |state| state.selected.patch.is_some()),
];

#[test]
fn every_view_of_the_row_is_worked_by_clicks() {
    for (view, label, follows) in CLICKS {
        let view = named(view).expect("a view");
        let app = Rc::new(RefCell::new(app_of(view, AppState::first())));
        let mut harness = drawn(view, Rc::clone(&app), [760.0, 900.0]);
        harness.run_steps(3);
        let before = app.borrow().state.clone();
        assert!(!follows(&before), "{label} is so already");
        harness.get_all_by_label(label).next().unwrap_or_else(|| panic!("no {label}")).click();
        harness.run_steps(3);
        assert!(follows(&app.borrow().state), "a click on {label} in {} changes nothing", view.key());
        app.borrow_mut().apply(Command::Undo);
        harness.run_steps(2);
        assert!(app.borrow().state == before, "{label} isn't undone");
    }
}

#[test]
fn a_click_in_the_row_selects_its_word_or_its_patch() {
    let view = named("row").expect("a view");
    let app = Rc::new(RefCell::new(app_of(view, AppState::first())));
    let mut harness = drawn(view, Rc::clone(&app), [760.0, 900.0]);
    harness.run_steps(3);
    let evidence = app.borrow().evidence.clone().expect("evidence");
    let row = &evidence.spliced.as_ref().expect("a row").row;
    let label = |at: usize| format!("{}: {}", at + 1, row[at].text.trim());
    let word = row.iter().rposition(|token| token.span.is_some()).expect("a word");
    harness.get_by_label(&label(word)).click();
    harness.run_steps(3);
    assert_eq!(app.borrow().state.selected.words, row[word].span);
    let patch = row.iter().position(|token| token.patch == Some(5)).expect("a patch");
    harness.get_by_label(&label(patch)).click();
    harness.run_steps(3);
    assert_eq!(app.borrow().state.selected.patch, Some(5));
}

#[test]
fn every_view_of_the_row_is_drawn_in_any_size() {
    for view in VIEWS.iter().copied().filter(|view| view.method() == "projector") {
        let app = Rc::new(RefCell::new(app_of(view, state(Theme::Dark, Language::Chinese))));
        app.borrow_mut().apply(Command::SelectPatch(Some(9)));
        app.borrow_mut().apply(Command::SelectFusionHead(Some((1, 2))));
        for size in [[120.0, 90.0], [1400.0, 260.0], [300.0, 1200.0]] {
            let mut harness = drawn(view, Rc::clone(&app), size);
            harness.run_steps(2);
        }
    }
}
