//! The audit log's entries: what operators did, and who was not let in.

use serde_json::{Map, Value};

use super::time::Time;

/// Something that an operator did, or tried and may not do.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// When.
    pub at: Time,
    /// A fixed word, for example `key.created`.
    pub kind: &'static str,
    /// Name of who did it: `admin` for the configured admin key, else the token's name.
    pub actor: String,
    /// Id of the token, if it was one.
    pub actor_id: Option<String>,
    /// Whose tenant it is about, if it is about one.
    pub namespace: Option<String>,
    /// Id of what it is about.
    pub target: Option<String>,
    /// For people.
    pub message: String,
    /// For programs. Never a secret.
    pub metadata: Map<String, Value>,
}

impl AuditEvent {
    /// Adds to what programs are told.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }
}

/// Which entries of the audit log are meant. What is not given is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Any of these words.
    pub kinds: Vec<String>,
    /// A part of the actor's name in any case of letters, or its id.
    pub actor: Option<String>,
    /// Not before.
    pub since: Option<Time>,
    /// Not after.
    pub until: Option<Time>,
    /// Whose tenant.
    pub namespace: Option<String>,
    /// Up to this id: later ones belong to another answer.
    pub up_to: Option<i64>,
}

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Counted from 1.
    pub id: i64,
    /// When.
    pub at: Time,
    /// The word.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// Id of the token, if it was one.
    pub actor_id: Option<String>,
    /// Whose tenant it is about.
    pub namespace: Option<String>,
    /// What it is about.
    pub target: Option<String>,
    /// For people.
    pub message: String,
    /// JSON, for programs.
    pub metadata: String,
}

/// Numbers of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditTotals {
    /// All entries.
    pub total: i64,
    /// The last id.
    pub newest_id: i64,
    /// When the first was written.
    pub oldest: Option<Time>,
    /// When the last was written.
    pub newest: Option<Time>,
    /// By word.
    pub by_kind: Vec<(String, i64)>,
}
