//! What the audit log is told about a request.

use serde_json::Value;

use crate::admin::Call;
use crate::model::audit::AuditEvent;
use crate::model::key::Key;
use crate::store::Deed;

impl Call {
    /// Something that whoever makes this request does.
    pub(in crate::admin) fn event(
        &self,
        kind: &'static str,
        message: impl Into<String>,
    ) -> AuditEvent {
        AuditEvent {
            at: self.now,
            kind,
            actor: self.actor.name.clone(),
            actor_id: self.actor.token.as_ref().map(ToString::to_string),
            namespace: self.actor.namespace.clone(),
            target: None,
            message: message.into(),
            metadata: serde_json::Map::new(),
        }
    }

    /// Something that it does to a key.
    pub(in crate::admin) fn key_event(
        &self,
        key: &Key,
        kind: &'static str,
        message: impl Into<String>,
    ) -> AuditEvent {
        AuditEvent {
            namespace: Some(key.namespace.clone()),
            target: Some(key.id.to_string()),
            ..self.event(kind, message)
        }
        .with("keyMasked", key.ends.masked())
    }
}

/// A list of texts.
pub(in crate::admin) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    texts.into_iter().map(Value::from).collect()
}

impl From<AuditEvent> for Deed {
    fn from(event: AuditEvent) -> Self {
        Self { audit: Some(event), ..Self::default() }
    }
}
