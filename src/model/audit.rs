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
