//! What is said of patches that stand among words.

use super::Text;

texts! {
    /// A way to read a patch.
    NEAREST = "read-nearest";
    /// A way to read a patch.
    LENS = "read-lens";
    /// Over the words of a patch.
    LENS_OF = "logit-lens-of-patch";
    /// What the picture with words is.
    PATCH_WORDS = "patch-words";
    /// Where no patch is chosen.
    PATCH_HINT = "patch-words-hint";
    /// The projector's output, before the first block.
    AT_PROJECTOR = "at-projector";
    /// Behind a block, followed by its number.
    BEHIND_BLOCK = "behind-block";
    /// Number of positions.
    OF_PICTURE = "positions-of-picture";
    /// Number of positions.
    OF_TEXT = "positions-of-text";
    /// Over the row.
    ROW_HINT = "row-hint";
    /// Before the length of a vector.
    LENGTH = "vector-length";
    /// Where no single word is looked at.
    MEAN_OF_WORDS = "mean-of-words";
    /// Part of a bar.
    TO_PICTURE = "to-picture";
    /// Part of a bar.
    TO_SINKS = "to-sinks";
    /// Part of a bar.
    TO_TEXT = "to-text";
    /// Linear CKA.
    ALIGNMENT = "alignment";
    /// Share of neighbours.
    KEPT = "neighbours-kept";
    /// Share of variance.
    LOST = "variance-lost";
    /// Before a share.
    SHARE_OF_CONTEXT = "share-of-context";
    /// What is left of the context.
    FREE = "context-free";
    /// A time.
    PASS_WITH = "pass-with-picture";
    /// A time.
    PASS_WITHOUT = "pass-without-picture";
    /// A time.
    SEEING = "seeing";
    /// Memory.
    KEPT_FOR_PICTURE = "kept-for-picture";
    /// Memory.
    KEPT_FOR_TEXT = "kept-for-text";
    /// Over the four ways.
    IN_FOUR_WAYS = "in-four-ways";
    /// Over numbers of vectors.
    MET = "cost-met";
    /// Over times.
    TIME_SEEING = "cost-seeing";
    /// Over times.
    TIME_READING = "cost-reading";
    /// Instead of figures.
    NOT_MEASURED = "cost-not-measured";
    /// What the words see of a picture.
    COST_PROJECTOR = "cost-projector";
    /// What the words see of a picture.
    COST_CONTRASTIVE = "cost-contrastive";
    /// What the words see of a picture.
    COST_FUSION = "cost-fusion";
    /// What the words see of a picture.
    COST_QUERYING = "cost-querying";
}
