//! What a picture costs in each of the four ways.

use alignscope::methods::METHODS;
use alignscope::methods::cost::Asked;
use alignscope::models::builtin;
use alignscope::taps::CancelToken;
use alignscope::world::{Scene, Split};
use candle_core::Device;

#[test]
fn every_column_says_what_words_meet_of_a_picture() {
    let picture = Scene::random(Split::Test, 7).draw();
    // One vector; the class token and 64 patches; the queries; the patches alone.
    let expected = [("contrastive", 1), ("cross-attention", 65), ("querying", 16), ("projector", 64)];
    for (key, vectors) in expected {
        let method = METHODS.iter().find(|method| method.key == key).expect("the method");
        let (folder, device, stop) = (builtin::folder().join(method.usual), Device::Cpu, CancelToken::default());
        let asked =
            Asked { folder: &folder, runtime: &(&device).into(), picture: &picture, text: "a cat", stop: &stop };
        let cost = (method.cost)(asked).expect("a cost");
        assert_eq!((cost.model.as_str(), cost.vectors, cost.width), (method.usual, vectors, 128), "{key}");
        assert!(cost.seeing > 0.0 && cost.reading > 0.0, "{key}");
        stop.cancel();
        assert!((method.cost)(asked).is_err(), "{key} goes on though it was cancelled");
    }
}
