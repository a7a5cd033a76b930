//! Who may do what: the admin key, admin tokens, and who made a request.

pub(super) mod actor;
pub(super) mod auth;
pub(super) mod tokens;
