//! What every subcommand prints with: results on stdout, everything else on stderr.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints a line of the result. A reader that has gone away, as behind `| head`, is no failure.
pub fn say(line: impl Display) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Tells something that isn't the result. If nobody can read it, the work still goes on.
pub fn tell(line: impl Display) {
    let _nobody_reads = writeln!(std::io::stderr(), "alignscope: {line}");
}

/// A progress bar over `steps`, hidden where stderr isn't a terminal.
pub fn bar(steps: u64, template: &str) -> Result<ProgressBar> {
    let bar = ProgressBar::new(steps);
    bar.set_style(ProgressStyle::with_template(template)?);
    Ok(bar)
}
