//! What must hold for any bytes that a server writes. See `crate::fuzz`.

use super::child::lines_in_pieces;
use super::id_scan::IdScan;
use crate::protocol::from_server::FromServer;

/// The lines are the same however they are cut, and a line that is too long is counted and its id
/// found as if it had been kept. The first two bytes say how to cut and what is too long.
pub(crate) fn line_framing(bytes: &[u8]) {
    let &[piece, longest, ref text @ ..] = bytes else { return };
    let (piece, longest) = (usize::from(piece).max(1), usize::from(longest));
    let mut expected: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    expected.pop();
    let lines = lines_in_pieces(text, piece, longest);
    assert_eq!(lines.len(), expected.len());
    for (line, expected) in lines.iter().zip(expected) {
        match line {
            Ok(line) => assert!(line == expected && line.len() <= longest),
            Err((length, id)) => {
                assert!(*length == expected.len() && expected.len() > longest);
                assert_eq!(*id, IdScan::of(expected), "{}", String::from_utf8_lossy(expected));
            }
        }
        check_id(expected);
    }
}

/// The quick search and the reader of whole messages never find two different ids.
fn check_id(line: &[u8]) {
    if let (Some(scanned), FromServer::Answer(answer)) = (IdScan::of(line), FromServer::read(line))
    {
        assert_eq!(scanned, answer.id(), "{}", String::from_utf8_lossy(line));
    }
}
