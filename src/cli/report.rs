//! `alignscope report`: one page of HTML with everything that the board shows.

use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

use super::output::say;
use super::subject::{Subject, compute};
use crate::app::{Export, Format};
use crate::ui;

/// Write one page of HTML with the board, all views of the column with their help, and their numbers.
///
/// The page needs nothing else and fetches nothing; it can be sent, opened in any browser, and printed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  alignscope report --method side-by-side --image sample-data/scene-000101.png \
    --text \"a guitar, a rabbit, a cat and a red ball\" --word \"red ball\" -o report.html")]
pub struct Report {
    #[command(flatten)]
    subject: Subject,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Report {
    /// Computes, draws and writes the page.
    pub fn run(&self) -> Result<()> {
        let mut app = self.subject.app()?;
        compute(&mut app)?;
        ui::export::write(&app, &Export { view: None, format: Format::Html }, &self.output)?;
        say(format!("The report is in {}", self.output.display()))
    }
}
