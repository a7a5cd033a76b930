//! Alerts: rules of the operator, and what they had to say about a key.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::audit::AuditEvent;
use super::bounds::ALERT_COOLDOWN;
use super::ids::KeyId;
use super::key::Key;
use super::time::Time;

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// The part of its credits that a key has spent, in percent.
    SpendingThreshold,
    /// The credits that it has left.
    CreditsLow,
    /// The part of its own quota of calls that it has used, in percent.
    QuotaWarning,
    /// The seconds until it expires.
    KeyExpirySoon,
    /// How often a rate limit has refused it within five minutes.
    RateLimitSpike,
}

impl AlertKind {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::SpendingThreshold,
        Self::CreditsLow,
        Self::QuotaWarning,
        Self::KeyExpirySoon,
        Self::RateLimitSpike,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SpendingThreshold => "spending_threshold",
            Self::CreditsLow => "credits_low",
            Self::QuotaWarning => "quota_warning",
            Self::KeyExpirySoon => "key_expiry_soon",
            Self::RateLimitSpike => "rate_limit_spike",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl Serialize for AlertKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// A number with up to three decimals, kept as whole thousandths: no float comes near a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(i64);

impl Decimal {
    /// From thousandths.
    pub const fn from_thousandths(value: i64) -> Self {
        Self(value)
    }

    /// A whole number; the largest there is if it is beyond that.
    pub const fn whole(value: i64) -> Self {
        Self(value.saturating_mul(1000))
    }

    /// In thousandths.
    pub const fn thousandths(self) -> i64 {
        self.0
    }

    /// As JSON, without decimals that say nothing.
    pub fn json(self) -> Value {
        serde_json::from_str(&self.to_string()).unwrap_or(Value::Null)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        let text = format!("{sign}{}.{:03}", size / 1000, size % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

/// When the operator wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRule {
    /// What it looks at.
    #[serde(rename = "type")]
    pub kind: AlertKind,
    /// From where on, in the unit of its kind.
    pub threshold: Decimal,
    /// How long it says no more of the same key; as it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_seconds: Option<i64>,
}

impl AlertRule {
    /// How long it says no more of the same key.
    pub fn cooldown(&self) -> Duration {
        let given = self.cooldown_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        given.filter(|seconds| *seconds > 0).map_or(ALERT_COOLDOWN, Duration::from_secs)
    }
}

/// What a rule had to say, in the order of the documentation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// What the rule looks at.
    #[serde(rename = "type")]
    pub kind: AlertKind,
    /// When it was looked at.
    #[serde(rename = "timestamp", serialize_with = "as_text")]
    pub at: Time,
    /// What may be shown of the raw key.
    pub key_prefix: String,
    /// The key's name.
    pub key_name: String,
    /// That of the rule.
    pub threshold: Decimal,
    /// What was found.
    pub current_value: Decimal,
    /// For people.
    pub message: String,
    /// For programs.
    pub metadata: Map<String, Value>,
    /// Id of the key.
    #[serde(rename = "keyId", serialize_with = "as_text")]
    pub key: KeyId,
    /// Its tenant.
    pub namespace: String,
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Alert {
    /// What a rule says of a key.
    pub fn new(
        rule: &AlertRule,
        key: &Key,
        at: Time,
        current_value: Decimal,
        message: String,
    ) -> Self {
        Self {
            kind: rule.kind,
            at,
            key_prefix: key.ends.prefix(),
            key_name: key.name.clone(),
            threshold: rule.threshold,
            current_value,
            message,
            metadata: Map::new(),
            key: key.id.clone(),
            namespace: key.namespace.clone(),
        }
    }

    /// Adds to what programs are told.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// What the audit log says of it.
    pub fn audit_event(&self) -> AuditEvent {
        let mut metadata = Map::new();
        for (name, value) in [
            ("alertType", Value::from(self.kind.word())),
            ("keyPrefix", self.key_prefix.as_str().into()),
            ("keyName", self.key_name.as_str().into()),
            ("message", self.message.as_str().into()),
            ("threshold", self.threshold.json()),
            ("currentValue", self.current_value.json()),
        ] {
            metadata.insert(name.to_owned(), value);
        }
        metadata.extend(self.metadata.clone());
        AuditEvent {
            at: self.at,
            kind: "alert.fired",
            actor: "system".to_owned(),
            actor_id: None,
            namespace: Some(self.namespace.clone()),
            target: Some(self.key.to_string()),
            message: self.message.clone(),
            metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_as_short_as_they_are() {
        for (thousandths, text) in
            [(0, "0"), (5, "0.005"), (82_500, "82.5"), (-10_000, "-10"), (-1, "-0.001")]
        {
            let decimal = Decimal::from_thousandths(thousandths);
            assert_eq!(decimal.to_string(), text);
            assert_eq!(decimal.json().to_string(), text);
        }
        let most = crate::model::bounds::COUNTER_MAX;
        assert_eq!(Decimal::whole(most).json(), Value::from(most));
    }

    #[test]
    fn no_cooldown_and_none_at_all_are_the_usual_one() {
        let (kind, threshold) = (AlertKind::CreditsLow, Decimal::whole(1));
        let cooldown =
            |cooldown_seconds| AlertRule { kind, threshold, cooldown_seconds }.cooldown();
        assert_eq!(cooldown(None), ALERT_COOLDOWN);
        assert_eq!(cooldown(Some(0)), ALERT_COOLDOWN);
        assert_eq!(cooldown(Some(7)), Duration::from_secs(7));
    }
}
