//! The tokenizer of the sticker world: whole words of both languages.

use serde_json::{Value, json};

use crate::world::{Language, vocabulary};

/// The padding token and its id.
pub const PAD: (&str, u32) = ("[PAD]", 0);
/// What stands for a word that isn't known.
pub const UNKNOWN: (&str, u32) = ("[UNK]", 1);
/// The token that begins a text.
pub const BEGIN: (&str, u32) = ("[BOS]", 2);
/// The token that ends a text. Not 2, which would mean the old convention of finding it by the highest id.
pub const END: (&str, u32) = ("[EOS]", 3);

const SPECIAL: [(&str, u32); 4] = [PAD, UNKNOWN, BEGIN, END];

/// The known words, by id.
#[must_use]
pub fn words() -> Vec<String> {
    let mut words: Vec<String> = SPECIAL.iter().map(|(word, _)| (*word).to_owned()).collect();
    for language in Language::ALL {
        for word in vocabulary(language) {
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        }
    }
    words
}

/// `tokenizer.json`, as the `tokenizers` library reads it.
///
/// English is split at spaces and punctuation. Chinese has no spaces: there a regular expression cuts off the longest
/// word of the vocabulary, or else one character, which is then unknown alone and spoils nothing around it.
#[must_use]
pub fn tokenizer_json() -> Value {
    let words = words();
    let mut chinese = vocabulary(Language::Chinese);
    chinese.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
    let pattern = format!("[a-z0-9']+|{}|[^\\sa-z0-9']", chinese.join("|"));
    let vocabulary: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| (word.clone(), json!(id))).collect();
    let special: Vec<Value> = SPECIAL
        .iter()
        .map(|(word, id)| {
            json!({"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let named = |(word, id): (&str, u32)| json!({"id": word, "ids": [id], "tokens": [word]});
    let (begin, end) =
        (json!({"SpecialToken": {"id": BEGIN.0, "type_id": 0}}), json!({"SpecialToken": {"id": END.0, "type_id": 0}}));
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"String": "，"}, "content": "、"},
            // A full stop carries nothing that the world talks about.
            {"type": "Replace", "pattern": {"Regex": "[.。!！]"}, "content": " "},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        ]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text, end],
            "pair": [begin, text, end],
            "special_tokens": {BEGIN.0: named(BEGIN), END.0: named(END)},
        },
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN.0},
    })
}

/// [`tokenizer_json`] with further special tokens, whose ids follow those of the known words.
#[must_use]
pub fn tokenizer_json_with(tokens: &[&str]) -> Value {
    let mut json = tokenizer_json();
    for (at, token) in tokens.iter().enumerate() {
        let token = json!({"id": words().len() + at, "content": token, "single_word": false, "lstrip": false,
                           "rstrip": false, "normalized": false, "special": true});
        if let Some(added) = json["added_tokens"].as_array_mut() {
            added.push(token);
        }
    }
    json
}

/// A `tokenizer.json` that no longer puts the end behind a text: for a language model that writes on.
#[must_use]
pub fn without_end(mut json: Value) -> Value {
    for template in ["single", "pair"] {
        if let Some(pieces) = json["post_processor"][template].as_array_mut() {
            pieces.retain(|piece| piece["SpecialToken"]["id"] != END.0);
        }
    }
    json
}

/// `tokenizer_config.json`, with which transformers opens the tokenizer.
#[must_use]
pub fn tokenizer_config_json(context: usize) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "pad_token": PAD.0,
        "unk_token": UNKNOWN.0,
        "bos_token": BEGIN.0,
        "eos_token": END.0,
    })
}
