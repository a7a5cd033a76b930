//! Plain values that every part speaks in. No I/O, no clock, no async.

pub mod address;
pub mod alert;
pub mod audit;
pub mod bounds;
pub mod denial;
pub mod id_map;
pub mod idempotency;
pub mod ids;
pub mod key;
pub mod labels;
pub mod name_map;
pub mod namespace;
pub mod outcome;
pub mod secret;
pub mod spelling;
pub mod team;
pub mod text;
pub mod time;
pub mod token;
pub mod usage;
pub mod webhook;
