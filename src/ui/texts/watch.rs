//! What is said where one watches a model learn.

use super::Text;

texts! {
    /// Before anything learns.
    INTRODUCTION = "watch-introduction";
    /// Two encoders.
    CONTRAST = "watch-contrast";
    /// Four queries.
    QUERIES = "watch-queries";
    /// Before the name of a recorded run.
    RECORDED = "watch-recorded";
    /// How long that run was, with `{steps}` and `{pictures}`.
    OF_A_RUN = "watch-of-a-run";
    /// Lets a recorded run play.
    PLAY = "watch-play";
    /// Lets it wait.
    PAUSE = "watch-pause";
    /// Lets it go on.
    GO_ON = "watch-go-on";
    /// One step.
    STEP = "watch-step";
    /// From the beginning.
    AGAIN = "watch-again";
    /// What that does.
    AGAIN_HINT = "watch-again-hint";
    /// With other numbers of chance.
    OTHER_SEED = "watch-other-seed";
    /// Ends it.
    END = "watch-end";
    /// Learning rate.
    RATE = "watch-rate";
    /// Temperature.
    TEMPERATURE = "watch-temperature";
    /// Where in the run one looks.
    SCRUB = "watch-scrub";
    /// Steps done.
    STEPS = "watch-steps";
    /// Back to what it knows now.
    NOW = "watch-now";
    /// Loss.
    LOSS = "watch-loss";
    /// Share that is right.
    RIGHT = "watch-right";
    /// Matrix.
    MATRIX = "watch-matrix";
    /// Clouds.
    CLOUDS = "watch-clouds";
    /// Cosine of pictures with their own texts.
    OWN_PAIRS = "watch-own-pairs";
    /// Map.
    MAP = "watch-map";
}
