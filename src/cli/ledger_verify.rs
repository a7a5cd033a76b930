//! `paygate ledger verify`: replays the journal against every balance and counter.

use super::output;
use crate::config::VerifyFlags;
use crate::store::local::verify;

pub(super) fn run(flags: &VerifyFlags) -> Result<(), String> {
    let report = verify(&flags.db).map_err(|why| format!("ledger verify: {why}"))?;
    output::print(&report.to_string());
    if report.is_clean() {
        Ok(())
    } else {
        Err(format!(
            "ledger verify: {} contradicts itself; keep this file, and restore a backup or ask for help with the \
             report above",
            flags.db.display()
        ))
    }
}
