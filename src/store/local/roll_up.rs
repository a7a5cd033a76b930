//! The sums of usage. They follow the journal by its row numbers: what a row adds is written in one
//! commit with the number up to which they are true, so a crash neither loses nor repeats any of it,
//! and no call waits for them. Mostly the writer has noted it (`tally.rs`); after a crash, or in a file
//! of an older version, it is read from the journal here.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, params};

use super::outbox;
use super::queue::Write;
use super::schema::{meta, set_meta};
use super::state::{LocalStore, Shared};
use crate::model::bounds::{REFUSED_ROWS_MAX, USAGE_FORGOTTEN_AT_ONCE, USAGE_ROLLED_AT_ONCE};
use crate::model::ids::{AccountId, CallId};
use crate::model::labels::Labels;
use crate::model::text::Text;
use crate::model::time::Time;
use crate::model::usage::{Bucket, HOUR_MS, Refused};
use crate::store::{Durable, StoreError};

/// The number up to which the sums are true.
const ROLLED: &str = "usage_seq";
/// The first journal row that is still told of.
pub(super) const FROM: &str = "usage_from";

/// The kinds of journal rows that say how calls ended.
pub(super) const ENDS: &str = "('call', 'capture', 'release', 'expire', 'recover', 'refund')";

/// `n` of the first refusal after a journal row; below are the calls of the row itself.
pub(super) const REFUSED_FIRST: i64 = 1 << 16;

/// What some journal rows add to the sums.
#[derive(Debug)]
pub(super) struct RollUp {
    after: i64,
    up_to: i64,
    sums: Vec<Sum>,
    /// First row of each hour.
    marks: Vec<(i64, i64)>,
    labels: Vec<LabelSum>,
}

/// Hour, namespace, name and value of a label, calls and credits.
pub(super) type LabelSum = (i64, String, String, String, i64, i64);

/// What a key used of a tool in an hour.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) place: Place,
    pub(super) calls: i64,
    pub(super) credits: i64,
}

/// Hour, key and tool, in the order of the table.
pub(super) type Place = (i64, AccountId, Text);

/// The journal row up to which the sums are true.
pub(super) fn rolled(connection: &Connection) -> rusqlite::Result<i64> {
    meta(connection, ROLLED)
}

/// Notes that the sums are true up to a journal row.
pub(super) fn set_rolled(connection: &Connection, seq: i64) -> rusqlite::Result<()> {
    set_meta(connection, ROLLED, seq)?;
    connection.prepare_cached("DELETE FROM usage_pieces WHERE up_to <= ?1")?.execute([seq])?;
    Ok(())
}

/// Notes that of the sums up to a journal row those up to a place are written.
pub(super) fn set_piece(
    connection: &Connection,
    up_to: i64,
    (hour, key, tool): &Place,
) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM usage_pieces")?.execute([])?;
    connection
        .prepare_cached("INSERT INTO usage_pieces VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![up_to, hour, key.as_str(), tool.as_str()])?;
    Ok(())
}

/// The piece that a crash has left as the last one: up to which journal row, and its last place.
type Piece = (i64, i64, String, String);

fn last_piece(connection: &Connection) -> rusqlite::Result<Option<Piece>> {
    let mut statement =
        connection.prepare_cached("SELECT up_to, start, key, tool FROM usage_pieces")?;
    statement.query_row([], |row| row.try_into()).optional()
}

/// The next rows up to `end` that the sums do not have yet; `None` if they have all.
pub(super) fn fold(connection: &Connection, end: i64) -> rusqlite::Result<Option<RollUp>> {
    let after = rolled(connection)?;
    let piece = last_piece(connection)?;
    let end = piece.as_ref().map_or(end, |(up_to, ..)| end.min(*up_to));
    let up_to: Option<i64> = connection
        .prepare_cached(
            "SELECT max(seq) FROM (SELECT seq FROM journal WHERE seq > ?1 AND seq <= ?3
                                   ORDER BY seq LIMIT ?2)",
        )?
        .query_row([after, USAGE_ROLLED_AT_ONCE, end], |row| row.get(0))?;
    let Some(up_to) = up_to else { return Ok(None) };
    let sql = format!(
        "SELECT * FROM
             (SELECT at - at % {HOUR_MS} AS hour, account, call.value ->> 0 AS tool,
                     sum(kind <> 'refund'), sum(call.value ->> 2)
              FROM journal, json_each(journal.detail, '$.calls') AS call
              WHERE seq > ?1 AND seq <= ?2 AND kind IN {ENDS} GROUP BY 1, 2, 3)
         WHERE (hour, account, tool) > (?3, ?4, ?5)"
    );
    let written =
        piece.as_ref().map_or((i64::MIN, "", ""), |(_, hour, key, tool)| (*hour, key, tool));
    let mut statement = connection.prepare_cached(&sql)?;
    let sums = statement.query_map((after, up_to, written.0, written.1, written.2), |row| {
        let key = AccountId::new(row.get_ref(1)?.as_str()?);
        let place = (row.get(0)?, key, Text::from(row.get_ref(2)?.as_str()?));
        Ok(Sum { place, calls: row.get(3)?, credits: row.get(4)? })
    })?;
    let sums = sums.collect::<rusqlite::Result<_>>()?;
    let sql = format!(
        "SELECT at - at % {HOUR_MS}, min(seq) FROM journal WHERE seq > ?1 AND seq <= ?2 GROUP BY 1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let marks = statement.query_map([after, up_to], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let marks = marks.collect::<rusqlite::Result<_>>()?;
    // The first piece has them all.
    let labels = match piece {
        Some(_) => Vec::new(),
        None => fold_labels(connection, after, up_to)?,
    };
    Ok(Some(RollUp { after, up_to, sums, marks, labels }))
}

fn fold_labels(connection: &Connection, after: i64, up_to: i64) -> rusqlite::Result<Vec<LabelSum>> {
    let sql = format!(
        "SELECT journal.at - journal.at % {HOUR_MS},
                coalesce((SELECT namespace FROM keys WHERE id = account),
                         (SELECT namespace FROM deleted_keys WHERE id = account), ''),
                label.key, label.value, sum(kind <> 'refund'), sum(call.value ->> 2)
         FROM journal CROSS JOIN call_labels ON call_labels.call = journal.call
         CROSS JOIN json_each(journal.detail, '$.calls') AS call
         CROSS JOIN json_each(call_labels.labels) AS label
         WHERE seq > ?1 AND seq <= ?2 AND kind IN {ENDS} GROUP BY 1, 2, 3, 4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let sums = statement.query_map([after, up_to], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    })?;
    sums.collect()
}

/// Writes what a call is for.
pub(super) fn write_labels(
    connection: &Connection,
    call: &CallId,
    at: Time,
    labels: &Labels,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO call_labels VALUES (?1, ?2, ?3)")?
        .execute(params![call.bytes().as_slice(), at.ms(), labels.as_str()])?;
    Ok(())
}

/// What a call is for, if its client has said so.
pub(super) fn labels_of(
    connection: &Connection,
    call: &CallId,
) -> rusqlite::Result<Option<Labels>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT labels FROM call_labels WHERE call = ?1")?
        .query_row([call.bytes().as_slice()], |row| row.get(0))
        .optional()?;
    Ok(text.and_then(|text| Labels::parse(&text).ok().flatten()))
}

/// Adds to the sums, unless they have these rows already.
pub(super) fn write_roll_up(connection: &Connection, more: &RollUp) -> rusqlite::Result<()> {
    if rolled(connection)? != more.after {
        return Ok(());
    }
    add_all(connection, &more.sums, &more.marks, &more.labels)?;
    set_rolled(connection, more.up_to)
}

/// Adds to the sums of keys and of tools.
pub(super) fn add_sums(connection: &Connection, sums: &[Sum]) -> rusqlite::Result<()> {
    let mut tools = BTreeMap::<(i64, Text, &Text), (i64, i64)>::new();
    for Sum { place: (hour, key, tool), calls, credits } in sums {
        let used = (*calls, *credits);
        let namespace = add_to_key(connection, *hour, (key.as_str(), tool.as_str()), used)?;
        let of_tool = tools.entry((*hour, namespace, tool)).or_default();
        *of_tool = (of_tool.0.saturating_add(*calls), of_tool.1.saturating_add(*credits));
    }
    for ((hour, namespace, tool), used) in tools {
        add_tool(connection, hour, (namespace.as_str(), tool.as_str(), ""), used)?;
    }
    Ok(())
}

/// Adds to the hour and the day of a key; its namespace. Most have a sum of that day already, which says
/// whose they are.
fn add_to_key(
    connection: &Connection,
    hour: i64,
    (key, tool): (&str, &str),
    (calls, credits): (i64, i64),
) -> rusqlite::Result<Text> {
    let day = Bucket::Day.start(Time::from_ms(hour));
    let sql = "UPDATE usage_days SET calls = calls + ?4, credits = credits + ?5
         WHERE start = ?1 AND key = ?2 AND tool = ?3 AND reason = '' RETURNING namespace";
    let known = connection
        .prepare_cached(sql)?
        .query_row(params![day, key, tool, calls, credits], |row| {
            Ok(Text::from(row.get_ref(0)?.as_str()?))
        })
        .optional()?;
    let is_known = known.is_some();
    let namespace = match known {
        Some(namespace) => namespace,
        None => Text::from(namespace_of(connection, key)?.as_str()),
    };
    let tables = [(ADD_HOUR, hour), (ADD_DAY, day)];
    for (sql, start) in tables.into_iter().take(if is_known { 1 } else { 2 }) {
        let row = params![start, key, tool, "", namespace.as_str(), calls, credits];
        connection.prepare_cached(sql)?.execute(row)?;
    }
    Ok(namespace)
}

/// Adds to all the sums.
pub(super) fn add_all(
    connection: &Connection,
    sums: &[Sum],
    marks: &[(i64, i64)],
    labels: &[LabelSum],
) -> rusqlite::Result<()> {
    add_sums(connection, sums)?;
    add_marks(connection, marks)?;
    add_labels(connection, labels)
}

/// Notes the first journal rows of hours.
pub(super) fn add_marks(connection: &Connection, marks: &[(i64, i64)]) -> rusqlite::Result<()> {
    let mut mark =
        connection.prepare_cached("INSERT OR IGNORE INTO usage_marks VALUES (?1, ?2)")?;
    for place in marks {
        mark.execute(*place)?;
    }
    Ok(())
}

/// Adds to the sums of labels.
pub(super) fn add_labels(connection: &Connection, labels: &[LabelSum]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO label_hours VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,
             credits = credits + excluded.credits",
    )?;
    for (start, namespace, name, value, calls, credits) in labels {
        insert.execute(params![start, namespace, name, value, calls, credits])?;
    }
    Ok(())
}

/// Whose a key is or was; empty for what is none.
pub(super) fn namespace_of(connection: &Connection, key: &str) -> rusqlite::Result<String> {
    let sql = "SELECT coalesce((SELECT namespace FROM keys WHERE id = ?1),
                               (SELECT namespace FROM deleted_keys WHERE id = ?1), '')";
    connection.prepare_cached(sql)?.query_row([key], |row| row.get(0))
}

fn add(
    connection: &Connection,
    at: i64,
    (key, tool, reason): (&str, &str, &str),
    namespace: &str,
    (calls, credits): (i64, i64),
) -> rusqlite::Result<()> {
    for (sql, bucket) in [(ADD_HOUR, Bucket::Hour), (ADD_DAY, Bucket::Day)] {
        let start = bucket.start(Time::from_ms(at));
        connection
            .prepare_cached(sql)?
            .execute(params![start, key, tool, reason, namespace, calls, credits])?;
    }
    Ok(())
}

const ADD_HOUR: &str =
    "INSERT INTO usage_hours (start, key, tool, reason, namespace, calls, credits)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
     ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, credits = credits + excluded.credits";

const ADD_DAY: &str =
    "INSERT INTO usage_days (start, key, tool, reason, namespace, calls, credits)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
     ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, credits = credits + excluded.credits";

fn add_tool(
    connection: &Connection,
    at: i64,
    (namespace, tool, reason): (&str, &str, &str),
    (calls, credits): (i64, i64),
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO usage_tools (start, namespace, tool, reason, calls, credits)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,
             credits = credits + excluded.credits";
    let start = Bucket::Hour.start(Time::from_ms(at));
    connection
        .prepare_cached(sql)?
        .execute(params![start, namespace, tool, reason, calls, credits])?;
    Ok(())
}

/// Refusals of one kind, as they are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedRow<'a> {
    pub(super) at: i64,
    pub(super) key: &'a str,
    pub(super) namespace: &'a str,
    pub(super) tool: &'a str,
    pub(super) reason: &'a str,
    pub(super) count: u64,
}

impl<'a> From<&'a Refused> for RefusedRow<'a> {
    fn from(refused: &'a Refused) -> Self {
        let Refused { at, key, namespace, tool, reason, count } = refused;
        Self { at: at.ms(), key, namespace, tool, reason, count: *count }
    }
}

/// Writes refusals after the last journal row, and adds them to the sums.
pub(super) fn write_refused<'a>(
    connection: &Connection,
    refused: impl IntoIterator<Item = impl Into<RefusedRow<'a>>>,
    seq: i64,
) -> rusqlite::Result<()> {
    let refused: Vec<RefusedRow<'a>> = refused.into_iter().map(Into::into).collect();
    let last = "SELECT max(n) FROM refused WHERE seq = ?1";
    let last: Option<i64> = connection.prepare_cached(last)?.query_row([seq], |row| row.get(0))?;
    let first = last.map_or(REFUSED_FIRST, |last| last.saturating_add(1));
    let first = first.max(outbox::first_unsent(connection, seq)?);
    let mut insert = connection.prepare_cached(
        "INSERT INTO refused (seq, n, at, key, namespace, tool, reason, count)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (n, kind) in (first..REFUSED_ROWS_MAX).zip(&refused) {
        let RefusedRow { at, key, namespace, tool, reason, count } = *kind;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        insert.execute(params![seq, n, at, key, namespace, tool, reason, count])?;
    }
    for RefusedRow { at, key, namespace, tool, reason, count } in refused {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        add(connection, at, (key, tool, reason), namespace, (count, 0))?;
        add_tool(connection, at, (namespace, tool, reason), (count, 0))?;
    }
    Ok(())
}

/// Forgets a part of the usage before a moment, in whole hours and days. The journal stays: it is
/// what balances are proved with.
pub(super) fn forget_usage(connection: &Connection, before: Option<Time>) -> rusqlite::Result<()> {
    let beyond = "DELETE FROM refused WHERE (seq, n) IN
        (SELECT seq, n FROM refused ORDER BY seq, n LIMIT max(0, min(?1, (SELECT count(*) FROM refused) - ?2)))";
    let at_once = i64::try_from(USAGE_FORGOTTEN_AT_ONCE).unwrap_or(i64::MAX);
    outbox::count_lost_refusals(connection, at_once, REFUSED_ROWS_MAX)?;
    connection.prepare_cached(beyond)?.execute([at_once, REFUSED_ROWS_MAX])?;
    let Some(before) = before else { return Ok(()) };
    let hour = Bucket::Hour.start(before);
    let first: Option<i64> = connection
        .prepare_cached("SELECT seq FROM usage_marks WHERE start >= ?1 ORDER BY start LIMIT 1")?
        .query_row([hour], |row| row.get(0))
        .optional()?;
    // Without a row since then, all that the sums have seen is older.
    let first = match first {
        Some(first) => first,
        None => meta(connection, ROLLED)?.saturating_add(1),
    };
    if first > meta(connection, FROM)? {
        set_meta(connection, FROM, first)?;
    }
    connection.prepare_cached("DELETE FROM usage_marks WHERE start < ?1")?.execute([hour])?;
    let old = "DELETE FROM refused WHERE (seq, n) IN
        (SELECT seq, n FROM refused WHERE at < ?1 AND (seq << 20 | n) <= ?3 ORDER BY seq, n LIMIT ?2)";
    let sent = outbox::sent(connection)?.usage;
    connection.prepare_cached(old)?.execute([hour, at_once, sent])?;
    let labels = "DELETE FROM call_labels WHERE call IN
        (SELECT call FROM call_labels WHERE at < ?1 ORDER BY at LIMIT ?2)";
    connection.prepare_cached(labels)?.execute([hour, at_once])?;
    let labels = "DELETE FROM label_hours WHERE (start, namespace, name, value) IN
        (SELECT start, namespace, name, value FROM label_hours WHERE start < ?1
         ORDER BY start LIMIT ?2)";
    connection.prepare_cached(labels)?.execute([hour, at_once])?;
    let tools = "DELETE FROM usage_tools WHERE (start, namespace, tool, reason) IN
        (SELECT start, namespace, tool, reason FROM usage_tools WHERE start < ?1
         ORDER BY start LIMIT ?2)";
    connection.prepare_cached(tools)?.execute([hour, at_once])?;
    for (table, bucket) in [("usage_hours", Bucket::Hour), ("usage_days", Bucket::Day)] {
        let sql = format!(
            "DELETE FROM {table} WHERE (start, key, tool, reason) IN
             (SELECT start, key, tool, reason FROM {table} WHERE start < ?1
              ORDER BY start, key, tool, reason LIMIT ?2)"
        );
        connection.prepare_cached(&sql)?.execute([bucket.start(before), at_once])?;
    }
    Ok(())
}

impl Shared {
    /// Queues something about usage.
    fn usage(&self, write: Write) -> Result<Durable, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        state.queue.push(write);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(durable)
    }

    pub(super) fn forget_usage(&self, before: Option<Time>) -> Result<Durable, StoreError> {
        self.usage(Write::ForgetUsage { before })
    }
}

impl LocalStore {
    /// Writes refusals down.
    pub(super) async fn write_refused(&self, refused: Vec<Refused>) -> Result<(), StoreError> {
        if refused.is_empty() {
            return Ok(());
        }
        self.shared.usage(Write::Refused(refused))?.wait().await
    }

    /// Brings the sums up to the present.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let _alone = self.rolling.lock().await;
        self.shared.flush()?.wait().await?;
        let last = "SELECT coalesce(max(seq), 0) FROM journal";
        let last = move |connection: &Connection| connection.query_row(last, [], |row| row.get(0));
        let last: i64 = self.reports.read(last).await?;
        loop {
            // What the writer could not note, first.
            let end = self.shared.noted_from.load(Ordering::Relaxed);
            while let Some(more) = self.reports.read(move |books| fold(books, end)).await? {
                self.shared.usage(Write::RollUp(Box::new(more)))?.wait().await?;
            }
            self.shared.usage(Write::FlushUsage)?.wait().await?;
            if self.reports.read(rolled).await? >= last {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::super::usage::{read_usage, sums};
    use super::*;
    use crate::model::usage::UsageFilter;

    const DAY: i64 = 24 * HOUR_MS;

    fn call(connection: &Connection, seq: i64, at: i64) {
        let detail = r#"{"calls":[["a",2,2,"result"],["b",1,0,"timeout"]]}"#;
        let sql = "INSERT INTO journal VALUES (?1, ?2, 'call', x'00112233445566778899aabbccddeeff', 'key_1', 2, ?3)";
        connection.execute(sql, params![seq, at, detail]).unwrap();
    }

    fn refused(at: i64) -> Refused {
        let [key, namespace, tool] = ["", "", "a"].map(str::to_owned);
        Refused { at: Time::from_ms(at), key, namespace, tool, reason: "invalid_api_key", count: 3 }
    }

    fn books() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::create(&mut connection).unwrap();
        connection
    }

    fn listed(connection: &Connection) -> Vec<(i64, String, i64)> {
        let page = read_usage(connection, &UsageFilter::default(), None, 100).unwrap();
        assert_eq!(page.next, None);
        page.events.into_iter().map(|one| (one.at.ms(), one.outcome, one.count)).collect()
    }

    #[test]
    fn sums_have_every_row_once() {
        let connection = books();
        call(&connection, 1, 5);
        call(&connection, 2, HOUR_MS + 5);
        let more = fold(&connection, i64::MAX).unwrap().unwrap();
        write_roll_up(&connection, &more).unwrap();
        // As after a crash, or two who do it at once.
        write_roll_up(&connection, &more).unwrap();
        assert!(fold(&connection, i64::MAX).unwrap().is_none());
        write_refused(&connection, &[refused(7)], 2).unwrap();
        let mut found: Vec<_> = sums(&connection, None).unwrap();
        found.sort_by(|one, other| (&one.tool, &one.reason).cmp(&(&other.tool, &other.reason)));
        let found: Vec<_> = found.iter().map(|row| (&*row.tool, row.calls, row.credits)).collect();
        assert_eq!(found, [("a", 2, 4), ("a", 3, 0), ("b", 2, 0)]);
        let hours = "SELECT count(DISTINCT start) FROM usage_hours";
        assert_eq!(connection.query_row(hours, [], |row| row.get::<_, i64>(0)), Ok(2));
    }

    #[test]
    fn old_usage_is_forgotten_and_stays_so() {
        let connection = books();
        call(&connection, 1, 5);
        write_refused(&connection, &[refused(6)], 1).unwrap();
        call(&connection, 2, 3 * DAY);
        write_refused(&connection, &[refused(3 * DAY + 1)], 2).unwrap();
        write_roll_up(&connection, &fold(&connection, i64::MAX).unwrap().unwrap()).unwrap();
        assert_eq!(listed(&connection).len(), 6);
        forget_usage(&connection, None).unwrap();
        assert_eq!(listed(&connection).len(), 6);
        forget_usage(&connection, Some(Time::from_ms(2 * DAY))).unwrap();
        let word = |text: &str| text.to_owned();
        let late = [
            (3 * DAY, word("result"), 1),
            (3 * DAY, word("timeout"), 1),
            (3 * DAY + 1, word("invalid_api_key"), 3),
        ];
        assert_eq!(listed(&connection), late);
        assert_eq!(sums(&connection, None).unwrap().iter().map(|row| row.calls).sum::<i64>(), 5);
        forget_usage(&connection, Some(Time::from_ms(9 * DAY))).unwrap();
        assert_eq!(listed(&connection), []);
        assert_eq!(sums(&connection, None).unwrap(), []);
        let kept = "SELECT count(*) FROM journal";
        assert_eq!(connection.query_row(kept, [], |row| row.get::<_, i64>(0)), Ok(2));
    }

    #[test]
    fn a_long_list_is_read_in_bounded_pieces() {
        let connection = books();
        let last = 2 * crate::model::bounds::USAGE_SCANNED_AT_ONCE;
        connection.execute("BEGIN", []).unwrap();
        for seq in 1..=last {
            call(&connection, seq, 5);
        }
        let filter = UsageFilter { tool: Some("none".to_owned()), ..UsageFilter::default() };
        let (mut after, mut reads) = (None, 0);
        loop {
            let page = read_usage(&connection, &filter, after, 100).unwrap();
            assert_eq!(page.events, []);
            reads += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!((2..=4).contains(&reads), "{reads}");
    }
}
