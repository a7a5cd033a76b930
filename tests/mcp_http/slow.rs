//! Clients that never finish what they send are given up, and hold up nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{raw_request, start};

/// Paygate waits a minute for a head and half of one for a body.
const CEILING: Duration = Duration::from_secs(90);

#[test]
fn unfinished_requests_are_given_up() {
    let paygate = start(json!({}));
    let whole =
        raw_request("", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).to_bytes(&paygate.address);
    let body_at = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    // In the head's first line, in its headers, in the body; and nothing at all.
    let cuts = [0, 10, body_at - 3, body_at + 5];
    thread::scope(|scope| {
        for cut in cuts {
            let (paygate, part) = (&paygate, &whole[..cut]);
            scope.spawn(move || {
                let mut stream = TcpStream::connect(&paygate.address).unwrap();
                stream.set_read_timeout(Some(CEILING)).unwrap();
                stream.write_all(part).unwrap();
                let mut answer = Vec::new();
                // The end of the connection, with or without an answer; a time-out is an error.
                stream
                    .read_to_end(&mut answer)
                    .unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
                let text = String::from_utf8_lossy(&answer);
                assert!(
                    text.is_empty() || text.starts_with("HTTP/1.1 408"),
                    "cut at {cut}: {text}"
                );
            });
        }
        assert_eq!(paygate.rpc("", "ping", &json!({})).status, 200);
    });
    assert_eq!(paygate.rpc("", "ping", &json!({})).status, 200);
}
