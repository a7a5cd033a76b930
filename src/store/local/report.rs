//! Reports on usage, from its sums. What names no key comes from those without keys, of which there are
//! few; the sums of keys are gone through once.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::model::id_map::IdMap;
use crate::model::text::Text;
use crate::model::usage::{Bucket, Consumer, ReportAsked, Tally, UsageReport};

const TALLY: &str = "coalesce(sum(calls) FILTER (WHERE reason = ''), 0) AS all_allowed,
    coalesce(sum(calls) FILTER (WHERE reason <> ''), 0) AS all_denied,
    coalesce(sum(credits), 0) AS all_credits";

fn tally(row: &Row<'_>, first: usize) -> rusqlite::Result<Tally> {
    Ok(Tally {
        allowed: row.get(first)?,
        denied: row.get(first + 1)?,
        credits: row.get(first + 2)?,
    })
}

/// Sums of whole hours or days.
pub(super) fn report(
    connection: &Connection,
    asked: &ReportAsked,
) -> rusqlite::Result<UsageReport> {
    // Of one moment, or the parts would not add up to the whole.
    let connection = &connection.unchecked_transaction()?;
    let rows = "FROM usage_tools
        WHERE start >= ?1 AND start < ?2 AND (?3 IS NULL OR namespace = ?3)";
    let given = (asked.from, asked.to, asked.namespace.as_deref());
    let before = (asked.from - (asked.to - asked.from), asked.from, given.2);
    let (top, bucket) = (asked.top, asked.bucket.ms());
    let mut all = connection.prepare_cached(&format!(
        "SELECT start - start % {bucket}, {TALLY} {rows} GROUP BY 1 ORDER BY 1"
    ))?;
    let series = all.query_map(given, |row| Ok((row.get(0)?, tally(row, 1)?)))?;
    let series = series.collect::<rusqlite::Result<_>>()?;
    let mut all = connection.prepare_cached(&format!(
        "SELECT tool, {TALLY} {rows} AND tool <> '' GROUP BY 1 ORDER BY sum(calls) DESC, 1 LIMIT {top}"
    ))?;
    let tools = all.query_map(given, |row| Ok((row.get(0)?, tally(row, 1)?)))?;
    let tools = tools.collect::<rusqlite::Result<_>>()?;
    let total = |span: (i64, i64, Option<&str>)| {
        connection
            .prepare_cached(&format!("SELECT {TALLY} {rows}"))?
            .query_row(span, |row| tally(row, 0))
    };
    let tools_used = connection
        .prepare_cached(&format!("SELECT count(DISTINCT nullif(tool, '')) {rows}"))?
        .query_row(given, |row| row.get(0))?;
    let (current, previous) = (total(given)?, total(before)?);
    let of_keys = of_keys(connection, asked)?;
    let keys = i64::try_from(of_keys.len()).unwrap_or(i64::MAX);
    let consumers = consumers(connection, asked, of_keys)?;
    let labels = labels(connection, asked)?;
    Ok(UsageReport { series, tools, consumers, current, previous, keys, tools_used, labels })
}

const fn table(bucket: Bucket) -> &'static str {
    match bucket {
        Bucket::Hour => "usage_hours",
        Bucket::Day => "usage_days",
    }
}

/// What each key used.
fn of_keys(connection: &Connection, asked: &ReportAsked) -> rusqlite::Result<IdMap<Text, Tally>> {
    let sql = format!(
        "SELECT key, reason = '', calls, credits FROM {}
         WHERE start >= ?1 AND start < ?2 AND (?3 IS NULL OR namespace = ?3) AND key <> ''",
        table(asked.bucket)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((asked.from, asked.to, asked.namespace.as_deref()))?;
    let mut all = IdMap::<Text, Tally>::default();
    while let Some(row) = rows.next()? {
        let tally = all.entry(Text::from(row.get_ref(0)?.as_str()?)).or_default();
        let (is_allowed, calls, credits): (bool, i64, i64) =
            (row.get(1)?, row.get(2)?, row.get(3)?);
        let of_kind = if is_allowed { &mut tally.allowed } else { &mut tally.denied };
        *of_kind = of_kind.saturating_add(calls);
        tally.credits = tally.credits.saturating_add(credits);
    }
    Ok(all)
}

/// The keys that used most credits.
fn consumers(
    connection: &Connection,
    asked: &ReportAsked,
    all: IdMap<Text, Tally>,
) -> rusqlite::Result<Vec<Consumer>> {
    let mut all: Vec<(Text, Tally)> = all.into_iter().collect();
    let order = |(key, tally): &(Text, Tally), (other, of_other): &(Text, Tally)| {
        of_other.credits.cmp(&tally.credits).then_with(|| key.cmp(other))
    };
    if let Some(behind) = asked.top.checked_sub(1).filter(|last| *last < all.len()) {
        all.select_nth_unstable_by(behind, order);
        all.truncate(asked.top);
    }
    all.sort_unstable_by(order);
    all.into_iter().map(|(key, tally)| consumer(connection, asked, key.as_str(), tally)).collect()
}

fn consumer(
    connection: &Connection,
    asked: &ReportAsked,
    key: &str,
    tally: Tally,
) -> rusqlite::Result<Consumer> {
    // Bucket by bucket, because each begins with the keys.
    let sql = format!(
        "WITH RECURSIVE buckets (start) AS (
             SELECT ?1 UNION ALL SELECT start + ?3 FROM buckets WHERE start + ?3 < ?2)
         SELECT tool FROM {} WHERE start IN buckets AND key = ?4 AND tool <> ''
         GROUP BY tool ORDER BY sum(calls) DESC, tool LIMIT 1",
        table(asked.bucket)
    );
    let top_tool: Option<String> = connection
        .prepare_cached(&sql)?
        .query_row(params![asked.from, asked.to, asked.bucket.ms(), key], |row| row.get(0))
        .optional()?;
    let shown = "SELECT record ->> 'name', record ->> 'first' FROM keys WHERE id = ?1";
    let name = connection.prepare_cached(shown)?.query_row([key], |row| {
        let name = row.get::<_, Option<String>>(0)?.filter(|name| !name.is_empty());
        let first = row.get::<_, Option<String>>(1)?.map(|first| format!("{first}..."));
        Ok(name.or(first))
    });
    let name = name.optional()?.flatten().unwrap_or_else(|| key.to_owned());
    Ok(Consumer { key: key.to_owned(), name, tally, top_tool: top_tool.unwrap_or_default() })
}

fn labels(connection: &Connection, asked: &ReportAsked) -> rusqlite::Result<Vec<(String, Tally)>> {
    let Some(name) = &asked.label else { return Ok(Vec::new()) };
    let sql = "SELECT value, sum(calls), sum(credits) FROM label_hours
         WHERE start >= ?1 AND start < ?2 AND (?3 IS NULL OR namespace = ?3) AND name = ?4
         GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?5";
    let top = i64::try_from(asked.top).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql)?;
    let given = (asked.from, asked.to, asked.namespace.as_deref(), name, top);
    let found = statement.query_map(given, |row| {
        let tally = Tally { allowed: row.get(1)?, denied: 0, credits: row.get(2)? };
        Ok((row.get(0)?, tally))
    })?;
    found.collect()
}
