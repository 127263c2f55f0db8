//! Tokenizers and chat templates that mean harm: texts that grow, expressions without end, words as long as a text. Each gives
//! a sentence or a result, within bounded memory and time.

use alignscope::models::chat::{ChatTemplate, Message, Role};
use alignscope::models::tokenizer::TextTokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "common/bounded.rs"]
mod bounded;
#[path = "common/checkpoint.rs"]
mod checkpoint;
use bounded::{alone, refused, within};
use checkpoint::{checkpoint, read, write};

/// The tokenizer of a checkpoint with one part replaced.
fn tokenizer(key: &str, value: Value) -> (TempDir, Value) {
    let folder = checkpoint();
    let mut tokenizer = read(&folder.path().join("tokenizer.json"));
    tokenizer[key] = value;
    write(folder.path(), "tokenizer.json", &tokenizer);
    (folder, tokenizer)
}

#[test]
fn a_template_with_more_names_than_ids() {
    let _alone = alone();
    let token = json!({"t": {"id": "t", "ids": [4], "tokens": ["a", "b"]}});
    let single = json!([{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "t", "type_id": 0}}]);
    let template = json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": token});
    let (folder, _) = tokenizer("post_processor", template);
    let said = refused(100, move || TextTokenizer::open(folder.path(), 77, false));
    assert!(said.contains("more names than ids"), "{said}");
}

/// Reads a long text with it, whether that works or not.
fn encode(key: &str, value: Value) {
    let (folder, _) = tokenizer(key, value);
    within(600, move || {
        let tokenizer = TextTokenizer::open(folder.path(), 77, false)?;
        tokenizer.encode(&"a".repeat(30_000))?;
        tokenizer.encode(&"a b! ".repeat(6_000))?;
        tokenizer.decode(&[4; 77]).map(drop)
    })
    .map_err(|error| assert!(error.to_string().contains("; ") && !error.to_string().contains('\n'), "{error}"))
    .ok();
}

#[test]
fn tokenizers_that_grow() {
    let _alone = alone();
    let grow = |content: &str| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
    let many = |kind: &str, key: &str, part: Value, count: usize| json!({"type": kind, key: vec![part; count]});
    encode("normalizer", many("Sequence", "normalizers", grow("aa"), 40));
    encode("normalizer", many("Sequence", "normalizers", grow(&"a".repeat(1000)), 4));
    encode("normalizer", grow(&"a".repeat(10 << 20)));
    encode(
        "normalizer",
        many("Sequence", "normalizers", json!({"type": "Prepend", "prepend": "a".repeat(1 << 20)}), 1000),
    );
    let nested =
        (0..10).fold(grow("aa"), |inner, _| json!({"type": "Sequence", "normalizers": [inner.clone(), inner]}));
    encode("normalizer", nested);
    let empty = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "a".repeat(1 << 20)});
    encode("normalizer", empty);
    encode("decoder", many("Sequence", "decoders", grow("aa"), 40));
    let twice = json!([{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
    let template = json!({"type": "TemplateProcessing", "single": twice, "pair": [], "special_tokens": {}});
    encode("post_processor", many("Sequence", "processors", template, 40));
    let often = vec![json!({"Sequence": {"id": "A", "type_id": 0}}); 100_000];
    encode("post_processor", json!({"type": "TemplateProcessing", "single": often, "pair": [], "special_tokens": {}}));
    let token = json!({"t": {"id": "t", "ids": vec![4; 1 << 20], "tokens": vec!["a"; 1 << 20]}});
    let often = vec![json!({"SpecialToken": {"id": "t", "type_id": 0}}); 10_000];
    encode(
        "post_processor",
        json!({"type": "TemplateProcessing", "single": often, "pair": [], "special_tokens": token}),
    );
}

#[test]
fn tokenizers_that_take_forever() {
    let _alone = alone();
    let split =
        |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    for regex in [
        "(a+)+$",
        "(a|aa)+$",
        "(?=(a+)+b)",
        "(a*)*\\1b",
        "(?:a(?=((a+)+)?b)?)+?",
        "a(?=(?:a?){18}(?!a{18}))?",
        "(?<=a{1000})a|(?:(?:a{1,100}){1,100}){1,100}",
        "((((((((((a{10}){10}){10}){10}){10}){10}){10}){10}){10}){10})",
        "(?=a)((((((((((a{10}){10}){10}){10}){10}){10}){10}){10}){10}){10})\\1",
    ] {
        encode("pre_tokenizer", split(regex));
        encode("normalizer", json!({"type": "Replace", "pattern": {"Regex": regex}, "content": "b"}));
    }
    encode("pre_tokenizer", split(&"(".repeat(100_000)));
    encode("pre_tokenizer", split(&format!("{}a{}", "(?:".repeat(10_000), ")".repeat(10_000))));
    encode("pre_tokenizer", json!({"type": "Sequence", "pretokenizers": vec![split("a"); 10_000]}));
    // A word may be as long as the text.
    let words: serde_json::Map<String, Value> =
        (1..200).map(|length| ("a".repeat(length), json!(length))).chain([("[UNK]".into(), json!(0))]).collect();
    encode(
        "model",
        json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "",
        "max_input_chars_per_word": u32::MAX, "vocab": words}),
    );
}

#[test]
fn vocabularies_that_are_huge_or_odd() {
    let _alone = alone();
    let words: serde_json::Map<String, Value> = (0..1_500_000).map(|id| (format!("w{id}"), json!(id))).collect();
    encode("model", json!({"type": "WordLevel", "unk_token": "w0", "vocab": words}));
    let ids = json!({"a": u32::MAX, "b": u32::MAX, "[UNK]": u32::MAX - 1});
    encode("model", json!({"type": "WordLevel", "unk_token": "[UNK]", "vocab": ids}));
    encode("model", json!({"type": "BPE", "vocab": {"a": u32::MAX, "aa": 0}, "merges": ["a a", "aa aa"]}));
    encode("model", json!({"type": "Unigram", "unk_id": 7, "vocab": [["a", 1e308], ["aa", -1e308]]}));
    encode("added_tokens", json!([{"id": u32::MAX, "content": "", "special": true}]));
}

fn render(source: &str) -> alignscope::Result<String> {
    let said = [Message::new(Role::User, 1, "what is there?"), Message::new(Role::Assistant, 0, "a cat")];
    ChatTemplate::new(source)?.render(&said, "<image>", true)
}

#[test]
fn chat_templates_that_grow() {
    let _alone = alone();
    let sources = [
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(40) %}{% set ns.x = ns.x | replace('a', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(40) %}{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(40) %}{% set ns.x = ns.x | list | join(ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(40) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
        "{% set ns = namespace(x=[1, 2]) %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | list | length }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{% set y = ns.x | string %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}",
        "{% macro m(x, n) %}{% if n %}{{ m(x ~ x, n - 1) }}{% endif %}{% endmacro %}{{ m('aaaaaaaa', 60) }}",
        "{{ 'a' * 100000000000 }}",
        "{{ 'a' | center(100000000000) }}",
        "{{ 'a' | indent(100000000000) }}",
        "{{ '%100000000000s' | format('a') }}",
        "{{ '%.100000000000f' | format(1) }}",
        "{{ 'a'.center(100000000000) }}{{ 'a'.ljust(100000000000) }}{{ '7'.zfill(100000000000) }}",
        "{{ '{:100000000000}'.format('a') }}",
        "{{ [1] | batch(100000000000, 0) | list }}",
        "{{ [1] | slice(100000000000) | list }}",
        "{{ (range(100000) | list * 100000) | length }}",
        "{% set x %}{% for i in range(100000) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endset %}",
        "{% for i in range(90000) recursive %}{{ loop(range(90000)) }}{% endfor %}",
        "{{ range(-9223372036854775807, 9223372036854775807, 1) | list }}",
        "{{ 2 ** 1000000000 }}{{ 9223372036854775807 * 9223372036854775807 * 9223372036854775807 }}",
        "{{ 1 // 0 }}{{ 1 % 0 }}{{ -170141183460469231731687303715884105728 // -1 }}",
    ];
    for source in sources {
        refused(400, move || render(source));
    }
    let deep = [
        format!("{{{{ {}1{} }}}}", "(".repeat(30_000), ")".repeat(30_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(30_000), "]".repeat(30_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(15_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(60_000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(15_000)),
        format!("{{{{ a{} }}}}", ".a".repeat(30_000)),
        format!("{{{{ a{} }}}}", "[0]".repeat(20_000)),
        format!("{{{{ 1{} }}}}", "|trim".repeat(12_000)),
        format!("{}{}", "{% if 1 %}".repeat(3_000), "{% endif %}".repeat(3_000)),
        format!("{{{{ {}1{} }}}}", "1 if ".repeat(4_000), " else 1".repeat(4_000)),
    ];
    for source in deep {
        within(400, move || render(&source)).ok();
    }
}
