//! Requests read and answers written, whatever they are about.

pub(super) mod answer;
pub(super) mod body;
pub(super) mod csv;
pub(super) mod fields;
pub(super) mod number;
pub(super) mod once;
pub(super) mod query;
pub(super) mod stream;
