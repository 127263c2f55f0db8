//! Keeps damaged tokenizer files from bringing the program down: the `tokenizers` library trusts what it reads.

use serde::Deserialize;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// The part of `tokenizer.json` that the library doesn't check itself.
#[derive(Deserialize)]
struct Looked {
    #[serde(default)]
    post_processor: Value,
}

/// Refuses a template that puts in a special token without saying which id it has; the library accepts it and then
/// panics on the first text.
///
/// # Errors
/// If there is such a token.
pub fn check_template(json: &[u8]) -> Result<()> {
    // What isn't JSON the library refuses itself.
    let Ok(Looked { post_processor }) = serde_json::from_slice(json) else { return Ok(()) };
    let sequence = post_processor["processors"].as_array().into_iter().flatten();
    for processor in std::iter::once(&post_processor).chain(sequence) {
        let known = &processor["special_tokens"];
        let pieces = ["single", "pair"].iter().filter_map(|template| processor[*template].as_array()).flatten();
        for token in pieces.filter_map(|piece| piece["SpecialToken"]["id"].as_str()) {
            if known.get(token).is_none() {
                return Err(broken(&format!("its template puts in '{token}', which has no id")));
            }
        }
    }
    Ok(())
}

/// Runs the library; should it panic all the same, that is an error like any other.
///
/// # Errors
/// What the library reports.
pub fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(broken(&error.to_string())),
        Err(_) => Err(broken("it contradicts itself")),
    }
}

fn broken(why: &str) -> Error {
    // The library's messages can have several lines.
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    Error::unusable(format!("the tokenizer can't be understood ({why})"), "fetch the file again")
}
