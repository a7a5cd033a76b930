//! `paygate backup` and `paygate restore`: the same copy, in one direction and in the other.

use std::path::Path;

use super::output;
use crate::config::{BackupFlags, RestoreFlags};
use crate::store::local;

pub(super) fn backup(flags: &BackupFlags) -> Result<(), String> {
    copy(&flags.db, &flags.to, "backup")
}

pub(super) fn restore(flags: &RestoreFlags) -> Result<(), String> {
    copy(&flags.from, &flags.db, "restore")
}

fn copy(from: &Path, to: &Path, command: &str) -> Result<(), String> {
    let report = local::copy(from, to).map_err(|why| format!("{command}: {why}"))?;
    output::print(&format!("{} holds a copy of {}\n{report}", to.display(), from.display()));
    Ok(())
}
