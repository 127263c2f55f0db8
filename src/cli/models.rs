//! `alignscope models`: lists the checkpoints that are here.

use anyhow::Result;
use clap::Args;
use indicatif::{HumanBytes, HumanCount};

use crate::cli::output::{bar, say};
use crate::error::Error;
use crate::methods::METHODS;
use crate::models::cache;
use crate::models::catalogue::published;
use crate::models::hub::{Hub, readable};
use crate::models::inventory::{Entry, list};
use crate::models::memory::available;
use crate::taps::CancelToken;

/// List the checkpoints that are built in or in the local Hugging Face cache, and which fit into this machine's memory.
///
/// Or download a published one into that cache. Nothing else is fetched from the network.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  alignscope models\n  alignscope models --published\n  alignscope models --fetch openai/clip-vit-base-patch32"
)]
pub struct Models {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// List published checkpoints that are known to fit, with what to look at in them, and which of them are here.
    #[arg(long)]
    published: bool,
    /// Download this model from the Hugging Face hub. Ctrl-C stops; the same command goes on from there.
    #[arg(long, value_name = "ORG/NAME", conflicts_with_all = ["json", "published"])]
    fetch: Option<String>,
}

const HEAD: [&str; 8] = ["Name", "Class", "Method", "Parameters", "File", "Memory", "Opens", "Folder"];
/// Columns of numbers, which stand at the right.
const NUMBERS: std::ops::RangeInclusive<usize> = 3..=5;

impl Models {
    pub fn run(&self) -> Result<()> {
        if let Some(name) = &self.fetch {
            return fetch(name);
        }
        let entries = list();
        if self.published {
            return self.published(&entries);
        }
        if self.json {
            return say(serde_json::to_string_pretty(&entries)?);
        }
        let (built_in, cached): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.built_in);
        section("Built in", &built_in)?;
        let place = cache::root().map(|root| format!(" ({})", root.display())).unwrap_or_default();
        section(&format!("In the Hugging Face cache{place}"), &cached)?;
        let memory = available().map_or("unknown".into(), |bytes| HumanBytes(bytes).to_string());
        say(format!("Available memory: {memory}"))
    }
}

impl Models {
    /// The catalogue, and what of it is here.
    fn published(&self, entries: &[Entry]) -> Result<()> {
        let all = published()?;
        if self.json {
            return say(serde_json::to_string_pretty(&all)?);
        }
        for model in all {
            let here = match model.here(entries) {
                Some(entry) => format!("here: {}", entry.folder.display()),
                None => "not in the cache".to_owned(),
            };
            // Weights are held as f32.
            let (count, memory) = (HumanCount(model.parameters), HumanBytes(model.parameters * 4));
            say(&model.name)?;
            say(format!("  {}, {}", model.class, model.method().unwrap_or("?")))?;
            say(format!("  {count} parameters, {memory} of weights in memory; licence: {}", model.licence))?;
            say(format!("  {}", model.look[0]))?;
            say(format!("  {here}\n"))?;
        }
        Ok(())
    }
}

/// Downloads a model, and prints its folder.
fn fetch(name: &str) -> Result<()> {
    let hub = Hub::from_environment()?;
    let cancel = CancelToken::default();
    let handle = cancel.clone();
    ctrlc::set_handler(move || handle.cancel())?;
    let plan = hub.ask(name, &cancel)?;
    let known = published()?.into_iter().find(|model| model.name == name);
    let licence = known.map_or_else(|| format!("see {}", hub.page(name)), |model| model.licence);
    let free = plan.free.map_or("unknown".into(), readable);
    say(format!("{name}: {}, {} in {} files; licence: {licence}", plan.class, readable(plan.bytes), plan.count()))?;
    say(match plan.missing {
        0 => "Nothing to load: all of it is here".into(),
        missing => format!("To load: {}; free on the disk: {free}", readable(missing)),
    })?;
    plan.check_room()?;
    let bar = bar(plan.bytes, "{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left {msg}")?;
    bar.set_position(plan.bytes - plan.missing);
    bar.reset_eta();
    let loaded = hub.load(&plan, &cancel, &mut |news| {
        bar.set_position(news.done);
        bar.set_message(match news.pause {
            Some(pause) => format!("{}, again in {} s", news.file, pause.as_secs()),
            None => news.file,
        });
    });
    bar.finish_and_clear();
    match loaded {
        Err(Error::Cancelled) => anyhow::bail!("stopped; the same command goes on from here"),
        loaded => say(loaded?.display()),
    }
}

fn section(title: &str, entries: &[&Entry]) -> Result<()> {
    if entries.is_empty() {
        return say(format!("{title}: none\n"));
    }
    say(title)?;
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| row(entry)));
    let widths: [usize; HEAD.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in rows {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if NUMBERS.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        say(format!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end()))?;
    }
    say("")
}

fn row(entry: &Entry) -> [String; HEAD.len()] {
    let bytes = |count: Option<u64>| count.map_or("?".into(), |count| HumanBytes(count).to_string());
    let opens = match (entry.known, &entry.problem, entry.fits) {
        (false, ..) if !entry.class.is_empty() => "no, class not known",
        _ if entry.known && !METHODS.iter().any(|method| method.classes.contains(&entry.class.as_str())) => {
            "not in the window yet"
        }
        (_, Some(_), _) => "no, incomplete",
        (_, _, Some(false)) if entry.least_fits == Some(true) => "yes, with fewer maps",
        (_, _, Some(false)) if entry.half_fits == Some(true) => "with --precision f16",
        (_, _, Some(false)) => "no, too large here",
        (_, _, None) => "memory unknown",
        _ => "yes",
    };
    [
        entry.name.clone(),
        if entry.class.is_empty() { "?".into() } else { entry.class.clone() },
        entry.method.unwrap_or("?").into(),
        entry.parameters.map_or("?".into(), |count| HumanCount(count as u64).to_string()),
        bytes(entry.bytes),
        bytes(entry.memory),
        opens.into(),
        entry.folder.display().to_string(),
    ]
}
