//! The program: opens the window, or runs one subcommand.

use alignscope::cli::{self, allocator};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> std::process::ExitCode {
    allocator::keep_freed();
    cli::main()
}
