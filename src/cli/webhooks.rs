//! `paygate webhooks`.

use serde_json::{Value, json};

use super::client::{self, Ask, Desk};
use super::members::{given, object};
use super::output;
use super::table::{Columns, Shown};
use crate::config::{Operator, WebhooksWords};

const LETTERS: Columns = &[
    ("ID", "id"),
    ("EVENTS", "events"),
    ("ADMIN EVENTS", "adminEvents"),
    ("ATTEMPTS", "attempts"),
    ("FIRST", "firstAttempt"),
    ("LAST", "lastAttempt"),
    ("TO", "url"),
    ("WHY", "lastError"),
];

pub(super) fn run(operator: &Operator<WebhooksWords>) -> Result<(), String> {
    let reach = &operator.reach;
    let ask = match &operator.words {
        WebhooksWords::Stats => Ask::get("/webhooks/stats"),
        WebhooksWords::DeadLetters => {
            let ask = Ask::get("/webhooks/dead-letter");
            return client::show_as(reach, &ask, |answer| letters(answer.clone()));
        }
        WebhooksWords::Replay { id } => {
            Ask::post("/webhooks/dead-letter/replay", Some(object([given("id", *id)])))
        }
        WebhooksWords::Clear => Ask::delete("/webhooks/dead-letter"),
        WebhooksWords::Test => {
            let answer = Desk::of(reach)?.answer(&Ask::post("/webhooks/test", Some(json!({}))))?;
            let told = answer.json()?;
            output::print(&if reach.json { answer.body } else { Shown::Members.text(&told) });
            let is_taken = told.get("delivered") == Some(&Value::Bool(true));
            return if is_taken {
                Ok(())
            } else {
                Err("The receiver did not take the test event".to_owned())
            };
        }
    };
    client::show(reach, &ask, &Shown::Members)
}

/// A batch has many events: the table says how many, `--json` which.
fn letters(mut answer: Value) -> String {
    let letters = answer.pointer_mut("/deadLetters").and_then(Value::as_array_mut);
    for letter in letters.into_iter().flatten().filter_map(Value::as_object_mut) {
        for part in ["events", "adminEvents"] {
            if let Some(events) = letter.get_mut(part) {
                *events = json!(events.as_array().map_or(0, Vec::len));
            }
        }
    }
    Shown::Table("/deadLetters", LETTERS).text(&answer)
}
