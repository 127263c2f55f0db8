//! What the contrastive method keeps: a picture is looked at once, whatever is asked about it.

#[path = "common/method.rs"]
mod method;

use std::sync::Arc;

use alignscope::methods::{Input, WordMaps};
use alignscope::world::{Language, Scene, Split};
use method::{last, open};

fn input(seed: u64, sentence: &str) -> Input {
    let scene = Scene::random(Split::Test, seed);
    Input::new(Arc::new(scene.draw()), sentence.to_owned(), Language::English)
}

/// The maps of the whole sentence.
fn maps(evidence: &alignscope::methods::Evidence) -> &WordMaps {
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
