//! The only file that prints. Where a reader has gone away there is nobody left to tell, so a
//! failed write is dropped.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

/// Prints to stdout, ending the last line.
pub(super) fn print(text: &str) {
    write(&mut io::stdout().lock(), text);
}

/// Prints to stderr, ending the last line.
pub(super) fn error(text: &str) {
    write(&mut io::stderr().lock(), text);
}

fn write(stream: &mut impl Write, text: &str) {
    let text = text.trim_end_matches('\n');
    if !text.is_empty() {
        writeln!(stream, "{text}").and_then(|()| stream.flush()).ok();
    }
}

/// Sends the log to stderr, as plain lines: those that pass `filter`, which the configuration has
/// checked.
pub(super) fn start_log(filter: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
}
