//! How much larger than what it reads a template can make a text, and how deep its expressions go, known before it runs.
//!
//! The library counts the steps of a template, but not the memory of its values: forty times `x ~ x` are few steps, and fill
//! any machine. So only that part of Jinja is used of which the growth can be bounded, and it is all that templates of
//! conversations about pictures need. Without `namespace` and macros nothing lives from one round of a loop to the next; then
//! a value holds at most as many copies of a text as the names in the expressions that lead to it, multiplied.

use minijinja::machinery::{Token, WhitespaceConfig, tokenize};
use minijinja::syntax::SyntaxConfig;

/// The longest text that a template may make of its own words, in bytes.
const LARGEST: usize = 4 << 20;
/// Words of this length do no harm, in bytes.
const SHORT: usize = 256;
/// An expression has fewer parts; the library goes into each from the one before, and in one of very many its stack ends.
const MOST_PARTS: usize = 1000;
/// By how much a list grows when it becomes a text, letter by letter, with marks around each.
const MARKS: usize = 8;

/// What a block may begin with.
const TAGS: [&str; 9] = ["for", "endfor", "if", "elif", "else", "endif", "set", "break", "continue"];
/// Filters, methods and functions whose result is no longer than what they get.
const KNOWN: [&str; 26] = [
    "capitalize",
    "default",
    "endswith",
    "first",
    "get",
    "int",
    "items",
    "keys",
    "last",
    "length",
    "lower",
    "lstrip",
    "map",
    "raise_exception",
    "reject",
    "rejectattr",
    "reverse",
    "rstrip",
    "select",
    "selectattr",
    "startswith",
    "strip",
    "title",
    "trim",
    "upper",
    "values",
];
/// Those whose result is longer, by what they are told in words of their own.
const GROWING: [&str; 3] = ["join", "replace", "split"];
/// Names that stand for no value.
const WORDS: [&str; 11] = ["and", "elif", "else", "false", "if", "in", "is", "none", "not", "or", "true"];

/// Refuses a template that does what isn't bounded here, or could make far more of a text than there is.
///
/// # Errors
/// What it does, in lower case, without a full stop.
pub(super) fn check(source: &str) -> Result<(), String> {
    let whitespace = WhitespaceConfig { trim_blocks: true, lstrip_blocks: true, ..WhitespaceConfig::default() };
    let tokens = tokenize(source, false, SyntaxConfig, whitespace);
    // What isn't Jinja the library itself refuses.
    let tokens: Vec<Token<'_>> = tokens.map_while(|token| Some(token.ok()?.0)).collect();
    let ends = |token: &Token<'_>| matches!(token, Token::VariableEnd | Token::BlockEnd);
    // How often a text can stand in what was set, and in one expression behind that.
    let (mut kept, mut most) = (1_usize, 1_usize);
    for block in tokens.split(ends) {
        let start = block.iter().position(|token| matches!(token, Token::VariableStart | Token::BlockStart));
        let Some((opening, inner)) = start.and_then(|start| block[start..].split_first()) else { continue };
        let tag = match (opening, inner.first()) {
            (Token::BlockStart, Some(Token::Ident(tag))) => Some(*tag),
            _ => None,
        };
        if let Some(tag) = tag.filter(|tag| !TAGS.contains(tag)) {
            return Err(unknown(tag));
        }
        let mark = match tag {
            Some("set") => inner.iter().position(|token| matches!(token, Token::Assign)),
            Some("for") => inner.iter().position(|token| matches!(token, Token::Ident("in"))),
            _ => None,
        };
        if tag == Some("set") && mark.is_none() {
            return Err(unknown("endset"));
        }
        if inner.len() > MOST_PARTS {
            return Err("it has an expression that is far too long".into());
        }
        let growth = growth(&inner[mark.map_or(0, |at| at + 1)..])?;
        if matches!(tag, Some("set" | "for")) {
            kept = kept.saturating_mul(growth);
        } else {
            most = most.max(growth);
        }
    }
    let words = tokens.iter().filter_map(word).map(str::len).max().unwrap_or(0).max(SHORT);
    if kept.saturating_mul(most).saturating_mul(words) > LARGEST {
        return Err("it could write far too much".into());
    }
    Ok(())
}

/// How often a text can stand in the result of an expression.
fn growth(tokens: &[Token<'_>]) -> Result<usize, String> {
    let (mut names, mut factor) = (0, 1_usize);
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let behind = &tokens[at + 1..];
        match token {
            Token::Ident("recursive") => return Err(unknown("recursive")),
            // By its name it could call any filter.
            Token::Ident("map")
                if !matches!(behind, [Token::ParenOpen, Token::Ident("attribute"), Token::Assign, ..]) =>
            {
                return Err("it uses 'map' for more than an attribute".into());
            }
            Token::Ident(name) => {
                let filter = matches!(before, Some(Token::Pipe));
                let called = matches!(behind.first(), Some(Token::ParenOpen)) && !WORDS.contains(name);
                if (filter || called) && GROWING.contains(name) {
                    factor = factor.saturating_mul(told(name, behind)?);
                } else if (filter || called) && !KNOWN.contains(name) {
                    return Err(unknown(name));
                }
                let value = !filter && !called && !matches!(before, Some(Token::Dot)) && !WORDS.contains(name);
                names += usize::from(value);
            }
            Token::Mul | Token::Pow => return Err(unknown("*")),
            // A list of its own, not a place in another: as a text it has marks around each item, and before each mark in it.
            Token::BraceOpen => factor = factor.saturating_mul(MARKS),
            Token::BracketOpen if !before.is_some_and(is_value) => factor = factor.saturating_mul(MARKS),
            _ => {}
        }
    }
    Ok(factor.saturating_mul(names.max(1)))
}

/// Whether what stands behind can be a place in it.
fn is_value(token: &Token<'_>) -> bool {
    match token {
        Token::Ident(name) => !WORDS.contains(name),
        Token::BracketClose | Token::ParenClose | Token::BraceClose => true,
        other => word(other).is_some(),
    }
}

/// By how much a text grows through `name`, with what is in the brackets behind it.
fn told(name: &str, behind: &[Token<'_>]) -> Result<usize, String> {
    let inner = match behind.split_first() {
        Some((Token::ParenOpen, inner)) => inner,
        _ => &[],
    };
    let inner = inner.split(|token| matches!(token, Token::ParenClose)).next().unwrap_or_default();
    let mut longest = 0;
    for token in inner {
        match (token, word(token)) {
            (_, Some(word)) => longest = longest.max(word.len()),
            (Token::Comma | Token::Int(_), _) => {}
            _ => return Err(format!("it has a '{name}' by what isn't known beforehand")),
        }
    }
    Ok(if name == "split" { MARKS } else { longest + 1 })
}

/// The words of a template itself.
fn word<'a>(token: &'a Token<'a>) -> Option<&'a str> {
    match token {
        Token::Str(word) => Some(word),
        Token::String(word) => Some(word),
        _ => None,
    }
}

fn unknown(name: &str) -> String {
    format!("it uses '{name}', which isn't done here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_templates_grow_little() {
        for source in [
            "{% for m in messages %}{{ m.role | upper + ': ' + m['content'] | trim + eos_token }}{% endfor %}",
            "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% endif %}",
            "{% set text = m.content.replace('<image>', '').strip() %}{{ text.split('a')[-1] }}",
            "{% if not (a and b) or x is defined %}{{ raise_exception('macro namespace * recursive') }}{% endif %}",
            "{% raw %}{% macro x() %}{% endraw %}{# {% macro %} #} * ~ macro",
            "{{ content | map(attribute='text') | join(' ') }}",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn what_could_grow_without_end_is_refused() {
        let doubled = "{% set x = x ~ x %}".repeat(40);
        let replaced = format!("{{{{ x{} }}}}", " | replace('a', 'aaaaaaaa')".repeat(12));
        let deep = format!("{{{{ a{} }}}}", ".a".repeat(MOST_PARTS));
        let listed = format!("{{{{ {}x{} ~ '' }}}}", "[".repeat(9), "]".repeat(9));
        let nested = format!("{}{{{{ a }}}}", "{% for a in [a, a] %}".repeat(20));
        let long =
            format!("{{{{ {} }}}}", vec![format!("'{}'", "a".repeat(1 << 16)); 3].join(" ~ a ~ a ~ ").repeat(20));
        for (source, words) in [
            (doubled.as_str(), "far too much"),
            (&replaced, "far too much"),
            (&listed, "far too much"),
            (&deep, "far too long"),
            (&nested, "far too much"),
            (&long, "far too much"),
            ("{% set n = namespace(x=1) %}", "'namespace'"),
            ("{%- macro m() %}{% endmacro %}", "'macro'"),
            ("{% set x %}a{% endset %}", "'endset'"),
            ("{{ x | map('replace', 'a', x) }}", "'map'"),
            ("{% for a in b recursive %}", "'recursive'"),
            ("{{ 'a' * 9 }}", "'*'"),
            ("{{ x | replace('a', x) }}", "'replace' by what"),
            ("{{ x.replace('a', (x)) }}", "'replace' by what"),
            ("{{ x | tojson | tojson }}", "'tojson'"),
            ("{{ range(9) }}", "'range'"),
            ("{% with a = 1 %}", "'with'"),
        ] {
            let said = check(source).expect_err(source);
            assert!(said.contains(words), "{source}: {said}");
        }
    }
}
