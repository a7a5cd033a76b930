//! Webhooks: `GET /webhooks/stats`, `GET` and `DELETE /webhooks/dead-letter`, `POST
//! /webhooks/dead-letter/replay`, `POST /webhooks/test`. They are of the whole instance: what is sent is
//! of all tenants.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::keys::view::Shown;
use super::wire::answer::{Answer, Problem, to_json};
use super::wire::fields;
use super::wire::stream::{self, Source};
use super::{Admin, Call};
use crate::events::webhooks::{Replaying, Standing};
use crate::model::webhook::DeadLetter;

const OFF: &str = "No webhook configured";

#[derive(Serialize)]
struct Off {
    configured: bool,
    message: &'static str,
}

/// In the order of the documentation; members after `totalRetries` are Paygate's own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    configured: bool,
    max_retries: u32,
    pending_retries: u32,
    dead_letter_count: i64,
    total_delivered: i64,
    total_failed: i64,
    total_retries: i64,
    events_delivered: i64,
    events_failed: i64,
    events_lost: i64,
    dead_letters_dropped: i64,
    oldest_pending: Option<Shown>,
}

pub(super) async fn stats(admin: Arc<Admin>, _call: Call) -> Result<Answer, Problem> {
    let standing = admin.options.webhooks.standing().await?;
    let Standing { retries_max, pending_retries, oldest, totals } = standing;
    let Some(max_retries) = retries_max else {
        return Answer::pretty(&Off { configured: false, message: OFF });
    };
    Answer::pretty(&Stats {
        configured: true,
        max_retries,
        pending_retries,
        dead_letter_count: totals.dead,
        total_delivered: totals.delivered,
        total_failed: totals.failed,
        total_retries: totals.retries,
        events_delivered: totals.events_delivered,
        events_failed: totals.events_failed,
        events_lost: totals.lost,
        dead_letters_dropped: totals.dropped,
        oldest_pending: oldest.map(Shown),
    })
}

/// All of them, also those of a receiver that is not configured any more.
pub(super) async fn list(admin: Arc<Admin>, _call: Call) -> Result<Answer, Problem> {
    Ok(Answer::streamed(stream::body(Letters { admin, after: 0, count: 0, stage: Stage::Head })))
}

enum Stage {
    Head,
    Rows,
    Done,
}

struct Letters {
    admin: Arc<Admin>,
    after: i64,
    count: usize,
    stage: Stage,
}

#[async_trait]
impl Source for Letters {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        match self.stage {
            Stage::Done => return Ok(None),
            Stage::Head => {
                self.stage = Stage::Rows;
                return Ok(Some("{\"deadLetters\":[".into()));
            }
            Stage::Rows => {}
        }
        let letters = self.admin.options.webhooks.letters(self.after).await?;
        let mut text = String::new();
        for letter in &letters {
            text.push_str(if self.count == 0 { "\n" } else { ",\n" });
            text.push_str(&written(letter)?);
            self.count = self.count.saturating_add(1);
        }
        if let Some(last) = letters.last() {
            self.after = last.id;
        } else {
            self.stage = Stage::Done;
            text = format!("\n],\"count\":{}", self.count);
            if !self.admin.options.webhooks.is_on() {
                text.push_str(",\"message\":");
                text.push_str(&to_json(&OFF)?);
            }
            text.push('}');
        }
        Ok(Some(text.into()))
    }
}

/// In the order of the documentation; members after `url` are Paygate's own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LetterView<'a> {
    events: Value,
    attempts: i64,
    last_error: &'a str,
    first_attempt: Shown,
    last_attempt: Shown,
    url: &'a str,
    id: i64,
    admin_events: Value,
}

fn written(letter: &DeadLetter) -> Result<String, Problem> {
    let parsed = serde_json::from_str::<Value>(&format!("{{{}}}", letter.events));
    let mut sent = parsed.map_err(|error| Problem::unwritable(&error))?;
    let mut part = |name: &str| match sent.get_mut(name).map(Value::take) {
        Some(events) => events,
        None => Value::Array(Vec::new()),
    };
    to_json(&LetterView {
        events: part("events"),
        attempts: letter.attempts,
        last_error: &letter.error,
        first_attempt: Shown(letter.first),
        last_attempt: Shown(letter.last),
        url: &letter.url,
        id: letter.id,
        admin_events: part("adminEvents"),
    })
}

#[derive(Serialize)]
struct Cleared {
    cleared: i64,
    message: String,
}

pub(super) async fn clear(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let message = |count: i64| format!("Cleared {count} dead letter entries");
    let event = |count: i64| {
        call.event("webhook.dead_letter_cleared", message(count)).with("cleared", count)
    };
    let hooks = &admin.options.webhooks;
    let cleared = hooks.clear(event).await?;
    let is_off = cleared == 0 && !hooks.is_on();
    let message = if is_off { OFF.to_owned() } else { message(cleared) };
    Answer::ok(&Cleared { cleared, message })
}

#[derive(Serialize)]
struct Begun {
    replaying: i64,
    message: String,
}

/// Begins to send and does not wait: `/webhooks/stats` and the list say what comes of it.
pub(super) async fn replay(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let id = if call.body.is_empty() { None } else { letter_id(&call)? };
    let replaying = match admin.options.webhooks.replay(id).await? {
        Replaying::Begun(count) => count,
        Replaying::Off => return Answer::ok(&Begun { replaying: 0, message: OFF.to_owned() }),
        Replaying::Busy => {
            return Err(Problem::conflict("Another replay is under way; try again after it"));
        }
        Replaying::NotFound => return Err(Problem::not_found("Dead letter not found")),
    };
    let message = format!("Replaying {replaying} dead letter entries");
    let event = call.event("webhook.dead_letter_replayed", message.as_str());
    admin.store.note(event.with("replaying", replaying));
    Answer::ok(&Begun { replaying, message })
}

fn letter_id(call: &Call) -> Result<Option<i64>, Problem> {
    let wrong = || Problem::bad("id must be the id of a dead letter");
    match fields::whole_number(&call.members()?.get("id")?) {
        None => Ok(None),
        Some(Ok(id)) if id > 0 => Ok(Some(id)),
        Some(_) => Err(wrong()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tried {
    delivered: bool,
    status: Option<u16>,
    error: Option<String>,
    duration_ms: u64,
    url: String,
}

/// Says what came back, whatever it was: a receiver that fails is no error of this request.
pub(super) async fn test(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    if !call.body.is_empty() {
        call.members()?;
    }
    let hooks = &admin.options.webhooks;
    let Some((attempt, url)) = hooks.try_out(&call.actor.name, call.now).await else {
        return Err(Problem::bad("No webhook configured: set webhookUrl"));
    };
    Answer::ok(&Tried {
        delivered: attempt.error.is_none(),
        status: attempt.status,
        error: attempt.error,
        duration_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        url,
    })
}
