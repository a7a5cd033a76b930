//! Usage as it is read: the ends of calls from the journal with the refusals between them.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::roll_up::{ENDS, FROM, REFUSED_FIRST};
use super::schema::meta;
use crate::model::bounds::USAGE_SCANNED_AT_ONCE;
use crate::model::time::Time;
use crate::model::usage::{UsageEvent, UsageFilter};
use crate::store::{UsagePage, UsageRow};

/// A place is a journal row and a number after it.
pub(super) const PLACE_BITS: u32 = 20;
pub(super) const PLACE_MASK: i64 = (1 << PLACE_BITS) - 1;

/// Calls, refusals and credits by key, tool and reason of refusal.
pub(super) fn sums(
    connection: &Connection,
    namespace: Option<&str>,
) -> rusqlite::Result<Vec<UsageRow>> {
    // Two statements, so that the one for a tenant has its index.
    let of_one = if namespace.is_some() { "namespace = ?1" } else { "?1 IS NULL" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT key, tool, reason, sum(calls), sum(credits) FROM usage_days
         WHERE {of_one} GROUP BY 1, 2, 3"
    ))?;
    let rows = statement.query_map([namespace], |row| {
        Ok(UsageRow {
            key: row.get(0)?,
            tool: row.get(1)?,
            reason: row.get(2)?,
            calls: row.get(3)?,
            credits: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// How many calls ended.
pub(super) fn ended_calls(
    connection: &Connection,
    namespace: Option<&str>,
) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(sum(calls), 0) FROM usage_tools
         WHERE reason = '' AND (?1 IS NULL OR namespace = ?1)";
    connection.prepare_cached(sql)?.query_row([namespace], |row| row.get(0))
}

/// The next events behind a place, at most `limit`; fewer if a read would take too long.
pub(super) fn read_usage(
    connection: &Connection,
    filter: &UsageFilter,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<UsagePage> {
    let newest = "SELECT coalesce(max(seq), 0) FROM journal";
    let newest: i64 = connection.query_row(newest, [], |row| row.get(0))?;
    let (first, last) = rows_between(connection, filter, newest)?;
    let after = after.unwrap_or(-1).max((first << PLACE_BITS) - 1);
    let (begin, end) =
        (after >> PLACE_BITS, last.min((after >> PLACE_BITS) + USAGE_SCANNED_AT_ONCE));
    let mut events = ended(connection, filter, (after, begin, end), limit)?;
    events.extend(refused(connection, filter, (after, begin, end), limit)?);
    events.sort_by_key(|event| event.place);
    let is_full = events.len() >= limit;
    events.truncate(limit);
    let next = match events.last() {
        Some(event) if is_full => Some(event.place),
        _ => (end < last).then_some((end << PLACE_BITS) | PLACE_MASK),
    };
    Ok(UsagePage { events, next })
}

/// Some events that come after a place, whether or not lists still show them; the place behind all
/// that was looked at; and whether there is more behind that.
pub(super) fn read_unsent(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> rusqlite::Result<(Vec<UsageEvent>, i64, bool)> {
    if limit == 0 {
        return Ok((Vec::new(), after, true));
    }
    let newest = "SELECT coalesce(max(seq), 0) FROM journal";
    let newest: i64 = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
    let begin = after >> PLACE_BITS;
    // An ephemeral store forgets its first rows.
    let oldest = "SELECT coalesce(min(seq), 0) FROM journal";
    let oldest: i64 = connection.prepare_cached(oldest)?.query_row([], |row| row.get(0))?;
    let end = newest.min(begin.max(oldest) + USAGE_SCANNED_AT_ONCE);
    let (all, span) = (UsageFilter::default(), (after, begin, end));
    let mut events = ended(connection, &all, span, limit)?;
    events.extend(refused(connection, &all, span, limit)?);
    events.sort_by_key(|event| event.place);
    let is_full = events.len() >= limit;
    events.truncate(limit);
    let seen = match events.last() {
        Some(event) if is_full => event.place,
        // Refusals may still be written behind the last row, behind its own calls.
        Some(_) | None if end >= newest => {
            let last = events.last().map_or(after, |event| event.place);
            last.max((newest << PLACE_BITS) | (REFUSED_FIRST - 1))
        }
        Some(_) | None => (end << PLACE_BITS) | PLACE_MASK,
    };
    Ok((events, seen, is_full || end < newest))
}

/// The place behind everything that is there now.
pub(super) fn last_place(connection: &Connection, seq: i64) -> rusqlite::Result<i64> {
    let last = "SELECT coalesce(max(n), ?2) FROM refused WHERE seq = ?1";
    let n: i64 =
        connection.prepare_cached(last)?.query_row([seq, REFUSED_FIRST - 1], |row| row.get(0))?;
    Ok((seq << PLACE_BITS) | n)
}

/// The journal rows among which the filter's time lies.
fn rows_between(
    connection: &Connection,
    filter: &UsageFilter,
    newest: i64,
) -> rusqlite::Result<(i64, i64)> {
    let mark = |sql: &str, at: i64| {
        connection.prepare_cached(sql)?.query_row([at], |row| row.get::<_, i64>(0)).optional()
    };
    let mut first = meta(connection, FROM)?;
    if let Some(since) = filter.since {
        let sql = "SELECT seq FROM usage_marks WHERE start <= ?1 ORDER BY start DESC LIMIT 1";
        // Refusals come behind the row before them.
        let found = mark(sql, since.ms())?.unwrap_or(0).saturating_sub(1);
        first = first.max(found);
    }
    let last = match filter.until {
        Some(until) => {
            let sql = "SELECT seq FROM usage_marks WHERE start > ?1 ORDER BY start LIMIT 1";
            mark(sql, until.ms())?.unwrap_or(newest)
        }
        None => newest,
    };
    Ok((first, last))
}

/// Conditions with their values in order.
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    fn new((after, begin, end): (i64, i64, i64), place: &str) -> Self {
        let text = format!("seq >= ? AND seq <= ? AND {place} > ?");
        Self { text, values: vec![begin.into(), end.into(), after.into()] }
    }

    fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.push(value.into());
    }

    fn common(&mut self, filter: &UsageFilter, at: &str, key: &str, tool: &str) {
        if let Some(since) = filter.since {
            self.and(&format!("{at} >= ?"), since.ms());
        }
        if let Some(until) = filter.until {
            self.and(&format!("{at} <= ?"), until.ms());
        }
        if let Some(tool_asked) = &filter.tool {
            self.and(&format!("{tool} = ?"), tool_asked.clone());
        }
        if let Some(keys) = &filter.keys {
            let places = vec!["?"; keys.len()].join(", ");
            self.text = format!("{} AND {key} IN ({places})", self.text);
            self.values.extend(keys.iter().cloned().map(Value::from));
        }
    }

    fn limit(mut self, limit: usize) -> Vec<Value> {
        self.values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        self.values
    }
}

type Span = (i64, i64, i64);

fn ended(
    connection: &Connection,
    filter: &UsageFilter,
    span: Span,
    limit: usize,
) -> rusqlite::Result<Vec<UsageEvent>> {
    let place = format!("(seq << {PLACE_BITS} | c.key)");
    let mut all = Conditions::new(span, &place);
    all.common(filter, "journal.at", "account", "c.value ->> 0");
    if let Some(namespace) = &filter.namespace {
        all.and("coalesce(keys.namespace, deleted_keys.namespace) = ?", namespace.clone());
    }
    match filter.outcome.as_deref() {
        None | Some("allowed") => {}
        Some("denied") => return Ok(Vec::new()),
        Some(word) => all.and("c.value ->> 3 = ?", word.to_owned()),
    }
    if let Some((name, value)) = &filter.label {
        let label = "EXISTS (SELECT 1 FROM json_each(call_labels.labels) AS l WHERE l.key = ?";
        all.and(label, name.clone());
        all.and("l.value = ?)", value.clone());
    }
    let sql = format!(
        "SELECT {place}, journal.at, journal.call, account, keys.record ->> 'name', keys.record ->> 'first',
                coalesce(keys.namespace, deleted_keys.namespace, ''),
                c.value ->> 0, c.value ->> 1, c.value ->> 2, c.value ->> 3,
                call_labels.labels
         FROM journal CROSS JOIN json_each(journal.detail, '$.calls') AS c
         LEFT JOIN keys ON keys.id = account LEFT JOIN deleted_keys ON deleted_keys.id = account
         LEFT JOIN call_labels ON call_labels.call = journal.call
         WHERE {} AND kind IN {ENDS} ORDER BY seq, c.key LIMIT ?",
        all.text
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(all.limit(limit)), |row| {
        Ok(UsageEvent {
            call: row.get(2)?,
            price: row.get(8)?,
            charged: row.get(9)?,
            outcome: row.get(10)?,
            allowed: true,
            count: 1,
            labels: row.get(11)?,
            ..event(row)?
        })
    })?;
    rows.collect()
}

fn refused(
    connection: &Connection,
    filter: &UsageFilter,
    span: Span,
    limit: usize,
) -> rusqlite::Result<Vec<UsageEvent>> {
    if filter.label.is_some() {
        return Ok(Vec::new());
    }
    let place = format!("(seq << {PLACE_BITS} | n)");
    let mut all = Conditions::new(span, &place);
    all.common(filter, "at", "key", "tool");
    if let Some(namespace) = &filter.namespace {
        all.and("refused.namespace = ?", namespace.clone());
    }
    match filter.outcome.as_deref() {
        None | Some("denied") => {}
        Some("allowed") => return Ok(Vec::new()),
        Some(word) => all.and("reason = ?", word.to_owned()),
    }
    let sql = format!(
        "SELECT {place}, at, NULL, key, keys.record ->> 'name', keys.record ->> 'first',
                refused.namespace, tool, reason, count
         FROM refused LEFT JOIN keys ON keys.id = key WHERE {} ORDER BY seq, n LIMIT ?",
        all.text
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(all.limit(limit)), |row| {
        Ok(UsageEvent { outcome: row.get(8)?, count: row.get(9)?, ..event(row)? })
    })?;
    rows.collect()
}

/// What both have in the same columns.
fn event(row: &Row<'_>) -> rusqlite::Result<UsageEvent> {
    Ok(UsageEvent {
        place: row.get(0)?,
        at: Time::from_ms(row.get(1)?),
        call: None,
        key: row.get(3)?,
        key_name: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
        key_first: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
        namespace: row.get(6)?,
        tool: row.get(7)?,
        price: 0,
        charged: 0,
        outcome: String::new(),
        allowed: false,
        count: 0,
        labels: None,
    })
}
