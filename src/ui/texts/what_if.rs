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
    /// What has to be done for them.
    PIN_FIRST = "what-if-pin-first";
    /// What the colours mean.
    COLOURS = "what-if-colours";
    /// Queries and keys of the same sequence.
    SELF_ATTENTION = "what-if-self-attention";
    /// Keys of another sequence.
    CROSS_ATTENTION = "what-if-cross-attention";
}
