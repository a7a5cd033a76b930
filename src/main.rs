//! Parse, run, exit code. Everything else is in the library.

fn main() -> std::process::ExitCode {
    paygate::cli::run(std::env::args_os())
}
