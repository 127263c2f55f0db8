//! What is said where maps are tested.

use super::Text;

texts! {
    /// Heading in the inspector.
    QUESTION = "faithful-question";
    /// The button.
    TEST = "faithful-test";
    /// The same in the menu.
    TEST_MAPS = "faithful-test-maps";
    /// While it is tested.
    TESTING = "faithful-testing";
    /// Before anything was tested.
    INTRODUCTION = "faithful-introduction";
    /// The mean colour in the place of hidden patches.
    FILL_MEAN = "faithful-fill-mean";
    /// The blurred picture there.
    FILL_BLUR = "faithful-fill-blur";
    /// The sentence, with `{share}`, `{what}`, `{whole}`, `{map}` and `{random}`.
    SENTENCE = "faithful-sentence";
    /// The cosine.
    COSINE = "faithful-cosine";
    /// How well picture and sentence match.
    MATCHING = "faithful-matching";
    /// The probability of the words.
    PROBABILITY = "faithful-probability";
    /// That of the answer.
    OF_ANSWER = "faithful-of-answer";
    /// The map's order.
    BY_MAP = "faithful-by-map";
    /// Orders by chance.
    BY_CHANCE = "faithful-by-chance";
    /// The object's patches first.
    BY_OBJECT = "faithful-by-object";
    /// Patches are hidden.
    HIDDEN = "faithful-hidden";
    /// Patches are shown.
    SHOWN = "faithful-shown";
    /// Better than chance in both.
    BETTER = "faithful-better";
    /// Better than chance in one of both.
    MIXED = "faithful-mixed";
    /// Not better than chance.
    NO_BETTER = "faithful-no-better";
    /// Before how far the map stays with shuffled weights.
    SANITY = "faithful-sanity";
    /// What that means.
    SANITY_HINT = "faithful-sanity-hint";
    /// `{count}` blocks from the top.
    BLOCKS = "faithful-blocks";
    /// All weights.
    ALL_WEIGHTS = "faithful-all-weights";
    /// The map of occlusion.
    OCCLUSION = "faithful-occlusion";
    /// What it shows.
    OCCLUSION_HINT = "faithful-occlusion-hint";
}
