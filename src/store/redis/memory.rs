//! What one instance keeps in memory: copies of records, and what it has seen of Redis. Nothing here
//! decides about money.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::alerts::Alerting;
use crate::model::bounds::{REDIS_KEYS_CACHED_MAX, REDIS_RECORD_AGE};
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId, KeyId};
use crate::model::key::Key;
use crate::model::namespace::Namespace;
use crate::model::secret::Digest;
use crate::model::team::{Team, TeamId};
use crate::model::time::Time;
use crate::model::token::AdminToken;
use crate::store::local::copied_rows::ToldRefusal;
use crate::store::{Compared, CreditsMoved, clock};

/// What is known of one tenant's books.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Which books they are; empty if not known yet.
    pub(super) epoch: String,
    /// The newest row of the journal.
    pub(super) seq: i64,
}

/// A hold that this instance opened or goes on with.
#[derive(Clone, Debug)]
pub(super) struct OpenHold {
    pub(super) namespace: String,
    /// The payer, then the others by their place.
    pub(super) accounts: Vec<AccountId>,
    /// Credits that it reserves.
    pub(super) credits: i64,
}

#[derive(Debug)]
struct Copied {
    key: Arc<Key>,
    read: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    keys: IdMap<KeyId, Copied>,
    digests: IdMap<Digest, KeyId>,
    /// Which tenant a key belongs to, for ever.
    places: IdMap<KeyId, Arc<str>>,
    /// Tenants that have a record.
    pub(super) namespaces: HashMap<String, Arc<Namespace>>,
    /// Tenants that have anything.
    pub(super) known: Vec<String>,
    pub(super) teams: HashMap<TeamId, Arc<Team>>,
    pub(super) tokens: HashMap<Digest, Arc<AdminToken>>,
    /// The count of changes up to which those were read.
    pub(super) changes: i64,
    pub(super) seen: HashMap<String, Seen>,
    pub(super) open: IdMap<CallId, OpenHold>,
    pub(super) alerting: Alerting,
    /// Refusals that Redis was not told of yet.
    pub(super) refused: Vec<ToldRefusal>,
    /// What became of held credits on this instance.
    pub(super) moved: CreditsMoved,
    /// What the last comparison found.
    pub(super) compared: Option<Compared>,
    /// What was wrong at the last attempt, if anything.
    pub(super) trouble: Option<String>,
    /// Tenants whose books may not be sold from, because Redis has less of them than this instance has seen
    /// or somebody repairs or moves them: and why.
    pub(super) lost: BTreeMap<String, String>,
    /// The newest ledger time of all, and how far it was ahead of this machine's clock.
    pub(super) ledger_now: Time,
    pub(super) ahead_ms: i64,
    /// How far Redis's clock is ahead of this machine's, or a little less.
    pub(super) redis_ahead_ms: i64,
}

impl Memory {
    /// A hold is in this instance's hands.
    pub(super) fn opened(&mut self, call: CallId, hold: OpenHold) {
        let credits = hold.credits;
        let before = self.open.insert(call, hold);
        self.moved.opened(credits.saturating_sub(before.map_or(0, |before| before.credits)));
    }

    /// A hold has left this instance's hands: it waits, or was not opened after all, or somebody else
    /// has ended it.
    pub(super) fn let_go(&mut self, call: &CallId) {
        if let Some(hold) = self.open.remove(call) {
            self.moved.opened(hold.credits.saturating_neg());
        }
    }

    /// This instance has ended a hold, of whose credits these stay taken.
    pub(super) fn ended(&mut self, call: &CallId, kept: i64) {
        if let Some(hold) = self.open.remove(call) {
            self.moved.ended(hold.credits, kept);
        }
    }
    /// The copy of a key, if it is young enough.
    pub(super) fn key(&self, id: &KeyId) -> Option<Arc<Key>> {
        let copied = self.keys.get(id).filter(|copied| copied.read.elapsed() < REDIS_RECORD_AGE)?;
        Some(Arc::clone(&copied.key))
    }

    /// The key that has or had this credential.
    pub(super) fn key_with(&self, digest: &Digest) -> Option<Arc<Key>> {
        self.key(self.digests.get(digest)?)
    }

    /// The copy of a key, however old: for what costs nothing, while Redis is away.
    pub(super) fn last_known(&self, id: &KeyId) -> Option<Arc<Key>> {
        self.keys.get(id).map(|copied| Arc::clone(&copied.key))
    }

    /// The same by a credential that opens or opened it.
    pub(super) fn last_known_with(&self, digest: &Digest) -> Option<Arc<Key>> {
        self.last_known(self.digests.get(digest)?)
    }

    pub(super) fn put_key(&mut self, key: &Arc<Key>) {
        if self.keys.len() >= REDIS_KEYS_CACHED_MAX {
            self.keys.clear();
            self.digests.clear();
        }
        if self.places.len() >= REDIS_KEYS_CACHED_MAX {
            self.places.clear();
        }
        self.forget_key(&key.id);
        for digest in [Some(key.digest), key.old.map(|old| old.digest)].into_iter().flatten() {
            self.digests.insert(digest, key.id.clone());
        }
        self.places.insert(key.id.clone(), key.namespace.as_str().into());
        let copied = Copied { key: Arc::clone(key), read: Instant::now() };
        self.keys.insert(key.id.clone(), copied);
    }

    pub(super) fn forget_key(&mut self, id: &KeyId) {
        let Some(copied) = self.keys.remove(id) else { return };
        for digest in [Some(copied.key.digest), copied.key.old.map(|old| old.digest)] {
            if let Some(digest) = digest.filter(|digest| self.digests.get(digest) == Some(id)) {
                self.digests.remove(&digest);
            }
        }
    }

    /// Believes no record that was read before.
    pub(super) fn forget_records(&mut self) {
        self.keys.clear();
        self.digests.clear();
        // The next look at the lists reads all of them again.
        self.changes = -1;
    }

    /// Ledger time as Redis has just told it.
    pub(super) fn saw_time(&mut self, now: Time) {
        if now >= self.ledger_now {
            self.ledger_now = now;
            self.ahead_ms = now.ms().saturating_sub(clock::now().ms());
        }
    }

    /// What is known of the books that a key is in.
    pub(super) fn seen_of(&self, id: &KeyId) -> Option<&Seen> {
        self.seen.get(&**self.places.get(id)?)
    }

    pub(super) fn place(&self, id: &KeyId) -> Option<Arc<str>> {
        self.places.get(id).map(Arc::clone)
    }

    pub(super) fn put_place(&mut self, id: &KeyId, namespace: &str) {
        self.places.insert(id.clone(), namespace.into());
    }
}
