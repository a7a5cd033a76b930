//! Event streams (`text/event-stream`), read as the HTML standard says, from bytes in pieces of any
//! size.
//!
//! Lines end with CRLF, LF or CR; an event ends with an empty line and is handed out at once, not
//! only when the next byte has come. The data of an event stays bytes: whether it is UTF-8 and JSON
//! is for its reader to say. An event over the bound is read to its end without being kept, and one
//! that the stream breaks off is dropped, as the standard demands.

use memchr::memchr2;

use crate::model::bounds;

/// Reads one stream piece by piece.
#[derive(Debug, Default)]
pub struct Reader {
    data_bytes_max: usize,
    /// The line that is not yet complete, unless it is a comment or is skipped.
    line: Vec<u8>,
    /// How long that line is so far, kept or not.
    line_bytes: usize,
    is_comment: bool,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
    /// The first line, which may begin with a byte order mark, is complete.
    is_begun: bool,
    event: Gathered,
    /// The event is too long: its bytes so far.
    skipped: Option<usize>,
    last_event_id: Vec<u8>,
    retry_ms: Option<u64>,
}

/// The fields of the event that is not yet complete.
#[derive(Debug, Default)]
struct Gathered {
    name: Vec<u8>,
    /// Each line of data with a line end of its own.
    data: Vec<u8>,
    id: Option<Vec<u8>>,
}

/// What a stream brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// An event with data, which may be empty.
    Event {
        /// The type, `message` if it has none. A long one is cut.
        name: &'a [u8],
        /// Its lines, joined by LF.
        data: &'a [u8],
    },
    /// An event with more data than the bound.
    TooLong {
        /// How long it was.
        bytes: usize,
    },
}

/// What a field's name and the sign behind it may add to a line of data.
const FIELD_BYTES: usize = 16;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Reader {
    /// A reader that keeps events with at most so many bytes of data.
    pub fn new(data_bytes_max: usize) -> Self {
        Self { data_bytes_max, ..Self::default() }
    }

    /// Reads on and hands out every event that is now complete.
    pub fn read(&mut self, piece: &[u8], mut found: impl FnMut(Found<'_>)) {
        let mut rest = piece;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = memchr2(b'\r', b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.complete(line, &mut found);
            let after_cr = after.strip_prefix(b"\r");
            self.after_cr = after_cr.is_some_and(<[u8]>::is_empty);
            rest = match after_cr {
                Some(after) => after.strip_prefix(b"\n").unwrap_or(after),
                None => after.get(1..).unwrap_or_default(),
            };
        }
        self.gather(rest);
    }

    /// The id with which the stream can be taken up again, if it gave one that can be sent.
    pub fn last_event_id(&self) -> Option<&[u8]> {
        Some(self.last_event_id.as_slice()).filter(|id| !id.is_empty())
    }

    /// How long the server wants its client to wait before it connects again.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// The stream broke off and another one takes it up: what was incomplete comes again. Id and
    /// time to wait stay known.
    pub fn begin_again(&mut self) {
        *self = Self {
            data_bytes_max: self.data_bytes_max,
            last_event_id: std::mem::take(&mut self.last_event_id),
            retry_ms: self.retry_ms,
            ..Self::default()
        };
    }

    /// Keeps a part of a line.
    fn gather(&mut self, part: &[u8]) {
        if self.line_bytes == 0 {
            self.is_comment = part.first() == Some(&b':');
        }
        self.line_bytes = self.line_bytes.saturating_add(part.len());
        if self.is_comment || self.skipped.is_some() {
            return;
        }
        if self.fits() {
            self.line.extend_from_slice(part);
        } else {
            self.skip();
        }
    }

    /// Would the event fit with all of the line that was seen?
    fn fits(&self) -> bool {
        let bytes = self.event.data.len().saturating_add(self.line_bytes);
        bytes <= self.data_bytes_max.saturating_add(FIELD_BYTES)
    }

    /// Keeps nothing of this event any more.
    fn skip(&mut self) {
        self.skipped = Some(self.event.data.len());
        self.event = Gathered::default();
        self.line = Vec::new();
    }

    fn complete(&mut self, part: &[u8], found: &mut impl FnMut(Found<'_>)) {
        self.gather(part);
        let bytes = std::mem::take(&mut self.line_bytes);
        let mut line = std::mem::take(&mut self.line);
        let has_mark = !std::mem::replace(&mut self.is_begun, true)
            && line.strip_prefix(BYTE_ORDER_MARK).is_some();
        let text = if has_mark { line.get(3..).unwrap_or_default() } else { &line };
        match self.skipped {
            Some(skipped) if bytes == 0 => {
                found(Found::TooLong { bytes: skipped });
                self.skipped = None;
            }
            Some(skipped) => self.skipped = Some(skipped.saturating_add(bytes)),
            None if self.is_comment => {}
            None if text.is_empty() => self.dispatch(found),
            None => self.field(text),
        }
        // The buffer serves the next line, unless it was a long one.
        line.clear();
        line.shrink_to(bounds::CHILD_READ_BYTES);
        self.line = line;
    }

    fn field(&mut self, line: &[u8]) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                self.event.data.extend_from_slice(value);
                self.event.data.push(b'\n');
                if self.event.data.len() > self.data_bytes_max.saturating_add(1) {
                    self.skip();
                }
            }
            b"event" => {
                let kept = value.len().min(bounds::EVENT_NAME_BYTES_MAX);
                self.event.name = value.get(..kept).unwrap_or_default().to_vec();
            }
            b"id" if !value.contains(&0) => {
                let is_short = value.len() <= bounds::EVENT_ID_BYTES_MAX;
                self.event.id = Some(if is_short { value.to_vec() } else { Vec::new() });
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let parsed = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.retry_ms = Some(parsed.unwrap_or(u64::MAX));
            }
            // The standard ignores everything else.
            _ => {}
        }
    }

    fn dispatch(&mut self, found: &mut impl FnMut(Found<'_>)) {
        let Gathered { name, mut data, id } = std::mem::take(&mut self.event);
        if let Some(id) = id {
            self.last_event_id = id;
        }
        if data.pop().is_some() {
            let name = if name.is_empty() { b"message".as_slice() } else { &name };
            found(Found::Event { name, data: &data });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a stream brings when it comes in pieces that end at these bytes.
    fn read(stream: &[u8], ends: &[usize], data_bytes_max: usize) -> (Vec<String>, Reader) {
        let mut reader = Reader::new(data_bytes_max);
        let mut all = Vec::new();
        let mut start = 0;
        for end in ends.iter().copied().chain([stream.len()]) {
            let end = end.clamp(start, stream.len());
            reader.read(&stream[start..end], |found| all.push(shown(found)));
            start = end;
            let kept = reader.line.len() + reader.event.data.len();
            assert!(kept <= data_bytes_max + FIELD_BYTES, "{kept} bytes are kept");
        }
        (all, reader)
    }

    fn shown(found: Found<'_>) -> String {
        match found {
            Found::Event { name, data } => {
                format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(data))
            }
            Found::TooLong { bytes } => format!("{bytes} bytes"),
        }
    }

    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        for size in 1..=stream.len().max(1) {
            let ends: Vec<_> = (0..stream.len()).step_by(size).collect();
            assert_eq!(read(stream.as_bytes(), &ends, 64).0, expected, "{stream:?} by {size}");
        }
    }

    #[test]
    fn every_kind_of_line_end() {
        for end in ["\n", "\r", "\r\n"] {
            check(&format!("data: a{end}{end}data: b{end}{end}"), &["message=a", "message=b"]);
            check(&format!("data: a{end}data: b{end}{end}"), &["message=a\nb"]);
        }
        check("data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", &["message=a", "message=b", "message=c"]);
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        for (stream, expected) in [
            ("data:a\n\n", &["message=a"][..]),
            ("data:  a \n\n", &["message= a "]),
            ("data\n\n", &["message="]),
            ("data:\ndata:\n\n", &["message=\n"]),
            ("data: {\"a\":\ndata: 1}\n\n", &["message={\"a\":\n1}"]),
            ("event: endpoint\ndata: /x\n\ndata: y\n\n", &["endpoint=/x", "message=y"]),
            ("event:\ndata: y\n\n", &["message=y"]),
            ("event: lost\n\ndata: y\n\n", &["message=y"]),
            (": a comment\n\n:\ndata: y\n:data: z\n\n", &["message=y"]),
            ("Data: a\nda ta: b\n data: c\nfoo\n\n", &[]),
            ("data: broken off\n", &[]),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["message=a"]),
            ("\u{feff}\u{feff}data: a\n\n", &[]),
            ("data: \u{e9}\u{1f600}\n\n", &["message=\u{e9}\u{1f600}"]),
            ("\n\n\n", &[]),
        ] {
            check(stream, expected);
        }
    }

    #[test]
    fn ids_and_times_to_wait() {
        let long = "7".repeat(bounds::EVENT_ID_BYTES_MAX + 1);
        for (stream, id, retry_ms) in [
            ("id: 1\ndata: a\n\n", Some("1"), None),
            ("id: 1\n\n", Some("1"), None),
            ("id: 1\ndata: a\n\nid: 2\ndata: b\n", Some("1"), None),
            ("id: 1\ndata: a\n\nid\ndata: b\n\n", None, None),
            ("id: 1\n\nid: \0\n\n", Some("1"), None),
            ("retry: 1500\n", None, Some(1500)),
            ("retry: 1500\nretry: soon\nretry:\nretry: -1\n", None, Some(1500)),
            ("retry: 99999999999999999999999\n", None, Some(u64::MAX)),
            (&format!("id: 1\n\nid: {long}\n\n"), None, None),
        ] {
            let reader = read(stream.as_bytes(), &[], 2000).1;
            let seen = reader.last_event_id().map(|id| String::from_utf8(id.to_vec()).unwrap());
            assert_eq!((seen.as_deref(), reader.retry_ms()), (id, retry_ms), "{stream:?}");
        }
    }

    #[test]
    fn a_stream_that_is_taken_up_keeps_id_and_wait_alone() {
        let mut reader = read(b"\xef\xbb\xbfid: 1\nretry: 5\n\ndata: half\r", &[], 64).1;
        reader.begin_again();
        let mut all = Vec::new();
        reader.read(b"\n\xef\xbb\xbfdata: no mark\n\ndata: b\n\n", |found| all.push(shown(found)));
        assert_eq!(all, ["message=b"]);
        assert_eq!((reader.last_event_id(), reader.retry_ms()), (Some(b"1".as_slice()), Some(5)));
    }

    #[test]
    fn what_is_too_long_is_dropped_and_the_rest_goes_on() {
        let (exact, over) = ("x".repeat(64), "x".repeat(65));
        check(&format!("data: {exact}\n\n"), &[&format!("message={exact}")]);
        check(&format!("data: {over}\n\ndata: b\n\n"), &["66 bytes", "message=b"]);
        check(&format!("data: {exact}\ndata:\n\ndata: b\n\n"), &["66 bytes", "message=b"]);
        check(&format!(":{over}{over}\ndata: b\n\n"), &["message=b"]);
    }

    /// The standard's own words, over a whole stream, for events that fit.
    fn naive(stream: &str) -> Vec<String> {
        let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
        let text = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut name, mut data, mut all) = (String::new(), String::new(), Vec::new());
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        for line in complete.split('\n').take(text.matches('\n').count()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            match (field, value.strip_prefix(' ').unwrap_or(value)) {
                ("", _) if line.is_empty() => {
                    if let Some(data) = data.strip_suffix('\n') {
                        let name = if name.is_empty() { "message" } else { &name };
                        all.push(format!("{name}={data}"));
                    }
                    (name, data) = (String::new(), String::new());
                }
                ("data", value) => data.extend([value, "\n"]),
                ("event", value) => value.clone_into(&mut name),
                _ => {}
            }
        }
        all
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_bring_what_the_standard_says(
            stream in "(\u{feff}?((data|event|id|foo|):? ?[a-c: \u{e9}]{0,6})?(\r|\n|\r\n)){0,20}[a-z:]{0,4}",
            ends in prop::collection::vec(0..200_usize, 0..12),
        ) {
            let mut ends = ends;
            ends.sort_unstable();
            prop_assert_eq!(read(stream.as_bytes(), &ends, 1 << 10).0, naive(&stream));
        }

        #[test]
        fn any_bytes_are_read_alike_in_any_pieces(
            stream in prop::collection::vec(
                prop::sample::select(b"data:eventi retry\r\n\n\n\0\xef\xbb\xbf7".to_vec()), 0..400),
            ends in prop::collection::vec(0..400_usize, 0..20),
            data_bytes_max in 0..40_usize,
        ) {
            let mut ends = ends;
            ends.sort_unstable();
            let (whole, once) = read(&stream, &[], data_bytes_max);
            let (pieces, often) = read(&stream, &ends, data_bytes_max);
            prop_assert_eq!(whole, pieces);
            prop_assert_eq!(once.last_event_id(), often.last_event_id());
            prop_assert_eq!(once.retry_ms(), often.retry_ms());
        }
    }
}
