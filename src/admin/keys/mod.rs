//! Keys: made, listed, shown, changed, suspended and deleted.

pub(super) mod create;
pub(super) mod list;
pub(super) mod members;
pub(super) mod one;
pub(super) mod suspend;
