//! What is said where explanations stand beside each other.

use super::Text;

texts! {
    /// The button that asks the model.
    ASK = "explainers-ask";
    /// What it does.
    ASK_HINT = "explainers-ask-hint";
    /// While it is asked.
    ASKING = "explainers-asking";
    /// The button that tests all maps.
    TEST_ALL = "explainers-test-all";
    /// What a click on a name that isn't shown does.
    SHOW = "explainers-show";
    /// What a click on a name that is shown does.
    HIDE = "explainers-hide";
    /// What hit and share say.
    ON_OBJECT_HINT = "explainers-on-object-hint";
    /// What the area while patches are hidden says.
    HIDDEN_HINT = "explainers-hidden-hint";
    /// What the area while patches are shown says.
    SHOWN_HINT = "explainers-shown-hint";
    /// What the rank correlation says.
    RHO_HINT = "explainers-rho-hint";
    /// Explanations of other models.
    NOT_HERE = "explainers-not-here";
    /// How far a map stays the same with all weights shuffled.
    SHUFFLED = "explainers-shuffled";
    /// How many of `{count}` maps are better than chance in both ways, `{good}`.
    VERDICT = "explainers-verdict";
}
