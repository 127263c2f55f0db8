//! The program: opens the window, or runs one subcommand.

/// Keeps freed memory for the next step instead of returning it to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    alignscope::cli::main()
}
