//! An import only ever points down: the layers of `src/` as a table, held against every `crate::` path in it.

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom to the top. A part may use what stands on a lower line.
const LAYERS: [&[&str]; 9] = [
    &["error"],
    &["files", "resources"],
    &["taps"],
    &["nn"],
    &["models"],
    &["attribution", "reduction", "world", "training", "export"],
    &["methods", "evaluation"],
    &["app"],
    &["ui"],
];
/// These stand above all layers.
const TOP: [&str; 2] = ["cli", "main"];
/// Who may use a part of the same layer.
const SIBLINGS: [(&str, &str); 2] = [("training", "world"), ("evaluation", "methods")];
/// Parts that see plain arrays, never a tensor.
const WITHOUT_TENSORS: [&str; 4] = ["attribution", "reduction", "export", "ui"];
const MOST_LINES: usize = 600;

/// Height of a part, or `None` if the table doesn't know it.
fn layer(part: &str) -> Option<usize> {
    let above = TOP.contains(&part).then_some(LAYERS.len());
    LAYERS.iter().position(|layer| layer.contains(&part)).or(above)
}

/// What is wrong with `part` using `other`.
fn complaint(part: &str, other: &str) -> Option<String> {
    let (Some(from), Some(to)) = (layer(part), layer(other)) else {
        return Some(format!("`{part}` uses `{other}`: one of them has no place in the table of layers"));
    };
    let allowed = part == other || to < from || SIBLINGS.contains(&(part, other)) || TOP.contains(&part);
    (!allowed).then(|| format!("`{part}` uses `{other}`, which doesn't stand below it"))
}

/// The text without its `//` comments. (A `//` inside a string ends the line too early, which hides no import.)
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    &text[..end]
}

/// The parts that a file's code names behind `crate::` (or, in the program, behind `alignscope::`), groups included.
fn used(text: &str) -> Vec<String> {
    let code = code(text);
    let mut found = Vec::new();
    for root in ["crate::", "alignscope::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            let Some(group) = rest.strip_prefix('{') else {
                found.push(word(rest).to_owned());
                continue;
            };
            let mut depth = 0;
            let mut awaited = true;
            for (at, letter) in group.char_indices() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => awaited = true,
                    letter if awaited && (letter.is_alphanumeric() || letter == '_') => {
                        found.push(word(&group[at..]).to_owned());
                        awaited = false;
                    }
                    _ => {}
                }
            }
        }
    }
    // The library's root hands on two names of `error`.
    found
        .iter_mut()
        .filter(|name| ["Error", "Result"].contains(&name.as_str()))
        .for_each(|name| *name = "error".into());
    found
}

/// All complaints about one file of `part`.
fn complaints(part: &str, text: &str) -> Vec<String> {
    let mut found: Vec<String> = used(text).iter().filter_map(|other| complaint(part, other)).collect();
    if WITHOUT_TENSORS.contains(&part) && code(text).contains("candle_core") {
        found.push(format!("`{part}` names candle_core, but a tensor never gets there"));
    }
    // What a person reads in the program's help may stand in a file of its own.
    let says_what_it_is_for = text.starts_with("//!") || text.starts_with("#![doc = include_str!");
    if !text.trim().is_empty() && !says_what_it_is_for {
        found.push("the file doesn't begin by saying what it is for (`//!`)".to_owned());
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        found.push(format!("the file has {lines} lines; {MOST_LINES} are too many to read in one go"));
    }
    found
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_point_down() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    files.sort();
    assert!(files.len() > 50, "only {} files found", files.len());
    let mut found = Vec::new();
    for file in files {
        let inner = file.strip_prefix(&source).expect("the file lies in src");
        let first = inner.iter().next().expect("a path has a first part").to_string_lossy().into_owned();
        let part = first.trim_end_matches(".rs");
        let text = fs::read_to_string(&file).expect("the file can be read");
        // The root declares the parts and uses none of them.
        let part = if part == "lib" { "main" } else { part };
        found.extend(complaints(part, &text).into_iter().map(|line| format!("src/{}: {line}", inner.display())));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// candle's ready-made layers hold norms and softmaxes that cut the gradient without a word.
#[test]
fn no_dependency_cuts_gradients() {
    let manifest = include_str!("../Cargo.toml");
    for name in ["candle-nn", "candle-transformers"] {
        assert!(!manifest.lines().any(|line| line.starts_with(name)), "{name} is a dependency");
    }
}

#[test]
fn paths_are_found() {
    let found = |text: &str| used(text).join(" ");
    assert_eq!(found("use crate::nn::{Linear, Scope};"), "nn");
    assert_eq!(found("let error = crate::Error::unusable(a, crate::files::png(b)?);"), "error files");
    assert_eq!(found("use crate::{\n    error::{Error, Result},\n    taps::Site, Result,\n};"), "error taps error");
    assert_eq!(found("pub(crate) fn f() {} // crate::ui\n/// [`crate::ui::App`]\n//! crate::app"), "");
    assert_eq!(found("    alignscope::cli::main()"), "cli");
}

#[test]
fn upward_and_sideways_imports_are_refused() {
    let refused = |part: &str, line: &str| !complaints(part, &format!("//! About.\n{line}\n")).is_empty();
    for (part, line) in [
        ("models", "use crate::ui::App;"),
        ("taps", "use crate::{error::Result, nn::Linear};"),
        ("nn", "fn f() { crate::models::open() }"),
        ("attribution", "use crate::methods::Evidence;"),
        ("attribution", "use crate::world::Scene;"),
        ("world", "use crate::training::Variables;"),
        ("methods", "use crate::evaluation::Table;"),
        ("app", "use crate::ui::App;"),
        ("ui", "use crate::cli::Arguments;"),
        ("error", "use crate::files;"),
        ("nn", "use crate::unheard_of::Thing;"),
        ("unheard_of", "use crate::nn::Linear;"),
        ("reduction", "use candle_core::Tensor;"),
        ("ui", "fn f(tensor: &candle_core::Tensor) {}"),
    ] {
        assert!(refused(part, line), "{part}: {line}");
    }
    for (part, line) in [
        ("main", "alignscope::cli::main()"),
        ("cli", "use crate::ui::App;"),
        ("ui", "use crate::app::AppState;"),
        ("app", "use crate::methods::Evidence;"),
        ("methods", "use crate::{attribution, world::Scene};"),
        ("evaluation", "use crate::methods::Evidence;"),
        ("training", "use crate::world::Scene;"),
        ("models", "use crate::nn::Linear;"),
        ("models", "use candle_core::Tensor;"),
        ("nn", "// as in crate::ui"),
        ("ui", "/// As candle_core has it."),
    ] {
        assert!(!refused(part, line), "{part}: {line}");
    }
    assert!(complaints("attribution", "#![doc = include_str!(\"help.md\")]\n").is_empty(), "a file with its help");
    assert!(!complaints("nn", "use crate::error::Result;").is_empty(), "a file without //!");
    assert!(!complaints("nn", &format!("//! Long.\n{}", "\n".repeat(MOST_LINES))).is_empty(), "a long file");
}
