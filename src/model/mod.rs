//! Plain values that every part speaks in. No I/O, no clock, no async.

pub mod bounds;
