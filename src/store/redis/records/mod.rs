//! Records and credits: what operators make and change, each change by one plan, and the lists of it.

pub(super) mod credits;
pub(super) mod deeds;
pub(super) mod hints;
pub(super) mod import;
pub(super) mod keys;
pub(super) mod lists;
pub(super) mod places;
pub(super) mod sums;
pub(super) mod teams;
pub(super) mod tenants;
pub(super) mod tokens;
