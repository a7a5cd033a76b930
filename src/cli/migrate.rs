//! `paygate migrate`: whole books from a file into Redis, or from Redis into a file.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Builder;

use super::ledger::place;
use super::output;
use crate::config::MigrateFlags;
use crate::store::redis;

pub(super) fn run(flags: &MigrateFlags) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|why| format!("migrate: the system does not let it run: {why}"))?;
    runtime.block_on(migrate(flags)).map_err(|why| format!("migrate: {why}"))
}

async fn migrate(flags: &MigrateFlags) -> Result<(), String> {
    let MigrateFlags { from, to, redis_ca, sentinel, db } = flags;
    let place = |url: &SecretString| place(url, redis_ca.as_deref(), sentinel);
    let next = match (file(from), file(to)) {
        (Some(from), None) => {
            if db.len() > 1 {
                return Err("name one --db at most, the file for one instance's copy".to_owned());
            }
            let to = &place(to);
            let moved = redis::migrate_to_redis(from, to).await.map_err(|why| why.to_string())?;
            output::print(&moved.to_string());
            if let Some(copy) = db.first() {
                let copied = redis::copy_journals(to, copy).await;
                copied
                    .map_err(|why| format!("the books have moved, but there is no copy: {why}"))?;
            }
            format!(
                "{} is closed: no start opens it by mistake; from now on start Paygate with --redis-url",
                from.display()
            )
        }
        (None, Some(to)) => {
            let moved = redis::migrate_to_file(&place(from), db, to)
                .await
                .map_err(|why| why.to_string())?;
            output::print(&moved.to_string());
            "the books in Redis stay closed; what cannot go into a file without loss is usage that was refused, which the \
             instances' copies have"
                .to_owned()
        }
        (Some(_), Some(_)) => {
            return Err("both are files; copy books with `paygate backup`".to_owned());
        }
        (None, None) => return Err("both are Redis; move them to a file first".to_owned()),
    };
    output::print(&next);
    Ok(())
}

/// The file that is named, if it is one.
fn file(place: &SecretString) -> Option<&Path> {
    let text = place.expose_secret();
    (!text.contains("://")).then(|| Path::new(text))
}
