//! Maps for which a model is asked many times, of every method; and several of them beside each other.

mod common;
#[path = "common/interface.rs"]
mod interface;
#[path = "common/method.rs"]
mod method;

use std::sync::Arc;

use alignscope::app::state::MethodName;
use alignscope::app::{App, AppState, Command, Theme};
use alignscope::attribution::hiding::{Fill, Hiding};
use alignscope::attribution::{Asked as _, EXPLAINERS, explainer};
use alignscope::methods::{Claim, Holder, Input, METHODS, MapKind};
use alignscope::taps::CancelToken;
use alignscope::world::{Language, Scene, Split};
use interface::{app, settle, state};
use method::{last, open};

/// A scene with two different things.
fn scene() -> Scene {
    (7..).map(|seed| Scene::random(Split::Test, seed)).find(|scene| scene.things().len() == 2).expect("a scene")
}

const ALL: [(&str, &str, bool); 9] = [
    ("contrastive", "clip", false),
    ("cross-attention", "blip-retrieval", false),
    ("cross-attention", "blip-captioning", false),
    ("cross-attention", "blip-answering", true),
    ("cross-attention", "flamingo", true),
    ("querying", "blip2-retrieval", false),
    ("querying", "blip2-captioning", false),
    ("querying", "instructblip", true),
    ("projector", "llava", true),
];

/// What integrated gradients give all patches together is the difference that the picture makes: so the gradients through the
/// whole of each model, from what it holds to down to its patches, are those of the numbers that it gives.
#[test]
fn gradients_through_whole_models_add_up() {
    let scene = scene();
    let cancel = CancelToken::default();
    for (key, checkpoint, asks) in ALL {
        let thing = &scene.phrases(Language::English)[0].text;
        let text = if asks { format!("is there a {thing}?") } else { scene.full_caption(Language::English) };
        let claim = if asks { Claim::Written } else { Claim::Words(None) };
        let mut method = open(key, checkpoint);
        let input = Input::new(Arc::new(scene.draw()), text, Language::English);
        let evidence = last(method.as_mut(), &input);
        let hiding = Hiding::new(&input.picture, Fill::Blur, evidence.seen, evidence.grid);
        let ends = [hiding.faded(0.0), hiding.faded(0.25)];
        let mut holder = Holder::new(method.as_mut(), (&input, claim), hiding, &cancel);
        // Along a part of the way, in steps so fine that what is left over is small.
        let held = holder.hold(&ends).expect("numbers");
        let steps: Vec<_> = (0..=64u8).map(|step| holder.hiding().faded(0.25 * f32::from(step) / 64.0)).collect();
        let slopes = holder.slopes(&steps).expect("slopes");
        let mut sum = 0.0;
        for pair in slopes.windows(2) {
            let along = pair[0].states.iter().zip(&pair[1].states);
            let slope = pair[0].gradient.iter().zip(&pair[1].gradient);
            sum += along
                .zip(slope)
                .map(|((from, to), (one, other))| f64::from((from - to) * (one + other) / 2.0))
                .sum::<f64>();
        }
        let difference = f64::from(held[0] - held[1]);
        let most = 0.02 * difference.abs() + 5e-4;
        assert!((sum - difference).abs() < most, "{checkpoint}: {sum} is not {difference}");
        let nothing = slopes[0].gradient.iter().all(|value| *value == 0.0);
        assert!(!nothing, "{checkpoint}: nothing comes down to the patches");
    }
}

/// The thing that is named is what the maps find: of models whose score hangs on it.
#[test]
fn explanations_lie_on_what_is_named() {
    let look = AppState { method: MethodName("contrastive"), ..state(Theme::Light, Language::English) };
    let mut app = app(look);
    let start = app.state.sentence.find("red ball").expect("the words stand there");
    app.apply(Command::SelectWords { start, end: start + 8, extend: false });
    settle(&mut app);
    for key in ["occlusion", "sliding-occlusion", "integrated-gradients"] {
        app.apply(Command::ToggleExplanation(key));
    }
    // Occlusion was shown already: it is taken away by that, and comes back.
    app.apply(Command::ToggleExplanation("occlusion"));
    let shown: Vec<&str> = app.explanations_beside("contrastive").into_iter().map(MapKind::key).collect();
    assert!(shown.contains(&"occlusion") && shown.contains(&"integrated-gradients"), "{shown:?}");
    app.apply(Command::Explain);
    assert!(app.is_explaining());
    settle(&mut app);
    assert!(app.problem.is_none() && !app.is_explaining(), "{:?}", app.problem);
    for key in ["occlusion", "sliding-occlusion", "integrated-gradients"] {
        let landed = app.landed_by("contrastive", MapKind::Asked(key)).unwrap_or_else(|| panic!("{key} wasn't made"));
        let fares = landed.fares.expect("the truth is known");
        // Integrated gradients are grainy, and their highest patch alone may lie anywhere.
        assert!(fares.hit || key == "integrated-gradients", "{key} misses: {fares:?}");
        assert!(fares.on_objects > 0.1, "{key}: {fares:?}");
    }
    // All of them are tested, and known by their kinds.
    app.apply(Command::TestExplanations);
    settle(&mut app);
    for kind in app.explanations_beside("contrastive") {
        let landed = app.landed_by("contrastive", kind).expect("a map");
        assert!(app.tested("contrastive", &landed).is_some(), "{kind:?} wasn't tested");
    }
    // Of other words they aren't; and of these they are still known.
    let select = |app: &mut App, words: &str| {
        let start = app.state.sentence.find(words).expect("the words stand there");
        app.apply(Command::SelectWords { start, end: start + words.len(), extend: false });
        settle(app);
    };
    select(&mut app, "cat");
    assert!(app.explained("contrastive", "occlusion").is_none());
    select(&mut app, "red ball");
    assert!(app.explained("contrastive", "occlusion").is_some());
    app.apply(Command::SetFill(Fill::Blur));
    assert!(app.explained("contrastive", "occlusion").is_none(), "another filling is another map");
    app.apply(Command::Explain);
    app.apply(Command::Cancel);
    assert!(!app.busy && app.explained("contrastive", "occlusion").is_none() && app.problem.is_none());
}

#[test]
fn every_column_can_be_asked_for_every_explanation() {
    for method in METHODS {
        let look = AppState { method: MethodName(method.key), ..state(Theme::Light, Language::English) };
        let mut app = app(look);
        let kinds = app.explanations(method.key);
        for explainer in EXPLAINERS {
            let same = kinds.iter().filter(|kind| kind.key() == explainer.key).count();
            assert_eq!(same, 1, "{}: {}", method.key, explainer.key);
        }
        let shown = app.explanations_beside(method.key);
        assert!(shown.len() > 1 && shown.iter().any(|kind| matches!(kind, MapKind::Asked(_))), "{shown:?}");
        // The choice of one column leaves that of the others.
        app.apply(Command::ToggleExplanation("sliding-occlusion"));
        app.apply(Command::Explain);
        settle(&mut app);
        assert!(app.problem.is_none(), "{}: {:?}", method.key, app.problem);
        for kind in app.explanations_beside(method.key) {
            let landed = app.landed_by(method.key, kind).unwrap_or_else(|| panic!("{}: no {kind:?}", method.key));
            let grid = app.evidence_of(method.key).expect("evidence").grid;
            assert_eq!(landed.values.len(), grid.0 * grid.1);
            assert!(landed.values.iter().all(|value| value.is_finite()), "{}: {kind:?}", method.key);
        }
    }
    assert!(explainer("occlusion").is_some());
}
