//! A key: a customer's record. Its money and its counters are in the ledger, under its id.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::address::AllowedNetwork;
use super::ids::KeyId;
use super::namespace;
use super::secret::{Digest, KeyEnds, RawKey};
use super::team::TeamId;
use super::time::Time;

/// Exact, case-sensitive tool names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ToolList(Vec<String>);

impl ToolList {
    /// Longest list.
    pub const ENTRIES_MAX: usize = 100;

    /// Keeps non-blank names, trimmed, the first [`Self::ENTRIES_MAX`] of them.
    pub fn from_names<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let names = names.map(str::trim).filter(|name| !name.is_empty());
        Self(names.take(Self::ENTRIES_MAX).map(str::to_owned).collect())
    }

    /// Is nothing listed?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is this tool listed?
    pub fn contains(&self, tool: &str) -> bool {
        self.0.iter().any(|name| name == tool)
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

/// Limits per UTC day and month; 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Quota {
    /// Calls a day.
    pub daily_call_limit: i64,
    /// Calls a month.
    pub monthly_call_limit: i64,
    /// Credits a day.
    pub daily_credit_limit: i64,
    /// Credits a month.
    pub monthly_credit_limit: i64,
}

/// The credential that a rotation replaced, while its grace period lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldCredential {
    /// Digest of the raw key that was replaced.
    pub digest: Digest,
    /// When it ends.
    pub until: Time,
}

/// A customer's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Never changes.
    pub id: KeyId,
    /// Digest of the valid raw key.
    pub digest: Digest,
    /// What may be shown of the raw key.
    pub ends: KeyEnds,
    /// The credential before the last rotation.
    pub old: Option<OldCredential>,
    /// Shown to people.
    pub name: String,
    /// Its tenant; never changes.
    pub namespace: String,
    /// The team whose budget and quotas its calls use too.
    pub team: Option<TeamId>,
    /// When it was made.
    pub created_at: Time,
    /// False once revoked.
    pub active: bool,
    /// Closed by the operator until it is resumed.
    pub suspended: bool,
    /// Most credits it may ever spend; 0 means no limit.
    pub spending_limit: i64,
    /// Tools it may call; empty means all.
    pub allowed_tools: ToolList,
    /// Tools it may not call.
    pub denied_tools: ToolList,
    /// When it ends, if ever.
    pub expires_at: Option<Time>,
    /// Its own quota, which replaces the global one entirely.
    pub quota: Option<Quota>,
    /// The operator's labels.
    pub tags: BTreeMap<String, String>,
    /// Addresses it may call from; empty means any.
    pub ip_allowlist: IpAllowlist,
    /// Raised by every change, so that a call judged by an older state is judged again.
    pub revision: u64,
}

impl Key {
    /// A key that is active, unrestricted and in the default namespace.
    pub fn new(id: KeyId, raw: &RawKey, name: &str, created_at: Time) -> Self {
        Self {
            id,
            digest: raw.digest(),
            ends: raw.ends(),
            old: None,
            name: name.to_owned(),
            namespace: namespace::DEFAULT.to_owned(),
            team: None,
            created_at,
            active: true,
            suspended: false,
            spending_limit: 0,
            allowed_tools: ToolList::default(),
            denied_tools: ToolList::default(),
            expires_at: None,
            quota: None,
            tags: BTreeMap::new(),
            ip_allowlist: IpAllowlist::default(),
            revision: 0,
        }
    }

    /// Has its time passed?
    pub fn expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }

    /// Neither revoked nor expired; it may be suspended.
    pub fn in_force(&self, now: Time) -> bool {
        self.active && !self.expired(now)
    }

    /// In force and not suspended.
    pub fn usable(&self, now: Time) -> bool {
        self.in_force(now) && !self.suspended
    }

    /// Is this the digest of a credential that opens this key now?
    pub fn opened_by(&self, digest: &Digest, now: Time) -> bool {
        self.digest.same(digest)
            || self.old.is_some_and(|old| old.digest.same(digest) && now < old.until)
    }
}

/// Addresses and networks, kept as the operator wrote them and as parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpAllowlist {
    entries: Vec<(String, AllowedNetwork)>,
}

impl IpAllowlist {
    /// Longest list.
    pub const ENTRIES_MAX: usize = 100;

    /// Reads a list; the first entry that is neither an address nor a network is the error.
    pub fn parse<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut list = Vec::new();
        for entry in
            entries.map(str::trim).filter(|entry| !entry.is_empty()).take(Self::ENTRIES_MAX)
        {
            let network = AllowedNetwork::parse(entry).ok_or_else(|| entry.to_owned())?;
            list.push((entry.to_owned(), network));
        }
        Ok(Self { entries: list })
    }

    /// Is this address allowed? An empty list allows any.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.entries.is_empty() || self.entries.iter().any(|(_, network)| network.contains(address))
    }

    /// The entries as written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(text, _)| text.as_str())
    }
}
