//! The views of queries, over made-up ones: worked by clicks and keys, and drawn with odd choices.

mod common;
#[path = "common/interface.rs"]
mod interface;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use alignscope::app::state::MaskName;
use alignscope::app::{App, AppState, Command, Light, Scale, Thing};
use alignscope::methods::Evidence;
use alignscope::methods::queries::{Queries, QueryLook, QueryOrder};
use alignscope::ui::views::{VIEWS, View, named};
use egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use interface::queries::{COUNT, DROPPED, Kind, with_queries};
use interface::{app, app_of, drawn};

/// What is clicked in each view, and what has to follow.
type Click = (&'static str, &'static str, fn(&AppState) -> bool);

const CLICKS: &[Click] = &[
    ("queries", "Query 3", |state| state.querying.query == Some(2)),
    ("queries", "Most attention first", |state| state.querying.order == QueryOrder::Mass),
    ("queries", "Leave out query 3", |state| state.querying.dropped == [2, DROPPED]),
    ("queries", "Take back query 5", |state| state.querying.dropped.is_empty()),
    ("queries", "Drop all but this query", |state| {
        state.querying.dropped.len() == COUNT - 1 && !state.querying.dropped.contains(&6)
    }),
    ("queries", "Take all queries back", |state| state.querying.dropped.is_empty()),
    ("query-patches", "Queries by patches", |state| state.selected.patch.is_some()),
    ("query-attention", "Attention among queries and words", |state| state.querying.query == Some(10)),
    ("query-says", "Compare with this instruction", |state| state.querying.compared.is_some()),
    ("query-words", "Words by queries", |state| state.fusion.step.is_some()),
    ("query-masks", "Matching (ITM)", |state| state.querying.mask == MaskName::Matching),
    ("explainers-queries", "Sliding occlusion", |state| {
        state.map.explanations.iter().any(|key| key == "sliding-occlusion")
    }),
    ("what-if-queries", "queries → picture · layer 2", |state| {
        state.interventions.get("querying").is_some_and(|changes| changes.len() == 2)
    }),
    ("query-space", "UMAP", |state| state.space.reduction.0 == "umap"),
];

/// The same with something to show, in a usual size.
fn alone(view: &'static dyn View) -> (Harness<'static>, Rc<RefCell<App>>) {
    let app = Rc::new(RefCell::new(app_of(view, AppState::first())));
    (drawn(view, Rc::clone(&app), [760.0, 900.0]), app)
}

#[test]
fn every_view_of_queries_is_worked_by_clicks() {
    for (view, label, follows) in CLICKS {
        let view = named(view).expect("a view");
        let (mut harness, app) = alone(view);
        harness.run_steps(3);
        let before = app.borrow().state.clone();
        assert!(!follows(&before), "{label} is so already");
        harness.get_all_by_label(label).next().unwrap_or_else(|| panic!("no {label}")).click();
        harness.run_steps(3);
        assert!(follows(&app.borrow().state), "a click on {label} in {} changes nothing", view.key());
        app.borrow_mut().apply(Command::Undo);
        harness.run_steps(2);
        let undone = app.borrow().state == before;
        assert!(undone, "{label} isn't undone");
    }
    for view in VIEWS.iter().filter(|view| view.method() == "querying") {
        assert!(CLICKS.iter().any(|(key, ..)| *key == view.key()), "{} isn't clicked into", view.key());
    }
}

#[test]
fn the_arrow_keys_walk_over_queries_and_patches() {
    let view = named("query-patches").expect("a view");
    let (mut harness, app) = alone(view);
    harness.run_steps(3);
    harness.get_by_label("Queries by patches").click();
    harness.run_steps(3);
    let of = |app: &App| (app.state.querying.query.expect("a query"), app.state.selected.patch.expect("a patch"));
    // The pointer would go on pointing at its own patch.
    harness.event(egui::Event::PointerGone);
    app.borrow_mut().apply(Command::Hover(None));
    let (query, patch) = of(&app.borrow());
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    assert_eq!(of(&app.borrow()), (query, patch + 1));
    harness.key_press(Key::ArrowDown);
    harness.run_steps(2);
    assert_eq!(of(&app.borrow()), (query + 1, patch + 1));
}

#[test]
fn a_mask_plays_row_by_row_and_then_rests() {
    let view = named("query-masks").expect("a view");
    let (mut harness, _) = alone(view);
    harness.run_steps(3);
    let says = |harness: &Harness<'_>, text: &str| harness.query_by_label_contains(text).is_some();
    let row = "sees all queries and no word.";
    assert!(!says(&harness, row), "nothing plays unasked");
    harness.get_by_label("Play row by row").click();
    harness.run_steps(3);
    assert!(says(&harness, row) && says(&harness, "Stop"));
    // Longer than all rows take; each step of the harness is a quarter of a second.
    harness.run_steps(200);
    assert!(says(&harness, "Play row by row") && !says(&harness, row));
}

#[test]
fn a_query_that_is_selected_or_pointed_at_lights_up() {
    let mut app = App::new(AppState::first());
    app.apply(Command::SelectQuery(Some(3)));
    assert_eq!((app.light(Thing::Query(3)), app.light(Thing::Query(2))), (Light::Selected, Light::None));
    app.apply(Command::Hover(Some(Thing::Query(2))));
    assert_eq!(app.light(Thing::Query(2)), Light::Hovered);
    app.apply(Command::SelectQueryWith { query: 5, patch: Some(7), step: None, words: None });
    assert_eq!((app.state.querying.query, app.state.selected.patch), (Some(5), Some(7)));
    app.apply(Command::Undo);
    assert_eq!((app.state.querying.query, app.state.selected.patch), (Some(3), None), "one step");
    app.apply(Command::SelectNothing);
    assert_eq!(app.state.querying.query, None);
}

/// Choices that a session of another checkpoint may hold.
fn odd_choices() -> Vec<Command> {
    vec![
        Command::SetQueryOrder(QueryOrder::Similarity),
        Command::SetScale(Scale::Own),
        Command::SetQueryLook(QueryLook { layer: Some(1), head: Some(3) }),
        Command::SetQueryBlock(Some(3)),
        Command::SetQueryLook(QueryLook { layer: Some(99), head: Some(99) }),
        Command::SetQueryBlock(Some(99)),
        Command::SelectQueryWith { query: 999, patch: Some(9999), step: Some(999), words: Some((0, 1)) },
        Command::Hover(Some(Thing::Query(999))),
        Command::Hover(Some(Thing::Words(3, 9999))),
        Command::DropQueries((0..COUNT).collect()),
        Command::SetSentence(String::new()),
    ]
}

#[test]
fn odd_choices_and_odd_sizes_do_no_harm() {
    let base = app(AppState::first());
    let empty = |app: &mut App, queries: Queries| {
        let known = app.evidence.clone().expect("evidence");
        let queries = Some(Arc::new(queries));
        app.evidence = Some(Arc::new(Evidence { queries, ..Evidence::clone(&known) }));
    };
    for kind in [Kind::Retrieval, Kind::Writer] {
        for view in VIEWS.iter().copied().filter(|view| view.method() == "querying") {
            let app = Rc::new(RefCell::new(with_queries(&base, kind)));
            for size in [[60.0, 40.0], [360.0, 300.0], [1400.0, 500.0]] {
                let mut harness = drawn(view, Rc::clone(&app), size);
                harness.run_steps(2);
                for choice in odd_choices() {
                    app.borrow_mut().apply(choice);
                    harness.run_steps(1);
                    let evidence = app.borrow().evidence.clone().expect("evidence");
                    let arrays = view.numbers(&evidence, &app.borrow());
                    assert!(arrays.iter().all(|array| array.check().is_ok()), "{}", view.key());
                }
            }
            // Nothing is there at all, or not yet.
            let whole = app.borrow().evidence.as_ref().and_then(|evidence| evidence.queries.clone()).expect("queries");
            let waiting = Queries {
                self_attention: Arc::default(),
                written_to_queries: None,
                complete: false,
                ..Queries::clone(&whole)
            };
            for queries in [waiting, Queries { count: 3, ..Queries::default() }, Queries::default()] {
                empty(&mut app.borrow_mut(), queries);
                drawn(view, Rc::clone(&app), [640.0, 480.0]).run_steps(2);
                let evidence = app.borrow().evidence.clone().expect("evidence");
                let arrays = view.numbers(&evidence, &app.borrow());
                assert!(arrays.iter().all(|array| array.check().is_ok()), "{}", view.key());
            }
        }
    }
}
