//! JSON-RPC and MCP as bytes: messages in, messages out. No I/O.

pub mod from_server;
