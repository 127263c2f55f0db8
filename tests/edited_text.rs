//! What an edited text costs: a picture that is known isn't looked at anew, and what was asked for comes before all else.

#[path = "common/method.rs"]
mod method;

use std::sync::Arc;

use alignscope::methods::reading::{Place, Weighting};
use alignscope::methods::{Evidence, Input, WordMaps};
use alignscope::world::{Language, Scene, Split};
use method::{all, last, open};

fn input(seed: u64, sentence: &str) -> Input {
    let scene = Scene::random(Split::Test, seed);
    Input::new(Arc::new(scene.draw()), sentence.to_owned(), Language::English)
}

/// The maps of the whole sentence.
fn maps(evidence: &Evidence) -> &WordMaps {
    &evidence.maps[&evidence.phrase]
}

/// A text that is edited goes back through the pass that its picture was seen in: its maps are those that a model gives that has
/// seen nothing before, to the bit, also after other texts, other words and another picture.
#[test]
fn an_edited_text_has_the_maps_of_a_new_one() {
    let texts = ["a cat and a red ball", "a rabbit", "two blue stars", "a rabbit and a tree"];
    let mut method = open("contrastive", "clip");
    for seed in [3, 4] {
        let asked = input(seed, texts[0]);
        for text in texts {
            let asked = Input { sentence: text.to_owned(), ..asked.clone() };
            let kept = last(method.as_mut(), &asked);
            let new = last(open("contrastive", "clip").as_mut(), &asked);
            assert_eq!(maps(&kept).len(), maps(&new).len());
            for (key, map) in maps(&new) {
                assert!(map.values.iter().any(|value| *value != 0.0), "{key} of '{text}' is empty");
                assert_eq!(maps(&kept)[key].values, map.values, "{key} of '{text}' in picture {seed}");
            }
        }
    }
}

/// The selected words of a text are explained before the model has written anything, and their maps stay as they are when those of all
/// other words follow.
#[test]
fn selected_words_are_explained_first() {
    let text = "a cat and a red ball";
    let start = text.find("red").expect("it is there");
    for checkpoint in ["blip-captioning", "flamingo"] {
        let asked = Input { selection: Some((start, text.len())), ..input(3, text) };
        let said = all(open("cross-attention", checkpoint).as_mut(), &asked).expect("evidence");
        let maps = |evidence: &Evidence| -> Option<Vec<Option<Vec<f32>>>> {
            let line = &evidence.reading.as_ref()?.lines[0];
            let all = line.maps_of((Place::Predict, Weighting::Gradient))?;
            Some((0..line.steps.len()).map(|step| line.part_of(all, step).map(<[f32]>::to_vec)).collect())
        };
        let first = said.iter().find(|evidence| maps(evidence).is_some()).expect("maps");
        let reading = first.reading.as_ref().expect("a text");
        assert_eq!(reading.lines.len(), 1, "{checkpoint}: something was written before");
        let (first, last) = (maps(first).expect("maps"), maps(said.last().expect("evidence")).expect("maps"));
        for (step, (first, last)) in reading.lines[0].steps.iter().zip(first.iter().zip(&last)) {
            let is_selected = asked.asks_for(step.span);
            assert_eq!(first.is_some(), is_selected, "{checkpoint}: '{}'", step.text);
            assert!(last.is_some() && (!is_selected || first == last), "{checkpoint}: '{}' has another map", step.text);
        }
        // They are those of a text of which nothing was selected.
        let whole = all(open("cross-attention", checkpoint).as_mut(), &input(3, text)).expect("evidence");
        assert_eq!(maps(whole.last().expect("evidence")).expect("maps"), last, "{checkpoint}");
    }
}

/// What queries see of a picture alone is kept for the next text, whose map is there before it is known whether both match; while
/// something is dragged both come together.
#[test]
fn an_edited_text_has_the_map_of_its_winning_query_first() {
    let mut method = open("querying", "blip2-retrieval");
    for (text, dropped) in [("a cat and a red ball", vec![]), ("a rabbit", vec![]), ("a rabbit", vec![0, 5])] {
        let asked = Input { dropped_queries: dropped, ..input(3, text) };
        let said = all(method.as_mut(), &asked).expect("evidence");
        let new = last(open("querying", "blip2-retrieval").as_mut(), &asked);
        let queries = |evidence: &Evidence| evidence.queries.clone().expect("queries");
        let kept = said.last().expect("evidence");
        assert!(queries(&said[0]).matching.is_none() && queries(kept).matching.is_some(), "'{text}'");
        assert_eq!(queries(kept).matching, queries(&new).matching, "'{text}'");
        assert_eq!(queries(kept).self_attention, queries(&new).self_attention, "'{text}'");
        for evidence in &said {
            let values = |evidence: &Evidence| maps(evidence)["winning-query"].values.clone();
            assert_eq!(values(evidence), values(&new), "'{text}'");
        }
        let brief = Input { brief: true, ..asked };
        let said = all(open("querying", "blip2-retrieval").as_mut(), &brief).expect("evidence");
        assert!(said.len() == 1 && queries(&said[0]).matching.is_some(), "'{text}'");
    }
}
