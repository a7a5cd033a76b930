//! Keys: made, listed, found, shown, changed, suspended and deleted.

pub(super) mod acl;
pub(super) mod create;
pub(super) mod expiry;
pub(super) mod ip;
pub(super) mod limits;
pub(super) mod list;
pub(super) mod members;
pub(super) mod one;
pub(super) mod quota;
pub(super) mod revoke;
pub(super) mod rotate;
pub(super) mod search;
pub(super) mod subject;
pub(super) mod suspend;
pub(super) mod tags;
pub(super) mod view;
