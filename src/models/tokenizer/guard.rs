//! Keeps damaged and hostile tokenizer files from bringing the program down: the `tokenizers` library trusts what it reads.

use serde::Deserialize;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::files;

/// The longest word in a file, in bytes; a table of characters is one, too.
const LONGEST_WORD: usize = 1 << 19;
/// A text may grow to so many letters before it is cut into tokens.
const MOST_GROWN: usize = 4 << 20;
/// A tokenizer that reads less than this many letters of a text is none.
const LEAST_READ: usize = 256;
/// How often a text may stand in what is made of it, and how many tokens may be put in.
const MOST_COPIES: usize = 8;
const MOST_PUT_IN: usize = 1000;
/// How long a text may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The parts of `tokenizer.json` that the library doesn't check itself.
#[derive(Deserialize)]
struct Looked {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
}

/// Refuses what the library accepts and then panics over or fills the memory with: a template that puts in a special token
/// without saying which id it has, and parts that make texts ever longer. Gives how many letters of a text can be
/// read.
///
/// # Errors
/// On the first such part.
pub fn check(json: &[u8]) -> Result<usize> {
    if longest_word(json) > LONGEST_WORD {
        return Err(broken("it has a word that is far too long"));
    }
    let Looked { normalizer, post_processor, decoder } = files::json(json).map_err(|why| broken(&why))?;
    let read = MOST_GROWN / growth(&normalizer)?.max(growth(&decoder)?);
    if read < LEAST_READ {
        return Err(broken("it makes texts far too long"));
    }
    check_template(&post_processor)?;
    Ok(read)
}

/// Length of the longest text between two quotation marks.
fn longest_word(json: &[u8]) -> usize {
    let mut escaped = false;
    let ends = |letter: &u8| {
        let end = *letter == b'"' && !escaped;
        escaped = *letter == b'\\' && !escaped;
        end
    };
    json.split(ends).map(<[u8]>::len).max().unwrap_or(0)
}

/// By how much a part makes a text longer at most, all parts in it together.
fn growth(part: &Value) -> Result<usize> {
    let length = |key: &str| part[key].as_str().map_or(0, str::len);
    Ok(match part["type"].as_str() {
        Some("Sequence") => {
            let parts = ["normalizers", "decoders"].iter().filter_map(|key| part[*key].as_array()).flatten();
            parts.map(growth).try_fold(1, |product: usize, growth| Ok::<_, Error>(product.saturating_mul(growth?)))?
        }
        // Where it looks for nothing at all, it finds that before each letter, too.
        Some("Replace") => match part["pattern"]["String"].as_str() {
            Some(pattern) if length("content") <= pattern.len() => 1,
            _ => length("content") + 1,
        },
        Some("Prepend") => length("prepend") + 1,
        Some("Precompiled") => longest_replacement(part).unwrap_or(1).max(1),
        Some("ByteLevel" | "BertNormalizer" | "Lowercase" | "NFD") => 4,
        Some("NFKC" | "NFKD") => 18,
        _ => 1,
    })
}

/// The longest text that a letter becomes by a table of sentencepiece: behind a tree, whose length in bytes comes first, the
/// texts stand with a zero behind each.
fn longest_replacement(part: &Value) -> Option<usize> {
    let table = base64::decode(part["precompiled_charsmap"].as_str()?).ok()?;
    let (length, rest) = table.split_first_chunk()?;
    let texts = rest.get(u32::from_le_bytes(*length) as usize..)?;
    texts.split(|byte| *byte == 0).map(<[u8]>::len).max()
}

fn check_template(post_processor: &Value) -> Result<()> {
    let (mut copies, mut put_in) = (1_usize, 0);
    for processor in processors(post_processor) {
        let known = &processor["special_tokens"];
        for template in ["single", "pair"].iter().filter_map(|template| processor[*template].as_array()) {
            for token in template.iter().filter_map(|piece| piece["SpecialToken"]["id"].as_str()) {
                let Some(token) = known.get(token) else {
                    return Err(broken(&format!("its template puts in '{token}', which has no id")));
                };
                put_in += token["ids"].as_array().map_or(1, Vec::len);
            }
            let texts = template.iter().filter(|piece| piece.get("Sequence").is_some()).count();
            copies = copies.saturating_mul(texts.max(1));
        }
        put_in += 1;
    }
    if copies > MOST_COPIES || put_in > MOST_PUT_IN {
        return Err(broken("its template makes far too many tokens of a text"));
    }
    Ok(())
}

/// The processor itself, or those in it, in theirs too.
fn processors(processor: &Value) -> Vec<&Value> {
    match processor["processors"].as_array() {
        Some(inner) => inner.iter().flat_map(processors).collect(),
        None => vec![processor],
    }
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

/// The same on a thread of its own, which is given up when it takes too long: an expression in the file may have to look at
/// a text in more ways than there is time for. `None` if it is.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> tokenizers::Result<T> + Send + 'static) -> Option<Result<T>> {
    let (done, wait) = mpsc::sync_channel(1);
    let work = move || drop(done.send(guarded(work)));
    std::thread::Builder::new().name("tokenizer".into()).spawn(work).ok()?;
    wait.recv_timeout(PATIENCE).ok()
}

fn broken(why: &str) -> Error {
    Error::unusable(format!("the tokenizer can't be understood ({why})"), "fetch the file again")
}
