//! Texts to ids, by the `tokenizer.json` of a checkpoint.

mod guard;

use candle_core::{Device, Tensor};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokenizers::{Encoding, Tokenizer};

use super::checkpoint::{read_json, read_text};
use crate::error::{Error, Result};
use guard::{check, guarded, in_time};

/// Nobody's sentence is longer; a book that was pasted by accident shouldn't be tokenized as a whole.
const LONGEST_TEXT: usize = 20_000;
/// A text so short is read at once, whatever the tokenizer does; for longer ones the time is limited. In bytes.
const SHORT: usize = 256;

/// A text as a model reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The ids, with those that begin and end a text.
    pub ids: Vec<u32>,
    /// What stands for each id: the part of the text, or the name of a special token.
    pub texts: Vec<String>,
    /// Where each token stands in the text, in bytes; `None` for special tokens.
    pub spans: Vec<Option<(usize, usize)>>,
    /// Whether the text was longer than the model reads and was cut.
    pub cut: bool,
    /// Whether each token is known to the vocabulary.
    pub known: Vec<bool>,
}

impl Tokens {
    /// The same token `count` times, without a place in the text.
    #[must_use]
    pub fn repeated(id: u32, name: &str, count: usize) -> Self {
        Self {
            ids: vec![id; count],
            texts: vec![name.to_owned(); count],
            spans: vec![None; count],
            cut: false,
            known: vec![true; count],
        }
    }

    /// Puts `more` behind these.
    pub fn append(&mut self, more: Self) {
        self.ids.extend(more.ids);
        self.texts.extend(more.texts);
        self.spans.extend(more.spans);
        self.known.extend(more.known);
        self.cut |= more.cut;
    }

    /// Takes the first token off, if there is one: the beginning of a text that stands behind another.
    pub fn drop_first(&mut self) {
        if !self.ids.is_empty() {
            self.ids.remove(0);
            self.texts.remove(0);
            self.spans.remove(0);
            self.known.remove(0);
        }
    }

    /// Takes the last token off, if there is one: the end of a text that is to be gone on with.
    pub fn pop(&mut self) {
        self.ids.pop();
        self.texts.pop();
        self.spans.pop();
        self.known.pop();
    }
}

/// A tokenizer with the longest text of its model.
pub struct TextTokenizer {
    tokenizer: Arc<Tokenizer>,
    longest: usize,   // of a text, in letters
    slow: AtomicBool, // whether a text took too long
    context: usize,
    pad: u32,
    pads_to_context: bool,
    unknown: Option<u32>,
}

/// Several texts of equal length.
pub struct TextBatch {
    /// `[texts, tokens]`, `u32`.
    pub ids: Tensor,
    /// `[texts, tokens]`, 1 for tokens and 0 for padding; `None` where the model sees padding.
    pub attention_mask: Option<Tensor>,
}

impl TextBatch {
    /// The same on `device`.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn to(&self, device: &Device) -> Result<Self> {
        let attention_mask = self.attention_mask.as_ref().map(|mask| mask.to_device(device)).transpose()?;
        Ok(Self { ids: self.ids.to_device(device)?, attention_mask })
    }
}

impl TextTokenizer {
    /// Opens `tokenizer.json` in `folder` for a model that reads at most `context` tokens. A model that
    /// `pads_to_context` sees padding as tokens.
    ///
    /// # Errors
    /// If the file is missing or isn't a tokenizer.
    pub fn open(folder: &Path, context: usize, pads_to_context: bool) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let bytes = read_text(&path)?;
        let mut tokenizer = Self::parse(&bytes, context).map_err(|error| error.at(&path))?;
        let pad = pad_token(folder).and_then(|token| tokenizer.tokenizer.token_to_id(&token));
        tokenizer.pad = pad.unwrap_or(0);
        tokenizer.pads_to_context = pads_to_context;
        Ok(tokenizer)
    }

    /// From the content of a `tokenizer.json`; padding has the id 0 and isn't seen.
    ///
    /// # Errors
    /// If it isn't a tokenizer.
    pub fn from_json(json: &serde_json::Value, context: usize) -> Result<Self> {
        Self::parse(json.to_string().as_bytes(), context)
    }

    fn parse(bytes: &[u8], context: usize) -> Result<Self> {
        let longest = check(bytes)?.min(LONGEST_TEXT);
        let tokenizer = guarded(|| {
            let mut tokenizer = Tokenizer::from_bytes(bytes)?;
            // Cutting and padding are done here, where the model's limits are known.
            tokenizer.with_truncation(None)?;
            tokenizer.with_padding(None);
            // What can't do one text is better refused now than later.
            encoded(&tokenizer, "a")?;
            Ok(tokenizer)
        })?;
        let unknown = ["[UNK]", "<unk>"].iter().find_map(|token| tokenizer.token_to_id(token));
        let (tokenizer, slow) = (Arc::new(tokenizer), AtomicBool::new(false));
        Ok(Self { tokenizer, longest, slow, context, pad: 0, pads_to_context: false, unknown })
    }

    /// The longest text, in tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// The id of a token, if there is such a token.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// What stands for an id, as a person reads it: a piece of a word that begins one has a space in front. Empty if there is no
    /// such id; what is no text by itself, a byte, say, has the tokenizer's own name for it.
    #[must_use]
    pub fn token(&self, id: u32) -> String {
        let name = self.tokenizer.id_to_token(id).unwrap_or_default();
        // SentencePiece writes the space so; read by itself the piece would lose it.
        if name.contains('▁') {
            return name.replace('▁', " ");
        }
        let text = guarded(|| self.tokenizer.decode(&[id], false)).unwrap_or_default();
        if text.trim().is_empty() || text.contains('\u{fffd}') { name } else { text }
    }

    /// Ids as a text, without special tokens; Chinese without spaces, whatever the tokenizer says.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = guarded(|| self.tokenizer.decode(ids, true))?;
        let mut joined = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let stands_alone = |letter: Option<char>| letter.is_some_and(|letter| letter >= '\u{3000}');
            let beside = stands_alone(joined.chars().last()) || stands_alone(letters.peek().copied());
            if !(letter == ' ' && beside) {
                joined.push(letter);
            }
        }
        Ok(joined)
    }

    /// Tokenizes one text. A text that is too long is cut; its last token stays the end token.
    ///
    /// # Errors
    /// If the tokenizer fails on the text.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let shortened: String = text.chars().take(self.longest).collect();
        let encoding = self.encoding(&shortened)?;
        let count = encoding.len();
        // What is kept: everything, or the beginning and the end token.
        let kept: Vec<usize> = if count > self.context {
            (0..self.context.saturating_sub(1)).chain([count - 1]).collect()
        } else {
            (0..count).collect()
        };
        let mut tokens = Tokens {
            ids: Vec::new(),
            texts: Vec::new(),
            spans: Vec::new(),
            cut: count > self.context || shortened.len() < text.len(),
            known: Vec::new(),
        };
        for at in kept {
            let id = encoding.get_ids()[at];
            let special = encoding.get_special_tokens_mask()[at] == 1;
            let (start, end) = encoding.get_offsets()[at];
            let piece = (!special).then(|| shortened.get(start..end)).flatten();
            tokens.ids.push(id);
            let name = piece.map_or_else(|| encoding.get_tokens()[at].clone(), str::to_owned);
            tokens.texts.push(name);
            tokens.spans.push(piece.map(|_| (start, end)));
            tokens.known.push(Some(id) != self.unknown);
        }
        Ok(tokens)
    }

    fn encoding(&self, text: &str) -> Result<Encoding> {
        if text.len() <= SHORT {
            return guarded(|| encoded(&self.tokenizer, text));
        }
        let work = || {
            let (tokenizer, owned) = (self.tokenizer.clone(), text.to_owned());
            in_time(move || encoded(&tokenizer, &owned))
        };
        // What took too long once is not begun again: its thread may still be at it.
        let found = if self.slow.load(Ordering::Relaxed) { None } else { work() };
        self.slow.store(found.is_none(), Ordering::Relaxed);
        let slow =
            || Error::unusable("the tokenizer takes far too long for a text", "write less, or take another checkpoint");
        found.ok_or_else(slow)?
    }

    /// Tokenizes several texts and pads them to one length.
    ///
    /// # Errors
    /// If there are none, or the tokenizer fails.
    pub fn batch<Text: AsRef<str>>(&self, texts: &[Text], device: &Device) -> Result<TextBatch> {
        let rows = texts.iter().map(|text| Ok(self.encode(text.as_ref())?.ids)).collect::<Result<Vec<_>>>()?;
        self.pad(&rows, device)
    }

    /// Pads rows of ids to one length.
    ///
    /// # Errors
    /// If there are none.
    pub fn pad(&self, rows: &[Vec<u32>], device: &Device) -> Result<TextBatch> {
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        if longest == 0 {
            return Err(Error::unusable("there is no text", "write one"));
        }
        let length = if self.pads_to_context { self.context } else { longest };
        let shape = (rows.len(), length);
        let padded = |fill: u32, value: fn(u32) -> u32| -> Vec<u32> {
            rows.iter()
                .flat_map(|row| {
                    let fill = std::iter::repeat_n(fill, length.saturating_sub(row.len()));
                    row.iter().take(length).map(move |id| value(*id)).chain(fill)
                })
                .collect()
        };
        let ids = Tensor::from_vec(padded(self.pad, |id| id), shape, device)?;
        let attention_mask =
            if self.pads_to_context { None } else { Some(Tensor::from_vec(padded(0, |_| 1), shape, device)?) };
        Ok(TextBatch { ids, attention_mask })
    }
}

/// What the library makes of a text. A template in the file can give its tokens more names than ids.
fn encoded(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Encoding> {
    let found = tokenizer.encode(text, true)?;
    let parts = [found.get_tokens().len(), found.get_special_tokens_mask().len(), found.get_offsets().len()];
    if parts == [found.len(); 3] { Ok(found) } else { Err("its template has more names than ids".into()) }
}

/// The padding token's text, as the tokenizer's config names it.
fn pad_token(folder: &Path) -> Option<String> {
    ["tokenizer_config.json", "special_tokens_map.json"]
        .iter()
        .filter_map(|name| read_json(&folder.join(name)).ok())
        .find_map(|json| {
            let token = &json["pad_token"];
            token.as_str().or(token["content"].as_str()).map(str::to_owned)
        })
}
