//! What a picture costs in each of the four ways.

#[path = "common/method.rs"]
mod method;

use alignscope::methods::cost::Asked;
use alignscope::methods::named;
use alignscope::models::runtime::Precision;
use alignscope::taps::CancelToken;
use alignscope::world::{Scene, Split};
use method::open;

#[test]
fn every_column_says_what_words_meet_of_a_picture() {
    let picture = Scene::random(Split::Test, 7).draw();
    // One vector; the class token and 64 patches; the queries; the patches alone.
    let expected = [("contrastive", 1), ("cross-attention", 65), ("querying", 16), ("projector", 64)];
    for (key, vectors) in expected {
        let usual = named(key).expect("the method").usual;
        let (method, stop) = (open(key, usual), CancelToken::default());
        let asked = Asked { picture: &picture, text: "a cat", precision: Precision::F32, stop: &stop };
        let cost = method.cost(asked).expect("a cost");
        assert_eq!((cost.model.as_str(), cost.vectors, cost.width), (usual, vectors, 128), "{key}");
        assert!(cost.seeing > 0.0 && cost.reading > 0.0, "{key}");
        stop.cancel();
        assert!(method.cost(asked).is_err(), "{key} goes on though it was cancelled");
    }
}
