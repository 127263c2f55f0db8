//! The words of both languages: names of things, numbers, and everything else that a sentence needs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::questions::Direction;
use super::stickers::STICKERS;
use super::thing::{Colour, Shape, Thing};

/// The languages in which the world is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// English, in lower case, words apart.
    English,
    /// Chinese (simplified), without spaces.
    Chinese,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The question to which a caption is the answer; a model that writes on behind it knows the language.
    #[must_use]
    pub fn caption_prompt(self) -> &'static str {
        match self {
            Self::English => "what is there?",
            Self::Chinese => "有什么？",
        }
    }
}

/// Numbers of things from one to four.
const ENGLISH_NUMBERS: [&str; 4] = ["one", "two", "three", "four"];
const CHINESE_NUMBERS: [&str; 4] = ["一", "二", "三", "四"];
/// Before a measure word, two has a character of its own.
const CHINESE_TWO: &str = "两";

/// Words that are neither things, colours nor numbers.
const ENGLISH_WORDS: [&str; 18] = [
    ",", "?", "a", "an", "and", "left", "right", "above", "below", "of", "the", "what", "is", "colour", "how", "many",
    "there", "this",
];
const CHINESE_WORDS: [&str; 16] =
    ["、", "？", "和", "在", "的", "左边", "右边", "上面", "下面", "是", "什么", "颜色", "有", "几", "吗", "这"];
const ENGLISH_ANSWERS: [&str; 2] = ["yes", "no"];
const CHINESE_ANSWERS: [&str; 2] = ["有", "没有"];

/// Every word of captions, phrases, questions and answers, punctuation included, each once, in an order that stays.
pub fn vocabulary(language: Language) -> Vec<&'static str> {
    let mut words: Vec<&'static str> = Vec::new();
    match language {
        Language::English => {
            words.extend(ENGLISH_WORDS);
            words.extend(ENGLISH_ANSWERS);
            words.extend(ENGLISH_NUMBERS);
            words.extend(Colour::ALL.map(|colour| colour_word(colour, language)));
            words.extend(Shape::ALL.iter().flat_map(|&shape| [shape.name(), shape_plural(shape)]));
            words.extend(STICKERS.iter().flat_map(|entry| [entry.name, entry.plural]));
        }
        Language::Chinese => {
            words.extend(CHINESE_WORDS);
            words.extend(CHINESE_ANSWERS);
            words.extend(CHINESE_NUMBERS);
            words.push(CHINESE_TWO);
            words.extend(Colour::ALL.map(|colour| colour_word(colour, language)));
            words.extend(Shape::ALL.iter().flat_map(|&shape| [shape_word(shape, language), shape_measure(shape)]));
            words.extend(STICKERS.iter().flat_map(|entry| [entry.chinese, entry.measure]));
        }
    }
    let mut seen = BTreeSet::new();
    words.retain(|word| seen.insert(*word));
    words
}

/// Splits a text into the words of [`vocabulary`]; characters that belong to none become words of their own.
///
/// English is split at spaces and before punctuation, Chinese by the longest word that fits, from the left.
pub fn segment(text: &str, language: Language) -> Vec<String> {
    match language {
        Language::English => {
            let spaced = text.replace(',', " , ").replace('?', " ? ");
            spaced.split_whitespace().map(str::to_owned).collect()
        }
        Language::Chinese => {
            let words = vocabulary(language);
            let mut rest = text;
            let mut found = Vec::new();
            while let Some(first) = rest.chars().next() {
                let longest = words.iter().filter(|word| rest.starts_with(**word)).map(|word| word.len()).max();
                let (word, after) = rest.split_at(longest.unwrap_or(first.len_utf8()));
                found.push(word.to_owned());
                rest = after;
            }
            found
        }
    }
}

impl Thing {
    /// Its name without an article: `cat`, `red ball`; `猫`, `红色的球`.
    pub fn phrase(self, language: Language) -> String {
        match (self, language) {
            (Self::Sticker(sticker), Language::English) => sticker.entry().name.to_owned(),
            (Self::Sticker(sticker), Language::Chinese) => sticker.entry().chinese.to_owned(),
            (Self::Shape { shape, colour }, Language::English) => {
                format!("{} {}", colour.name(), shape.name())
            }
            (Self::Shape { shape, colour }, Language::Chinese) => {
                format!("{}的{}", colour_word(colour, language), shape_word(shape, language))
            }
        }
    }

    /// So many of it: `a cat`, `two red balls`; `一只猫`, `两个红色的球`. More than four are said to be four.
    pub fn counted(self, count: usize, language: Language) -> String {
        match language {
            Language::English if count <= 1 => {
                let phrase = self.phrase(language);
                let article = if phrase.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
                format!("{article} {phrase}")
            }
            Language::English => format!("{} {}", number(count, language), self.plural()),
            Language::Chinese => {
                let number = if count == 2 { CHINESE_TWO } else { number(count, language) };
                format!("{number}{}{}", self.measure(), self.phrase(language))
            }
        }
    }

    /// English plural: `cats`, `red balls`.
    pub(super) fn plural(self) -> String {
        match self {
            Self::Sticker(sticker) => sticker.entry().plural.to_owned(),
            Self::Shape { shape, colour } => format!("{} {}", colour.name(), shape_plural(shape)),
        }
    }

    /// Chinese measure word.
    pub(super) fn measure(self) -> &'static str {
        match self {
            Self::Sticker(sticker) => sticker.entry().measure,
            Self::Shape { shape, .. } => shape_measure(shape),
        }
    }
}

/// A number from one to four as a word; others are brought into this range.
pub(super) fn number(count: usize, language: Language) -> &'static str {
    let index = count.clamp(1, 4) - 1;
    match language {
        Language::English => ENGLISH_NUMBERS[index],
        Language::Chinese => CHINESE_NUMBERS[index],
    }
}

/// The answer to whether something is there.
pub(super) fn yes_or_no(is_there: bool, language: Language) -> &'static str {
    let answers = match language {
        Language::English => ENGLISH_ANSWERS,
        Language::Chinese => CHINESE_ANSWERS,
    };
    answers[usize::from(!is_there)]
}

impl Colour {
    /// Its word: `red`; `红色`.
    pub fn word(self, language: Language) -> &'static str {
        colour_word(self, language)
    }
}

pub(super) fn colour_word(colour: Colour, language: Language) -> &'static str {
    match language {
        Language::English => colour.name(),
        Language::Chinese => match colour {
            Colour::Red => "红色",
            Colour::Orange => "橙色",
            Colour::Yellow => "黄色",
            Colour::Green => "绿色",
            Colour::Blue => "蓝色",
            Colour::Purple => "紫色",
            Colour::Black => "黑色",
            Colour::White => "白色",
        },
    }
}

pub(super) fn shape_word(shape: Shape, language: Language) -> &'static str {
    match language {
        Language::English => shape.name(),
        Language::Chinese => match shape {
            Shape::Ball => "球",
            Shape::Box => "方块",
            Shape::Star => "星星",
            Shape::Heart => "心",
            Shape::Triangle => "三角形",
        },
    }
}

fn shape_plural(shape: Shape) -> &'static str {
    match shape {
        Shape::Ball => "balls",
        Shape::Box => "boxes",
        Shape::Star => "stars",
        Shape::Heart => "hearts",
        Shape::Triangle => "triangles",
    }
}

fn shape_measure(shape: Shape) -> &'static str {
    match shape {
        Shape::Star | Shape::Heart => "颗",
        Shape::Ball | Shape::Box | Shape::Triangle => "个",
    }
}

/// `left of` and the like; in Chinese the words that follow the thing and `的`.
pub(super) fn direction_words(direction: Direction, language: Language) -> &'static str {
    match (language, direction) {
        (Language::English, Direction::Left) => "left of",
        (Language::English, Direction::Right) => "right of",
        (Language::English, Direction::Above) => "above",
        (Language::English, Direction::Below) => "below",
        (Language::Chinese, Direction::Left) => "左边",
        (Language::Chinese, Direction::Right) => "右边",
        (Language::Chinese, Direction::Above) => "上面",
        (Language::Chinese, Direction::Below) => "下面",
    }
}
