//! What the window says. The words stand in one file for each language, `assets/languages`; here are their keys.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::world::Language;

/// A text, by its key in the language files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text(pub &'static str);

/// The name of the program.
pub const PROGRAM: &str = "Alignscope";

/// A language with its own name and its file.
const FILES: [(Language, &str, &str, &str); 2] = [
    (Language::English, "en", "English", include_str!("../../assets/languages/en.json")),
    (Language::Chinese, "zh", "中文", include_str!("../../assets/languages/zh.json")),
];

/// The short and the full name of a language, in itself.
#[must_use]
pub fn name_of(language: Language) -> [&'static str; 2] {
    FILES.iter().find(|(known, ..)| *known == language).map_or(["en", ""], |(_, short, name, _)| [short, name])
}

/// What `key` means in `language`. A key that a file lacks (a test forbids it) is shown itself.
#[must_use]
pub fn say(language: Language, key: &str) -> &str {
    let at = FILES.iter().position(|(known, ..)| *known == language).unwrap_or(0);
    tables().get(at).and_then(|table| table.get(key)).map_or(key, String::as_str)
}

/// All keys of a language's file.
#[must_use]
pub fn keys(language: Language) -> Vec<&'static str> {
    let at = FILES.iter().position(|(known, ..)| *known == language).unwrap_or(0);
    tables().get(at).map(|table| table.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn tables() -> &'static [HashMap<String, String>] {
    static TABLES: OnceLock<Vec<HashMap<String, String>>> = OnceLock::new();
    TABLES.get_or_init(|| FILES.iter().map(|(.., file)| serde_json::from_str(file).unwrap_or_default()).collect())
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $key:literal;)*) => {
        $($(#[$doc])* pub const $name: Text = Text($key);)*
        /// Every text that the code names.
        pub const ALL: &[Text] = &[$($name),*];
    };
}

pub mod album;
pub mod bottleneck;
pub mod downloads;
pub mod editor;
pub mod explainers;
pub mod faithful;
pub mod four_ways;
pub mod ledger;
pub mod lesson;
pub mod projector;
pub mod querying;
pub mod watch;
pub mod what_if;

texts! {
    /// Before the version of the program.
    VERSION = "version";
    /// What the figures under the small maps are.
    STRIP_FIGURES = "strip-figures";
    /// Steps on.
    NEXT_WORD = "next-word";
    /// Steps back.
    WORD_BEFORE = "word-before";
    /// The scrubber.
    SCRUBBER = "scrubber";
    /// At the position before the word.
    WHILE_PREDICTED = "while-predicted";
    /// At the word's own position.
    WHILE_READ = "while-read";
    /// Weighted by the gradient.
    WEIGHTED = "weighted";
    /// As it is.
    RAW = "raw";
    /// No single head.
    ALL_HEADS = "all-heads";
    /// Without the picture.
    CLOSE_GATES = "close-gates";
    /// With the picture again.
    OPEN_GATES = "open-gates";
    /// Menu of words that look at the picture.
    FUSION = "fusion";
    /// Shows a method's column.
    SHOW_METHOD = "show-method";
    /// Probability of matching.
    MATCHING = "matching";
    /// What is written with closed gates.
    GUESS = "guess";
    /// Before the person's text.
    LINE_READ = "line-read";
    /// Before what was written.
    LINE_WRITTEN = "line-written";
    /// Where there are no next words.
    PREDICTS_NOTHING = "predicts-nothing";
    /// Over the heads.
    HEADS_HINT = "heads-hint";
    /// Over the heads of a checkpoint that wasn't measured.
    HEADS_HINT_UNMEASURED = "heads-hint-unmeasured";
    /// A head's score.
    GROUNDING = "grounding";
    /// The matrix.
    WORD_PATCHES = "word-patches-matrix";
    /// Over the words that ask.
    WHO_ASKS = "who-asks";
    /// Where no patch is chosen.
    WHO_ASKS_HINT = "who-asks-hint";
    /// For BLIP.
    NO_GATES = "no-gates";
    /// Over the gates.
    GATES_HINT = "gates-hint";
    /// A gate.
    GATE = "gate";
    /// Over a gate.
    GATE_HINT = "gate-hint";
    /// A closed gate.
    CLOSED = "closed";
    /// An open gate.
    OPENED = "opened";
    /// The gate of attention.
    GATE_ATTENTION = "gate-attention";
    /// The gate of the feed-forward part.
    GATE_FEED_FORWARD = "gate-feed-forward";
    /// The slider of layers.
    HIDDEN_LAYER = "hidden-layer";
    /// Over the questions.
    QUESTIONS = "questions";
    /// Over the words that were expected.
    PUT_WORD = "put-word";
    /// For BLIP.
    NO_LATENTS = "no-latents";
    /// Over the latents.
    LATENTS_HINT = "latents-hint";
    /// A latent.
    LATENT = "latent";
    /// Section of the inputs.
    PICTURE = "picture";
    /// Opens a file.
    OPEN = "open";
    /// Under the samples.
    DROP_HINT = "drop-hint";
    /// Section of the inputs.
    SENTENCE = "sentence";
    /// Accessible name of the sentence field.
    SENTENCE_FIELD = "sentence-field";
    /// Under the sentence field.
    WORDS_HINT = "words-hint";
    /// Selects no single word.
    WHOLE_TEXT = "whole-text";
    /// Section of the inputs.
    CHECKPOINT = "checkpoint";
    /// Opens a folder.
    OPEN_FOLDER = "open-folder";
    /// Section of the inputs.
    MAP = "map";
    /// Slider.
    OPACITY = "opacity";
    /// Switch.
    SMOOTH = "smooth";
    /// Switch.
    PATCHES = "patches";
    /// Switch.
    SHARED_SCALE = "shared-scale";
    /// Its explanation.
    SHARED_SCALE_HINT = "shared-scale-hint";
    /// Number under the cloud.
    GAP = "gap";
    /// Number under the map.
    MASS = "mass";
    /// Number under the map.
    PEAK = "peak";
    /// Section of the inspector.
    DETAILS = "details";
    /// Section of the inspector.
    HELP = "help";
    /// Section of the inspector.
    METHOD = "method";
    /// Section of the inspector.
    LEDGER = "ledger";
    /// Score.
    COSINE_TEXT = "cosine-text";
    /// Score.
    COSINE_PHRASE = "cosine-phrase";
    /// Score.
    TEMPERATURE = "temperature";
    /// Title of a patch.
    PATCH = "patch";
    /// Before the words of a patch.
    NEAREST_WORDS = "nearest-words";
    /// Before the neighbours of a point.
    NEIGHBOURS = "neighbours";
    /// Where nothing is selected.
    NO_PATCH = "no-patch";
    /// Status.
    READY = "ready";
    /// Status.
    COMPUTING = "computing";
    /// Notice.
    CUT = "cut";
    /// Notice, followed by the words.
    UNKNOWN_WORDS = "unknown-words";
    /// Notice, first part.
    STRANGE = "strange";
    /// Notice, before the numbers.
    STRANGE_DISTANCE = "strange-distance";
    /// Notice, between the numbers.
    STRANGE_USUAL = "strange-usual";
    /// Closes a notice.
    DISMISS = "dismiss";
    /// Theme switch.
    LIGHT = "light";
    /// Theme switch.
    DARK = "dark";
    /// Accessible name of the picture under the map.
    MAP_PICTURE = "map-picture";
    /// Facts about a model.
    PARAMETERS = "parameters";
    /// Title of the attribution strip.
    ALL_MAPS = "all-maps";
    /// Completed by the number of texts.
    SOFTMAX_OVER = "softmax-over";
    /// Where the model gives each text a probability of its own.
    SIGMOID_OF_EACH = "sigmoid-of-each";
    /// Before there is anything.
    WAITING = "waiting";
    /// Menu.
    FILE = "menu-file";
    /// Menu.
    EDIT = "menu-edit";
    /// Menu.
    VIEW = "menu-view";
    /// Menu.
    MAPS = "menu-map";
    /// Menu.
    SPACE = "menu-space";
    /// Submenu.
    SAMPLES = "menu-samples";
    /// Submenu.
    RECENT = "menu-recent";
    /// Submenu.
    EXPORT = "menu-export";
    /// Submenu.
    BESIDE = "menu-beside";
    /// Submenu.
    COLOURS = "menu-colours";
    /// Command.
    OPEN_PICTURE = "open-picture";
    /// Command.
    OPEN_CHECKPOINT = "open-checkpoint";
    /// Command.
    OPEN_SESSION = "open-session";
    /// Command.
    SAVE_SESSION = "save-session";
    /// Command.
    QUIT = "quit";
    /// Command.
    UNDO = "undo";
    /// Command.
    REDO = "redo";
    /// Command.
    SELECT_SENTENCE = "select-sentence";
    /// Command.
    SELECT_NOTHING = "select-nothing";
    /// Command.
    ADD_PRESENT = "add-present";
    /// Command.
    ADD_PICTURES = "add-pictures";
    /// Command.
    RESET_COMPARISON = "reset-comparison";
    /// Command.
    RESET_LAYOUT = "reset-layout";
    /// Command.
    ZOOM_IN = "zoom-in";
    /// Command.
    ZOOM_OUT = "zoom-out";
    /// Command.
    ZOOM_RESET = "zoom-reset";
    /// Command.
    PALETTE = "palette";
    /// Field of the palette.
    PALETTE_FIELD = "palette-field";
    /// The palette finds nothing.
    PALETTE_EMPTY = "palette-empty";
    /// Command, followed by a name.
    SHOW = "show";
    /// Command, followed by a name.
    MAXIMISE = "maximise";
    /// Undoes the above.
    RESTORE = "restore";
    /// Command, followed by a name.
    CLOSE = "close";
    /// Command, followed by a name.
    OPEN_THIS = "open-this";
    /// Before how much of the attention is kept.
    KEEP_ATTENTION = "keep-attention";
    /// What that means.
    KEEP_ATTENTION_HINT = "keep-attention-hint";
    /// Before the device of a model.
    RUNS_ON = "runs-on";
    /// Before the precision of a model's weights.
    WEIGHTS_AS = "weights-as";
    /// What that means.
    WEIGHTS_AS_HINT = "weights-as-hint";
    /// Command, followed by a name.
    RUN_CHECKPOINT = "run-checkpoint";
    /// Command.
    NO_BESIDE = "no-beside";
    /// Command.
    MARK_SINKS = "mark-sinks";
    /// Its explanation.
    SINKS_HINT = "sinks-hint";
    /// Command, followed by a name.
    REDUCE_BY = "reduce-by";
    /// Command.
    NEW_SEED = "new-seed";
    /// Command.
    JOIN_PAIRS = "join-pairs";
    /// Command.
    CANCEL = "cancel";
    /// Command.
    RECOMPUTE = "recompute";
    /// What is exported.
    THE_BOARD = "the-board";
    /// Format.
    AS_PICTURE = "as-picture";
    /// Format.
    AS_CSV = "as-csv";
    /// Format.
    AS_NPZ = "as-npz";
    /// Format.
    AS_PAGE = "as-page";
    /// Section of the inputs.
    COMPARISON = "comparison";
    /// Its explanation.
    COMPARISON_HINT = "comparison-hint";
    /// Accessible name of a caption field, followed by a number.
    CAPTION_FIELD = "caption-field";
    /// Command, followed by a caption.
    REMOVE = "remove";
    /// Reading of the matrix.
    READING_COSINE = "reading-cosine";
    /// Reading of the matrix.
    READING_OVER_TEXTS = "reading-over-texts";
    /// Reading of the matrix.
    READING_OVER_PICTURES = "reading-over-pictures";
    /// Reading of SigLIP's matrix.
    READING_SIGMOID = "reading-sigmoid";
    /// Slider.
    FACTOR = "factor";
    /// Command.
    MODELS_FACTOR = "models-factor";
    /// Number.
    LOSS = "loss";
    /// Its explanation.
    LOSS_HINT = "loss-hint";
    /// Number.
    TEXT_FOUND = "text-found";
    /// Number.
    PICTURE_FOUND = "picture-found";
    /// Its explanation.
    TEXT_FOUND_HINT = "text-found-hint";
    /// Its explanation.
    PICTURE_FOUND_HINT = "picture-found-hint";
    /// Slider.
    SHIFT = "shift";
    /// Its explanation.
    SHIFT_HINT = "shift-hint";
    /// Ways to draw points.
    DRAWN_THUMBNAILS = "drawn-thumbnails";
    /// Ways to draw points.
    DRAWN_WORDS = "drawn-words";
    /// Ways to draw points.
    DRAWN_POINTS = "drawn-points";
    /// Axis of a principal component, followed by number and share.
    COMPONENT = "component";
    /// Under a t-SNE or UMAP plot.
    NO_AXES = "no-axes";
    /// Name of a tower.
    VISION_TOWER = "tower-vision";
    /// Name of a tower.
    TEXT_TOWER = "tower-text";
    /// A layer, followed by its number.
    LAYER = "layer";
    /// A head, followed by its number.
    HEAD = "head";
    /// A query, followed by its name.
    QUERY = "query";
    /// A key, followed by its name.
    KEY = "key";
    /// The class token as query.
    CLASS_ROW = "class-row";
    /// The mean over all patches as query.
    MEAN_ROW = "mean-row";
    /// Number of a head.
    ENTROPY = "entropy";
    /// Unit.
    BITS = "bits";
    /// Number of a head.
    DISTANCE = "distance-mean";
    /// Unit.
    IN_PATCHES = "in-patches";
    /// Unit.
    IN_TOKENS = "in-tokens";
    /// The layer wasn't kept.
    LAYER_IS_COMING = "layer-is-coming";
    /// How to use the explorer.
    ATTENTION_HINT = "attention-hint";
    /// A position that isn't a patch.
    CLASS_TOKEN = "class-token";
    /// Norm of a patch.
    NORM = "norm";
    /// How many sinks there are.
    SINKS = "sinks";
    /// Their share of attention, by layer.
    ON_SINKS = "on-sinks";
    /// A patch is a sink.
    IS_SINK = "is-sink";
    /// Kind of a point.
    A_PICTURE = "a-picture";
    /// Kind of a point.
    A_TEXT = "a-text";
    /// A pair in the matrix.
    A_CELL = "a-cell";
    /// Number of a cell.
    COSINE = "cosine";
    /// Number of a cell.
    RANK_IN_ROW = "rank-in-row";
    /// Number of a cell.
    RANK_IN_COLUMN = "rank-in-column";
    /// Words.
    THE_WORDS = "the-words";
    /// Chooses the help.
    HELP_OF = "help-of";
    /// Nothing is on the board.
    EMPTY_BOARD = "empty-board";
    /// Time left.
    LEFT = "left";
    /// News, followed by a path.
    WRITTEN = "written";
    /// There is no file dialog.
    NO_DIALOG = "no-dialog";
    /// Pictures, filter of the file dialog.
    FILTER_PICTURES = "filter-pictures";
    /// Legend of the plot.
    PICTURES = "pictures";
    /// Legend of the plot.
    TEXTS = "texts";
    /// Name of the plot.
    PLOT = "plot";
    /// Name of the matrix.
    MATRIX_OF = "matrix-of";
    /// The board's footer in an exported page.
    PAGE_FOOTER = "page-footer";
    /// Link in an exported page.
    PAGE_NUMBERS = "page-numbers";
    /// Fact in an exported page.
    MODEL = "model";
    /// Title of the exported texts.
    SELECTED = "selected-words";
    /// Command, followed by a path.
    SAVE_BOARD_AS = "save-board-as";
    /// Command, followed by a path.
    SAVE_SESSION_AS = "save-session-as";
    /// Warning, last part of the strange picture's notice.
    STRANGE_ADVICE = "strange-advice";
    /// Light theme.
    USE_LIGHT = "use-light";
    /// Dark theme.
    USE_DARK = "use-dark";
    /// How to use the strip of small maps.
    STRIP_HINT = "strip-hint";
    /// What the scale is measured against.
    OWN_SCALE = "own-scale";
}
