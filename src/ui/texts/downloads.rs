//! What is said around published checkpoints.

use super::Text;

texts! {
    /// Command.
    SHOW = "downloads-show";
    /// Over them.
    TITLE = "downloads-title";
    /// What they are.
    ABOUT = "downloads-about";
    /// Field for a name.
    FIELD = "downloads-field";
    /// Asks for the size.
    ASK = "downloads-ask";
    /// Loads; with the size.
    LOAD = "downloads-load";
    /// Runs one that is here.
    OPEN = "downloads-open";
    /// It is being asked for.
    ASKING = "downloads-asking";
    /// There is no room.
    NO_ROOM = "downloads-no-room";
    /// Name of a progress bar.
    LOADING = "downloads-loading";
    /// It waits before it tries again.
    AGAIN = "downloads-again";
    /// Those that aren't in the catalogue.
    OTHERS = "downloads-others";
    /// Closes the list.
    CLOSE = "downloads-close";
}
