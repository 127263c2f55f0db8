//! Conversations as a model was trained to read them: by the template of its checkpoint, which is written in Jinja.
//!
//! A template is a program by whoever made the checkpoint. It sees the messages and nothing else, and how long it may run,
//! how much its values may grow and what it may write are bounded. What transformers adds to Jinja is here too as far as templates of models that see
//! pictures use it: methods of Python's strings, `raise_exception`, `break` and `continue`, and `{% generation %}`, which
//! only marks what is learned in training.

mod growth;

use minijinja::{Environment, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use std::io;
use std::path::Path;

use super::checkpoint::{read_json, read_text};
use crate::error::{Error, Result};

/// The longest template, in bytes.
const LONGEST_TEMPLATE: usize = 1 << 16;
/// The longest text that is written, in bytes.
const LONGEST_TEXT: usize = 1 << 18;
/// How many of its instructions a template may run.
const FUEL: u64 = 50_000;
/// How deep its calls may go.
const DEPTH: usize = 100;
/// The most messages, and parts of all messages, of a conversation.
const MOST: usize = 1000;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Whoever tells the model what it is.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    /// A picture.
    Image,
    /// Words.
    Text {
        /// The words.
        text: String,
    },
}

/// What somebody says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// Pictures and words.
    pub content: Vec<Part>,
}

impl Message {
    /// `pictures` pictures, and a text about them.
    #[must_use]
    pub fn new(role: Role, pictures: usize, text: &str) -> Self {
        let mut content = vec![Part::Image; pictures];
        content.push(Part::Text { text: text.to_owned() });
        Self { role, content }
    }

    /// The same as one text, in which each picture is `image` in a line of its own.
    fn plain(&self, image: &str) -> PlainMessage {
        let part = |part: &Part| match part {
            Part::Image => format!("{image}\n"),
            Part::Text { text } => text.clone(),
        };
        PlainMessage { role: self.role, content: self.content.iter().map(part).collect() }
    }
}

/// A message for a template that knows no parts.
#[derive(Serialize)]
struct PlainMessage {
    role: Role,
    content: String,
}

/// What a template sees.
#[derive(Serialize)]
struct Seen<'a, M> {
    messages: Vec<M>,
    add_generation_prompt: bool,
    bos_token: &'a str,
    eos_token: &'a str,
}

/// A template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    /// Whether it looks at the parts of messages.
    parts: bool,
    begin: String,
    end: String,
}

impl ChatTemplate {
    /// The template in `folder`, if there is one: `chat_template.jinja`, or the key `chat_template` of
    /// `chat_template.json`, `processor_config.json` or `tokenizer_config.json`, where transformers looks for it. Of several
    /// by name it is the one called `default`.
    ///
    /// # Errors
    /// If it is too long or isn't a template; the error names the file.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let about = folder.join("tokenizer_config.json");
        let tokens = if about.is_file() { read_json(&about)? } else { serde_json::Value::Null };
        let token = |key: &str| {
            let token = &tokens[key];
            token.as_str().or(token["content"].as_str()).unwrap_or_default().to_owned()
        };
        let with_tokens = |template: Self| Self { begin: token("bos_token"), end: token("eos_token"), ..template };
        let path = folder.join("chat_template.jinja");
        if path.is_file() {
            let source = String::from_utf8_lossy(&read_text(&path)?).into_owned();
            return Ok(Some(with_tokens(Self::new(&source).map_err(|error| error.at(&path))?)));
        }
        for name in ["chat_template.json", "processor_config.json", "tokenizer_config.json"] {
            let path = folder.join(name);
            if !path.is_file() {
                continue;
            }
            let found = named(&read_json(&path)?["chat_template"]);
            if let Some(source) = found {
                return Ok(Some(with_tokens(Self::new(&source).map_err(|error| error.at(&path))?)));
            }
        }
        Ok(None)
    }

    /// From the text of a template.
    ///
    /// # Errors
    /// If it is too long or isn't a template.
    pub fn new(source: &str) -> Result<Self> {
        if source.len() > LONGEST_TEMPLATE {
            return Err(broken("it is far too long"));
        }
        let source = without_generation(source);
        growth::check(&source).map_err(|why| broken(&why))?;
        environment().template_from_str(&source).map_err(|error| failed(&error))?;
        let parts = ["'type'", "\"type\"", ".type"].iter().any(|asks| source.contains(asks));
        Ok(Self { source, parts, begin: String::new(), end: String::new() })
    }

    /// The text that a model reads of `messages`. With `go_on` it ends where the model is to answer. `image` is what stands
    /// for a picture where the template itself knows none.
    ///
    /// # Errors
    /// If there are far too many messages, the template refuses them, runs too long, writes too much, or does what isn't
    /// known here.
    pub fn render(&self, messages: &[Message], image: &str, go_on: bool) -> Result<String> {
        let all = messages.len() + messages.iter().map(|message| message.content.len()).sum::<usize>();
        if all > MOST {
            return Err(Error::unusable("the conversation has too many messages", "begin a new one"));
        }
        let environment = environment();
        let template = environment.template_from_str(&self.source).map_err(|error| failed(&error))?;
        let (begin, end) = (self.begin.as_str(), self.end.as_str());
        let seen = if self.parts {
            let messages = messages.to_vec();
            Value::from_serialize(Seen { messages, add_generation_prompt: go_on, bos_token: begin, eos_token: end })
        } else {
            let messages: Vec<PlainMessage> = messages.iter().map(|message| message.plain(image)).collect();
            Value::from_serialize(Seen { messages, add_generation_prompt: go_on, bos_token: begin, eos_token: end })
        };
        let mut written = Bounded::default();
        template.render_captured_to(seen, &mut written).map_err(|error| failed(&error))?;
        String::from_utf8(written.0).map_err(|_| broken("it writes what is no text"))
    }
}

/// The template among those that a file has.
fn named(found: &serde_json::Value) -> Option<String> {
    let several = found.as_array().into_iter().flatten();
    let default = several.clone().find(|template| template["name"] == "default");
    let chosen = default.or_else(|| several.clone().next()).map(|template| &template["template"]);
    found.as_str().or(chosen.and_then(serde_json::Value::as_str)).map(str::to_owned)
}

/// Jinja as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function("raise_exception", |why: String| -> std::result::Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, why))
    });
    environment
}

/// The template with `{% generation %}` and `{% endgeneration %}`, which change nothing in what is written, replaced by a
/// condition that always holds.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, behind) = tag.split_at(end);
        let word = tag.trim_matches(|letter: char| "{%}-+".contains(letter) || letter.is_whitespace());
        out.push_str(before);
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Takes so many bytes and no more.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_TEXT {
            return Err(io::Error::other("the text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(error: &minijinja::Error) -> Error {
    match error.kind() {
        ErrorKind::OutOfFuel => broken("it runs too long"),
        ErrorKind::WriteFailure => broken("it writes too much"),
        _ => broken(error.detail().unwrap_or(&error.kind().to_string())),
    }
}

fn broken(why: &str) -> Error {
    Error::unusable(format!("the chat template can't be used ({why})"), "write the whole prompt yourself")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of llava-hf/llava-1.5-7b-hf, to the letter.
    const LLAVA: &str = "{% for message in messages %}{% if message['role'] != 'system' %}\
        {{ message['role'].upper() + ': '}}{% endif %}{# Render all images first #}\
        {% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}\
        {# Render all text next #}{% if message['role'] != 'assistant' %}\
        {% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}\
        {% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}\
        {% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}\
        {% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}";

    fn said(source: &str, messages: &[Message]) -> Result<String> {
        ChatTemplate::new(source)?.render(messages, "<image>", true)
    }

    fn conversation() -> Vec<Message> {
        vec![
            Message::new(Role::User, 2, "what is there?"),
            Message::new(Role::Assistant, 0, "a cat."),
            Message::new(Role::User, 0, "where?"),
        ]
    }

    #[test]
    fn llava_is_asked_as_it_was_trained() {
        let text = "USER: <image>\n<image>\nwhat is there? ASSISTANT: a cat. USER: where? ASSISTANT:";
        assert_eq!(said(LLAVA, &conversation()).expect("a text"), text);
        let template = ChatTemplate::new(LLAVA).expect("a template");
        let text = template.render(&conversation()[..1], "<image>", false).expect("a text");
        assert_eq!(text, "USER: <image>\n<image>\nwhat is there? ");
        let system = [Message::new(Role::System, 0, "be kind"), Message::new(Role::User, 0, "hello")];
        assert_eq!(said(LLAVA, &system).expect("a text"), "be kind USER: hello ASSISTANT:");
    }

    #[test]
    fn a_template_without_parts_gets_texts() {
        let source = "{% for m in messages %}[{{ m.role }}] {{ m.content.strip() }}\n{% endfor %}";
        let text = "[user] <image>\n<image>\nwhat is there?\n[assistant] a cat.\n[user] where?\n";
        assert_eq!(said(source, &conversation()).expect("a text"), text);
    }

    #[test]
    fn marks_of_training_change_nothing() {
        let source = "a{%- generation -%} b {%- endgeneration %}\nc{% if true %}generation{% endif %}{% raw";
        let expected = "a{%- if true -%} b {%- endif %}\nc{% if true %}generation{% endif %}{% raw";
        assert_eq!(without_generation(source), expected);
    }

    #[test]
    fn templates_lie_where_transformers_looks() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        let open = || {
            let template = ChatTemplate::open(folder.path()).expect("a template or none");
            template.map(|template| template.render(&[], "", true).expect("a text"))
        };
        assert_eq!(open(), None);
        put("tokenizer_config.json", r#"{"chat_template": "{{ bos_token }}t", "bos_token": {"content": "<s>"}}"#);
        assert_eq!(open().as_deref(), Some("<s>t"));
        put(
            "processor_config.json",
            r#"{"chat_template": [{"name": "x", "template": "x"}, {"name": "default", "template": "p"}]}"#,
        );
        assert_eq!(open().as_deref(), Some("p"));
        put("chat_template.json", r#"{"chat_template": "c"}"#);
        assert_eq!(open().as_deref(), Some("c"));
        put("chat_template.jinja", "{{ bos_token }}j");
        assert_eq!(open().as_deref(), Some("<s>j"));
    }

    #[test]
    fn what_goes_wrong_is_said_in_a_sentence() {
        let long = "{{ messages }}".repeat(LONGEST_TEMPLATE);
        let many = vec!["1"; 300].join(",");
        let rounds = format!("{{% for a in [{many}] %}}{{% for b in [{many}] %}}{{% endfor %}}{{% endfor %}}");
        let words = format!("{{% for a in [{many}] %}}{}{{% endfor %}}", "a".repeat(1000));
        let cases = [
            ("{% for %}", "chat template"),
            ("{{ messages | unheard_of }}", "unheard_of"),
            ("{{ 'a'.unheard_of() }}", "unheard_of"),
            ("{{ raise_exception('no\nsystem') }}", "no system"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "'macro'"),
            (rounds.as_str(), "runs too long"),
            (words.as_str(), "writes too much"),
            (long.as_str(), "far too long"),
        ];
        for (source, words) in cases {
            let said = said(source, &conversation()).expect_err("a refusal").to_string();
            assert!(said.contains(words) && said.contains("; ") && !said.contains('\n'), "{said}");
        }
        let many = vec![Message::new(Role::User, 0, ""); MOST];
        assert!(said(LLAVA, &many).expect_err("a refusal").to_string().contains("too many messages"));
    }
}
