//! The tokenizer of a GGUF file as a `tokenizer.json`, as transformers makes it of such a file
//! (transformers:src/transformers/integrations/ggml.py, `GGUFLlamaConverter`).

use serde_json::{Value, json};
use std::collections::HashMap;

use super::header::Header;
use crate::error::Result;

/// Kinds of tokens (llama.cpp:include/llama.h, `llama_token_type`): unknown, control, and put in by the user.
const SPECIAL: [f64; 3] = [2.0, 3.0, 4.0];
/// The longest word that is taken apart to find what it is made of, in characters.
const LONGEST_WORD: usize = 256;

/// Where byte-level tokenizers cut a text before anything else (llama.cpp:src/llama-vocab.cpp).
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The text of the tokenizer.
///
/// # Errors
/// If a key is missing, or the tokenizer is of an unknown kind.
pub(super) fn json_of(file: &Header) -> Result<Value> {
    let tokens = file.strings("tokenizer.ggml.tokens")?;
    let kinds = file.numbers("tokenizer.ggml.token_type").unwrap_or_default();
    let begin = file.whole("tokenizer.ggml.bos_token_id").ok();
    let begins = file.flag("tokenizer.ggml.add_bos_token").unwrap_or(true);
    let begin = begin.and_then(|id| usize::try_from(id).ok()).filter(|id| begins && *id < tokens.len());
    let (model, normalizer, pre_tokenizer, decoder) = match file.string("tokenizer.ggml.model") {
        Some("llama") => sentencepiece(file, &tokens)?,
        Some("gpt2") => byte_level(file, &tokens)?,
        other => return Err(file.unknown(format!("its tokenizer is of the kind '{}'", other.unwrap_or("?")))),
    };
    let special = tokens.iter().enumerate().filter(|(id, _)| kinds.get(*id).is_some_and(|kind| SPECIAL.contains(kind)));
    let added: Vec<Value> = special
        .map(|(id, token)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let sequence = |id: &str, kind: u8| json!({"Sequence": {"id": id, "type_id": kind}});
    let mut post_processor = Value::Null;
    if let Some(id) = begin {
        let token = tokens[id];
        let start = |kind: u8| json!({"SpecialToken": {"id": token, "type_id": kind}});
        post_processor = json!({
            "type": "TemplateProcessing",
            "single": [start(0), sequence("A", 0)],
            "pair": [start(0), sequence("A", 0), start(1), sequence("B", 1)],
            "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
        });
    }
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder,
        "model": model,
    }))
}

/// Model, normalizer, what cuts a text before, and decoder.
type Parts = (Value, Value, Value, Value);

/// SentencePiece's BPE: two pieces are joined the sooner the likelier what they give.
fn sentencepiece(file: &Header, tokens: &[&str]) -> Result<Parts> {
    let scores = file.numbers("tokenizer.ggml.scores").filter(|scores| scores.len() == tokens.len());
    let scores = scores.ok_or_else(|| file.unknown("its tokenizer says nothing of how likely its words are"))?;
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let mut merges: Vec<(&str, &str, f64)> = Vec::new();
    for (token, score) in tokens.iter().zip(&scores) {
        let first = merges.len();
        let cuts = token.char_indices().skip(1).take(LONGEST_WORD).map(|(at, _)| token.split_at(at));
        merges.extend(cuts.filter(|(a, b)| ids.contains_key(a) && ids.contains_key(b)).map(|(a, b)| (a, b, *score)));
        merges[first..].sort_by_key(|(a, b, _)| (ids[a], ids[b]));
    }
    let letters = |text: &str| text.chars().count();
    // The order of equal ones stays, as Python's does, in reverse too.
    merges.sort_by(|one, other| {
        other
            .2
            .total_cmp(&one.2)
            .then_with(|| (letters(other.0), letters(other.1)).cmp(&(letters(one.0), letters(one.1))))
    });
    let prefix = file.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let unknown = file.whole("tokenizer.ggml.unknown_token_id").ok().and_then(|id| tokens.get(id as usize).copied());
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
    }
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": unknown.unwrap_or("<unk>"),
        "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
        "vocab": ids, "merges": merges.iter().map(|(a, b, _)| [a, b]).collect::<Vec<_>>(),
    });
    let sequence = |key: &str, parts: Vec<Value>| json!({"type": "Sequence", key: parts});
    Ok((model, sequence("normalizers", normalizers), Value::Null, sequence("decoders", decoders)))
}

/// BPE over bytes, as LLaMA 3 has it.
fn byte_level(file: &Header, tokens: &[&str]) -> Result<Parts> {
    match file.string("tokenizer.ggml.pre") {
        Some("llama-bpe" | "llama3" | "llama-v3") => {}
        other => {
            let kind = other.unwrap_or("?");
            return Err(
                file.unknown(format!("its tokenizer cuts texts as '{kind}', and Alignscope knows llama-bpe there"))
            );
        }
    }
    let merges = file.strings("tokenizer.ggml.merges")?;
    let merges: Option<Vec<[&str; 2]>> =
        merges.iter().map(|merge| merge.split_once(' ').map(|(a, b)| [a, b])).collect();
    let merges = merges.ok_or_else(|| file.unknown("a pair of its tokenizer has no space in it"))?;
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
        "vocab": ids, "merges": merges,
    });
    let split = json!({"type": "Split", "pattern": {"Regex": LLAMA_3}, "behavior": "Isolated", "invert": false});
    let cut = json!({"type": "Sequence", "pretokenizers": [split, bytes.clone()]});
    Ok((model, Value::Null, cut, bytes))
}
