//! What the hub says of a model, and which of its files Alignscope reads. Nothing that it says is believed before it was
//! looked at: a name or a checksum becomes part of a path.

use serde::Deserialize;

use super::super::checkpoint::LARGEST_TEXT_FILE;
use super::super::weights::{NAMES, TRAINED};
use crate::error::{Error, Result};

/// Bytes that a list of files may take; those of repositories with thousands of files take one or two millions.
pub(super) const LARGEST_LISTING: usize = 16 << 20;
/// What says what the model is.
pub(super) const CONFIG: &str = "config.json";
/// What a text is made into tokens with.
const TOKENIZER: &str = "tokenizer.json";
/// What else is read beside the weights, where it is there.
const COMPANIONS: [&str; 8] = [
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// A file as the hub describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name; it never leads out of its folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// What its content has to give.
    pub checksum: Checksum,
}

/// The checksum of a file, in lower hexadecimal digits, which is also its name in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-1 as git names a blob by, of ordinary files.
    Git(String),
    /// SHA-256, of large files.
    Sha256(String),
}

impl Checksum {
    /// Its digits.
    #[must_use]
    pub fn digits(&self) -> &str {
        match self {
            Self::Git(digits) | Self::Sha256(digits) => digits,
        }
    }
}

/// The files with weights.
pub(super) enum Weights {
    Single(RemoteFile),
    /// Several, which this index lists.
    Sharded(RemoteFile),
}

/// A model's files at the revision that `main` is at.
pub(super) struct Listing {
    name: String,
    pub commit: String,
    files: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Reads what the hub answers about a model.
    pub fn read(name: &str, text: &[u8]) -> Result<Self> {
        let strange = |why: String| {
            let remedy = "check HF_ENDPOINT, or try again later";
            Error::unusable(format!("what the hub says of '{name}' can't be understood ({why})"), remedy)
        };
        let answer: Answer = serde_json::from_slice(text).map_err(|error| strange(error.to_string()))?;
        if !is_hexadecimal(&answer.sha, 40) {
            return Err(strange("it names no revision".into()));
        }
        Ok(Self { name: name.to_owned(), commit: answer.sha, files: answer.siblings })
    }

    /// The config.
    pub fn config(&self) -> Result<RemoteFile> {
        self.text(CONFIG)?.ok_or_else(|| self.without(CONFIG))
    }

    /// The config, the tokenizer and all the other small files.
    pub fn companions(&self) -> Result<Vec<RemoteFile>> {
        let tokenizer = self.text(TOKENIZER)?.ok_or_else(|| self.without(TOKENIZER))?;
        let others = COMPANIONS.iter().filter_map(|name| self.text(name).transpose()).collect::<Result<Vec<_>>>()?;
        Ok([vec![self.config()?, tokenizer], others].concat())
    }

    /// The weights in the first layout that is there, which is the one that is read.
    pub fn weights(&self) -> Result<Weights> {
        for (single, index) in NAMES {
            if let Some(file) = self.file(single)? {
                return Ok(Weights::Single(file));
            }
            if let Some(file) = self.text(index)? {
                return Ok(Weights::Sharded(file));
            }
        }
        self.file(TRAINED)?.map(Weights::Single).ok_or_else(|| self.without(NAMES[0].0))
    }

    /// A file that has to be there.
    pub fn named(&self, name: &str) -> Result<RemoteFile> {
        self.file(name)?.ok_or_else(|| self.without(name))
    }

    /// A file by its name, if it is there. Names are compared, so what the hub calls its files leads nowhere.
    fn file(&self, name: &str) -> Result<Option<RemoteFile>> {
        let Some(sibling) = self.files.iter().find(|sibling| sibling.rfilename == name) else { return Ok(None) };
        let (bytes, checksum) = match (&sibling.lfs, &sibling.blob) {
            (Some(large), _) => (Some(large.size), Checksum::Sha256(large.sha256.clone())),
            (None, blob) => (sibling.size, Checksum::Git(blob.clone().unwrap_or_default())),
        };
        let digits = if matches!(checksum, Checksum::Git(_)) { 40 } else { 64 };
        match bytes {
            Some(bytes) if is_hexadecimal(checksum.digits(), digits) => {
                Ok(Some(RemoteFile { name: name.to_owned(), bytes, checksum }))
            }
            _ => Err(Error::unusable(
                format!("the hub doesn't say how long '{name}' of '{}' is and what its checksum is", self.name),
                "check HF_ENDPOINT, or put the files into a folder by hand and open that",
            )),
        }
    }

    /// A file that is read whole.
    fn text(&self, name: &str) -> Result<Option<RemoteFile>> {
        match self.file(name)? {
            Some(file) if file.bytes > LARGEST_TEXT_FILE => Err(Error::unusable(
                format!("'{name}' of '{}' is said to be far too large for what it should be", self.name),
                "choose another model",
            )),
            found => Ok(found),
        }
    }

    fn without(&self, file: &str) -> Error {
        Error::unusable(
            format!("'{}' has no {file} on the hub, so it can't be opened here", self.name),
            "choose a model that is published for transformers",
        )
    }
}

/// Refuses what isn't the name of a model on the hub: `org/name`, or a name alone as the oldest models have it.
///
/// # Errors
/// If it isn't one.
pub(super) fn check_name(name: &str) -> Result<()> {
    let part = |part: &str| {
        let ordinary = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
        part.bytes().all(ordinary)
            && part.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
            && !part.ends_with(['-', '.'])
    };
    // Two hyphens stand for the slash in the names of folders.
    let fits = name.len() <= 96 && name.split('/').count() <= 2 && !name.contains("--") && !name.contains("..");
    if fits && name.split('/').all(part) {
        return Ok(());
    }
    let shown: String = name.chars().take(100).map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    Err(Error::unusable(
        format!("'{shown}' isn't the name of a model on the hub"),
        "write it as on the model's page, as in openai/clip-vit-base-patch32",
    ))
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["openai/clip-vit-base-patch32", "gpt2", "a/b.c_d-e", "llava-hf/llava-1.5-7b-hf"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(97);
        let wrong =
            ["", "/", "a/", "/a", "a/b/c", "../b", "a/..", "a/.b", "a--b/c", "a/b?x", "a\\b", "a b", "-a/b", "a/b\n"];
        for name in wrong.into_iter().chain([long.as_str()]) {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
