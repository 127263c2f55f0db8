//! What is said of queries that look at the picture.

use super::Text;

texts! {
    /// A query, followed by its number.
    A_QUERY = "a-query";
    /// Menu of queries that look at the picture.
    MENU = "menu-querying";
    /// Legend, and part of a fact.
    QUERIES = "queries";
    /// Legend, and part of a fact.
    WORDS = "words";
    /// No single one.
    MEAN = "mean-of-all";
    /// A head that can be chosen.
    A_HEAD = "a-head";
    /// A block that can be chosen.
    A_BLOCK = "a-block";
    /// Order of queries.
    ORDER_INDEX = "order-index";
    /// Order of queries.
    ORDER_MASS = "order-mass";
    /// Order of queries.
    ORDER_SIMILARITY = "order-similarity";
    /// Command.
    ALL_LAYERS = "all-layers-of-queries";
    /// Command.
    ALL_BLOCKS = "all-blocks-of-queries";
    /// Command.
    NEXT_QUERY = "next-query";
    /// Command.
    QUERY_BEFORE = "query-before";
    /// Command.
    DROP_OTHERS = "drop-others";
    /// Command.
    TAKE_ALL_BACK = "take-all-back";
    /// Leaves a query out, followed by its number.
    LEAVE_OUT = "leave-out";
    /// Takes a query back, followed by its number.
    TAKE_BACK = "take-back";
    /// A query that takes no part.
    OFF = "query-off";
    /// Behind the number of queries.
    TAKE_PART = "take-part";
    /// Score of image-text contrast.
    CONTRAST_SCORE = "contrast-score";
    /// Share of attention.
    ON_PATCHES = "on-patches";
    /// What a query alone would say.
    HOLDS = "query-holds";
    /// Before the words of a query.
    NEAREST = "query-nearest";
    /// What stands beneath a map.
    BENEATH = "beneath-maps";
    /// Before what else stands there.
    AND = "and-its";
    /// Before what the marked query has most of.
    HIGHEST = "the-highest";
    /// Legend.
    WINNER = "most-similar";
    /// Before a word.
    ATTENTION_OF = "attention-of";
    /// The matrix.
    QUERY_PATCHES = "query-patches-matrix";
    /// Over the matrix.
    QUERY_PATCHES_HINT = "query-patches-hint";
    /// Number over all maps.
    COVERAGE = "coverage";
    /// Its explanation.
    COVERAGE_HINT = "coverage-hint";
    /// Number over all maps.
    MEAN_ENTROPY = "mean-entropy";
    /// Its explanation.
    MEAN_ENTROPY_HINT = "mean-entropy-hint";
    /// Number over all maps.
    OVERLAP = "overlap";
    /// Its explanation.
    OVERLAP_HINT = "overlap-hint";
    /// Number over all maps.
    RANK = "effective-rank";
    /// Its explanation.
    RANK_HINT = "effective-rank-hint";
    /// The matrix.
    AMONG = "query-attention-matrix";
    /// Over the matrix.
    AMONG_HINT = "query-attention-hint";
    /// Where there are no words.
    NO_WORDS = "queries-read-nothing";
    /// Where the attention is too large to be kept.
    NOT_KEPT = "query-attention-not-kept";
    /// Where there are no words.
    NO_ROWS = "query-words-none";
    /// Over the words.
    NEAREST_HEAD = "query-nearest-head";
    /// Over the words.
    SENTENCE_WORDS = "query-sentence-head";
    /// How far an instruction moved a query.
    MOVED = "query-moved";
    /// Its explanation.
    MOVED_HINT = "query-moved-hint";
    /// Command.
    COMPARE_THIS = "compare-this";
    /// Command.
    COMPARE_NONE = "compare-none";
    /// Followed by an instruction.
    COMPARED_WITH = "compared-with";
    /// There is none.
    COMPARED_WITH_NONE = "compared-with-none";
    /// The matrix.
    QUERY_WORDS = "query-words-matrix";
    /// Over the matrix.
    WORDS_BY_ATTENTION = "query-words-attention";
    /// Over the matrix.
    WORDS_BY_COSINE = "query-words-cosine";
    /// A mask.
    MASK_CONTRAST = "mask-contrast";
    /// A mask.
    MASK_MATCHING = "mask-matching";
    /// A mask.
    MASK_GENERATION = "mask-generation";
    /// Command, followed by a mask.
    SHOW_MASK = "show-mask";
    /// What the loss is for.
    CONTRAST_LOSS = "contrast-loss";
    /// What the loss is for.
    MATCHING_LOSS = "matching-loss";
    /// What the loss is for.
    GENERATION_LOSS = "generation-loss";
    /// Button.
    PLAY = "play-mask";
    /// Button.
    STOP = "stop-mask";
    /// The picture.
    MASK_OF = "mask-picture";
    /// Where no row is chosen.
    MASK_HINT = "mask-hint";
    /// Words of an example, apart.
    MASK_EXAMPLE = "mask-example";
    /// Behind who sees.
    SEES_QUERIES = "sees-queries";
    /// Behind who sees.
    SEES_WORDS = "sees-words";
    /// Behind who sees.
    SEES_ALL = "sees-all";
    /// Behind who sees.
    SEES_BEFORE = "sees-before";
    /// Legend.
    SEES_A_QUERY = "sees-a-query";
    /// Legend.
    SEES_A_WORD = "sees-a-word";
    /// Legend.
    SEES_NOT = "sees-not";
}
