//! The life of a call, from a message to its answer: identify, judge, hold, send, settle, answer.
//! Knows nothing of HTTP: a front hands in an [`Inbound`] and writes the [`Reply`] it gets.

mod placeholder;
pub use placeholder::{Proxy, ProxyOptions};

use std::net::IpAddr;

use bytes::Bytes;

use crate::gate::Denied;
use crate::model::ids::CallId;
use crate::store::{RateState, Reading};

/// A body that arrived, with what the transport knows about its sender.
#[derive(Debug)]
pub struct Inbound {
    /// The whole body, within its bound.
    pub body: Bytes,
    /// The raw credential, if any was shown.
    pub credential: Option<String>,
    /// The client's address, unmapped; behind a trusted proxy the one it forwards.
    pub address: IpAddr,
    /// The `MCP-Protocol-Version` header.
    pub protocol_version: Option<String>,
}

/// What a front has to write.
#[derive(Debug)]
pub enum Reply {
    /// A notification or a client's response was taken: 202, no body.
    Accepted,
    /// JSON-RPC text (an answer, an error, or an array of them) that is complete.
    Message(Answer),
    /// A refused request; only `front/reply.rs` knows how that looks.
    Denied(Box<Refused>),
    /// The body is no message at all: HTTP 400 with this JSON-RPC text.
    Malformed(Vec<u8>),
}

/// A complete JSON-RPC text and the numbers that go with it.
#[derive(Debug, Default)]
pub struct Answer {
    /// The text, without a newline.
    pub text: Vec<u8>,
    /// The numbers.
    pub shown: Shown,
}

/// Numbers that travel in headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// On every priced answer.
    pub call: Option<CallId>,
    /// For a valid key: credits and the rate that applies.
    pub reading: Option<Reading>,
}

impl Shown {
    /// The rate, if one applies.
    pub fn rate(&self) -> Option<RateState> {
        self.reading.and_then(|reading| reading.rate)
    }
}

/// A refused request, with all that its answer may tell.
#[derive(Debug)]
pub struct Refused {
    /// The client's id as it was written (raw JSON).
    pub id: String,
    /// Why, and what it would have cost.
    pub denied: Denied,
    /// Milliseconds until a retry may succeed, where waiting helps.
    pub retry_after_ms: Option<i64>,
    /// How many calls a batch asked for; `None` for anything else.
    pub batch_calls: Option<usize>,
    /// `tools/call` can be refused by a result; other methods cannot.
    pub is_tool_call: bool,
    /// The numbers.
    pub shown: Shown,
}
