//! Records of keys: read, made, changed, taken out.

use std::sync::Arc;

use redis::cmd;
use serde_json::json;

use crate::model::bounds::{REDIS_CLAIM_AGE, REDIS_CONFLICT_TRIES};
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::namespace::Namespace;
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::record::{KeyHead, KeyRecord};
use crate::store::redis::books::Books;
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::deeds::{Done, Plan};
use crate::store::{Creation, Deed, StoreError, clock};

/// The fields of a key's hash that are not counters.
pub(in crate::store::redis) const FIELDS: [&str; 4] = ["rev", "record", "digest", "old"];

/// A key from these fields, if they are there.
pub(in crate::store::redis) fn read(
    id: &KeyId,
    namespace: &str,
    fields: &[Option<String>],
) -> Result<Option<Key>, StoreError> {
    let [Some(rev), Some(record), Some(digest), old] = fields else { return Ok(None) };
    let strange = |why: &str| StoreError::Read(format!("the record of {id} is none: {why}"));
    let digest_of = |text: &str| Digest::from_slice(&hex::decode(text).ok()?);
    let head = KeyHead {
        id: id.clone(),
        digest: digest_of(digest).ok_or_else(|| strange("its digest"))?,
        old_digest: old.as_deref().and_then(digest_of),
        namespace: namespace.to_owned(),
        revision: rev.parse().map_err(|_| strange("its revision"))?,
    };
    let record: KeyRecord =
        serde_json::from_str(record).map_err(|error| strange(&error.to_string()))?;
    record.key(head).map(Some).map_err(|why| strange(&why))
}

/// The fields of a key, for a plan.
fn fields(place: usize, key: &Key) -> Result<Vec<serde_json::Value>, StoreError> {
    let old = key.old.map_or_else(String::new, |old| hex::encode(old.digest.bytes()));
    let digest = hex::encode(key.digest.bytes());
    let record = record_text(key)?;
    let revision = key.revision.to_string();
    let put = json!([place, "rev", revision, "record", record, "digest", digest, "old", old]);
    match put {
        serde_json::Value::Array(put) => Ok(put),
        _ => Ok(Vec::new()),
    }
}

/// Does it open the key, or did before a rotation whose grace may have ended?
fn has_credential(key: &Key, digest: &Digest) -> bool {
    key.digest.same(digest) || key.old.is_some_and(|old| old.digest.same(digest))
}

pub(in crate::store::redis) fn record_text(key: &Key) -> Result<String, StoreError> {
    serde_json::to_string(&KeyRecord::of(key))
        .map_err(|error| StoreError::Read(format!("a key's record cannot be written: {error}")))
}

impl Plan {
    /// Writes a key's record.
    pub(in crate::store::redis) fn put_key(
        &mut self,
        names: &Names,
        key: &Key,
    ) -> Result<usize, StoreError> {
        self.put_key_at(names, key, None)
    }

    /// The same of a key that is made, with its place in the order.
    pub(in crate::store::redis) fn put_key_at(
        &mut self,
        names: &Names,
        key: &Key,
        order: Option<i64>,
    ) -> Result<usize, StoreError> {
        let place = self.key(names.account(&key.id.account()));
        let put = fields(place, key)?;
        self.put.push(put);
        let old = key.old.map_or_else(|| "-".to_owned(), |old| hex::encode(old.digest.bytes()));
        let order = order.map_or_else(String::new, |order| format!(" {order}"));
        let more = format!("{} {} {old}{order}", key.revision, hex::encode(key.digest.bytes()));
        self.told("key", key.id.as_str(), record_text(key)?, more);
        Ok(place)
    }
}

impl Books {
    /// The tenant of a key; `None` if it was never made.
    pub(in crate::store::redis) async fn place_of(
        &self,
        id: &KeyId,
    ) -> Result<Option<Arc<str>>, StoreError> {
        if let Some(place) = self.memory().place(id) {
            return Ok(Some(place));
        }
        let namespace: Option<String> = self.link.ask(cmd("GET").arg(names::key(id))).await?;
        let Some(namespace) = namespace else {
            return self.expect_whole(None).await.map(|()| None);
        };
        self.memory().put_place(id, &namespace);
        Ok(Some(namespace.into()))
    }

    /// The record of a key as it is now.
    pub(in crate::store::redis) async fn fresh_key(
        &self,
        id: &KeyId,
    ) -> Result<Option<Arc<Key>>, StoreError> {
        let Some(namespace) = self.place_of(id).await? else { return Ok(None) };
        let mut get = cmd("HMGET");
        get.arg(Names::of(&namespace).account(&id.account())).arg(&FIELDS);
        let mut key = None;
        // What was read while there was news may be older than that, and is not kept.
        for _ in 0..REDIS_CONFLICT_TRIES {
            let asked = self.memory().asked();
            let fields: Vec<Option<String>> = self.link.ask(&get).await?;
            key = read(id, &namespace, &fields)?.map(Arc::new);
            let Some(key) = &key else { break };
            if self.memory().put_key(key, asked) {
                break;
            }
        }
        if key.is_none() {
            self.expect_gone(&namespace, id).await?;
            self.memory().forget_key(id);
        }
        Ok(key)
    }

    /// A key that has no record: was it deleted, or never made?
    pub(in crate::store::redis) async fn expect_gone(
        &self,
        namespace: &str,
        id: &KeyId,
    ) -> Result<(), StoreError> {
        self.expect_whole(Some(namespace)).await?;
        let names = Names::of(namespace);
        // Both at one moment: it may be made just now.
        let mut commands = redis::pipe();
        commands.atomic();
        commands.cmd("ZSCORE").arg(names.keys()).arg(id.as_str());
        commands.cmd("HEXISTS").arg(names.account(&id.account())).arg("rev");
        let (listed, has_record): (Option<String>, bool) = self.link.ask_all(&commands).await?;
        match listed {
            Some(_) if !has_record => Err(self.damaged(namespace, &format!("key {id}"))),
            _ => Ok(()),
        }
    }

    /// A key, as it was a moment ago at most.
    pub(in crate::store::redis) async fn key(
        &self,
        id: &KeyId,
    ) -> Result<Option<Arc<Key>>, StoreError> {
        let known = self.memory().key(id);
        let key = match known {
            Some(key) => Some(key),
            None => match self.fresh_key(id).await {
                Err(StoreError::Unavailable(why)) => {
                    let known = self.memory().last_known(id);
                    Some(known.ok_or(StoreError::Unavailable(why))?)
                }
                key => key?,
            },
        };
        self.learn_team(key.as_deref()).await?;
        Ok(key)
    }

    /// The key that a credential opens. While Redis is away it is the last that is known: what costs something
    /// is refused by then, and what costs nothing goes on.
    pub(in crate::store::redis) async fn key_by_digest(
        &self,
        digest: &Digest,
        now: Time,
    ) -> Result<Option<Arc<Key>>, StoreError> {
        let known = self.memory().key_with(digest);
        let key = match known {
            Some(key) => Some(key),
            None => match self.key_of(digest).await {
                Err(StoreError::Unavailable(why)) => {
                    let known = self.memory().last_known_with(digest);
                    Some(known.ok_or(StoreError::Unavailable(why))?)
                }
                key => key?,
            },
        };
        let key = key.filter(|key| key.opened_by(digest, now));
        self.learn_team(key.as_deref()).await?;
        Ok(key)
    }

    /// The key that a credential leads to.
    async fn key_of(&self, digest: &Digest) -> Result<Option<Arc<Key>>, StoreError> {
        let Some(claim) = self.claimed_by(digest).await? else { return Ok(None) };
        self.memory().put_place(&claim.id, &claim.namespace);
        self.fresh_key(&claim.id).await
    }

    /// Are the copies old by which a key was refused? Then they are not believed any more.
    pub(in crate::store::redis) async fn are_old(
        &self,
        key: &Key,
        tenant: &Namespace,
    ) -> Result<bool, StoreError> {
        let names = Names::of(&key.namespace);
        let mut commands = redis::pipe();
        commands.hget(names.account(&key.id.account()), "rev").hget(names.meta(), "rev");
        let now: (Option<u64>, Option<u64>) = self.link.ask_all(&commands).await?;
        let are_old = now.0 != Some(key.revision) || now.1.unwrap_or(0) != tenant.revision;
        if are_old {
            let mut memory = self.memory();
            memory.forget_key(&key.id);
            memory.doubt(&key.namespace);
        }
        Ok(are_old)
    }

    /// The key that has a credential, whatever its state.
    pub(in crate::store::redis) async fn owner_of(
        &self,
        digest: &Digest,
    ) -> Result<Option<Arc<Key>>, StoreError> {
        let owner = self.key_of(digest).await?;
        Ok(owner.filter(|key| has_credential(key, digest)))
    }

    /// Claims a credential; false if it is somebody else's.
    pub(in crate::store::redis) async fn claims(
        &self,
        digest: &Digest,
        id: &KeyId,
        namespace: &str,
    ) -> Result<bool, StoreError> {
        match self.claim(digest, id, namespace).await {
            Ok(()) => Ok(true),
            Err(StoreError::Duplicate) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn claimed_by(&self, digest: &Digest) -> Result<Option<Claim>, StoreError> {
        let hint = self.hint_of(digest).await?;
        Ok(hint.as_deref().and_then(Claim::read))
    }

    /// Claims a credential for a key, before the key has it. A claim of somebody else counts while
    /// their key is there, or may come.
    async fn claim(&self, digest: &Digest, id: &KeyId, namespace: &str) -> Result<(), StoreError> {
        let here = clock::now();
        let claim = Claim { namespace: namespace.to_owned(), id: id.clone(), at: here };
        let mut set = cmd("SET");
        set.arg(names::digest(digest)).arg(claim.text()).arg("NX").arg("GET");
        let before: Option<String> = self.link.ask(&set).await?;
        let Some(before) = before.as_deref().and_then(Claim::read) else { return Ok(()) };
        if before.id == *id {
            return Ok(());
        }
        self.memory().put_place(&before.id, &before.namespace);
        let owner = self.fresh_key(&before.id).await?;
        let age_ms = i64::try_from(REDIS_CLAIM_AGE.as_millis()).unwrap_or(i64::MAX);
        if owner.as_ref().is_some_and(|key| has_credential(key, digest))
            || here.since_ms(before.at) < age_ms
        {
            return Err(StoreError::Duplicate);
        }
        let mut set = cmd("SET");
        set.arg(names::digest(digest)).arg(claim.text());
        self.link.ask(&set).await
    }

    /// Gives up claims.
    async fn unclaim(&self, digests: &[Digest]) -> Result<(), StoreError> {
        if digests.is_empty() {
            return Ok(());
        }
        let mut commands = redis::pipe();
        for digest in digests {
            commands.del(names::digest(digest)).ignore();
        }
        self.link.ask_all(&commands).await
    }

    /// Makes a key.
    pub(in crate::store::redis) async fn create_key(
        &self,
        key: Key,
        credits: i64,
        deed: Deed,
        now: Time,
    ) -> Result<Creation, StoreError> {
        let names = Names::of(&key.namespace);
        self.begin_books(&key.namespace).await?;
        self.claim(&key.digest, &key.id, &key.namespace).await?;
        let place: i64 = self.link.ask(cmd("INCR").arg(names::ORDER)).await?;
        let mut hints = redis::pipe();
        hints.set(names::key(&key.id), &key.namespace).ignore();
        hints.zadd(names::KEYS, format!("{} {}", key.namespace, key.id), place).ignore();
        let () = self.link.ask_all(&hints).await?;

        let Deed { once, reason, audit } = deed;
        let is_once = once.is_some();
        let mut plan = Plan::new(&names, &key.namespace, once)?;
        let account = plan.put_key_at(&names, &key, Some(place))?;
        plan.expect.push((account, String::new()));
        if credits != 0 {
            plan.credit(account, &key.id.account(), &json!(credits), "grant", reason.as_deref());
        }
        let keys = plan.key(names.keys());
        plan.order.push((keys, place.to_string(), key.id.to_string()));
        plan.audit(audit);
        plan.show = Some(account);
        match self.act(plan, now).await {
            Ok(Done::Now(_) | Done::Refunded(_)) => Ok(Creation::Made(Arc::new(key))),
            Ok(Done::Before(_, note)) => {
                let made = self.fresh_key(&key.id).await?;
                if let Some(made) = made.filter(|_| is_once) {
                    // It was this attempt, whose answer was lost.
                    return Ok(Creation::Made(made));
                }
                self.unmake(&key).await?;
                Ok(Creation::Repeated(note))
            }
            // Whether it was made is not known; the hints lead nowhere if it was not.
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            Err(error) => {
                let is_there = self.fresh_key(&key.id).await?.is_some();
                if !is_there {
                    self.unmake(&key).await?;
                }
                Err(error)
            }
        }
    }

    /// Takes away the hints to a key that was not made.
    async fn unmake(&self, key: &Key) -> Result<(), StoreError> {
        self.unclaim(&[key.digest]).await?;
        let mut hints = redis::pipe();
        hints.zrem(names::KEYS, format!("{} {}", key.namespace, key.id)).ignore();
        self.link.ask_all(&hints).await
    }

    /// Replaces a key's record.
    pub(in crate::store::redis) async fn update_key(
        &self,
        mut key: Key,
        deed: Deed,
    ) -> Result<Arc<Key>, StoreError> {
        let before = self.fresh_key(&key.id).await?.ok_or(StoreError::NotFound)?;
        if before.revision != key.revision {
            return Err(StoreError::Conflict);
        }
        let names = Names::of(&before.namespace);
        let has_new_credential = before.digest != key.digest;
        if has_new_credential {
            self.claim(&key.digest, &key.id, &before.namespace).await?;
        }
        key.revision = key.revision.saturating_add(1);
        let mut plan = Plan::new(&names, &before.namespace, deed.once)?;
        let account = plan.put_key(&names, &key)?;
        plan.expect.push((account, before.revision.to_string()));
        plan.audit(deed.audit);
        let done = self.act(plan, self.present()).await;
        if let Err(error) = done {
            if has_new_credential && !matches!(error, StoreError::Unavailable(_)) {
                self.unclaim(&[key.digest]).await?;
            }
            self.memory().forget_key(&key.id);
            return Err(error);
        }
        let opens = |digest: &Digest| {
            key.digest == *digest || key.old.is_some_and(|old| old.digest == *digest)
        };
        let credentials = [Some(before.digest), before.old.map(|old| old.digest)];
        let gone: Vec<Digest> =
            credentials.into_iter().flatten().filter(|digest| !opens(digest)).collect();
        self.memory().forget_key(&key.id);
        if let Err(error) = self.unclaim(&gone).await {
            // A hint more: the record decides.
            tracing::debug!(target: "store", %error, "an old credential's hint is still there");
        }
        Ok(Arc::new(key))
    }

    /// Takes a key out.
    pub(in crate::store::redis) async fn delete_key(
        &self,
        id: &KeyId,
        deed: Deed,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let key = self.fresh_key(id).await?.ok_or(StoreError::NotFound)?;
            match self.delete_once(&key, deed.clone(), now).await {
                Err(StoreError::Conflict) if tries < REDIS_CONFLICT_TRIES => {}
                result => return result,
            }
        }
    }

    async fn delete_once(&self, key: &Key, deed: Deed, now: Time) -> Result<(), StoreError> {
        let (id, names) = (&key.id, Names::of(&key.namespace));
        let mut plan = Plan::new(&names, &key.namespace, deed.once)?;
        let account = plan.key(names.account(&id.account()));
        plan.expect.push((account, key.revision.to_string()));
        let reason = deed.reason.as_deref().or(Some("key deleted"));
        plan.credit(account, &id.account(), &json!("rest"), "adjust", reason);
        plan.put.push(vec![json!(account), json!("gone"), json!("1")]);
        plan.drop.push(vec![
            json!(account),
            json!("rev"),
            json!("record"),
            json!("digest"),
            json!("old"),
        ]);
        plan.told("deleted", id.as_str(), "{}".to_owned(), String::new());
        let keys = plan.key(names.keys());
        plan.leave.push((keys, id.to_string()));
        let team = self.leave_team(&mut plan, &names, key).await?;
        plan.audit(deed.audit);
        self.act(plan, now).await?;
        self.learn_change(key, team).await?;
        let credentials = [Some(key.digest), key.old.map(|old| old.digest)];
        let gone: Vec<Digest> = credentials.into_iter().flatten().collect();
        self.unclaim(&gone).await?;
        let mut hints = redis::pipe();
        hints.zrem(names::KEYS, format!("{} {}", key.namespace, id)).ignore();
        self.link.ask_all(&hints).await
    }
}

/// What a hint says about a credential.
struct Claim {
    namespace: String,
    id: KeyId,
    /// When it was claimed, by the clock of whoever did.
    at: Time,
}

impl Claim {
    fn text(&self) -> String {
        format!("{} {} {}", self.namespace, self.id, self.at.ms())
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (namespace, id) = (words.next()?.to_owned(), KeyId::parse(words.next()?)?);
        Some(Self { namespace, id, at: Time::from_ms(words.next()?.parse().ok()?) })
    }
}
