//! JSON-RPC and MCP as bytes: messages in, messages out. No I/O.
//!
//! [`from_client`] reads what customers send, [`from_server`] what a guarded server sends;
//! [`to_server`] and [`to_client`] write; [`outgoing`] is what a transport sees of a line. [`object`] is a JSON object whose values stay text, and
//! [`spelling`] is the rule that a member with a meaning is written in one way and once.
//! [`version`] lists the protocol versions; [`sse`] reads event streams.

pub mod from_client;
pub mod from_server;
pub mod object;
pub mod outgoing;
pub mod result_kind;
pub mod spelling;
pub mod sse;
pub mod to_client;
pub mod to_server;
pub mod version;
