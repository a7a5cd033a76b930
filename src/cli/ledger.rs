//! `paygate ledger`: replays the journal against every balance and counter, and brings a Redis that has come
//! back with less up to it.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use tokio::runtime::Builder;

use super::output;
use crate::config::{DB_DEFAULT, RepairFlags, SentinelFlags, VerifyFlags};
use crate::store::local;
use crate::store::redis::{self, RedisPlace};

pub(super) fn verify(flags: &VerifyFlags) -> Result<(), String> {
    let Some(url) = &flags.redis else {
        return verify_file(flags.db.as_deref().unwrap_or(Path::new(DB_DEFAULT)));
    };
    let at = place(url, flags.redis_ca.as_deref(), &flags.sentinel);
    let copies: Vec<PathBuf> = flags.db.iter().cloned().collect();
    let report = runtime()?.block_on(redis::verify(&at, &copies));
    let report = report.map_err(|why| format!("ledger verify: {why}"))?;
    output::print(&report.to_string());
    if report.is_clean() {
        Ok(())
    } else {
        Err("ledger verify: Redis and its journal contradict each other; `paygate ledger repair --redis URL --db COPY` \
             shows what would be written to make it what the journal says"
            .to_owned())
    }
}

fn verify_file(db: &Path) -> Result<(), String> {
    let report = local::verify(db).map_err(|why| format!("ledger verify: {why}"))?;
    output::print(&report.to_string());
    if report.is_clean() {
        Ok(())
    } else {
        Err(format!(
            "ledger verify: {} contradicts itself; keep this file, and restore a backup or ask for help with the \
             report above",
            db.display()
        ))
    }
}

pub(super) fn repair(flags: &RepairFlags) -> Result<(), String> {
    let at = place(&flags.redis, flags.redis_ca.as_deref(), &flags.sentinel);
    let repaired = runtime()?.block_on(redis::repair(&at, &flags.db, flags.apply));
    let report = repaired.map_err(|why| format!("ledger repair: {why}"))?;
    output::print(&report.to_string());
    if !flags.apply {
        return Ok(());
    }
    let report = runtime()?.block_on(redis::verify(&at, &flags.db));
    let report = report.map_err(|why| format!("ledger repair: {why}"))?;
    output::print(&report.to_string());
    if report.is_clean() {
        Ok(())
    } else {
        Err("ledger repair: the books still do not agree; keep the copies, and ask for help with the report above"
            .to_owned())
    }
}

/// The Redis that somebody names on the command line.
pub(super) fn place(url: &SecretString, ca: Option<&Path>, sentinel: &SentinelFlags) -> RedisPlace {
    let (ca, sentinel_login) = (ca.map(Path::to_owned), sentinel.login());
    RedisPlace { url: url.clone(), ca, sentinel_login }
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|why| format!("the system does not let it run: {why}"))
}
