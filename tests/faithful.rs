//! Whether maps are true: what each method holds to, and what comes of a test.

mod common;
#[path = "common/interface.rs"]
mod interface;
#[path = "common/method.rs"]
mod method;

use std::sync::Arc;

use alignscope::app::layout::SIDE_BY_SIDE;
use alignscope::app::state::MethodName;
use alignscope::app::{App, AppState, Command, Theme};
use alignscope::attribution::hiding::{Fill, Hiding};
use alignscope::evaluation::faithfulness::{self, FaithfulPlan};
use alignscope::evaluation::sanity;
use alignscope::methods::faithful::{Faithfulness, Order};
use alignscope::methods::{About, Claim, Input, METHODS, Measure};
use alignscope::models::builtin;
use alignscope::models::runtime::RuntimeName;
use alignscope::taps::CancelToken;
use alignscope::world::{Language, Scene, Split};
use interface::{app, settle, state};
use method::{last, open};

fn input(scene: &Scene, sentence: &str) -> Input {
    Input::new(Arc::new(scene.draw()), sentence, Language::English)
}

/// A scene with two different things.
fn scene() -> Scene {
    (7..).map(|seed| Scene::random(Split::Test, seed)).find(|scene| scene.things().len() == 2).expect("a scene")
}

/// For the picture as it is, what is held to is what the evidence says; an empty picture is another.
#[test]
fn what_is_held_to_is_what_the_evidence_says() {
    let scene = scene();
    let caption = scene.full_caption(Language::English);
    let cancel = CancelToken::default();
    let cases = [
        ("contrastive", "clip"),
        ("cross-attention", "blip-retrieval"),
        ("cross-attention", "blip-captioning"),
        ("cross-attention", "flamingo"),
        ("querying", "blip2-retrieval"),
        ("projector", "llava"),
    ];
    for (key, checkpoint) in cases {
        let mut method = open(key, checkpoint);
        let input = input(&scene, &caption);
        let evidence = last(method.as_mut(), &input);
        let empty = Hiding::new(&input.picture, Fill::Mean, evidence.seen, evidence.grid).only(&[]);
        let pictures = [input.picture.as_ref().clone(), empty];
        let held = method.hold(&input, &About::new(Claim::Words(None), &pictures), &cancel).expect("a number");
        let [whole, nothing] = held.values[..] else { panic!("{checkpoint}: {held:?}") };
        let said = match held.measure {
            Measure::Cosine => match &evidence.queries {
                Some(queries) => queries.contrast_score().expect("a cosine").1,
                None => evidence.scores.phrase,
            },
            Measure::Matching => evidence.reading.as_ref().and_then(|reading| reading.matching).expect("a matching"),
            Measure::Probability => {
                let reading = evidence.reading.as_ref().expect("a reading");
                let steps = reading.lines[0].steps.iter().enumerate().skip(1);
                let shares = steps.filter(|(_, step)| step.span.is_some()).map(|(at, step)| {
                    step.probability.unwrap_or_else(|| panic!("{checkpoint}: step {at} has no probability"))
                });
                let logs: Vec<f32> = shares.map(f32::ln).collect();
                (logs.iter().sum::<f32>() / logs.len() as f32).exp()
            }
        };
        assert!((whole - said).abs() < 2e-4, "{checkpoint}: held to {whole}, and said {said}");
        assert!(nothing < whole, "{checkpoint}: an empty picture is as good: {nothing} {whole}");
    }
}

/// An answer is held to less without the thing that it is about.
#[test]
fn an_answer_is_held_to() {
    let scene = Scene::random(Split::Test, 3);
    let thing = scene.phrases(Language::English)[0].clone();
    let question = format!("is there a {}?", thing.text);
    let cases = [
        ("cross-attention", "blip-answering"),
        ("cross-attention", "flamingo"),
        ("querying", "instructblip"),
        ("querying", "blip2-captioning"),
        ("projector", "llava"),
    ];
    for (key, checkpoint) in cases {
        let mut method = open(key, checkpoint);
        let input = input(&scene, &question);
        let pictures = [input.picture.as_ref().clone(), image::RgbImage::from_pixel(256, 256, image::Rgb([128; 3]))];
        let held =
            method.hold(&input, &About::new(Claim::Written, &pictures), &CancelToken::default()).expect("a number");
        assert_eq!((held.measure, held.values.len()), (Measure::Probability, 2), "{checkpoint}");
        // Greedily written, so no other first word is likelier.
        assert!(held.values[0] > 0.3 && held.values.iter().all(|value| (0.0..=1.0).contains(value)), "{held:?}");
        // The words of the question, whatever is written.
        let words = Claim::Words(Some((0, question.len())));
        let of_words = method.hold(&input, &About::new(words, &pictures), &CancelToken::default()).expect("a number");
        assert_eq!(of_words.values.len(), 2, "{checkpoint}");
    }
}

#[test]
fn shown_maps_are_tested_and_forgotten_when_they_change() {
    let look = state(Theme::Light, Language::English);
    let mut app = app(AppState { method: MethodName(SIDE_BY_SIDE), ..look });
    let select = |app: &mut App, words: &str| {
        let start = app.state.sentence.find(words).expect("the words stand there");
        app.apply(Command::SelectWords { start, end: start + words.len(), extend: false });
        settle(app);
    };
    select(&mut app, "red ball");
    app.apply(Command::TestMaps);
    assert!(app.is_testing());
    settle(&mut app);
    assert!(app.problem.is_none(), "{:?}", app.problem);
    for method in METHODS {
        let landed = app.landed(method.key).expect("a map");
        let tested = &app.tested(method.key, &landed).unwrap_or_else(|| panic!("{} wasn't tested", method.key));
        let area = |order| Faithfulness::of(&tested.faithfulness.deletion, order).expect("a curve").area();
        // The maps of the sample are good ones, and so is the truth.
        assert!(area(Order::Map) < area(Order::Random), "{}", method.key);
        assert!(area(Order::Object) < area(Order::Random), "{}", method.key);
        let occlusion = tested.faithfulness.occlusion.as_ref().expect("few patches");
        assert_eq!(occlusion.len(), landed.values.len(), "{}", method.key);
        // A model of chance has another map.
        let (_, alike) = tested.sanity.last().expect("the checkpoint is small");
        assert!(alike.is_none_or(|alike| alike.abs() < 0.8), "{}: {:?}", method.key, tested.sanity);
    }
    // The evidence is as it was, and what belongs to other words isn't shown with these.
    assert!(!app.is_testing());
    let generation = app.evidence.clone().expect("evidence");
    app.receive();
    assert!(Arc::ptr_eq(&generation, app.evidence.as_ref().expect("evidence")));
    select(&mut app, "cat");
    let landed = app.landed("contrastive").expect("a map");
    assert!(app.tested("contrastive", &landed).is_none());
    // A test under way is given up for another question.
    app.apply(Command::TestMaps);
    select(&mut app, "red ball");
    assert!(!app.is_testing() && app.problem.is_none());
    let landed = app.landed("contrastive").expect("a map");
    assert!(app.tested("contrastive", &landed).is_some(), "what was tested before is known again");
    // What was stopped can be asked for again.
    app.tested.clear();
    app.apply(Command::TestMaps);
    app.apply(Command::Cancel);
    assert!(!app.busy && app.tested("contrastive", &landed).is_none());
    app.apply(Command::TestMaps);
    settle(&mut app);
    assert!(app.tested("contrastive", &landed).is_some(), "a cancelled test isn't begun again");
    app.apply(Command::SetFill(Fill::Blur));
    let landed = app.landed("contrastive").expect("a map");
    assert!(app.tested("contrastive", &landed).is_none(), "another filling is another test");
}

#[test]
fn faithfulness_is_measured_over_scenes() {
    let folder = builtin::folder().join("clip");
    let plan = FaithfulPlan { seed: 1, scenes: 3, fill: Fill::Mean };
    let measure = || {
        faithfulness::evaluate(&folder, &RuntimeName::default().on_processor(), plan, &[], &mut |_, _| ())
            .expect("figures")
    };
    let figures = measure();
    let names: Vec<&str> = figures.0[0].areas.iter().map(|areas| areas.map.as_str()).collect();
    for name in ["relevancy", "gradient-input", "occlusion", "integrated-gradients", "object", "random"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let table = figures.to_string();
    assert!(table.contains("deletion") && table.lines().all(|line| line.chars().count() <= 110), "{table}");
    assert_eq!(table, measure().to_string(), "a seed gives the same figures");
}

/// Maps are about their model: with all weights shuffled none stays as it was; and the text-free ones don't hang on the seed alone.
#[test]
fn maps_change_with_the_weights() {
    let folder = builtin::folder().join("blip2-retrieval");
    let plan = FaithfulPlan { seed: 1, scenes: 2, fill: Fill::Mean };
    let figures =
        sanity::evaluate(&folder, &RuntimeName::default().on_processor(), plan, &mut |_, _| ()).expect("figures");
    assert!(figures.maps.iter().any(|stays| stays.map == "query"), "{figures}");
    for stays in &figures.maps {
        let [_, _, all] = &stays.alike[..] else { panic!("{figures}") };
        assert!(all.is_none_or(|share| share.value.abs() < 0.8), "{figures}");
    }
    assert!(figures.to_string().lines().all(|line| line.chars().count() <= 120), "{figures}");
}
