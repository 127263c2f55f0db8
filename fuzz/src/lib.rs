//! What the targets share: a folder in memory to put files into, and JSON that is spoilt in chosen places.
#![allow(clippy::missing_panics_doc, reason = "a panic is what is looked for")]

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The root of the repository, whether this is built there, in a test, or here.
#[must_use]
pub fn repository() -> &'static Path {
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    built.ancestors().find(|folder| folder.join("tests/fixtures").is_dir()).expect("a repository")
}

/// A folder of this process, in memory where the system has such a place.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = parent.join(format!("alignscope-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    })
}

/// Writes `bytes` as the file `name` there, and gives the folder in which it lies.
#[must_use]
pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    let folder = path.parent().expect("a folder").to_path_buf();
    // A run writes the same file a million times.
    if std::fs::write(&path, bytes).is_err() {
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
    }
    folder
}

/// Every error is one sentence that says what to do.
pub fn sentence<T>(result: alignscope::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| {
            let said = error.to_string();
            assert!(said.contains("; ") && !said.contains('\n') && !said.contains("report it"), "{said}");
        })
        .ok()
}

/// Panics that the program itself catches are no finds; libFuzzer's own hook would end the process at each.
pub fn let_panics_be_caught() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}

/// `data` as the text of a JSON file: as it stands, or as the list of what is put into one of the `whole` ones.
#[must_use]
pub fn json(data: &[u8], whole: &[Value]) -> Vec<u8> {
    match data.split_first() {
        Some((&first, rest)) if first < b' ' && first != b'\n' => {
            let mut value = whole[usize::from(first) % whole.len()].clone();
            spoil(&mut value, rest);
            value.to_string().into_bytes()
        }
        _ => data.to_vec(),
    }
}

/// Puts absurd values into `value`, in the places that `data` chooses.
pub fn spoil(value: &mut Value, data: &[u8]) {
    let mut choices = Unstructured::new(data);
    for _ in 0..8 {
        if choices.is_empty() || change(value, &mut choices).is_err() {
            break;
        }
    }
}

fn change(root: &mut Value, choices: &mut Unstructured<'_>) -> Result<()> {
    // What already stands somewhere else is the most plausible wrong value.
    let other = descend(root, choices)?.clone();
    let place = descend(root, choices)?;
    let new = match choices.int_in_range(0..=11u8)? {
        0 => other,
        1 => Value::from(choices.arbitrary::<i64>()?),
        2 => Value::from(choices.int_in_range(0..=100u32)?),
        3 => Value::from(choices.arbitrary::<f64>()?),
        4 => Value::from(choices.arbitrary::<&str>()?),
        5 => json!(1u64 << choices.int_in_range(0..=63u32)?),
        6 => json!([place.clone(), other]),
        7 => json!({choices.arbitrary::<&str>()?: other}),
        8 => {
            take_out(place, choices)?;
            return Ok(());
        }
        9 => {
            let repeated = vec![place.clone(); choices.int_in_range(0..=5)?];
            Value::from(repeated)
        }
        _ => {
            const ABSURD: [&str; 12] = [
                "null",
                "0",
                "-1",
                "1e300",
                "-0.5",
                "true",
                "false",
                "[]",
                "{}",
                "\"\"",
                "\"\u{1F431}\"",
                "4294967296",
            ];
            serde_json::from_str(choices.choose::<&str>(&ABSURD)?).expect("JSON")
        }
    };
    *place = new;
    Ok(())
}

/// A value within `value`, often a leaf.
fn descend<'a>(mut value: &'a mut Value, choices: &mut Unstructured<'_>) -> Result<&'a mut Value> {
    loop {
        let children = match &*value {
            Value::Object(fields) => fields.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        if children == 0 || choices.ratio(1, 8)? {
            return Ok(value);
        }
        let which = choices.choose_index(children)?;
        value = match value {
            Value::Object(fields) => fields.values_mut().nth(which).expect("counted"),
            Value::Array(items) => &mut items[which],
            _ => unreachable!("has children"),
        };
    }
}

fn take_out(value: &mut Value, choices: &mut Unstructured<'_>) -> Result<()> {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let which = choices.choose_index(fields.len())?;
            let kept = std::mem::take(fields).into_iter().enumerate().filter(|(at, _)| *at != which);
            *fields = kept.map(|(_, field)| field).collect::<Map<_, _>>();
        }
        Value::Array(items) if !items.is_empty() => drop(items.remove(choices.choose_index(items.len())?)),
        other => *other = Value::Null,
    }
    Ok(())
}

/// The JSON file at `path`, from the root of the repository.
#[must_use]
pub fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(repository().join(path)).expect("a file of the repository")).expect("JSON")
}
