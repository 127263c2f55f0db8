//! What is said where the picture can be changed by hand.

use super::Text;

texts! {
    /// Opens the list of all stickers.
    ADD = "editor-add";
    /// Takes the selected sticker away.
    REMOVE = "editor-remove";
    /// Puts the selected sticker on top of the others.
    ON_TOP = "editor-on-top";
    /// Of a sticker.
    SIZE = "editor-size";
    /// How stickers are changed.
    SCENE_HINT = "editor-scene-hint";
    /// A drag paints over the picture.
    PAINT = "editor-paint";
    /// A drag cuts out a part.
    CROP = "editor-crop";
    /// A drag shifts the picture.
    SHIFT = "editor-shift";
    /// Forgets all changes.
    ORIGINAL = "editor-original";
    /// The brush's size.
    BRUSH = "editor-brush";
    /// How a photograph is changed.
    PHOTOGRAPH_HINT = "editor-photograph-hint";
}
