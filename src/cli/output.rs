//! The only file that prints. Where a reader has gone away there is nobody left to tell, so a
//! failed write is dropped.

use std::io::{self, Read, Write};
use std::thread;

use tokio::sync::mpsc;

use tracing_subscriber::EnvFilter;

use crate::app::Pipes;
use crate::model::bounds;

/// Prints to stdout, ending the last line.
pub(super) fn print(text: &str) {
    write(&mut io::stdout().lock(), text);
}

/// Prints a piece of something long to stdout; is there still a reader?
pub(super) fn piece(piece: &[u8]) -> bool {
    let mut stdout = io::stdout().lock();
    stdout.write_all(piece).and_then(|()| stdout.flush()).is_ok()
}

/// Prints to stderr, ending the last line.
pub(super) fn error(text: &str) {
    write(&mut io::stderr().lock(), text);
}

/// The pipes of the client that started this process. From then on stdout is the protocol's, and
/// nothing else may be printed there.
pub(super) fn protocol() -> Pipes {
    let (sender, input) = mpsc::channel(bounds::STDIO_PIECES_QUEUED_MAX);
    // A thread of its own, because a read cannot be given up: it ends with the process, whose end
    // must not wait for it.
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut piece = vec![0; bounds::CHILD_READ_BYTES];
        // What cannot be read has ended.
        while let Ok(count) = stdin.read(&mut piece) {
            let read = piece.get(..count).filter(|read| !read.is_empty());
            if read.is_none_or(|read| sender.blocking_send(read.to_vec()).is_err()) {
                return;
            }
        }
    });
    Pipes { input, output: Box::new(tokio::io::stdout()) }
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
