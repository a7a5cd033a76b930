//! Parse, run, exit code. Everything else is in the library.

/// A call allocates a few dozen small things on one thread and frees them on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    paygate::cli::run(std::env::args_os())
}
