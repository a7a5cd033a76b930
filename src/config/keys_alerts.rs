//! The registry of the keys of an entry of `alertRules`, and how the list is read.

use jsonc_parser::ast::Value;

use super::draft::Draft;
use super::entry::Entry;
use super::file::walk;
use super::key::{Fallback, Key, Kind, words};
use super::keys::key;
use super::problem::Findings;
use super::settings::Choice;
use crate::model::alert::{AlertKind, AlertRule, Decimal};
use crate::model::bounds::{ALERT_COOLDOWN_SECONDS_MAX, ALERT_RULES_MAX};

/// One rule, before it is known to be whole.
#[derive(Debug, Default)]
pub(super) struct AlertRuleDraft {
    kind: Option<AlertKind>,
    threshold: Option<i64>,
    cooldown_seconds: Option<i64>,
    /// What was given; what of it was refused has its own error.
    has_kind: bool,
    has_threshold: bool,
}

impl Choice for AlertKind {
    const CHOICES: &'static [(&'static str, Self)] = &[
        (Self::SpendingThreshold.word(), Self::SpendingThreshold),
        (Self::CreditsLow.word(), Self::CreditsLow),
        (Self::QuotaWarning.word(), Self::QuotaWarning),
        (Self::KeyExpirySoon.word(), Self::KeyExpirySoon),
        (Self::RateLimitSpike.word(), Self::RateLimitSpike),
    ];
}

/// The keys of an entry of `alertRules`.
pub(super) static ALERT_RULES: &[Key<AlertRuleDraft>] = &[
    key(
        "type",
        Kind::OneOf(words::<AlertKind>),
        Fallback::Words("none; needed"),
        "",
        "What the rule looks at.",
        |rule, entry, findings| (rule.has_kind, rule.kind) = (true, entry.choice(findings)),
    ),
    key(
        "threshold",
        Kind::Thousandths,
        Fallback::Words("none; needed"),
        "",
        "From where on it tells: percent, credits, seconds or refusals.",
        |rule, entry, findings| {
            (rule.has_threshold, rule.threshold) = (true, entry.number(findings));
        },
    ),
    key(
        "cooldownSeconds",
        Kind::Within(0, ALERT_COOLDOWN_SECONDS_MAX),
        Fallback::Number(300),
        "",
        "How long it says no more of the same key; 0 is the default too.",
        |rule, entry, findings| rule.cooldown_seconds = entry.number(findings),
    ),
];

pub(super) fn read_alert_rules(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    let Value::Array(array) = entry.value else {
        let message = "Must be a list of objects: [{\"type\": …, \"threshold\": …}, …].";
        return entry.refuse(findings, message, None);
    };
    if array.elements.len() > ALERT_RULES_MAX {
        let message =
            format!("There are {} rules; at most {ALERT_RULES_MAX}.", array.elements.len());
        return entry.refuse(findings, message, None);
    }
    let mut rules = Vec::new();
    for (index, element) in array.elements.iter().enumerate() {
        let mut member = entry.member(&format!("[{index}]"), element);
        member.subject = format!("alertRules[{index}]");
        let Some(object) = member.object(findings) else { continue };
        let subject = |key: &str| format!("{key} of alertRules[{index}]");
        let mut rule = AlertRuleDraft::default();
        walk(object, &member, ALERT_RULES, &subject, &mut rule, findings);
        for (name, is_there) in [("type", rule.has_kind), ("threshold", rule.has_threshold)] {
            if !is_there {
                member.refuse(findings, format!("Needs `{name}`."), None);
            }
        }
        let AlertRuleDraft { kind, threshold, cooldown_seconds, .. } = rule;
        if let Some((kind, threshold)) = kind.zip(threshold) {
            let threshold = Decimal::from_thousandths(threshold);
            rules.push(AlertRule { kind, threshold, cooldown_seconds });
        }
    }
    draft.alert_rules = Some(rules);
}
