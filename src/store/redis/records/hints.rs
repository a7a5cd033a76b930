//! The hints outside the slots of tenants: without them nobody finds a key by its credential or its id.

use std::collections::BTreeMap;

use redis::cmd;

use crate::model::ids::{AccountId, KeyId};
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::image::{Image, OnceDone, Record};
use crate::store::redis::link::Link;
use crate::store::redis::names;
use crate::store::redis::records::lists::CHUNK;
use crate::store::{StoreError, clock};

/// What a hint of a credential begins with.
fn claim(namespace: &str, id: &AccountId) -> String {
    format!("{namespace} {id} ")
}

fn digests(record: &Record) -> impl Iterator<Item = Digest> {
    let hex = [&record.digest, &record.old].into_iter();
    hex.filter_map(|hex| Digest::from_slice(&hex::decode(hex).ok()?))
}

/// Hints that lead nowhere, or elsewhere, in words.
pub(in crate::store::redis) async fn missing(
    link: &Link,
    image: &Image,
    namespace: &str,
) -> Result<Vec<String>, StoreError> {
    let mut missing = Vec::new();
    let keys: Vec<_> = image.keys.iter().collect();
    for chunk in keys.chunks(CHUNK) {
        let (mut commands, mut expected) = (redis::pipe(), Vec::new());
        for (id, (place, record)) in chunk {
            let Some(key) = KeyId::parse(id.as_str()) else { continue };
            commands.cmd("GET").arg(names::key(&key));
            expected.push((id, "its tenant", namespace.to_owned()));
            for digest in digests(record) {
                commands.cmd("GET").arg(names::digest(&digest));
                expected.push((id, "its credential", claim(namespace, id)));
            }
            commands.cmd("ZSCORE").arg(names::KEYS).arg(format!("{namespace} {id}"));
            expected.push((id, "its place among all", place.to_string()));
        }
        let found: Vec<Option<String>> = link.ask_all(&commands).await?;
        for ((id, what, expected), found) in expected.into_iter().zip(found) {
            // The moment of a claim stands behind it.
            let is_right = |found: &String| {
                *found == expected || (expected.ends_with(' ') && found.starts_with(&expected))
            };
            if !found.as_ref().is_some_and(is_right) {
                missing.push(format!("{id}: the hint of {what} is missing"));
            }
        }
    }
    Ok(missing)
}

/// Writes all hints to the keys of a tenant.
pub(in crate::store::redis) async fn write(
    link: &Link,
    namespace: &str,
    image: &Image,
) -> Result<(), StoreError> {
    let here = clock::now().ms();
    let keys: Vec<_> = image.keys.iter().collect();
    let mut newest = 0;
    for chunk in keys.chunks(CHUNK) {
        let mut commands = redis::pipe();
        for (id, (place, record)) in chunk {
            let Some(key) = KeyId::parse(id.as_str()) else { continue };
            newest = newest.max(*place);
            commands.set(names::key(&key), namespace).ignore();
            for digest in digests(record) {
                let claim = format!("{}{here}", claim(namespace, id));
                commands.set(names::digest(&digest), claim).ignore();
            }
            commands.zadd(names::KEYS, format!("{namespace} {id}"), *place).ignore();
        }
        let () = link.ask_all(&commands).await?;
    }
    write_once(link, namespace, &image.once, image.now).await?;
    let order: Option<i64> = link.ask(cmd("GET").arg(names::ORDER)).await?;
    if order.unwrap_or(0) < newest {
        let () = link.ask(cmd("SET").arg(names::ORDER).arg(newest)).await?;
    }
    link.ask(cmd("SADD").arg(names::NAMESPACES).arg(namespace)).await
}

/// Whoever repeats what was done once finds the tenant by its id.
async fn write_once(
    link: &Link,
    namespace: &str,
    once: &BTreeMap<String, OnceDone>,
    now: Time,
) -> Result<(), StoreError> {
    let once: Vec<_> = once.iter().filter(|(_, done)| now < done.until).collect();
    for chunk in once.chunks(CHUNK) {
        let mut commands = redis::pipe();
        for (id, done) in chunk {
            let length = done.until.since_ms(now).max(1);
            commands.cmd("SET").arg(names::once(id)).arg(namespace).arg("PX").arg(length).ignore();
        }
        let () = link.ask_all(&commands).await?;
    }
    Ok(())
}
