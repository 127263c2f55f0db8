//! The command line.

mod board;
mod eval;
mod models;
mod output;
pub mod process;
mod report;
mod runtime;
mod scenes;
mod subject;
mod trace;
mod train;

use clap::{Parser, Subcommand};

/// See where words land in the picture: four ways in which models align vision and language, side by side.
#[derive(Debug, Parser)]
#[command(name = "alignscope", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Board(board::Board),
    Report(report::Report),
    Trace(trace::TraceCommand),
    Train(train::Train),
    Eval(eval::Eval),
    Scenes(scenes::Scenes),
    Models(models::Models),
}

/// Reads the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Board(board)) => board.run(),
        Some(Command::Report(report)) => report.run(),
        Some(Command::Trace(trace)) => trace.run(),
        Some(Command::Train(train)) => train.run(),
        Some(Command::Eval(eval)) => eval.run(),
        Some(Command::Scenes(scenes)) => scenes.run(),
        Some(Command::Models(models)) => models.run(),
        None => board::open_window(),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            output::tell(error);
            std::process::ExitCode::FAILURE
        }
    }
}

/// Runs `work` on a thread with a stack deep enough for candle, which walks and drops its graph recursively.
fn on_deep_stack<R: Send>(work: impl FnOnce() -> crate::Result<R> + Send) -> crate::Result<R> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("computation".into()).stack_size(64 << 20).spawn_scoped(scope, work);
        let failed = |what: String| crate::Error::unusable(what, "close other programs and try again");
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(failed("the computation broke off".into()))),
            Err(error) => Err(failed(format!("no thread could be started ({error})"))),
        }
    })
}
