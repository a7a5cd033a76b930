//! Keys that come with their numbers from other books. Those of one tenant are made some hundred at a
//! time, each such part by one script. What a crash leaves out comes with the next import, because a key
//! that is here, or ever was, is never made a second time.

use std::collections::{BTreeMap, HashSet};

use redis::cmd;
use serde_json::json;

use crate::model::bounds::{REDIS_CONFLICT_TRIES, REDIS_IMPORTED_AT_ONCE};
use crate::model::ids::KeyId;
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::detail::{DetailText, postings_list};
use crate::store::redis::books::{Books, RedisStore};
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::deeds::Plan;
use crate::store::{Arrival, Deed, StoreError};

impl Plan {
    /// Takes over an account that other books kept.
    fn open_account(
        &mut self,
        place: usize,
        arrival: &Arrival,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        let opening = &arrival.opening;
        let (mut postings, mut detail) = (String::new(), String::new());
        postings_list(&mut postings, &opening.postings, &opening.account);
        DetailText::of(&mut detail, |detail| {
            detail.opening(opening);
            detail.reason(reason);
        });
        let postings: serde_json::Value = serde_json::from_str(&postings)
            .map_err(|error| StoreError::Read(format!("an account cannot be written: {error}")))?;
        self.openings.push(json!({
            "key": place, "account": opening.account.as_str(), "postings": postings,
            "amount": opening.credits(), "last": opening.last_call.map_or(0, Time::ms),
            "detail": detail,
        }));
        Ok(())
    }
}

impl RedisStore {
    /// Those of some keys that were never here. Only looks.
    pub async fn unknown_of(
        &self,
        wanted: Vec<(KeyId, Digest)>,
    ) -> Result<HashSet<KeyId>, StoreError> {
        let mut unknown = HashSet::new();
        for (id, digest) in wanted {
            if !self.books.is_known(&id, &digest).await? {
                unknown.insert(id);
            }
        }
        Ok(unknown)
    }
}

impl Books {
    /// Has nothing ever been written here?
    pub(in crate::store::redis) async fn is_unused(&self) -> Result<bool, StoreError> {
        let mut commands = redis::pipe();
        commands.cmd("EXISTS").arg(names::ORDER);
        commands.cmd("SCARD").arg(names::NAMESPACES);
        let (order, tenants): (i64, i64) = self.link.ask_all(&commands).await?;
        Ok(order == 0 && tenants == 0)
    }

    /// Makes those keys that were never here; which of them are made.
    pub(in crate::store::redis) async fn import(
        &self,
        arrivals: Vec<Arrival>,
        deed: Deed,
        now: Time,
    ) -> Result<HashSet<KeyId>, StoreError> {
        let (mut tenants, mut seen) = (BTreeMap::<String, Vec<Arrival>>::new(), HashSet::new());
        for arrival in arrivals {
            if seen.insert(arrival.key.id.clone()) {
                tenants.entry(arrival.key.namespace.clone()).or_default().push(arrival);
            }
        }
        let (mut made, mut credits) = (HashSet::new(), 0_i64);
        for (namespace, arrivals) in tenants {
            self.begin_books(&namespace).await?;
            for part in arrivals.chunks(REDIS_IMPORTED_AT_ONCE) {
                for arrival in self.import_part(&namespace, part, &deed, now).await? {
                    credits = credits.saturating_add(arrival.opening.credits());
                    made.insert(arrival.key.id.clone());
                }
            }
        }
        if let Some(event) = deed.audit.filter(|_| !made.is_empty()) {
            self.note(&event.with("keys", made.len()).with("credits", credits)).await?;
        }
        Ok(made)
    }

    async fn import_part<'a>(
        &self,
        namespace: &str,
        part: &'a [Arrival],
        deed: &Deed,
        now: Time,
    ) -> Result<Vec<&'a Arrival>, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut new = Vec::with_capacity(part.len());
            for arrival in part {
                let key = &arrival.key;
                let is_known = self.is_known(&key.id, &key.digest).await?;
                if !is_known && self.claims(&key.digest, &key.id, namespace).await? {
                    new.push(arrival);
                }
            }
            if new.is_empty() {
                return Ok(new);
            }
            match self.import_new(namespace, &new, deed, now).await {
                Ok(()) => return Ok(new),
                // Somebody else has made one of them meanwhile.
                Err(StoreError::Duplicate) if tries < REDIS_CONFLICT_TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn import_new(
        &self,
        namespace: &str,
        new: &[&Arrival],
        deed: &Deed,
        now: Time,
    ) -> Result<(), StoreError> {
        let count = i64::try_from(new.len()).unwrap_or(i64::MAX);
        let last: i64 = self.link.ask(cmd("INCRBY").arg(names::ORDER).arg(count)).await?;
        let first = last.saturating_sub(count).saturating_add(1);
        let names = Names::of(namespace);
        let (mut hints, mut plan) = (redis::pipe(), Plan::new(&names, namespace, None)?);
        let keys = plan.key(names.keys());
        for (place, arrival) in (first..).zip(new) {
            let id = &arrival.key.id;
            hints.set(names::key(id), namespace).ignore();
            hints.zadd(names::KEYS, format!("{namespace} {id}"), place).ignore();
            let account = plan.put_key_at(&names, &arrival.key, Some(place))?;
            plan.expect.push((account, String::new()));
            plan.open_account(account, arrival, deed.reason.as_deref())?;
            plan.order.push((keys, place.to_string(), id.to_string()));
        }
        let () = self.link.ask_all(&hints).await?;
        self.act(plan, now).await.map(drop)
    }

    /// Is this key here, or was it ever, or does its credential open another one?
    pub(in crate::store::redis) async fn is_known(
        &self,
        id: &KeyId,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        if let Some(namespace) = self.place_of(id).await? {
            let mut get = cmd("HMGET");
            get.arg(Names::of(&namespace).account(&id.account())).arg("rev").arg("gone");
            let fields: Vec<Option<String>> = self.link.ask(&get).await?;
            if fields.iter().any(Option::is_some) {
                return Ok(true);
            }
        }
        Ok(self.owner_of(digest).await?.is_some())
    }
}
