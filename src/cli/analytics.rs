//! `paygate analytics`.

use std::fmt::Write as _;

use serde_json::Value;

use super::client::{self, Ask};
use super::table::{Columns, Shown};
use crate::config::{AnalyticsFlags, Granularity};

/// The tables of a report: heading, where it is in the answer, columns.
const TABLES: [(&str, &str, Columns); 4] = [
    (
        "By time (those without calls are left out)",
        "/timeSeries",
        &[
            ("START", "start"),
            ("CALLS", "calls"),
            ("ALLOWED", "allowed"),
            ("DENIED", "denied"),
            ("CREDITS", "credits"),
        ],
    ),
    (
        "Tools",
        "/tools",
        &[
            ("TOOL", "tool"),
            ("CALLS", "calls"),
            ("ALLOWED", "allowed"),
            ("DENIED", "denied"),
            ("CREDITS", "credits"),
            ("ALLOWED %", "successRate"),
            ("CREDITS A CALL", "avgCreditsPerCall"),
        ],
    ),
    (
        "Keys",
        "/topConsumers",
        &[
            ("KEY", "keyId"),
            ("NAME", "keyName"),
            ("CALLS", "calls"),
            ("CREDITS", "credits"),
            ("DENIED", "denied"),
            ("TOP TOOL", "topTool"),
        ],
    ),
    ("Labels", "/labels", &[("VALUE", "value"), ("CALLS", "calls"), ("CREDITS", "credits")]),
];

pub(super) fn run(flags: &AnalyticsFlags) -> Result<(), String> {
    let top = flags.top.map(|top| top.to_string());
    let ask = Ask::get("/analytics").query(&[
        ("from", flags.from.as_deref()),
        ("to", flags.to.as_deref()),
        ("granularity", flags.granularity.map(Granularity::word)),
        ("top", top.as_deref()),
        ("label", flags.label.as_deref()),
        ("namespace", flags.namespace.as_deref()),
    ]);
    client::show_as(&flags.reach, &ask, |answer| report(answer.clone()))
}

fn report(mut answer: Value) -> String {
    let word = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let mut text = format!("{} to {}, {}\n\n", word("/from"), word("/to"), word("/granularity"));
    text.push_str(&totals(&answer));
    if let Some(series) = answer.pointer_mut("/timeSeries").and_then(Value::as_array_mut) {
        series.retain(|bucket| bucket.get("calls") != Some(&Value::from(0)));
    }
    for (heading, pointer, columns) in TABLES {
        if answer.pointer(pointer).is_some() {
            // Writing to a String cannot fail.
            write!(text, "\n{heading}\n{}", Shown::Table(pointer, columns).text(&answer)).ok();
        }
    }
    text
}

/// The sums, beside those of as long a time before.
fn totals(answer: &Value) -> String {
    let number = |part: &str, what: &str| {
        let found = answer.pointer(&format!("/trend/{part}/{what}")).filter(|it| !it.is_null());
        found.map_or_else(|| "-".to_owned(), ToString::to_string)
    };
    let mut text = format!("{:<8}  {:>12}  {:>12}  {:>9}\n", "", "NOW", "BEFORE", "CHANGE %");
    for what in ["calls", "credits", "denied"] {
        let [now, before, change] =
            ["current", "previous", "change"].map(|part| number(part, what));
        writeln!(text, "{what:<8}  {now:>12}  {before:>12}  {change:>9}").ok();
    }
    text
}
