//! The journals: their rows, this instance's copy of them, and what the two say of each other.

pub(super) mod compare;
pub(super) mod copy;
pub(super) mod epochs;
pub(super) mod journal;
pub(super) mod losses;
pub(super) mod refusals;
pub(super) mod streams;
