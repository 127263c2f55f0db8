//! What is said in the ledger of the four methods.

use super::Text;

texts! {
    /// Tokens of the text.
    TOKENS = "ledger-tokens";
    /// Vectors of the picture that words meet.
    VECTORS = "ledger-vectors";
    /// How long each is.
    WIDTH = "ledger-width";
    /// Parameters that are learned.
    TRAINED = "ledger-trained";
    /// Parameters that stay as they are.
    FROZEN = "ledger-frozen";
    /// Operations before any word meets the picture.
    SEEING = "ledger-seeing";
    /// Operations of a pass over the text.
    READING = "ledger-reading";
    /// Bytes of the weights.
    MEMORY = "ledger-memory";
    /// Time of the same.
    TIME_SEEING = "ledger-time-seeing";
    /// Time of the same.
    TIME_READING = "ledger-time-reading";
    /// From pixels to the answer.
    STAGES = "ledger-stages";
}
