//! What is said of a folder of pictures.

use super::Text;

texts! {
    /// Opens a folder.
    OPEN = "album-open";
    /// Before the name of a folder that is opened.
    OPEN_THIS = "album-open-this";
    /// Closes it.
    CLOSE = "album-close";
    /// Reads it again.
    AGAIN = "album-again";
    /// The same where the folder is plain.
    REREAD = "album-reread";
    /// Opens another folder.
    OTHER = "album-other";
    /// Closes it, where the folder is plain.
    END = "album-end";
    /// Where none is open.
    BEGIN = "album-begin";
    /// Pictures.
    PICTURES = "album-pictures";
    /// Where more are left out.
    MORE = "album-more";
    /// Pictures that can't be read.
    UNREADABLE = "album-unreadable";
    /// Pictures that were known from before.
    RECALLED = "album-recalled";
    /// While pictures are read.
    READING = "album-reading";
    /// While they are laid into the plane.
    REDUCING = "album-reducing";
    /// Where the reading was stopped.
    STOPPED = "album-stopped";
    /// Goes on with it.
    GO_ON = "album-go-on";
    /// The field for what is searched for.
    SEARCH = "album-search";
    /// Searches for nothing any more.
    CLEAR = "album-clear";
    /// Searches for pictures like the one that is open.
    LIKE_THIS = "album-like-this";
    /// Before the name of the picture that others are like.
    LIKE = "album-like";
    /// The plane.
    PLANE = "album-plane";
    /// Where neighbourhoods are asked of too many pictures, with `{most}`.
    TOO_MANY = "album-too-many";
    /// Shows all pictures.
    WHOLE = "album-whole";
    /// Nearer.
    NEARER = "album-nearer";
    /// Farther.
    FARTHER = "album-farther";
}
