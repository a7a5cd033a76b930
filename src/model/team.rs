//! A team: keys of one tenant that share a budget and quotas. Its numbers are in the ledger, under its
//! id; which team a key is in is in the key's own record too, so that a call needs no search.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{AccountId, KeyId, is_lower_hex};
use super::key::Quota;
use super::time::Time;

/// Id of a team: `team_` and 16 hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TeamId(Arc<str>);

impl TeamId {
    /// Makes an id from random bytes.
    pub fn from_random(bytes: [u8; 8]) -> Self {
        Self(format!("team_{}", hex::encode(bytes)).into())
    }

    /// Reads an id; `None` unless it has exactly the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("team_").filter(|digits| is_lower_hex(digits, 16));
        digits.map(|_| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account of this team in the ledger, which has the same name.
    pub fn account(&self) -> AccountId {
        AccountId::new(&self.0)
    }
}

impl fmt::Display for TeamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TeamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A team's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// Never changes.
    pub id: TeamId,
    /// Shown to people.
    pub name: String,
    /// Shown to people.
    pub description: String,
    /// Its tenant; never changes. Only keys of its own can be in it.
    pub namespace: String,
    /// Its keys.
    pub members: Vec<KeyId>,
    /// Most credits that its keys may ever spend together; 0 means no limit.
    pub budget: i64,
    /// What its keys may use up together in a day or month.
    pub quota: Option<Quota>,
    /// The operator's labels.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Time,
    /// False once deleted.
    pub active: bool,
    /// Raised by every change, so that a call judged by an older state is judged again.
    pub revision: u64,
}

impl Team {
    /// Most keys of one team.
    pub const MEMBERS_MAX: usize = 100;
}
