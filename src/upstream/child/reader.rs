//! Reads a child's stdout: splits it into lines and gives each to whom it concerns.
//!
//! One buffer is reused for all lines; a line is copied once, into the answer that owns it. A
//! line over the bound is not stored: its rest passes through [`IdScan`], so that the call it
//! belongs to fails at once and memory does not grow.

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::bounds;
use crate::upstream::id_scan::IdScan;
use crate::upstream::inbox::Inbox;

/// Reads until the child, and everybody else who holds the pipe, has closed it.
pub(super) async fn read(mut stdout: impl AsyncRead + Unpin, inbox: &Inbox) {
    let mut lines = Lines::new(inbox.line_bytes_max());
    loop {
        lines.buffer.reserve(bounds::CHILD_READ_BYTES);
        match stdout.read_buf(&mut lines.buffer).await {
            Ok(0) => return,
            Ok(_) => lines.split(|line| match line {
                Line::Whole(line) => inbox.take(line.strip_suffix(b"\r").unwrap_or(line), None),
                Line::TooLong { bytes, id } => inbox.too_long(bytes, id),
            }),
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
                found(Line::TooLong { bytes: skipped.saturating_add(line.len()), id: scan.end() });
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

/// A line, or the length and id of one that was too long to keep.
#[cfg(any(test, fuzzing))]
pub(in crate::upstream) type Arrived = Result<Vec<u8>, (usize, Option<u64>)>;

/// The lines of a text that arrives in pieces.
#[cfg(any(test, fuzzing))]
pub(in crate::upstream) fn lines_in_pieces(
    text: &[u8],
    piece_bytes: usize,
    line_bytes_max: usize,
) -> Vec<Arrived> {
    let mut lines = Lines::new(line_bytes_max);
    let mut found = Vec::new();
    for piece in text.chunks(piece_bytes) {
        lines.buffer.extend_from_slice(piece);
        lines.split(|line| {
            found.push(match line {
                Line::Whole(line) => Ok(line.to_vec()),
                Line::TooLong { bytes, id } => Err((bytes, id)),
            });
        });
        assert!(lines.buffer.len() <= line_bytes_max, "more is kept than a line may have");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8], piece_bytes: usize, line_bytes_max: usize) -> Vec<String> {
        let lines = lines_in_pieces(text, piece_bytes, line_bytes_max);
        let said = |line: Arrived| match line {
            Ok(line) => String::from_utf8(line).unwrap(),
            Err((bytes, id)) => format!("{bytes} {id:?}"),
        };
        lines.into_iter().map(said).collect()
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
