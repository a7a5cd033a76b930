//! `paygate usage`: however long the list is, only a page of it is in memory.

use serde_json::Value;

use super::client::{Ask, Desk};
use super::output;
use super::table::{Rows, Shown};
use crate::config::UsageFlags;
use crate::model::bounds::CLI_PAGE_ENTRIES;

const COLUMNS: &[(&str, &str)] = &[
    ("TIME", "timestamp"),
    ("KEY", "keyId"),
    ("NAME", "keyName"),
    ("NAMESPACE", "namespace"),
    ("TOOL", "tool"),
    ("OUTCOME", "outcome"),
    ("PRICE", "price"),
    ("CHARGED", "creditsCharged"),
    ("COUNT", "count"),
    ("CALL", "callId"),
    ("LABELS", "labels"),
];

/// Least width of each column, so that the pages of a long list line up.
const WIDTHS: &[usize] = &[24, 20, 12, 9, 12, 12, 5, 7, 5, 37, 0];

pub(super) fn run(flags: &UsageFlags) -> Result<(), String> {
    let ask = || {
        Ask::get("/usage").query(&[
            ("since", flags.since.as_deref()),
            ("until", flags.until.as_deref()),
            ("key", flags.key.as_deref()),
            ("team", flags.team.as_deref()),
            ("namespace", flags.namespace.as_deref()),
            ("tool", flags.tool.as_deref()),
            ("outcome", flags.outcome.as_deref()),
            ("label", flags.label.as_deref()),
            ("format", flags.csv.then_some("csv")),
        ])
    };
    let desk = Desk::of(&flags.reach)?;
    if flags.csv {
        return desk.copy(&ask());
    }
    if flags.reach.json {
        desk.copy(&ask())?;
        output::piece(b"\n");
        return Ok(());
    }
    table(&desk, ask)
}

/// Page after page; one of them may be empty although more follow.
fn table(desk: &Desk, ask: impl Fn() -> Ask) -> Result<(), String> {
    let limit = CLI_PAGE_ENTRIES.to_string();
    let (mut cursor, mut rows) = (None::<String>, Rows::new(COLUMNS, WIDTHS));
    loop {
        let page = ask().query(&[("limit", Some(&limit)), ("cursor", cursor.as_deref())]);
        let page = desk.answer(&page)?;
        cursor = page.header("x-next-cursor").map(str::to_owned);
        let page = page.json()?;
        let events = page.get("events").and_then(Value::as_array);
        let text = rows.text(events.map(Vec::as_slice).unwrap_or_default());
        if !output::piece(text.as_bytes()) {
            return Ok(());
        }
        if cursor.is_none() {
            break;
        }
    }
    if rows.is_empty() {
        output::print(Shown::NOTHING);
    }
    Ok(())
}
