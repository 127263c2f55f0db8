//! How a text says where its pictures stand, and the ids that then stand there.

use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

use crate::error::{Error, Result};
use crate::models::checkpoint::read_json;
use crate::models::flamingo::IMAGE;
use crate::models::llava::Llava;
use crate::models::tokenizer::{TextTokenizer, Tokens};

const FILE: &str = "processor_config.json";

/// The tokens of LLaVA-1.0 on both sides of a picture.
const AROUND: [&str; 2] = ["<im_start>", "<im_end>"];

/// `processor_config.json` of transformers' `LlavaProcessor`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProcessorConfig {
    image_token: Option<String>,
    patch_size: Option<usize>,
    num_additional_image_tokens: Option<usize>,
    vision_feature_select_strategy: Option<String>,
}

/// The places of pictures in a text.
pub(super) struct Places {
    image: String, // what stands in a text for a picture
    placeholder: u32,
    each: usize,
    kind: Kind,
}

enum Kind {
    /// The tokenizer knows a token for a picture.
    Token,
    /// It doesn't: the text is cut there, and each piece is read by itself; `around` puts [`AROUND`] on both sides.
    Cut { around: bool, begin: Option<u32> },
}

impl Places {
    /// As transformers' `LlavaProcessor` makes them, for pictures of `(height, width)` pixels. Where the folder doesn't say
    /// something, it is as the model has it.
    ///
    /// # Errors
    /// If a file can't be read, or processor, tokenizer and model don't fit each other.
    pub fn of_processor(
        folder: &Path,
        model: &Llava,
        (height, width): (u32, u32),
        tokenizer: &TextTokenizer,
    ) -> Result<Self> {
        let config = model.config();
        let path = folder.join(FILE);
        let given: ProcessorConfig = if path.is_file() {
            serde_json::from_value(read_json(&path)?).map_err(|error| {
                Error::unusable(format!("the processor's config can't be understood ({error})"), "fetch it again")
                    .at(&path)
            })?
        } else {
            ProcessorConfig::default()
        };
        let patch = given.patch_size.unwrap_or(config.vision_config.tower.patch_size);
        if patch == 0 {
            return Err(misfit("the processor says patch_size = 0").at(&path));
        }
        let drops =
            given.vision_feature_select_strategy.map_or(config.skipped() == 1, |strategy| strategy == "default");
        let additional = given.num_additional_image_tokens.unwrap_or(config.class_tokens());
        let patches = (height as usize / patch) * (width as usize / patch);
        let places = patches.saturating_add(additional).saturating_sub(usize::from(drops));
        let each = config.positions();
        if places != each && path.is_file() {
            let problem = format!("the processor leaves {places} places for a picture, which becomes {each} vectors");
            return Err(misfit(&problem).at(&path));
        }
        let image = named(folder).or(given.image_token).unwrap_or_else(|| IMAGE.to_owned());
        let placeholder = model.placeholder();
        if tokenizer.id(&image) != Some(placeholder) {
            return Err(Error::unusable(
                format!("the tokenizer has no token '{image}' with the id {placeholder}"),
                "use the tokenizer.json that belongs to the weights",
            )
            .at(folder));
        }
        Ok(Self { image, placeholder, each, kind: Kind::Token })
    }

    /// As LLaVA's own code makes them, with tokens `around` each picture or not.
    pub fn between(model: &Llava, around: bool) -> Self {
        let begin = model.language().begin();
        Self {
            image: IMAGE.to_owned(),
            placeholder: model.placeholder(),
            each: model.config().positions(),
            kind: Kind::Cut { around, begin },
        }
    }

    /// What stands in a text for a picture.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The tokens of a text, with as many placeholders as a picture has vectors in the place of each picture.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokens(&self, text: &str, tokenizer: &TextTokenizer) -> Result<Tokens> {
        match self.kind {
            Kind::Token => Ok(self.expanded(tokenizer.encode(text)?)),
            Kind::Cut { around, begin } => self.cut(text, around, begin, tokenizer),
        }
    }

    fn picture(&self) -> Tokens {
        Tokens::repeated(self.placeholder, &self.image, self.each)
    }

    /// The tokenizer takes a picture's token out before it does anything else, so many of them are many such tokens.
    fn expanded(&self, tokens: Tokens) -> Tokens {
        let mut all = Tokens { cut: tokens.cut, ..Tokens::default() };
        let each = tokens.ids.into_iter().zip(tokens.texts).zip(tokens.spans).zip(tokens.known);
        for (((id, text), span), known) in each {
            if id == self.placeholder {
                all.append(self.picture());
            } else {
                all.ids.push(id);
                all.texts.push(text);
                all.spans.push(span);
                all.known.push(known);
            }
        }
        all
    }

    /// As LLaVA's `tokenizer_image_token`: only the first piece keeps the token that begins a text.
    fn cut(&self, text: &str, around: bool, begin: Option<u32>, tokenizer: &TextTokenizer) -> Result<Tokens> {
        let pieces: Vec<&str> = text.split(self.image.as_str()).collect();
        let [before, behind] = if around { AROUND } else { [""; 2] };
        let (mut all, mut start) = (Tokens::default(), 0);
        for (at, piece) in pieces.iter().enumerate() {
            let front = if at > 0 { behind } else { "" };
            let back = if at + 1 < pieces.len() { before } else { "" };
            let mut tokens = tokenizer.encode(&format!("{front}{piece}{back}"))?;
            for span in &mut tokens.spans {
                *span = span.and_then(|span| moved(span, front.len(), piece.len(), start));
            }
            if at > 0 {
                all.append(self.picture());
                if begin.is_some() && tokens.ids.first() == begin.as_ref() {
                    tokens.drop_first();
                }
            }
            all.append(tokens);
            start += piece.len() + self.image.len();
        }
        Ok(all)
    }
}

/// A span behind `front` bytes of a piece that has `length` and begins at `start` of the text, as one of the text; `None`
/// of what isn't in the piece.
fn moved((from, to): (usize, usize), front: usize, length: usize, start: usize) -> Option<(usize, usize)> {
    let (from, to) = (from.checked_sub(front)?, to.checked_sub(front)?);
    (to <= length).then_some((start + from, start + to))
}

/// What the tokenizer calls its token for a picture, if it says so.
fn named(folder: &Path) -> Option<String> {
    let config: Value = read_json(&folder.join("tokenizer_config.json")).ok()?;
    let token = &config["extra_special_tokens"]["image_token"];
    token.as_str().or(token["content"].as_str()).map(str::to_owned)
}

fn misfit(problem: &str) -> Error {
    Error::unusable(problem, "use the processor_config.json that belongs to the weights")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Words between spaces, behind a token that begins every text.
    fn tokenizer() -> TextTokenizer {
        let special = |id: u32, content: &str| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        };
        let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
            "added_tokens": [special(0, "<s>"), special(4, "<im_start>"), special(5, "<im_end>"), special(6, "<image>")],
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, sequence("A")],
                "pair": [sequence("A"), sequence("B")],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
            },
            "model": {
                "type": "WordLevel", "unk_token": "<unk>",
                "vocab": {"<s>": 0, "<unk>": 1, "a": 2, "cat": 3, "<im_start>": 4, "<im_end>": 5, "<image>": 6},
            },
        });
        TextTokenizer::from_json(&json, 64).expect("a tokenizer")
    }

    fn places(kind: Kind, placeholder: u32) -> Places {
        Places { image: IMAGE.into(), placeholder, each: 3, kind }
    }

    fn words<'a>(tokens: &Tokens, text: &'a str) -> Vec<&'a str> {
        assert_eq!([tokens.texts.len(), tokens.spans.len(), tokens.known.len()], [tokens.ids.len(); 3]);
        tokens.spans.iter().flatten().map(|(from, to)| &text[*from..*to]).collect()
    }

    #[test]
    fn a_token_becomes_many() {
        let text = "a <image><image> cat";
        let tokens = places(Kind::Token, 6).tokens(text, &tokenizer()).expect("ids");
        assert_eq!(tokens.ids, [0, 2, 6, 6, 6, 6, 6, 6, 3]);
        assert_eq!(words(&tokens, text), ["a", "cat"]);
    }

    /// The pieces of a text keep their places in it, and only the first begins.
    #[test]
    fn a_text_is_cut_where_its_pictures_stand() {
        let text = "a cat<image>a cat<image>";
        let cut = |around| Kind::Cut { around, begin: Some(0) };
        let tokens = places(cut(false), 7).tokens(text, &tokenizer()).expect("ids");
        assert_eq!(tokens.ids, [0, 2, 3, 7, 7, 7, 2, 3, 7, 7, 7]);
        assert_eq!(words(&tokens, text), ["a", "cat", "a", "cat"]);
        let tokens = places(cut(true), 7).tokens(text, &tokenizer()).expect("ids");
        assert_eq!(tokens.ids, [0, 2, 3, 4, 7, 7, 7, 5, 2, 3, 4, 7, 7, 7, 5]);
        assert_eq!(words(&tokens, text), ["a", "cat", "a", "cat"]);
    }
}
