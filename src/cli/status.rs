//! `paygate status`.

use super::client::{self, Ask};
use super::table::Shown;
use crate::config::StatusFlags;

pub(super) fn run(flags: &StatusFlags) -> Result<(), String> {
    let ask = Ask::get("/status").query(&[("namespace", flags.namespace.as_deref())]);
    client::show(&flags.reach, &ask, &Shown::MembersOf("/usage"))
}
