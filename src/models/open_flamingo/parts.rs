//! What an OpenFlamingo takes over from the folders of its frozen parts, unless its own folder has it: how texts become tokens,
//! and pictures pixels.

use serde_json::{Value, json};
use std::path::Path;

use super::OpenFlamingoConfig;
use crate::error::{Error, Result};
use crate::models::checkpoint::read_json;
use crate::models::flamingo::IMAGE;
use crate::models::preprocess::ImageProcessor;
use crate::models::tokenizer::TextTokenizer;

/// The token that ends what is said about a picture.
const END_OF_CHUNK: &str = "<|endofchunk|>";

/// The tokenizer of the checkpoint in `folder`, for texts of at most `context` tokens: its own, or that of the language model with
/// the tokens that OpenFlamingo added to it.
///
/// # Errors
/// If there is none, or the tokens have other ids there than the config says.
pub fn tokenizer(folder: &Path, config: &OpenFlamingoConfig, context: usize) -> Result<TextTokenizer> {
    const FILE: &str = "tokenizer.json";
    let (path, tokenizer) = if folder.join(FILE).is_file() {
        (folder.join(FILE), TextTokenizer::open(folder, context, false)?)
    } else {
        let path = folder.join("language_model").join(FILE);
        let added = with_added(read_json(&path)?, config);
        let tokenizer = TextTokenizer::from_json(&added, context).map_err(|error| error.at(&path))?;
        (path, tokenizer)
    };
    for (token, expected) in [(IMAGE, config.media_token_id), (END_OF_CHUNK, config.eoc_token_id)] {
        let found = tokenizer.id(token);
        if found != Some(expected) && (token == IMAGE || found.is_some()) {
            let found = found.map_or("no id".to_owned(), |id| format!("the id {id}"));
            let problem = format!("{token} has {found} in the tokenizer, and config.json says {expected}");
            return Err(Error::unusable(problem, "use the tokenizer.json that belongs to the weights").at(&path));
        }
    }
    Ok(tokenizer)
}

/// The content of a `tokenizer.json` with the tokens that it lacks.
fn with_added(mut tokenizer: Value, config: &OpenFlamingoConfig) -> Value {
    let mut wanted = [(END_OF_CHUNK, config.eoc_token_id), (IMAGE, config.media_token_id)];
    // Whichever comes first gets the next free id, whatever id is written there.
    wanted.sort_by_key(|(_, id)| *id);
    if let Some(tokenizer) = tokenizer.as_object_mut()
        && let Some(added) = tokenizer.entry("added_tokens").or_insert_with(|| json!([])).as_array_mut()
    {
        for (content, id) in wanted {
            if !added.iter().any(|token| token["content"] == content) {
                added.push(json!({
                    "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true,
                }));
            }
        }
    }
    tokenizer
}

/// How pictures become pixels for the checkpoint in `folder`: as it says itself, or as its vision encoder does.
///
/// # Errors
/// As [`ImageProcessor::from_folder`].
pub fn processor(folder: &Path) -> Result<ImageProcessor> {
    let own = folder.join("preprocessor_config.json").is_file();
    ImageProcessor::from_folder(&if own { folder.to_owned() } else { folder.join("vision_encoder") })
}
