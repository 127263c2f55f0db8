//! What is said about the bottleneck experiment.

use super::Text;

texts! {
    /// A family of connectors.
    PROJECTOR = "bottleneck-projector";
    /// A family of connectors.
    POOL = "bottleneck-pool";
    /// A family of connectors.
    SHUFFLE = "bottleneck-shuffle";
    /// A family of connectors.
    QUERIES = "bottleneck-queries";
    /// What the axes are.
    AXIS = "bottleneck-axis";
    /// A figure.
    COLOUR = "bottleneck-colour";
    /// A figure.
    PRESENCE = "bottleneck-presence";
    /// A figure.
    COUNT = "bottleneck-count";
    /// A figure.
    WHERE = "bottleneck-where";
    /// A figure.
    PLACE = "bottleneck-place";
    /// A figure.
    LAYOUT = "bottleneck-layout";
}
