//! The audit log: what is written to it about a request, and how it is read.

pub(super) mod events;
pub(super) mod log;
pub(super) mod refusals;
