//! `GET` and `POST /alerts`: what the rules had to say, and the rules. The rules are Paygate's own; an
//! alert belongs to its key's tenant, and whoever is bound to one reads only those.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::wire::answer::{Answer, Problem, to_json};
use super::wire::body::{Json, Members};
use super::wire::fields;
use super::wire::number::{NotWhole, thousandths, whole};
use super::wire::query::Query;
use super::{Admin, Call};
use crate::events::alerts;
use crate::model::alert::{AlertKind, AlertRule, Decimal};
use crate::model::audit::AuditEvent;
use crate::model::bounds::{ALERT_COOLDOWN_SECONDS_MAX, ALERT_RULES_MAX, COUNTER_MAX};
use crate::model::token::Role;
use crate::store::{AlertsAsked, LookAt};

/// The members of a rule.
const RULE: [&str; 3] = ["type", "threshold", "cooldownSeconds"];

/// Characters of a wrong type that a message repeats.
const TYPE_SHOWN_CHARS_MAX: usize = 60;

#[derive(Serialize)]
struct Found<'a> {
    alerts: Vec<&'a RawValue>,
    count: usize,
    rules: &'a [AlertRule],
}

#[derive(Serialize)]
struct Configured<'a> {
    rules: &'a [AlertRule],
    message: String,
}

/// What waits to be read. It is not shown to the same reader again, unless that one may only look.
pub(super) async fn list(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let namespace = call.actor.scope(Query::of(&call.uri)?.namespace()?)?;
    // What ended before this question is in the answer.
    admin.roll_up().await?;
    let configured = admin.options.terms.load().alert_rules.clone();
    let store = admin.store.as_ref();
    alerts::look(store, configured.as_ref(), LookAt::IdleKeysToo, call.now).await?;
    let asked = AlertsAsked {
        namespace,
        by_tenant: call.actor.namespace.is_some(),
        clears: call.actor.role >= Role::Admin && !call.is_head,
    };
    let records = admin.store.alerts(asked).await?;
    let alerts = records.iter().map(|record| serde_json::from_str::<&RawValue>(record));
    let alerts: Vec<_> =
        alerts.collect::<Result<_, _>>().map_err(|error| Problem::unwritable(&error))?;
    let (count, rules) = (alerts.len(), admin.store.alert_rules());
    Answer::ok(&Found { alerts, count, rules: &rules })
}

/// Replaces the rules.
pub(super) async fn configure(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let rules = {
        let members = call.members()?;
        rules(&members)?
    };
    if admin.options.terms.load().alert_rules.is_some() {
        let message = "The rules are those of the configuration (alertRules); change them there";
        return Err(Problem::conflict(message));
    }
    let count = rules.len();
    let told = alerts::configured_by(&call.actor.name, &rules, call.now);
    let event = AuditEvent { metadata: told.metadata, ..call.event(told.kind, told.message) };
    let message = format!("{count} alert rule(s) configured");
    let answer = to_json(&Configured { rules: &rules, message })?;
    admin.store.set_alert_rules(rules, event.into()).await?;
    Ok(Answer::json(answer))
}

fn rules(members: &Members<'_>) -> Result<Vec<AlertRule>, Problem> {
    let Json::List(raw) = members.get("rules")? else {
        return Err(Problem::bad("Missing or invalid rules array"));
    };
    let entries: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| Problem::bad("Invalid JSON"))?;
    if entries.len() > ALERT_RULES_MAX {
        let count = entries.len();
        return Err(Problem::bad(format!("rules has {count} entries; at most {ALERT_RULES_MAX}")));
    }
    entries.iter().enumerate().map(|(index, entry)| rule(index, entry)).collect()
}

fn rule(index: usize, entry: &RawValue) -> Result<AlertRule, Problem> {
    let name = format!("rules[{index}]");
    let Json::Object(raw) = Json::of(entry, &name)? else {
        return Err(Problem::bad(format!("{name} must be an object")));
    };
    let members = Members::of_object(raw, &name)?;
    members.refuse_unknown(&RULE)?;
    let kind = kind(&members)?;
    let (threshold, cooldown_seconds) = (threshold(&members, kind)?, cooldown(&members, kind)?);
    Ok(AlertRule { kind, threshold, cooldown_seconds })
}

fn kind(members: &Members<'_>) -> Result<AlertKind, Problem> {
    let given = match members.get("type")? {
        Json::Text(word) => match AlertKind::from_word(&word) {
            Some(kind) => return Ok(kind),
            None => word,
        },
        Json::Null => "none".to_owned(),
        Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            "not a string".to_owned()
        }
    };
    let shown = fields::cut(&given, TYPE_SHOWN_CHARS_MAX);
    let words = AlertKind::ALL.map(AlertKind::word).join(", ");
    Err(Problem::bad(format!("Invalid alert type: {shown}. Valid: {words}")))
}

fn threshold(members: &Members<'_>, kind: AlertKind) -> Result<Decimal, Problem> {
    let refused = |why: &str| {
        let kind = kind.word();
        Problem::bad(format!("Invalid threshold for {kind}: must be a non-negative number{why}"))
    };
    let Json::Number(text) = members.get("threshold")? else { return Err(refused("")) };
    if text.starts_with('-') && whole(text) != Ok(0) {
        return Err(refused(""));
    }
    match thousandths(text) {
        Ok(value) => Ok(Decimal::from_thousandths(value)),
        Err(NotWhole::TooLarge) => Err(refused(&format!(" up to {COUNTER_MAX}"))),
        Err(NotWhole::NotANumber | NotWhole::Fraction) => Err(refused("")),
    }
}

fn cooldown(members: &Members<'_>, kind: AlertKind) -> Result<Option<i64>, Problem> {
    let given = members.get("cooldownSeconds")?;
    match fields::whole_number(&given) {
        None => Ok(None),
        Some(Ok(seconds)) if (0..=ALERT_COOLDOWN_SECONDS_MAX).contains(&seconds) => {
            Ok(Some(seconds))
        }
        Some(_) => Err(Problem::bad(format!(
            "Invalid cooldownSeconds for {}: must be a whole number from 0 to \
             {ALERT_COOLDOWN_SECONDS_MAX}",
            kind.word()
        ))),
    }
}
