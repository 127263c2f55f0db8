//! What is said where the model is changed.

use super::Text;

texts! {
    /// The button.
    MEASURE = "what-if-measure";
    /// While it is measured.
    MEASURING = "what-if-measuring";
    /// Before anything is changed.
    INTRODUCTION = "what-if-introduction";
    /// In every view, with `{count}`.
    IS_CHANGED = "what-if-is-changed";
    /// Nothing is changed any more.
    LEAVE_ALONE = "what-if-leave-alone";
    /// Nobody looks at the sinks.
    WITHOUT_SINKS = "what-if-without-sinks";
    /// Nobody looks at the selected patch.
    WITHOUT_PATCH = "what-if-without-patch";
    /// Patches that nobody looks at, with `{count}`.
    HIDDEN = "what-if-hidden";
    /// A route that is cut in all blocks.
    CUT_EVERYWHERE = "what-if-cut-everywhere";
    /// All blocks.
    ALL_BLOCKS = "what-if-all-blocks";
    /// Before what the model said without and says with the changes.
    ANSWER = "what-if-answer";
    /// How the map has changed, with `{alike}`.
    MAP = "what-if-map";
    /// Heading of the routes.
    ROUTES = "what-if-routes";
    /// Heading of the states of the pinned picture, with `{whole}`.
    PATCHED = "what-if-patched";
    /// Heading of the states of the pinned text, with `{whole}`.
    PATCHED_WORDS = "what-if-patched-words";
    /// Why there are none, with `{here}` and `{there}`.
    UNLIKE_TEXTS = "what-if-unlike-texts";
    /// What has to be done for them.
    PIN_FIRST = "what-if-pin-first";
    /// What the colours mean.
    COLOURS = "what-if-colours";
    /// Queries and keys of the same sequence.
    SELF_ATTENTION = "what-if-self-attention";
    /// The button that measures how well heads ground.
    WHICH_GROUNDS = "what-if-which-grounds";
    /// What it does.
    GROUNDING_HINT = "what-if-grounding-hint";
    /// Before a share of nouns.
    GROUNDING = "what-if-grounding";
    /// Before what stands in the place of a head.
    HEADS_BY = "what-if-heads-by";
    /// What that means.
    HEADS_BY_HINT = "what-if-heads-by-hint";
    /// Zeros.
    ZERO = "what-if-zero";
    /// The mean.
    MEAN = "what-if-mean";
    /// How routes are cut in several layers.
    ROUTES_HINT = "what-if-routes-hint";
    /// Heading of the picture whose patches are brushed away.
    BRUSH = "what-if-brush";
    /// What the brush does.
    BRUSH_HINT = "what-if-brush-hint";
    /// Keys of another sequence.
    CROSS_ATTENTION = "what-if-cross-attention";
}
