//! Making and listing keys.

pub(super) mod create;
pub(super) mod list;
