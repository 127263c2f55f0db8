//! What is said where the four methods stand side by side.

use super::Text;

texts! {
    /// Before the scale of the maps.
    SHARE_OF_MAP = "share-of-map";
    /// What a click on a method's name does.
    TO_COLUMN = "to-column";
    /// The map's highest patch lies on what the words name.
    HIT = "hit";
    /// It doesn't.
    MISS = "miss";
    /// Share of the map.
    ON_OBJECT = "on-object";
    /// Of the map's highest patches and the object's.
    OVERLAP = "overlap-of-patches";
    /// Before the scale of differences.
    DIFFERENCE = "difference-of-shares";
    /// Puts one more column beside the others.
    ADD_COLUMN = "add-column";
    /// What for.
    ADD_COLUMN_HINT = "add-column-hint";
    /// What a click on an extra column's name does.
    SET_COLUMN_HINT = "set-column-hint";
    /// Before the name of the column that is taken away.
    REMOVE_COLUMN = "remove-column";
    /// Of an extra column, where the model of the method's own is changed.
    UNCHANGED = "unchanged-model";
    /// Keeps what is shown to compare with it.
    PIN = "pin";
    /// Compares with nothing any more.
    UNPIN = "unpin";
    /// The same in the menu.
    PIN_STATE = "pin-state";
    /// The same in the menu.
    UNPIN_STATE = "unpin-state";
    /// What pinning does.
    PIN_HINT = "pin-hint";
    /// Before the cosine of picture and sentence.
    SIMILAR = "said-similar";
    /// Where a method has no cloud.
    NO_CLOUD = "no-cloud";
    /// Points that are words.
    WORDS = "words-in-cloud";
    /// Where a method has no map of the words.
    NO_MAP = "no-map";
    /// What a map is: that of a query.
    MAP_OF_QUERY = "map-of-query";
}
