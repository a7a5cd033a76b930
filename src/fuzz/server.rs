//! Messages from servers: what goes on to a client differs from what came in nothing but its id or
//! token.

use super::client::assert_json;
use crate::protocol::from_server::{Answer, FromServer};
use crate::protocol::to_client;

/// A line of a guarded server, without its line end.
pub fn server_message(bytes: &[u8]) {
    match FromServer::read(bytes) {
        FromServer::Answer(answer) => check(&answer),
        FromServer::Notification { .. } => {
            let token = "\"the client's own\"";
            if let Some(text) = to_client::progress(bytes, token) {
                assert_json(&text);
            }
        }
        FromServer::Request { id, params, .. } => {
            assert_json(id.as_bytes());
            assert!(params.is_none_or(|params| !params.get().is_empty()));
        }
        FromServer::Malformed(why) => assert!(!why.is_empty()),
    }
}

fn check(answer: &Answer) {
    for id in ["\"a client's\"", "-1.50e3", "0"] {
        assert_json(&answer.with_id(id));
    }
    assert_eq!(answer.is_error(), answer.error_text().is_some());
    assert_ne!(answer.is_error(), answer.result_text().is_some());
    assert!(!(answer.is_error() && answer.is_tool_error()));
    // Nothing but the id changes: with another id of ours the rest is read as before.
    let other = answer.with_id("99");
    let FromServer::Answer(again) = FromServer::read(&other) else {
        panic!("no answer any more: {}", String::from_utf8_lossy(&other));
    };
    assert_eq!(again.id(), 99);
    assert_eq!(again.result_text(), answer.result_text());
    assert_eq!(again.error_text(), answer.error_text());
    assert_eq!(again.with_id("1"), answer.with_id("1"));
}
