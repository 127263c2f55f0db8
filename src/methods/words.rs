//! The words of a sentence, each of which can be asked about by itself.

use super::reading::Step;
use crate::models::tokenizer::Tokens;

/// A word with where it stands in the sentence, in bytes, its first and the one behind its last.
pub(super) type Word = (String, (usize, usize));

/// The words of a sentence in their order: its tokens that hold letters or digits.
pub(super) fn each(tokens: &Tokens) -> Vec<Word> {
    let mut words = Vec::new();
    for (text, span) in tokens.texts.iter().zip(&tokens.spans) {
        let word = text.trim();
        if let Some(span) = span
            && word.chars().any(char::is_alphanumeric)
        {
            words.push((word.to_owned(), *span));
        }
    }
    words
}

/// The different words of a sentence, in their order.
pub(super) fn different(tokens: &Tokens) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (word, _) in each(tokens) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Whether a text asks for an answer: models that write answer it then, and else caption.
#[must_use]
pub fn is_question(text: &str) -> bool {
    text.trim_end().ends_with(['?', '？'])
}

/// What was written of a line of tokens, as a text.
#[must_use]
pub fn written(steps: &[Step]) -> String {
    joined(&steps.iter().filter(|step| step.is_written).map(|step| step.text.as_str()).collect::<Vec<_>>())
}

/// Words as a text: Chinese ones without spaces, signs without a space before them. Where they are pieces of words, those that
/// begin one have a space in front.
fn joined(words: &[&str]) -> String {
    if words.iter().any(|word| word.starts_with(' ')) {
        return words.concat().trim().to_owned();
    }
    let mut text = String::new();
    for word in words {
        let first = word.chars().next().unwrap_or(' ');
        let close = first >= '\u{2e80}' || ",.?!".contains(first);
        if !text.is_empty() && !close {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_tokens_with_letters() {
        let texts = ["[BOS]", "a", " cat", ",", "a", "[EOS]"].map(str::to_owned).to_vec();
        let spans = vec![None, Some((0, 1)), Some((1, 5)), Some((5, 6)), Some((7, 8)), None];
        let tokens = Tokens { ids: vec![0; 6], texts, spans, cut: false, known: vec![true; 6] };
        let spans: Vec<(usize, usize)> = each(&tokens).into_iter().map(|(_, span)| span).collect();
        assert_eq!(spans, [(0, 1), (1, 5), (7, 8)]);
        assert_eq!(different(&tokens), ["a", "cat"]);
    }

    #[test]
    fn words_and_pieces_of_words_become_a_text() {
        assert_eq!(joined(&["a", "cat", ",", "two", "dogs"]), "a cat, two dogs");
        assert_eq!(joined(&["一只", "猫"]), "一只猫");
        assert_eq!(joined(&[" two", " cat", "s", "."]), "two cats.");
    }
}
