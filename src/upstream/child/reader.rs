//! Reads a child's stdout: splits it into lines and gives each to whom it concerns.
//!
//! One buffer is reused for all lines; a line is copied once, into the answer that owns it. A
//! line over the bound is not stored: its rest passes through [`IdScan`], so that the call it
//! belongs to fails at once and memory does not grow. The text of malformed lines is never
//! logged, because it may be a customer's.

use std::sync::Arc;

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::id_scan::IdScan;
use super::link::Shared;
use super::outbox::Outbox;
use crate::model::bounds;
use crate::protocol::from_server::FromServer;
use crate::upstream::Failure;

/// Reads until the child, and everybody else who holds the pipe, has closed it.
pub(super) async fn read(mut stdout: impl AsyncRead + Unpin, inbox: &mut Inbox) {
    let mut lines = Lines::new(inbox.shared.options.answer_bytes_max);
    loop {
        lines.buffer.reserve(bounds::CHILD_READ_BYTES);
        match stdout.read_buf(&mut lines.buffer).await {
            Ok(0) => return,
            Ok(_) => lines.split(|line| inbox.take(line)),
            Err(error) => {
                tracing::debug!(target: "upstream", server = inbox.server(), %error, "stdout cannot be read");
                return;
            }
        }
    }
}

/// One line, or what is known of one that was too long to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Whole(&'a [u8]),
    TooLong { bytes: usize, id: Option<u64> },
}

/// Bytes on their way to becoming lines.
#[derive(Debug)]
struct Lines {
    buffer: Vec<u8>,
    /// Bytes of the buffer that are known to hold no line end.
    searched: usize,
    line_bytes_max: usize,
    /// The line that is being read is too long: its bytes so far and the search for its id.
    skipping: Option<(usize, IdScan)>,
}

impl Lines {
    fn new(line_bytes_max: usize) -> Self {
        Self { buffer: Vec::new(), searched: 0, line_bytes_max, skipping: None }
    }

    /// Hands out the lines that are complete and keeps the rest.
    fn split(&mut self, mut found: impl FnMut(Line<'_>)) {
        let mut start = 0;
        while let Some(length) =
            self.buffer.get(self.searched..).and_then(|rest| memchr(b'\n', rest))
        {
            let end = self.searched + length;
            let line = self.buffer.get(start..end).unwrap_or_default();
            if let Some((skipped, mut scan)) = self.skipping.take() {
                scan.read(line);
                // The line end counts as one, so that a number at the very end is complete.
                scan.read(b" ");
                found(Line::TooLong {
                    bytes: skipped.saturating_add(line.len()),
                    id: scan.found(),
                });
            } else if line.len() > self.line_bytes_max {
                found(Line::TooLong { bytes: line.len(), id: IdScan::of(line) });
            } else {
                found(Line::Whole(line));
            }
            start = end + 1;
            self.searched = start;
        }
        self.keep_from(start);
    }

    fn keep_from(&mut self, start: usize) {
        self.buffer.drain(..start);
        if self.skipping.is_some() || self.buffer.len() > self.line_bytes_max {
            let (skipped, scan) = self.skipping.get_or_insert_default();
            scan.read(&self.buffer);
            *skipped = skipped.saturating_add(self.buffer.len());
            self.buffer.clear();
        }
        self.searched = self.buffer.len();
        // Gives back what a long line needed, once it is gone.
        if self.buffer.len() < bounds::CHILD_READ_BYTES {
            self.buffer.shrink_to(2 * bounds::CHILD_READ_BYTES);
        }
    }
}

/// Where lines go.
pub(super) struct Inbox {
    pub(super) shared: Arc<Shared>,
    pub(super) outbox: Arc<Outbox>,
    unusable_lines: u64,
}

impl Inbox {
    pub(super) fn new(shared: Arc<Shared>, outbox: Arc<Outbox>) -> Self {
        Self { shared, outbox, unusable_lines: 0 }
    }

    fn server(&self) -> &str {
        &self.shared.options.server
    }

    fn take(&mut self, line: Line<'_>) {
        match line {
            Line::Whole(line) => self.take_whole(line.strip_suffix(b"\r").unwrap_or(line)),
            Line::TooLong { bytes, id } => {
                self.unusable("longer than maxAnswerBytes", bytes, id, Failure::TooLarge);
            }
        }
    }

    fn take_whole(&mut self, line: &[u8]) {
        match FromServer::read(line) {
            FromServer::Answer(answer) => {
                let id = answer.id();
                if !self.shared.calls.resolve(id, Ok(answer)) {
                    tracing::debug!(target: "upstream", server = self.server(), id, "an answer that nobody waits for");
                }
            }
            FromServer::Request { id, method, .. } => self.answer_request(id, &method),
            FromServer::Notification { method, .. } => self.route_notification(&method),
            FromServer::Malformed(_) if line.trim_ascii().is_empty() => {}
            FromServer::Malformed(why) => {
                self.unusable(why, line.len(), IdScan::of(line), Failure::Malformed);
            }
        }
    }

    /// A link that many customers share has nobody who could answer for them: a ping is answered
    /// here, everything else is refused.
    fn answer_request(&self, id: &str, method: &str) {
        let answer = if method == "ping" {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
        } else {
            tracing::debug!(target: "upstream", server = self.server(), method, "a request from the server was refused");
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"This client does not take requests"}}}}"#
            )
        };
        self.outbox.push_control(answer.as_bytes());
    }

    /// The one place where notifications find their way. Only those that concern the link itself
    /// are taken; what belongs to a customer's session is dropped while sessions share a link.
    fn route_notification(&self, method: &str) {
        match method {
            "notifications/tools/list_changed" => self.shared.tools.changed(),
            _ => {
                tracing::trace!(target: "upstream", server = self.server(), method, "a notification was dropped");
            }
        }
    }

    /// Ends the call that the line belongs to, if that can be known. Warns at the 1st, 2nd, 4th,
    /// 8th … such line: a server that prints to stdout would fill the log.
    fn unusable(&mut self, why: &str, bytes: usize, id: Option<u64>, failure: Failure) {
        let resolved = id.is_some_and(|id| self.shared.calls.resolve(id, Err(failure)));
        self.unusable_lines = self.unusable_lines.saturating_add(1);
        if self.unusable_lines.is_power_of_two() {
            let lines = self.unusable_lines;
            tracing::warn!(
                target: "upstream", server = self.server(), why, bytes, lines, call_failed = resolved,
                "the server wrote a line to stdout that is no usable message"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8], piece_bytes: usize, line_bytes_max: usize) -> Vec<String> {
        let mut lines = Lines::new(line_bytes_max);
        let mut found = Vec::new();
        for piece in text.chunks(piece_bytes) {
            lines.buffer.extend_from_slice(piece);
            lines.split(|line| {
                found.push(match line {
                    Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                    Line::TooLong { bytes, id } => format!("{bytes} {id:?}"),
                });
            });
            assert!(lines.buffer.len() <= line_bytes_max);
        }
        found
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let text = "{\"é\":\"☃\"}\n\nb\n{\"id\":4711,\"result\":\"0123456789\"}\n0123456789abcdef\nlast\nrest".as_bytes();
        let expected = ["{\"é\":\"☃\"}", "", "b", "33 Some(4711)", "0123456789abcdef", "last"];
        for piece_bytes in 1..=text.len() {
            assert_eq!(split(text, piece_bytes, 16), expected, "pieces of {piece_bytes}");
        }
    }

    #[test]
    fn the_buffer_of_a_long_line_is_given_back() {
        let mut lines = Lines::new(8 << 20);
        lines.buffer.resize(4 << 20, b'x');
        lines.split(|_| {});
        lines.buffer.push(b'\n');
        let mut lengths = Vec::new();
        lines
            .split(|line| lengths.push(matches!(line, Line::Whole(line) if line.len() == 4 << 20)));
        assert_eq!(lengths, [true]);
        assert!(lines.buffer.capacity() <= 2 * bounds::CHILD_READ_BYTES);
    }
}
