//! Counts the instructions of the operations in which most of a pass is spent, and holds them against `counts.json`: so
//! that what makes one slower is seen on any machine, however busy it is.
//!
//! ```text
//! cargo run --release --manifest-path benches/instructions/Cargo.toml [-- update]
//! ```
//!
//! Each runs under valgrind's callgrind once and twice; the difference is what one run takes. valgrind shows
//! programs a processor with AVX2 and without AVX-512, wherever it runs; one thread is used.

#[path = "../../kernels/mod.rs"]
mod kernels;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

type Failure = Box<dyn std::error::Error>;

/// So much more than the list says is a failure, and so much less a reason to write the list anew.
const MARGIN: f64 = 0.03;

fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => compare(false),
        ["update"] => compare(true),
        ["run", name, times] => {
            let (_, make) =
                kernels::KERNELS.iter().find(|(known, _)| known == name).ok_or("there is no such kernel")?;
            let mut kernel = make()?;
            for _ in 0..times.parse::<usize>()? {
                kernel()?;
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => Err("give nothing, or 'update' to write the counts anew".into()),
    }
}

fn compare(update: bool) -> Result<ExitCode, Failure> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err("valgrind isn't installed: install it, it counts the instructions".into());
    }
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.json");
    let known: BTreeMap<String, u64> = serde_json::from_str(&std::fs::read_to_string(&list)?)?;
    let mut counts = BTreeMap::new();
    let mut slower = false;
    for (name, _) in kernels::KERNELS {
        let count = instructions(name, 2)?.saturating_sub(instructions(name, 1)?);
        let before = known.get(name).copied();
        let change = before.map(|before| count as f64 / before as f64 - 1.0);
        slower |= change.is_none_or(|change| change > MARGIN);
        let said = match change {
            None => "isn't in the list".to_owned(),
            Some(change) if change.abs() <= MARGIN => format!("{:+.1} %", 100.0 * change),
            Some(change) if change > 0.0 => format!("{:+.1} %: more than before", 100.0 * change),
            Some(change) => format!("{:+.1} %: write the list anew with 'update'", 100.0 * change),
        };
        println!("{name:<20} {count:>12} instructions  {said}");
        counts.insert(name, count);
    }
    if update {
        std::fs::write(&list, serde_json::to_string_pretty(&counts)? + "\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if slower { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Instructions of the whole program while a kernel runs so many times.
fn instructions(name: &str, times: u64) -> Result<u64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["run", name, &times.to_string()])
        .env("RAYON_NUM_THREADS", "1")
        .env("CANDLE_NUM_THREADS", "1")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim().parse());
    match count {
        Some(count) if output.status.success() => Ok(count?),
        _ => Err(format!("{name} didn't run under valgrind: {said}").into()),
    }
}
