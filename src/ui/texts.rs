//! What the window says, in English and Chinese.

/// A text in English and Chinese.
pub type Text = [&'static str; 2];

/// The name of the program.
pub const PROGRAM: &str = "Alignscope";
/// Under the name.
pub const CLAIM: Text = ["where words land in the picture", "词语落在图像的何处"];
/// Section of the inputs.
pub const PICTURE: Text = ["Picture", "图像"];
/// Opens a file.
pub const OPEN: Text = ["Open…", "打开…"];
/// Under the samples.
pub const DROP_HINT: Text = ["or drop a picture onto the window", "或将图像拖入窗口"];
/// Section of the inputs.
pub const SENTENCE: Text = ["Text", "文本"];
/// Accessible name of the sentence field.
pub const SENTENCE_FIELD: Text = ["Text about the picture", "关于图像的文本"];
/// Under the sentence field.
pub const WORDS_HINT: Text = [
    "Click a word to see where it lands; shift-click selects a run of words.",
    "点击词语查看其位置；按住 Shift 可选择一段词语。",
];
/// Selects no single word.
pub const WHOLE_TEXT: Text = ["Whole text", "整句"];
/// Section of the inputs.
pub const CHECKPOINT: Text = ["Checkpoint", "模型权重"];
/// Opens a folder.
pub const OPEN_FOLDER: Text = ["Open folder…", "打开文件夹…"];
/// Section of the inputs.
pub const MAP: Text = ["Map", "热图"];
/// Slider.
pub const OPACITY: Text = ["Opacity", "不透明度"];
/// Switch.
pub const SMOOTH: Text = ["Smooth", "平滑"];
/// Switch.
pub const PATCHES: Text = ["Patches", "图块"];
/// Switch.
pub const SHARED_SCALE: Text = ["One scale for all words", "所有词共用刻度"];
/// Its explanation.
pub const SHARED_SCALE_HINT: Text = [
    "Colours are measured against the highest value among all words of the text, so that maps can be compared. Off: each map against its own highest value, which makes weak maps look strong.",
    "颜色以全句所有词中的最大值为基准，便于比较。关闭后每张热图以自身最大值为基准，弱的热图也会显得很强。",
];
/// Title of the heatmap view.
pub const HEATMAP: Text = ["Where the words land", "词语落在何处"];
/// Title of the embedding view.
pub const EMBEDDING: Text = ["Embedding-space projection (PCA)", "嵌入空间投影（PCA）"];
/// Legend.
pub const PICTURES: Text = ["pictures", "图像"];
/// Legend.
pub const TEXTS: Text = ["texts", "文本"];
/// Number under the cloud.
pub const GAP: Text = ["modality gap", "模态间隙"];
/// Number under the map.
pub const MASS: Text = ["sum", "总和"];
/// Number under the map.
pub const PEAK: Text = ["peak", "峰值"];
/// Section of the inspector.
pub const DETAILS: Text = ["Details", "详情"];
/// Section of the inspector.
pub const HELP: Text = ["How to read this", "如何解读"];
/// Section of the inspector.
pub const METHOD: Text = ["The method", "方法"];
/// Section of the inspector.
pub const LEDGER: Text = ["Stages", "各阶段"];
/// Score.
pub const COSINE_TEXT: Text = ["cosine with the text", "与全文的余弦"];
/// Score.
pub const COSINE_PHRASE: Text = ["cosine with", "余弦："];
/// Score.
pub const TEMPERATURE: Text = ["logit scale (1 / temperature)", "logit 缩放（1/温度）"];
/// Title of a patch.
pub const PATCH: Text = ["Patch", "图块"];
/// Before the words of a patch.
pub const NEAREST_WORDS: Text = ["Words nearest to this patch, by cosine", "与该图块余弦最近的词"];
/// Before the neighbours of a point.
pub const NEIGHBOURS: Text = ["Nearest in the real space, by cosine", "真实空间中余弦最近"];
/// Where nothing is selected.
pub const NO_PATCH: Text = [
    "Move over the picture to see a patch's numbers and its nearest words; click to keep it.",
    "在图像上移动可查看图块的数值和最近的词；点击可固定。",
];
/// Status.
pub const READY: Text = ["ready", "就绪"];
/// Status.
pub const COMPUTING: Text = ["computing…", "计算中…"];
/// Notice.
pub const CUT: Text =
    ["The text is longer than the model reads; the end was cut off.", "文本超过模型可读的长度，末尾已被截去。"];
/// Notice, followed by the words.
pub const UNKNOWN_WORDS: Text = ["The checkpoint doesn't know:", "模型不认识："];
/// Notice, first part.
pub const STRANGE: Text = [
    "This checkpoint knows nothing but stickers, and this picture lies outside of its world",
    "该模型只认识贴纸世界，而这张图像在其之外",
];
/// Notice, before the numbers.
pub const STRANGE_DISTANCE: Text = ["distance", "距离"];
/// Notice, between the numbers.
pub const STRANGE_USUAL: Text = ["99.9 % of sticker scenes lie within", "99.9% 的贴纸场景小于"];
/// Notice, last part.
pub const STRANGE_ADVICE: Text = [
    "The maps below say little. For photographs open a real checkpoint (a Hugging Face folder of CLIP or SigLIP) with Checkpoint, Open folder…",
    "下面的热图意义不大。对照片请用“模型权重 / 打开文件夹…”打开真实模型（CLIP 或 SigLIP 的 Hugging Face 文件夹）。",
];
/// Closes a notice.
pub const DISMISS: Text = ["Dismiss", "关闭"];
/// Theme switch.
pub const LIGHT: Text = ["Light", "浅色"];
/// Theme switch.
pub const DARK: Text = ["Dark", "深色"];
/// Accessible name of the picture under the map.
pub const MAP_PICTURE: Text = ["Picture with the map of", "图像与热图："];
/// Facts about a model.
pub const PARAMETERS: Text = ["parameters", "参数"];
/// Title of the attribution strip.
pub const ALL_MAPS: Text = ["The same words, by other maps", "同样的词，其他热图"];
/// Title of the ranking view.
pub const RANKING: Text = ["Which caption fits the picture?", "哪句说明最合适？"];
/// Completed by the number of texts.
pub const SOFTMAX_OVER: Text = ["softmax over all texts here:", "对这里全部文本做 softmax，文本数："];
/// Where the model gives each text a probability of its own.
pub const SIGMOID_OF_EACH: Text = ["sigmoid of each text alone", "每句文本单独做 sigmoid"];
/// Before there is anything.
pub const WAITING: Text = ["The first map is being computed…", "正在计算第一张热图…"];
