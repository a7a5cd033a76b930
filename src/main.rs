//! Parse, run, exit code. Everything else is in the library.

/// A call allocates on one thread what another one frees. The system's allocator makes them wait for
/// each other there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    paygate::cli::run(std::env::args_os())
}
