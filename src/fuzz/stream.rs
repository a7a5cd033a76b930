//! Event streams of remote servers: the events are the same however the stream is cut.

use crate::protocol::sse::{Found, Reader};

/// The name and data of an event, or how long one was that had too much.
type Event = Result<(Vec<u8>, Vec<u8>), usize>;

/// What a reader tells of one stream.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    events: Vec<Event>,
    last_event_id: Option<Vec<u8>>,
    retry_ms: Option<u64>,
}

/// A stream. The first two bytes say how to cut it and how much data an event may have.
pub fn event_stream(bytes: &[u8]) {
    let &[piece, longest, ref text @ ..] = bytes else { return };
    let longest = usize::from(longest);
    let whole = read(text, text.len(), longest);
    assert_eq!(read(text, usize::from(piece), longest), whole, "another cut, other events");
    assert_eq!(read(text, 1, longest), whole, "byte by byte, other events");
    let lines_end_alike: Vec<u8> =
        String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n").into();
    if std::str::from_utf8(text).is_ok() {
        assert_eq!(read(&lines_end_alike, 7, longest), whole, "another line end, other events");
    }
}

fn read(text: &[u8], piece: usize, longest: usize) -> Told {
    let mut reader = Reader::new(longest);
    let mut events = Vec::new();
    for piece in text.chunks(piece.max(1)) {
        reader.read(piece, |found| {
            events.push(match found {
                Found::Event { name, data } => {
                    assert!(data.len() <= longest, "more data than an event may have");
                    Ok((name.to_vec(), data.to_vec()))
                }
                Found::TooLong { bytes } => Err(bytes),
            });
        });
    }
    let last_event_id = reader.last_event_id().map(<[u8]>::to_vec);
    Told { events, last_event_id, retry_ms: reader.retry_ms() }
}
