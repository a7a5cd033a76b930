//! What everything is called in Redis. `pg:{namespace}:…` is one slot of a cluster for each tenant; what
//! stands outside the slots is a hint of where to look, and the record there decides. What belongs to no
//! tenant is in the slot of `_`, which no tenant can be called.

use crate::model::ids::{AccountId, KeyId};
use crate::model::secret::Digest;

/// The set of all tenants that have anything in Redis.
pub(super) const NAMESPACES: &str = "pg:namespaces";
/// Every key in the order of making: place → `namespace id`.
pub(super) const KEYS: &str = "pg:keys";
/// The last place given.
pub(super) const ORDER: &str = "pg:order";
/// Admin tokens by id. In one slot with the journal, so that both change at once; no tenant has that name.
pub(super) const TOKENS: &str = "pg:{_}:tokens";
/// Raised with every change of what instances keep in memory as a list.
pub(super) const CHANGES: &str = "pg:{_}:changes";
/// The channel on which instances tell each other which record has changed.
pub(super) const NEWS: &str = "pg:news";
/// What messages are sealed with that clients keep for any instance.
pub(super) const SEAL: &str = "pg:seal";
/// The number of the way in which all of this is written.
pub(super) const FORMAT: &str = "pg:format";
/// Why no books may be begun here: they are being moved, or have moved.
pub(super) const CLOSED: &str = "pg:closed";
/// What belongs to no tenant: changes of admin tokens, and what nobody waits for.
pub(super) const JOURNAL: &str = "pg:{_}:journal";

/// What became of a change of admin tokens, for whoever lost the answer.
pub(super) fn token_change(mark: &str) -> String {
    format!("pg:{{_}}:token:{mark}")
}

/// Written to find out whether Redis takes anything again.
pub(super) const TRIED: &str = "pg:tried";
/// Which instance ends what is late, for a moment.
pub(super) const SWEEPER: &str = "pg:sweeper";
/// How far webhooks were sent, and what nobody took.
pub(super) const WEBHOOKS: &str = "pg:{_}:webhooks";
/// How far what belongs to no tenant went before Redis had lost it: the stream, and the last id that copies have.
pub(super) const WAS: &str = "pg:{_}:was";
/// Rules for alerts, and who looks at keys.
pub(super) const ALERTS: &str = "pg:{_}:alerts";
/// What rules say no more for now, by until when.
pub(super) const COOLING: &str = "pg:{_}:alerts:cooling";
/// Alerts that wait to be read.
pub(super) const ALERTS_WAITING: &str = "pg:{_}:alerts:waiting";
/// What was refused, by all instances.
pub(super) const REFUSED: &str = "pg:{_}:refused";

/// The channel on which an instance hears itself, and so knows that it hears.
pub(super) fn echo(instance: &str) -> String {
    format!("pg:echo:{instance}")
}

/// That an entry of a stream of no tenant was written, for whoever lost the answer.
pub(super) fn written(mark: &str) -> String {
    format!("pg:{{_}}:written:{mark}")
}

/// `namespace id at`: which key a credential opens.
pub(super) fn digest(digest: &Digest) -> String {
    format!("pg:digest:{}", hex::encode(digest.bytes()))
}

/// The tenant of a key.
pub(super) fn key(id: &KeyId) -> String {
    format!("pg:key:{id}")
}

/// The tenant that an idempotency key was used for; `id` is its digest in hex.
pub(super) fn once(id: &str) -> String {
    format!("pg:once:{id}")
}

/// The names of one tenant.
#[derive(Clone, Debug)]
pub(super) struct Names(String);

impl Names {
    pub(super) fn of(namespace: &str) -> Self {
        Self(format!("pg:{{{namespace}}}:"))
    }

    /// The tenant whose journal has this name.
    pub(super) fn of_journal(journal: &str) -> Option<&str> {
        if journal == JOURNAL {
            return None;
        }
        journal.strip_prefix("pg:{")?.strip_suffix("}:journal")
    }

    pub(super) fn name(&self, what: &str) -> String {
        format!("{}{what}", self.0)
    }

    /// Time, head of the journal, epoch, the tenant's own record.
    pub(super) fn meta(&self) -> String {
        self.name("meta")
    }

    /// Open holds by call.
    pub(super) fn holds(&self) -> String {
        self.name("holds")
    }

    /// What instances may sell while they are cut off, by lease.
    pub(super) fn leases(&self) -> String {
        self.name("leases")
    }

    /// What ends by itself, by the moment of its end.
    pub(super) fn due(&self) -> String {
        self.name("due")
    }

    /// The stream of what happened.
    pub(super) fn journal(&self) -> String {
        self.name("journal")
    }

    /// Answers for repetitions.
    pub(super) fn kept(&self) -> String {
        self.name("kept")
    }

    /// What operators asked for once.
    pub(super) fn once(&self) -> String {
        self.name("once")
    }

    /// Calls that were refunded.
    pub(super) fn refunds(&self) -> String {
        self.name("refunds")
    }

    /// The tenant's keys in the order of making.
    pub(super) fn keys(&self) -> String {
        self.name("keys")
    }

    /// The tenant's teams.
    pub(super) fn teams(&self) -> String {
        self.name("teams")
    }

    /// Record and counters of a key or a team.
    pub(super) fn account(&self, id: &AccountId) -> String {
        self.name(id.as_str())
    }
}
