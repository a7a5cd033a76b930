//! Plain values that every part speaks in. No I/O, no clock, no async.

pub mod address;
pub mod bounds;
pub mod denial;
pub mod id_map;
pub mod ids;
pub mod key;
pub mod namespace;
pub mod secret;
pub mod text;
pub mod time;
