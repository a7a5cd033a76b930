//! JSON-RPC and MCP as bytes: messages in, messages out. No I/O.
//!
//! [`from_client`] reads what customers send, [`from_server`] what a guarded server sends;
//! [`to_server`] and [`to_client`] write; [`outgoing`] is what a transport sees of a line. [`object`]
//! is a JSON object whose values stay text, and [`spelling`] is the rule that a member with a meaning
//! is written in one way and once.
//! [`version`] lists the protocol versions; [`modern`] is what the era without handshakes asks of a
//! request, and [`sealed`] what is handed to a client to be brought back unchanged. [`sse`] reads event
//! streams.

pub mod canonical;
pub mod from_client;
pub mod from_server;
pub mod lists;
pub mod modern;
pub mod object;
pub mod outgoing;
pub mod result_kind;
pub mod sealed;
pub mod spelling;
pub mod sse;
pub mod to_client;
pub mod to_server;
pub mod version;
