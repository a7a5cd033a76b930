//! Whole books: read, verified, repaired, and moved in and out.

pub(super) mod foreign;
pub(super) mod leave;
pub(super) mod migrate;
pub(super) mod put;
pub(super) mod repair;
pub(super) mod repair_common;
pub(super) mod sources;
pub(super) mod verify;
pub(super) mod whole;
