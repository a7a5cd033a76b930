//! `paygate explain`: what became of a call, in words that a support person can pass on.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::client::{self, Ask, encoded};
use super::table::{Columns, Shown, pairs};
use crate::config::ExplainFlags;

const CALLS: Columns = &[
    ("TOOL", "tool"),
    ("PRICE", "price"),
    ("CHARGED", "charged"),
    ("OUTCOME", "outcome"),
    ("WHY", "why"),
];
const AMOUNTS: Columns = &[
    ("COUNTED IN", "counter"),
    ("WINDOW", "window"),
    ("OF", "account"),
    ("RESERVED", "reserved"),
    ("KEPT", "kept"),
    ("GIVEN BACK", "givenBack"),
];
const JOURNAL: Columns = &[
    ("JOURNAL ROW", "seq"),
    ("TIME", "at"),
    ("KIND", "kind"),
    ("CREDITS", "amount"),
    ("REASON", "reason"),
];

pub(super) fn run(flags: &ExplainFlags) -> Result<(), String> {
    let ask = Ask::get(format!("/calls/{}", encoded(&flags.call)));
    client::show_as(&flags.reach, &ask, |answer| story(answer.clone())).map_err(|why| {
        if !why.ends_with("(404 Not Found)") {
            return why;
        }
        format!(
            "{why}: calls that were refused have no id and cost nothing; \
             paygate usage --outcome denied lists them with their reasons"
        )
    })
}

fn story(mut call: Value) -> String {
    let mut text = format!("{}\n\n", headline(&call));
    text.push_str(&facts(&call));
    let is_shadow = |outcome: &str| outcome.starts_with("shadow");
    for item in call.pointer_mut("/calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let outcome = item.get("outcome").and_then(Value::as_str).unwrap_or_default();
        let is_paid = item.get("charged").and_then(Value::as_i64).unwrap_or(0) > 0;
        let is_free = item.get("price").and_then(Value::as_i64) == Some(0);
        let why = match outcome {
            "result" if is_free => "a result; its price is 0".to_owned(),
            outcome if is_shadow(outcome) => shadow(outcome),
            outcome => why(outcome, is_paid),
        };
        if let Some(item) = item.as_object_mut() {
            item.insert("why".to_owned(), json!(why));
        }
    }
    for (pointer, columns) in [("/calls", CALLS), ("/amounts", AMOUNTS), ("/journal", JOURNAL)] {
        // Writing to a String cannot fail.
        write!(text, "\n{}", Shown::Table(pointer, columns).text(&call)).ok();
    }
    text
}

fn text_of<'a>(call: &'a Value, member: &str) -> &'a str {
    call.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn credits(call: &Value, member: &str) -> String {
    match call.get(member).and_then(Value::as_i64).unwrap_or(0) {
        1 => "1 credit".to_owned(),
        count => format!("{count} credits"),
    }
}

fn headline(call: &Value) -> String {
    let id = text_of(call, "callId");
    match text_of(call, "state") {
        "held" => {
            let until = text_of(call, "heldUntil");
            let waits = match text_of(call, "waitsFor") {
                "round" => "it waits for its client's next round",
                "task" => "it waits for its task",
                _ => "it has not ended yet",
            };
            format!("{id}: {} reserved, until {until} at most: {waits}", credits(call, "price"))
        }
        "charged" => format!("{id}: {} charged", credits(call, "charged")),
        "refunded" => {
            format!("{id}: {} charged and given back later", credits(call, "charged"))
        }
        _ => format!("{id}: free"),
    }
}

/// Who, when and how, for people.
fn facts(call: &Value) -> String {
    let ended = match text_of(call, "end") {
        "" => String::new(),
        "captured" => format!("{} and was charged", text_of(call, "endedAt")),
        "released" => format!("{} and was free", text_of(call, "endedAt")),
        "expired" => format!(
            "{}: nobody had ended it in time, so all was given back",
            text_of(call, "endedAt")
        ),
        _ => format!(
            "{}: Paygate had stopped meanwhile, so all was given back",
            text_of(call, "endedAt")
        ),
    };
    let refund = call.pointer("/journal").and_then(Value::as_array).into_iter().flatten();
    let refund = refund.filter(|row| text_of(row, "kind") == "refund").map(|row| {
        let reason = row.get("reason").and_then(Value::as_str);
        let reason = reason.map(|reason| format!(", because: {reason}")).unwrap_or_default();
        format!("{}: {} given back{reason}", text_of(row, "at"), credits(call, "givenBack"))
    });
    let name = call.get("keyName").and_then(Value::as_str).unwrap_or("(the key is deleted)");
    let let_through =
        format!("{}: every limit had room for {}", text_of(call, "heldAt"), credits(call, "price"));
    let refunded = refund.collect::<Vec<_>>().join("; ");
    let member = |name: &str| call.get(name).cloned().unwrap_or_default();
    let facts = [
        ("key", member("keyId")),
        ("name", json!(name)),
        ("namespace", member("namespace")),
        ("team", member("teamId")),
        ("labels", member("labels")),
        ("let through", json!(let_through)),
        ("ended", json!(ended)),
        ("refunded", json!(refunded)),
    ];
    let facts: Vec<(&str, &Value)> = facts.iter().map(|(name, value)| (*name, value)).collect();
    pairs(&facts)
}

/// Why an outcome is paid or free, as docs/outcomes.md has it.
fn why(outcome: &str, is_paid: bool) -> String {
    let failed = if is_paid { "paid, because refundOnFailure is off" } else { "free" };
    match outcome {
        "open" => "no outcome yet".to_owned(),
        "result" if is_paid => "the server answered with a result".to_owned(),
        "result" => "a result, but the whole batch was given back".to_owned(),
        "tool_error" => format!("the tool said that it failed (isError): {failed}"),
        "error" => format!("the server answered with an error: {failed}"),
        "timeout" => "no answer in time: free".to_owned(),
        "upstream_exited" => "the server ended, or the connection to it: free".to_owned(),
        "upstream_unavailable" => "the server was not there: free".to_owned(),
        "malformed_answer" => "the server's answer could not be read: free".to_owned(),
        "answer_too_large" => "the answer was over maxAnswerBytes: free".to_owned(),
        "cancelled" => "the client cancelled it, or went away: free".to_owned(),
        "input_required" => "the tool asked for more and nobody went on: free".to_owned(),
        "not_kept" => "Paygate could not keep it open: free".to_owned(),
        "task_lost" => "the server does not know its task any more: free".to_owned(),
        "expire" => "nobody ended it in time: free".to_owned(),
        "recover" => "Paygate had stopped while it was in flight: free".to_owned(),
        _ if is_paid => "paid".to_owned(),
        _ => "free".to_owned(),
    }
}

fn shadow(outcome: &str) -> String {
    match outcome.split_once(':') {
        Some((_, reason)) => {
            format!("shadow mode, never charged; would have been refused: {reason}")
        }
        None => "shadow mode, never charged".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_says_who_what_and_why() {
        let call = json!({
            "callId": "call_1", "keyId": "key_1", "keyName": null, "namespace": "acme", "teamId": "team_1",
            "labels": {"user": "u-1"}, "state": "refunded", "price": 5, "charged": 5, "givenBack": 5,
            "heldAt": "T1", "heldUntil": null, "waitsFor": null, "endedAt": "T2", "end": "captured",
            "calls": [{"tool": "search\u{1b}", "price": 5, "charged": 5, "outcome": "tool_error"}],
            "amounts": [{"account": "key_1", "counter": "balance", "window": "ever", "reserved": -5, "kept": -5, "givenBack": 5}],
            "journal": [{"seq": 7, "at": "T3", "kind": "refund", "amount": 5, "reason": "it was wrong"}],
        });
        let told = story(call);
        for words in [
            "call_1: 5 credits charged and given back later",
            "(the key is deleted)",
            "user=u-1",
            "T1: every limit had room for 5 credits",
            "T3: 5 credits given back, because: it was wrong",
            "search  5      5        tool_error  the tool said that it failed (isError): paid, because refundOnFailure is off",
        ] {
            assert!(told.contains(words), "{words:?} is missing in {told}");
        }
        assert!(!told.contains('\u{1b}'));
        assert_eq!(
            shadow("shadow:rate_limited"),
            "shadow mode, never charged; would have been refused: rate_limited"
        );
    }
}
