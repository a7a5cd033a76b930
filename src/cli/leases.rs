//! `paygate ledger leases` and `settle-lease`: what instances may sell without Redis, and the lease of one
//! that will not come back.

use std::fmt::Write as _;

use secrecy::SecretString;
use tokio::runtime::Builder;

use super::output;
use crate::config::{LeasesFlags, SettleLeaseFlags};
use crate::model::audit::AuditEvent;
use crate::store::redis::{LeaseOut, RedisClock, RedisOptions, RedisReach, RedisStore, SettleAs};
use crate::store::{Deed, Store, StoreError, clock};

/// The rights of whoever has the URL of the books are those of the admin key.
const ACTOR: &str = "cli";

pub(super) fn list(flags: &LeasesFlags) -> Result<(), String> {
    let all = with(&flags.redis, async |store| store.leases().await.map_err(|why| why.to_string()));
    output::print(&table(&all.map_err(|why| format!("ledger leases: {why}"))?));
    Ok(())
}

pub(super) fn settle(flags: &SettleLeaseFlags) -> Result<(), String> {
    let settled = with(&flags.redis, async |store| settle_in(store, flags).await);
    output::print(&settled.map_err(|why| format!("ledger settle-lease: {why}"))?);
    Ok(())
}

async fn settle_in(store: &RedisStore, flags: &SettleLeaseFlags) -> Result<String, String> {
    let all = store.leases().await.map_err(|why| why.to_string())?;
    let Some(lease) = all.into_iter().find(|lease| lease.id == flags.lease) else {
        return Err(format!(
            "there is no lease {}; `paygate ledger leases` lists those there are",
            flags.lease
        ));
    };
    let (settle, word) = if flags.returned {
        (SettleAs::Returned, "returned to the customer")
    } else {
        (SettleAs::Spent, "spent")
    };
    let message = format!("lease {} of instance {} settled as {word}", lease.id, lease.instance);
    let event = AuditEvent {
        at: clock::now(),
        kind: "lease.settled",
        actor: ACTOR.to_owned(),
        actor_id: None,
        namespace: Some(lease.namespace.clone()),
        target: Some(lease.key.clone()),
        message,
        metadata: serde_json::Map::new(),
    };
    let event = event.with("lease", lease.id.clone()).with("credits", lease.credits);
    let deed = Deed { reason: flags.reason.clone(), audit: Some(event), once: None };
    let done = store.settle_lease(&lease.namespace, &lease.id, settle, deed, clock::now()).await;
    match done {
        Ok(credits) => Ok(format!("{credits} credits of {} are {word}", lease.key)),
        Err(StoreError::Conflict) if lease.is_settled => {
            Err(format!("lease {} was settled before", lease.id))
        }
        Err(StoreError::Conflict) => Err(format!(
            "its instance may sell from lease {} until {}; settle it after that",
            lease.id, lease.until
        )),
        Err(why) => Err(why.to_string()),
    }
}

/// Opens the books for one question.
fn with<T>(
    url: &SecretString,
    ask: impl AsyncFnOnce(&RedisStore) -> Result<T, String>,
) -> Result<T, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| format!("the system does not let it run: {why}"))?;
    runtime.block_on(async {
        let (url, reach, clock) = (url.clone(), RedisReach::default(), RedisClock::Server);
        let options = RedisOptions { url, reach, clock, copy: None };
        let store = RedisStore::open(&options).await.map_err(|why| why.to_string())?;
        let answer = ask(&store).await;
        store.close().await.map_err(|why| why.to_string())?;
        answer
    })
}

fn table(leases: &[LeaseOut]) -> String {
    if leases.is_empty() {
        return "No instance may sell anything without Redis.".to_owned();
    }
    let mut text = String::from("lease, instance, key, credits, until\n");
    for lease in leases {
        let LeaseOut { id, instance, key, credits, until, is_settled, .. } = lease;
        let settled = if *is_settled { ", settled" } else { "" };
        // Writing to a String cannot fail.
        writeln!(text, "{id}  {instance}  {key}  {credits}  {until}{settled}").ok();
    }
    let all = leases.iter().fold(0_i64, |sum, lease| sum.saturating_add(lease.credits));
    write!(text, "{all} credits").ok();
    text
}
