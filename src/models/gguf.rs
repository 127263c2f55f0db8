//! LLaVA as llama.cpp has it: a language model in one GGUF file, often quantized, and the vision tower with the projector in
//! another one beside it, whose name begins with `mmproj` or holds it.
//!
//! Keys and names: github.com/ggml-org/llama.cpp:conversion/llama.py, gguf-py/gguf/constants.py, and for the picture's part
//! tools/mtmd/clip-impl.h with legacy-models/convert_image_encoder_to_gguf.py.

mod header;
mod names;
mod tokenizer;

pub use header::Header;
pub use names::{Named, named};

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::chat::ChatTemplate;
use super::preprocess::ImageProcessor;
use super::tokenizer::TextTokenizer;
use crate::error::{Error, Result};

/// How conversations are written for Vicuna, which LLaVA-1.5 is: most files don't say it.
const VICUNA: &str = "{% for message in messages %}{{ message.role | upper }}: {% for part in message.content %}\
    {% if part.type == 'image' %}<image>\n{% endif %}{% endfor %}{% for part in message.content %}\
    {% if part.type == 'text' %}{{ part.text }} {% endif %}{% endfor %}{% endfor %}\
    {% if add_generation_prompt %}ASSISTANT:{% endif %}";

/// The two files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The language model.
    pub language: PathBuf,
    /// Vision tower and projector.
    pub vision: PathBuf,
}

impl Pair {
    /// The files at `path`, which is the language model's file or a folder that holds the files of one model; nothing if it is
    /// neither, so that it may be a Hugging Face folder.
    ///
    /// # Errors
    /// If the vision file isn't beside the language model, or there are several of one kind to choose from.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        if is_gguf(path) && path.is_file() {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let vision = one(files(folder).into_iter().filter(|file| is_vision(file)), "vision files", folder)?;
            return match vision {
                Some(vision) => Ok(Some(Self { language: path.to_path_buf(), vision })),
                None => Err(missing("a vision file (mmproj…gguf)", folder)),
            };
        }
        if path.join("config.json").is_file() {
            return Ok(None);
        }
        let (vision, language): (Vec<_>, Vec<_>) = files(path).into_iter().partition(|file| is_vision(file));
        if language.is_empty() && vision.is_empty() {
            return Ok(None);
        }
        let language = one(language.into_iter(), "language models", path)?;
        match (language, one(vision.into_iter(), "vision files", path)?) {
            (Some(language), Some(vision)) => Ok(Some(Self { language, vision })),
            (None, _) => Err(missing("a language model (….gguf)", path)),
            (_, None) => Err(missing("a vision file (mmproj…gguf)", path)),
        }
    }

    /// What the files say of themselves.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub fn read(&self) -> Result<Headers> {
        Ok(Headers { language: Header::read(&self.language)?, vision: Header::read(&self.vision)? })
    }
}

/// What the two files of a model say of themselves: all but the weights.
#[derive(Debug)]
pub struct Headers {
    /// The language model.
    pub language: Header,
    /// Vision tower and projector.
    pub vision: Header,
}

impl Headers {
    /// What `config.json` of transformers' `LlavaForConditionalGeneration` says of such a model.
    ///
    /// # Errors
    /// If a file lacks a key or holds what Alignscope doesn't know.
    pub fn config(&self) -> Result<Value> {
        let Self { language, vision } = self;
        Ok(json!({
            "architectures": ["LlavaForConditionalGeneration"],
            "text_config": language_config(language)?,
            "vision_config": vision_config(vision)?,
            "vision_feature_layer": feature_layers(vision),
            "vision_feature_select_strategy": "default",
            // No token stands for a picture; the first id that is no token's does.
            "image_token_index": language.strings("tokenizer.ggml.tokens")?.len(),
            "projector_hidden_act": "gelu",
            "tie_word_embeddings": false,
        }))
    }

    /// The tokenizer, for texts of at most `context` tokens.
    ///
    /// # Errors
    /// If a key is missing, or the tokenizer is of an unknown kind.
    pub fn tokenizer(&self, context: usize) -> Result<TextTokenizer> {
        let json = tokenizer::json_of(&self.language)?;
        TextTokenizer::from_json(&json, context).map_err(|error| error.at(&self.language.path))
    }

    /// How conversations are written for the language model: as the file says it, or as LLaVA-1.5 was taught.
    ///
    /// # Errors
    /// If what the file says is no template.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        let template = self.language.string("tokenizer.chat_template").unwrap_or(VICUNA);
        ChatTemplate::new(template).map_err(|error| error.at(&self.language.path))
    }

    /// What is done with a picture.
    ///
    /// # Errors
    /// If a key is missing.
    pub fn processor(&self) -> Result<ImageProcessor> {
        let vision = &self.vision;
        let side = vision.whole("clip.vision.image_size")?;
        let mut json = json!({
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": side},
            "crop_size": {"height": side, "width": side},
        });
        for key in ["image_mean", "image_std"] {
            if let Some(numbers) = vision.numbers(&format!("clip.vision.{key}")) {
                json[key] = json!(numbers);
            }
        }
        ImageProcessor::from_json(&json.to_string()).map_err(|error| error.at(&vision.path))
    }
}

/// The language models directly in `folder` that have one vision file beside them, by name.
#[must_use]
pub fn models_in(folder: &Path) -> Vec<PathBuf> {
    let (vision, language): (Vec<_>, Vec<_>) = files(folder).into_iter().partition(|file| is_vision(file));
    if vision.len() == 1 { language } else { Vec::new() }
}

fn language_config(file: &Header) -> Result<Value> {
    let architecture = file.string("general.architecture").unwrap_or_default();
    if architecture != "llama" {
        return Err(file.unknown(format!("its language model is a '{architecture}', and Alignscope knows llama there")));
    }
    if file.tensors.contains_key("rope_freqs.weight") {
        return Err(file.unknown("its positions are scaled by a table (rope_freqs)"));
    }
    if file.get("llama.expert_count").is_some() {
        return Err(file.unknown("its language model has experts"));
    }
    let heads = file.whole("llama.attention.head_count")?;
    let mut config = json!({
        "model_type": "llama",
        "vocab_size": file.strings("tokenizer.ggml.tokens")?.len(),
        "hidden_size": file.whole("llama.embedding_length")?,
        "intermediate_size": file.whole("llama.feed_forward_length")?,
        "num_hidden_layers": file.whole("llama.block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": file.whole("llama.attention.head_count_kv").unwrap_or(heads),
        "rms_norm_eps": file.number("llama.attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
        "rope_theta": file.number("llama.rope.freq_base").unwrap_or(10_000.0),
        "max_position_embeddings": file.whole("llama.context_length")?,
        "tie_word_embeddings": !file.tensors.contains_key("output.weight"),
        "bos_token_id": file.whole("tokenizer.ggml.bos_token_id").ok(),
        "eos_token_id": file.whole("tokenizer.ggml.eos_token_id").ok(),
        "pad_token_id": Value::Null,
    });
    if let Ok(width) = file.whole("llama.attention.key_length") {
        config["head_dim"] = json!(width);
    }
    match file.string("llama.rope.scaling.type") {
        None | Some("none") => {}
        Some("linear") => {
            let factor = file.number("llama.rope.scaling.factor").unwrap_or(1.0);
            config["rope_scaling"] = json!({"rope_type": "linear", "factor": factor});
        }
        Some(other) => return Err(file.unknown(format!("its positions are scaled by '{other}'"))),
    }
    Ok(config)
}

fn vision_config(file: &Header) -> Result<Value> {
    let projector = file.string("clip.projector_type").unwrap_or("mlp");
    if projector != "mlp" {
        return Err(file.unknown(format!("its projector is of the kind '{projector}', and Alignscope knows mlp")));
    }
    if !file.tensors.contains_key("v.class_embd") {
        return Err(file.unknown("its vision tower has no class token, so it is no CLIP"));
    }
    if file.numbers("clip.vision.image_grid_pinpoints").is_some_and(|points| !points.is_empty()) {
        return Err(file.unknown("it cuts pictures into parts"));
    }
    let flag = |key| file.flag(key).unwrap_or(false);
    if flag("clip.use_silu") {
        return Err(file.unknown("its vision tower uses SiLU"));
    }
    let whole = |key: &str| file.whole(&format!("clip.vision.{key}"));
    Ok(json!({
        "model_type": "clip_vision_model",
        "hidden_size": whole("embedding_length")?,
        "intermediate_size": whole("feed_forward_length")?,
        "num_hidden_layers": whole("block_count")?,
        "num_attention_heads": whole("attention.head_count")?,
        "image_size": whole("image_size")?,
        "patch_size": whole("patch_size")?,
        "layer_norm_eps": file.number("clip.vision.attention.layer_norm_epsilon").unwrap_or(1e-5),
        "hidden_act": if flag("clip.use_gelu") { "gelu" } else { "quick_gelu" },
    }))
}

/// The layers whose states the projector gets: those behind the last block of the file, unless it says which.
fn feature_layers(file: &Header) -> Value {
    match file.numbers("clip.vision.feature_layer").as_deref() {
        None | Some([]) => json!(-1),
        Some([one]) => json!(*one as i64),
        Some(several) => several.iter().map(|layer| json!(*layer as i64)).collect(),
    }
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

fn is_vision(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().contains("mmproj"))
}

/// The GGUF files directly in `folder`, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_gguf(path)).collect();
    found.sort();
    found
}

/// The only one, if there is one.
fn one(mut found: impl Iterator<Item = PathBuf>, what: &str, folder: &Path) -> Result<Option<PathBuf>> {
    let first = found.next();
    if found.next().is_some() {
        let problem = format!("the folder holds several {what}");
        return Err(
            Error::unusable(problem, "name the file of the language model, with one vision file beside it").at(folder)
        );
    }
    Ok(first)
}

fn missing(what: &str, folder: &Path) -> Error {
    Error::unusable(format!("the folder lacks {what}"), "put both files of the model into one folder").at(folder)
}
