//! Explaining a call: every row of it in the journal, and what else is known of it.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Deserialize;

use super::rows::{COLUMNS, ReadRow};
use crate::ledger::Entry;
use crate::model::ids::CallId;
use crate::model::time::Time;
use crate::store::{ExplainedCall, ExplainedItem, ExplainedRow};

/// What rows say beside their entries.
#[derive(Deserialize)]
struct Beside {
    #[serde(default)]
    calls: Vec<(String, i64, i64, String)>,
    #[serde(default)]
    reason: Option<String>,
}

pub(super) fn explain_call(
    connection: &Connection,
    call: CallId,
) -> rusqlite::Result<Option<ExplainedCall>> {
    let sql = format!("SELECT {COLUMNS} FROM journal WHERE call = ?1 ORDER BY seq");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query([call.bytes().as_slice()])?;
    let (mut hold, mut end, mut refund, mut payer) = (None, None, None, String::new());
    let (mut items, mut rows) = (Vec::new(), Vec::new());
    while let Some(row) = found.next()? {
        let beside: Beside = serde_json::from_str(row.get_ref(6)?.as_str()?)
            .unwrap_or(Beside { calls: Vec::new(), reason: None });
        let kind: String = row.get(2)?;
        // An end that was charged is not undone by another one, for nothing, that stands behind it.
        let is_second = kind == "call" && row.get::<_, i64>(5)? == 0 && end.is_some();
        // A refund repeats them with what it changes.
        if kind != "refund" && !is_second && !beside.calls.is_empty() {
            items = beside.calls.into_iter().map(item).collect();
        }
        rows.push(ExplainedRow {
            seq: row.get(0)?,
            at: Time::from_ms(row.get(1)?),
            kind,
            amount: row.get(5)?,
            reason: beside.reason,
        });
        // A row that cannot be read is for `ledger verify` to tell of.
        let Ok(read) = ReadRow::read(row)? else { continue };
        read.payer.as_str().clone_into(&mut payer);
        for entry in read.entries {
            match entry {
                Entry::Hold(_) | Entry::Resolution(_) if is_second => {}
                Entry::Hold(found) => hold = Some(found),
                Entry::Resolution(found) => end = Some(found),
                Entry::Reversal(found) => refund = Some(found),
                Entry::Credit { .. } | Entry::Opening(_) => {}
            }
        }
    }
    let Some(hold) = hold else { return Ok(None) };
    let (key_name, namespace) = owner(connection, &payer)?;
    let (waits, labels) = (waits(connection, call)?, labels(connection, call)?);
    Ok(Some(ExplainedCall {
        call,
        key: payer,
        key_name,
        namespace,
        labels,
        hold,
        end,
        refund,
        items,
        waits,
        rows,
    }))
}

fn item((tool, price, charged, outcome): (String, i64, i64, String)) -> ExplainedItem {
    ExplainedItem { tool, price, charged, outcome }
}

/// What an open hold waits for, and until when.
fn waits(connection: &Connection, call: CallId) -> rusqlite::Result<Option<(String, Time)>> {
    let sql = "SELECT state, until FROM parked WHERE call = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, Time::from_ms(row.get(1)?)));
    statement.query_row([call.bytes().as_slice()], read).optional()
}

fn labels(connection: &Connection, call: CallId) -> rusqlite::Result<Option<String>> {
    let mut statement =
        connection.prepare_cached("SELECT labels FROM call_labels WHERE call = ?1")?;
    statement.query_row([call.bytes().as_slice()], |row| row.get(0)).optional()
}

/// Name and tenant of a key; a deleted one has no name any more.
fn owner(connection: &Connection, key: &str) -> rusqlite::Result<(Option<String>, String)> {
    let sql = "SELECT record ->> 'name', namespace FROM keys WHERE id = ?1
               UNION ALL SELECT NULL, namespace FROM deleted_keys WHERE id = ?1 LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.unwrap_or_default())
}
