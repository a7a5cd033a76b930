//! The operator's API: one file per noun.

mod placeholder;
pub use placeholder::{AdminOptions, ClientAddress, Denied, router};
