//! Splits what a client sends into lines, each within its bound.

use memchr::memchr;

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    /// It was not kept.
    TooLong,
}

/// Bytes on their way to becoming lines.
#[derive(Debug)]
pub(super) struct Lines {
    line: Vec<u8>,
    bytes_max: usize,
    skipping: bool,
}

impl Lines {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { line: Vec::new(), bytes_max, skipping: false }
    }

    /// The lines that are complete with these bytes. Empty ones are left out.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = memchr(b'\n', bytes) {
            let (part, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.keep(part);
            lines.extend(self.end());
        }
        self.keep(bytes);
        lines
    }

    /// What was sent last and has no end.
    pub(super) fn end(&mut self) -> Option<Line> {
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skipping) {
            return Some(Line::TooLong);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        (!line.trim_ascii().is_empty()).then_some(Line::Whole(line))
    }

    fn keep(&mut self, part: &[u8]) {
        self.skipping |= self.line.len().saturating_add(part.len()) > self.bytes_max;
        if self.skipping {
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let text = "{\"é\":\"☃\"}\r\n\n \r\n0123456789\n0123456789abcdefg\nlast\nrest".as_bytes();
        let whole = |text: &str| Line::Whole(text.into());
        let expected = [
            whole("{\"é\":\"☃\"}"),
            whole("0123456789"),
            Line::TooLong,
            whole("last"),
            whole("rest"),
        ];
        for piece in 1..=text.len() {
            let mut lines = Lines::new(16);
            let mut found: Vec<Line> =
                text.chunks(piece).flat_map(|bytes| lines.take(bytes)).collect();
            assert!(lines.line.capacity() <= 32);
            found.extend(lines.end());
            assert_eq!(found, expected, "pieces of {piece}");
            assert_eq!(lines.end(), None);
        }
    }
}
