//! The body of a POST. Its events are written once for all attempts; when it was sent and the
//! signature are of each attempt.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::events::usage_form::UsageForm;
use crate::model::audit::AuditRow;
use crate::model::time::Time;
use crate::model::usage::UsageEvent;
use crate::model::webhook::Batch;

#[derive(Serialize)]
struct Usage<'a> {
    #[serde(flatten)]
    form: UsageForm<'a>,
    /// The same whenever the event is sent, so that a receiver can tell a repetition.
    id: String,
}

#[derive(Serialize)]
struct Admin<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: String,
    actor: &'a str,
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Events<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Usage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    admin_events: Vec<Admin<'a>>,
}

/// The events of a batch, as members of a JSON object without its braces.
pub(super) fn members(batch: &Batch) -> Result<String, serde_json::Error> {
    let events = Events {
        events: batch.usage.iter().map(usage).collect(),
        admin_events: batch.admin.iter().map(admin).collect(),
    };
    let object = serde_json::to_string(&events)?;
    let inside = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    Ok(inside.unwrap_or_default().to_owned())
}

fn usage(event: &UsageEvent) -> Usage<'_> {
    Usage { form: UsageForm::from(event), id: id("usage", event.place, event.at) }
}

fn admin(row: &AuditRow) -> Admin<'_> {
    Admin {
        kind: &row.kind,
        timestamp: row.at.to_string(),
        actor: &row.actor,
        metadata: serde_json::from_str(&row.metadata).ok(),
        namespace: row.namespace.as_deref(),
        target: row.target.as_deref(),
        id: id("audit", row.id, row.at),
    }
}

/// The same whenever an event is sent, and of no other event: places come again after books were
/// brought back from a copy, or kept in memory only, moments do not.
fn id(kind: &str, place: i64, at: Time) -> String {
    format!("{kind}_{place}_{}", at.ms())
}

/// A body that is sent now.
pub(super) fn body(now: Time, members: &str) -> String {
    format!("{{\"sentAt\":\"{now}\",{members}}}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::webhook::Cursor;

    #[test]
    fn a_batch_is_written_as_documented() {
        let usage = UsageEvent {
            place: 7,
            at: Time::from_ms(1),
            call: None,
            key: String::new(),
            key_name: String::new(),
            key_first: String::new(),
            namespace: String::new(),
            tool: "a\"b".to_owned(),
            price: 0,
            charged: 0,
            outcome: "invalid_api_key".to_owned(),
            allowed: false,
            count: 3,
            labels: None,
        };
        let row = AuditRow {
            id: 4,
            at: Time::from_ms(2),
            kind: "alert.fired".to_owned(),
            actor: "system".to_owned(),
            actor_id: None,
            namespace: None,
            target: None,
            message: String::new(),
            metadata: r#"{"alertType":"credits_low"}"#.to_owned(),
        };
        let mut batch = Batch {
            usage: vec![usage],
            admin: vec![row],
            after: Cursor::default(),
            has_more: false,
        };
        let read = |batch: &Batch| -> Value {
            serde_json::from_str(&body(Time::from_ms(3), &members(batch).unwrap())).unwrap()
        };
        let whole = json!({
            "sentAt": "1970-01-01T00:00:00.003Z",
            "events": [{
                "timestamp": "1970-01-01T00:00:00.001Z", "apiKey": "none", "keyName": "",
                "tool": "a\"b", "creditsCharged": 0, "allowed": false,
                "denyReason": "invalid_api_key", "outcome": "invalid_api_key", "price": 0,
                "count": 3, "id": "usage_7_1",
            }],
            "adminEvents": [{
                "type": "alert.fired", "timestamp": "1970-01-01T00:00:00.002Z", "actor": "system",
                "metadata": {"alertType": "credits_low"}, "id": "audit_4_2",
            }],
        });
        assert_eq!(read(&batch), whole);
        batch.usage.clear();
        assert_eq!(read(&batch).get("events"), None);
    }
}
