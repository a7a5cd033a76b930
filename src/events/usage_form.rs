//! A usage event as JSON: in lists and in what webhooks send.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::ids::CallId;
use crate::model::usage::UsageEvent;

/// One event, in the order of the documentation; members after `namespace` are Paygate's own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageForm<'a> {
    timestamp: String,
    /// The first characters of the raw key.
    pub api_key: String,
    /// Its name.
    pub key_name: &'a str,
    /// Tool, or method with a price.
    pub tool: &'a str,
    credits_charged: i64,
    allowed: bool,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    /// Id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// How it ended.
    pub outcome: &'a str,
    price: i64,
    count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a RawValue>,
}

impl<'a> From<&'a UsageEvent> for UsageForm<'a> {
    fn from(event: &'a UsageEvent) -> Self {
        let given = |text: &'_ str| !text.is_empty();
        let api_key = match (event.key.is_empty(), event.key_first.as_str()) {
            (true, _) => "none".to_owned(),
            (false, "") => event.key.clone(),
            (false, "***") => "***".to_owned(),
            (false, first) => format!("{first}..."),
        };
        Self {
            timestamp: event.at.to_string(),
            api_key,
            key_name: &event.key_name,
            tool: &event.tool,
            credits_charged: event.charged,
            allowed: event.allowed,
            deny_reason: Some(event.outcome.as_str()).filter(|_| !event.allowed),
            namespace: Some(event.namespace.as_str()).filter(|name| given(name)),
            key_id: Some(event.key.as_str()).filter(|id| given(id)),
            call_id: event.call.map(|call| {
                String::from_utf8_lossy(CallId::from_random(call).text().as_ref()).into_owned()
            }),
            outcome: &event.outcome,
            price: event.price,
            count: event.count,
            labels: event.labels.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        }
    }
}
