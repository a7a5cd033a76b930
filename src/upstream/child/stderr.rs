//! A child's stderr: free text for the operator, never a sign of failure.
//!
//! Lines go to the log under the target `upstream`; the last few are kept for error messages. A
//! child that floods stderr is read all the time, so it never blocks; what is beyond the bounds
//! is counted and dropped, so nothing grows. Control characters are replaced: the text is
//! somebody else's and the log may be a terminal.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::bounds;
use crate::upstream::start_error::LastLines;

/// The last lines, shared with whoever needs them for an error message.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Tail(Mutex<VecDeque<String>>);

impl Tail {
    pub(in crate::upstream) fn last_lines(&self) -> LastLines {
        LastLines(self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect())
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == bounds::STDERR_LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Reads until the child, and everybody else who holds the pipe, has closed it.
pub(super) async fn listen(mut stderr: impl AsyncRead + Unpin, server: &str, tail: &Tail) {
    let mut piece = vec![0; 8 << 10];
    let mut listener = Listener {
        server,
        tail,
        line: Vec::new(),
        cut: 0,
        second: Instant::now(),
        logged: 0,
        dropped: 0,
    };
    loop {
        match stderr.read(&mut piece).await {
            Ok(0) => break,
            Ok(count) => listener.hear(piece.get(..count).unwrap_or_default()),
            Err(error) => {
                tracing::debug!(target: "upstream", server, %error, "stderr cannot be read");
                break;
            }
        }
    }
    listener.end();
}

struct Listener<'a> {
    server: &'a str,
    tail: &'a Tail,
    line: Vec<u8>,
    /// Bytes of this line that were dropped.
    cut: usize,
    second: Instant,
    logged: u32,
    dropped: u64,
}

impl Listener<'_> {
    fn hear(&mut self, piece: &[u8]) {
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = bounds::STDERR_LINE_BYTES_MAX - self.line.len();
            let (kept, cut) = part.split_at(part.len().min(room));
            self.line.extend_from_slice(kept);
            self.cut = self.cut.saturating_add(cut.len());
            if parts.peek().is_some() {
                self.end_of_line();
            }
        }
    }

    fn end_of_line(&mut self) {
        let text = String::from_utf8_lossy(self.line.trim_ascii_end());
        let mut text: String = text
            .chars()
            .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
            .collect();
        if self.cut > 0 {
            text = format!("{text} … ({} bytes more)", self.cut);
        }
        self.line.clear();
        self.cut = 0;
        if text.is_empty() {
            return;
        }
        self.log(&text);
        self.tail.push(text);
    }

    fn log(&mut self, text: &str) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.report_dropped();
            self.second = Instant::now();
            self.logged = 0;
        }
        if self.logged == bounds::STDERR_LINES_PER_SECOND_MAX {
            self.dropped = self.dropped.saturating_add(1);
        } else {
            self.logged += 1;
            tracing::info!(target: "upstream", server = self.server, "{text}");
        }
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(target: "upstream", server = self.server, lines = self.dropped, "stderr is flooded; lines were dropped");
            self.dropped = 0;
        }
    }

    fn end(&mut self) {
        self.end_of_line();
        self.report_dropped();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_kept_within_their_bounds() {
        let mut text: Vec<u8> =
            (0..5000).flat_map(|n| format!("line {n}\r\n").into_bytes()).collect();
        text.extend(std::iter::repeat_n(b'x', 100_000));
        text.extend(b"\n\n\x1b[31mred\xff");
        let tail = Tail::default();
        listen(text.as_slice(), "s", &tail).await;

        let LastLines(lines) = tail.last_lines();
        assert_eq!(lines.len(), bounds::STDERR_LINES_KEPT);
        assert_eq!(lines[0], "line 4982");
        assert!(lines[18].starts_with("xxx") && lines[18].ends_with(" … (95904 bytes more)"));
        assert_eq!(lines[19], "\u{fffd}[31mred\u{fffd}");
    }
}
