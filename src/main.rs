//! The program: opens the window, or runs one subcommand.

use alignscope::cli::{self, process};

#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator;

fn main() -> std::process::ExitCode {
    process::begin();
    cli::main()
}
