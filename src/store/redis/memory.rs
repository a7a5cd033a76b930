//! What one instance keeps in memory: copies of records, and what it has seen of Redis. Nothing here
//! decides about money.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::duties::alerts::Alerting;
use super::journals::refusals::Waiting;
use super::peers::Peers;
use super::runs::Mark;
use crate::model::bounds::{REDIS_CLOCKS_APART, REDIS_KEYS_CACHED_MAX, REDIS_RECORD_AGE};
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId, KeyId};
use crate::model::key::Key;
use crate::model::namespace::Namespace;
use crate::model::secret::Digest;
use crate::model::team::{Team, TeamId};
use crate::model::time::Time;
use crate::model::token::{AdminToken, TokenId};
use crate::store::{Compared, CreditsMoved};

/// What is known of one tenant's books.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Which books they are; empty if not known yet.
    pub(super) epoch: String,
    /// The newest row of the journal.
    pub(super) seq: i64,
    /// The mark of that row; empty if it is not known.
    pub(super) mark: String,
}

/// A hold that this instance opened or goes on with.
#[derive(Clone, Debug)]
pub(super) struct OpenHold {
    pub(super) namespace: String,
    /// The payer, then the others by their place.
    pub(super) accounts: Vec<AccountId>,
    /// Credits that it reserves.
    pub(super) credits: i64,
    /// Whose turn it is to go on with it; `-` before anybody has.
    pub(super) turn: String,
}

/// When something was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AskedAt(u64);

#[derive(Debug)]
struct Copied {
    key: Arc<Key>,
    /// `None` if something may have changed it since.
    read: Option<Instant>,
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
    /// How often this instance has made or ended one, or taken them as they were read.
    token_changes: u64,
    /// The count of changes up to which those were read.
    pub(super) changes: i64,
    /// Tenants and teams by name or id whose record is to be read before it is believed again.
    doubted: HashSet<String>,
    /// Raised whenever something is forgotten: what was asked for before may be old.
    forgotten: u64,
    pub(super) seen: HashMap<String, Seen>,
    pub(super) open: IdMap<CallId, OpenHold>,
    pub(super) alerting: Alerting,
    /// What instances sell by.
    pub(super) peers: Peers,
    /// Refusals that Redis was not told of yet.
    pub(super) refused: Waiting,
    /// What became of held credits on this instance.
    pub(super) moved: CreditsMoved,
    /// What the last comparison found.
    pub(super) compared: Option<Compared>,
    /// Requests with an idempotency key that run here.
    pub(super) runs: HashMap<Digest, Mark>,
    /// What was wrong at the last attempt, if anything.
    pub(super) trouble: Option<String>,
    /// Tenants whose books may not be sold from, because Redis has less of them than this instance has seen
    /// or somebody repairs or moves them: and why.
    pub(super) lost: BTreeMap<String, String>,
    /// Tenants with a record that is gone although a list names it, until a repair: what is wrong.
    pub(super) damaged: BTreeMap<String, String>,
    /// Why this instance's copy of the journals cannot be written, if so.
    pub(super) copy_trouble: Option<String>,
    /// The newest ledger time of all.
    pub(super) ledger_now: Time,
    /// How far Redis's clock is ahead of this machine's, as far as is known.
    pub(super) ahead_ms: i64,
    /// Was it said that it differs?
    pub(super) is_clock_told: bool,
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
        let copied = self.keys.get(id)?;
        copied.read.filter(|read| read.elapsed() < REDIS_RECORD_AGE)?;
        Some(Arc::clone(&copied.key))
    }

    /// The key that has or had this credential.
    pub(super) fn key_with(&self, digest: &Digest) -> Option<Arc<Key>> {
        self.key(self.digests.get(digest)?)
    }

    /// The copy of a key, however old: while Redis is away, for what costs nothing and for what is on lease.
    pub(super) fn last_known(&self, id: &KeyId) -> Option<Arc<Key>> {
        self.keys.get(id).map(|copied| Arc::clone(&copied.key))
    }

    /// The same by a credential that opens or opened it.
    pub(super) fn last_known_with(&self, digest: &Digest) -> Option<Arc<Key>> {
        self.last_known(self.digests.get(digest)?)
    }

    /// Keeps a copy of a key, unless something was forgotten since it was asked for; was it kept?
    pub(super) fn put_key(&mut self, key: &Arc<Key>, asked: AskedAt) -> bool {
        if asked != self.asked() {
            return false;
        }
        if self.keys.len() >= REDIS_KEYS_CACHED_MAX {
            self.keys.clear();
            self.digests.clear();
        }
        if self.places.len() >= REDIS_KEYS_CACHED_MAX {
            self.places.clear();
        }
        self.drop_key(&key.id);
        for digest in [Some(key.digest), key.old.map(|old| old.digest)].into_iter().flatten() {
            self.digests.insert(digest, key.id.clone());
        }
        self.places.insert(key.id.clone(), key.namespace.as_str().into());
        let copied = Copied { key: Arc::clone(key), read: Some(Instant::now()) };
        self.keys.insert(key.id.clone(), copied);
        true
    }

    /// The copy of a key is not believed any more, nor one that is on its way; was there one?
    pub(super) fn forget_key(&mut self, id: &KeyId) -> bool {
        self.forgotten = self.forgotten.wrapping_add(1);
        self.drop_key(id)
    }

    /// All keys are read before they are believed again. Until that can be done they are the last known.
    pub(super) fn doubt_keys(&mut self) {
        self.forgotten = self.forgotten.wrapping_add(1);
        for copied in self.keys.values_mut() {
            copied.read = None;
        }
    }

    /// A moment before something is asked for that is to be kept.
    pub(super) const fn asked(&self) -> AskedAt {
        AskedAt(self.forgotten)
    }

    /// The record of a tenant or a team is read before it is believed again.
    pub(super) fn doubt(&mut self, name: &str) {
        self.doubted.insert(name.to_owned());
    }

    pub(super) fn doubts(&self, name: &str) -> bool {
        self.doubted.contains(name)
    }

    /// It was looked for and is not there, so what is known of it is right.
    pub(super) fn trust(&mut self, name: &str) {
        self.doubted.remove(name);
    }

    /// A tenant's record as it was just read.
    pub(super) fn put_namespace(&mut self, tenant: &Arc<Namespace>) {
        self.doubted.remove(&tenant.name);
        self.namespaces.insert(tenant.name.clone(), Arc::clone(tenant));
    }

    /// A team's record as it was just read.
    pub(super) fn put_team(&mut self, team: &Arc<Team>) {
        self.doubted.remove(team.id.as_str());
        self.teams.insert(team.id.clone(), Arc::clone(team));
    }

    /// A tenant has something in Redis.
    pub(super) fn put_known(&mut self, namespace: &str) {
        if !self.known.iter().any(|known| known == namespace) {
            self.known.push(namespace.to_owned());
        }
    }

    /// Lists as they were read. What was changed here meanwhile is newer; and nothing leaves these lists.
    pub(super) fn put_lists(
        &mut self,
        mut known: Vec<String>,
        tenants: HashMap<String, Arc<Namespace>>,
        teams: HashMap<TeamId, Arc<Team>>,
    ) {
        let read: HashSet<&String> = known.iter().collect();
        let more = self.known.iter().filter(|own| !read.contains(own));
        let more: Vec<String> = more.cloned().collect();
        known.extend(more);
        self.known = known;
        for (name, tenant) in tenants {
            let own = self.namespaces.get(&name);
            if own.is_none_or(|own| own.revision <= tenant.revision) {
                self.namespaces.insert(name, tenant);
            }
        }
        for (id, team) in teams {
            let own = self.teams.get(&id);
            if own.is_none_or(|own| own.revision <= team.revision) {
                self.teams.insert(id, team);
            }
        }
    }

    /// A moment before admin tokens are read.
    pub(super) const fn token_changes(&self) -> u64 {
        self.token_changes
    }

    /// Admin tokens as they were read, unless this instance has made or ended one since, or has read them
    /// otherwise: one that was ended must not open anything again. Were they taken?
    pub(super) fn put_tokens(
        &mut self,
        tokens: HashMap<Digest, Arc<AdminToken>>,
        asked: u64,
    ) -> bool {
        let is_new = asked == self.token_changes;
        if is_new {
            self.token_changes = self.token_changes.wrapping_add(1);
            self.tokens = tokens;
        }
        is_new
    }

    /// This instance has made an admin token.
    pub(super) fn made_token(&mut self, token: AdminToken) {
        self.token_changes = self.token_changes.wrapping_add(1);
        self.tokens.insert(token.digest, Arc::new(token));
    }

    /// This instance has ended an admin token; was it known?
    pub(super) fn ended_token(&mut self, id: &TokenId) -> bool {
        self.token_changes = self.token_changes.wrapping_add(1);
        let before = self.tokens.len();
        self.tokens.retain(|_, token| token.id != *id);
        self.tokens.len() < before
    }

    fn drop_key(&mut self, id: &KeyId) -> bool {
        let Some(copied) = self.keys.remove(id) else { return false };
        for digest in [Some(copied.key.digest), copied.key.old.map(|old| old.digest)] {
            if let Some(digest) = digest.filter(|digest| self.digests.get(digest) == Some(id)) {
                self.digests.remove(&digest);
            }
        }
        true
    }

    /// Believes no record that was read before.
    pub(super) fn forget_records(&mut self) {
        self.forgotten = self.forgotten.wrapping_add(1);
        self.keys.clear();
        self.digests.clear();
        // The next look at the lists reads all of them again.
        self.changes = -1;
    }

    /// Ledger time as Redis has just told it.
    pub(super) fn saw_time(&mut self, at: Time) {
        self.ledger_now = self.ledger_now.max(at);
    }

    /// What Redis's clock said at some moment between two of this machine's. Of all that fits, the two
    /// clocks are taken to differ least: a slow answer says little.
    pub(super) fn saw_clock(&mut self, there: Time, sent: Time, received: Time) {
        let least = there.ms().saturating_sub(received.ms());
        let most = there.ms().saturating_sub(sent.ms()).max(least);
        self.ahead_ms = 0_i64.clamp(least, most);
    }

    /// That the two clocks differ, the first time that they do.
    pub(super) fn clocks_apart(&mut self) -> Option<String> {
        let apart = Duration::from_millis(self.ahead_ms.unsigned_abs());
        if apart < REDIS_CLOCKS_APART || std::mem::replace(&mut self.is_clock_told, true) {
            return None;
        }
        let (seconds, word) =
            (apart.as_secs(), if self.ahead_ms > 0 { "behind" } else { "ahead of" });
        Some(format!(
            "this machine's clock is {seconds} s {word} Redis's: keys expire and the audit log is dated by it; set it right"
        ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::token::{RawToken, Role};

    #[test]
    fn clocks_that_differ_are_told_of_once() {
        let mut memory = Memory { ahead_ms: -4_999, ..Memory::default() };
        assert_eq!(memory.clocks_apart(), None);
        memory.ahead_ms = -93_600_000;
        let said = memory.clocks_apart().unwrap();
        assert!(said.contains("clock is 93600 s ahead of Redis's"), "{said}");
        assert_eq!(memory.clocks_apart(), None, "once");
        let said = Memory { ahead_ms: 5_000, ..Memory::default() }.clocks_apart().unwrap();
        assert!(said.contains("clock is 5 s behind Redis's"), "{said}");
    }

    #[test]
    fn clocks_are_taken_to_differ_least() {
        let at = Time::from_ms;
        for (there, sent, received, ahead_ms) in [
            // A quick answer, clocks alike; a slow one, read at its beginning or its end.
            (1_000, 1_000, 1_001, 0),
            (1_000, 1_000, 4_000, 0),
            (4_000, 1_000, 4_000, 0),
            // Ahead, and behind, by no less than this.
            (1_500, 1_000, 1_100, 400),
            (500, 1_000, 1_100, -500),
        ] {
            let mut memory = Memory::default();
            memory.saw_clock(at(there), at(sent), at(received));
            assert_eq!(memory.ahead_ms, ahead_ms, "{there} {sent} {received}");
        }
    }

    #[test]
    fn a_list_of_tokens_that_was_read_before_one_was_ended_opens_nothing() {
        let mut memory = Memory::default();
        let (id, raw) = (TokenId::from_random([1; 8]), RawToken::from_random([1; 24]));
        let token = AdminToken {
            id: id.clone(),
            digest: raw.digest(),
            name: "Ada".to_owned(),
            role: Role::Admin,
            namespace: None,
            created_at: Time::ZERO,
            created_by: "root".to_owned(),
        };
        let known = Arc::new(token.clone());
        let listed = || HashMap::from([(known.digest, Arc::clone(&known))]);
        let before = memory.token_changes();
        memory.made_token(token);
        assert!(!memory.put_tokens(HashMap::new(), before), "it was read before that one was made");
        assert_eq!(memory.tokens.len(), 1);
        let before = memory.token_changes();
        assert!(memory.ended_token(&id));
        assert!(!memory.put_tokens(listed(), before), "it was read before that one was ended");
        assert!(memory.tokens.is_empty());
        // Two looks at once: what the first has found is not written over by the other, which may be older.
        let both = memory.token_changes();
        assert!(memory.put_tokens(HashMap::new(), both));
        assert!(!memory.put_tokens(listed(), both));
        assert!(memory.tokens.is_empty());
    }
}
