//! Alerts on disk. A look follows the journal and the list of refusals by their row numbers, so no call
//! knows of it, and a crash loses nothing: what was found, its entry in the audit log, the cooldown and
//! the row numbers are one commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::records::to_json;
use super::schema::{meta, set_meta};
use crate::ledger::Account;
use crate::model::alert::{Alert, AlertKind, AlertRule, Decimal};
use crate::model::bounds::{
    ALERT_COOLDOWNS_FORGOTTEN_AT_ONCE, ALERT_DENIALS_WINDOW, ALERT_KEYS_AT_ONCE,
    ALERT_ROWS_AT_ONCE, ALERTS_PENDING_MAX,
};
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::time::Time;
use crate::store::{AlertsAsked, Judge, LookAt, Watched};

/// The refusals that are counted; the same as in the index of the schema.
const RATES: &str = "('rate_limited', 'tool_rate_limited')";

/// What memory knows of alerts.
#[derive(Default)]
pub(super) struct Alerting {
    pub(super) rules: Arc<[AlertRule]>,
    pub(super) pending: usize,
    pub(super) fired: u64,
}

/// What is written of alerts.
#[derive(Debug)]
pub(super) enum AlertWrite {
    Rules(Arc<[AlertRule]>),
    Fired(Fired),
    /// What was asked for, up to an id, is not shown again.
    Read {
        asked: AlertsAsked,
        up_to: i64,
    },
}

impl AlertWrite {
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::Rules(rules) => write_rules(connection, rules),
            Self::Fired(fired) => write_fired(connection, fired),
            Self::Read { asked, up_to } => write_read(connection, asked, *up_to),
        }
    }
}

/// What one commit writes of a look.
#[derive(Debug)]
pub(super) struct Fired {
    pub(super) found: Vec<Found>,
    /// If it is the last of the look, how far that went.
    pub(super) place: Option<Place>,
    pub(super) now: Time,
}

/// An alert, and until when its rule says no more of the key.
#[derive(Debug)]
pub(in crate::store) struct Found {
    pub(in crate::store) alert: Alert,
    pub(in crate::store) until: Time,
}

/// How far keys were looked at: the last journal row, and the last entry of `refused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Place {
    seq: i64,
    refused: (i64, i64),
}

/// A key to look at.
pub(in crate::store) struct Candidate {
    pub(in crate::store) key: KeyId,
    /// Calls of it ended, or were refused.
    pub(in crate::store) was_used: bool,
    pub(in crate::store) rate_denials: i64,
}

/// How candidates are judged, and when.
pub(in crate::store) struct Judging<'a> {
    pub(in crate::store) rules: &'a [AlertRule],
    pub(in crate::store) judge: Judge,
    pub(in crate::store) now: Time,
    /// Ledger time.
    pub(in crate::store) ledger: Time,
}

impl Judging<'_> {
    /// What the rules say of a candidate, by its record and its numbers as they are now.
    pub(in crate::store) fn of(
        &self,
        candidate: &Candidate,
        key: &Key,
        account: &Account,
    ) -> Vec<Found> {
        let Self { rules, judge, now, ledger } = *self;
        let Candidate { was_used, rate_denials, .. } = *candidate;
        let watched = Watched { key, account, now, ledger, rate_denials };
        // Of a key that nothing happened to there is only its end to tell.
        let fits = |rule: &&AlertRule| was_used || rule.kind == AlertKind::KeyExpirySoon;
        let found = rules.iter().filter(fits).filter_map(|rule| {
            let until = now.plus(rule.cooldown());
            judge(rule, &watched).map(|alert| Found { alert, until })
        });
        found.collect()
    }
}

/// What a look goes through.
pub(in crate::store) struct Seen {
    pub(super) before: Place,
    pub(in crate::store) place: Place,
    pub(in crate::store) candidates: Vec<Candidate>,
    pub(in crate::store) is_all: bool,
}

impl Alerting {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT kind, threshold, cooldown FROM alert_rules ORDER BY place";
        let mut statement = connection.prepare(sql)?;
        let rules = statement.query_map([], |row| {
            let kind = AlertKind::from_word(row.get_ref(0)?.as_str()?);
            Ok(AlertRule {
                kind: kind.ok_or(rusqlite::Error::InvalidColumnName("kind".into()))?,
                threshold: Decimal::from_thousandths(row.get(1)?),
                cooldown_seconds: row.get(2)?,
            })
        })?;
        let rules = rules.collect::<rusqlite::Result<_>>()?;
        Ok(Self { rules, pending: count_pending(connection)?, fired: 0 })
    }
}

pub(super) fn count_pending(connection: &Connection) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached("SELECT count(*) FROM alerts WHERE for_host")?;
    let count: i64 = statement.query_row([], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Replaces the rules. What they will say is about what happens from here on.
fn write_rules(connection: &Connection, rules: &[AlertRule]) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM alert_rules; DELETE FROM alerts; DELETE FROM alert_cooldowns;",
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO alert_rules (kind, threshold, cooldown) VALUES (?1, ?2, ?3)",
    )?;
    for rule in rules {
        let threshold = rule.threshold.thousandths();
        insert.execute((rule.kind.word(), threshold, rule.cooldown_seconds))?;
    }
    Place::newest(connection)?.write(connection)
}

/// Notes what was said of keys elsewhere, and how far they were looked at.
pub(super) fn write_looked(
    connection: &Connection,
    said: &[Found],
    place: Place,
    now: Time,
) -> rusqlite::Result<()> {
    write_cooldowns(connection, said)?;
    forget_cooldowns(connection, now)?;
    place.write(connection)
}

/// Another instance looks at keys, and has done so up to a moment.
pub(super) fn pass_over(connection: &Connection, looked: Time) -> rusqlite::Result<()> {
    let Place { seq, refused } = Place::read(connection)?;
    let sql = "SELECT coalesce(max(seq), ?1) FROM journal WHERE seq > ?1 AND at < ?2";
    let next = connection.prepare_cached(sql)?.query_row((seq, looked.ms()), |row| row.get(0))?;
    if next != seq {
        Place { seq: next, refused: refused.max((next, 0)) }.write(connection)?;
    }
    Ok(())
}

/// There are new rules: what they will say is about what happens from here on.
pub(super) fn begin_anew(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM alert_cooldowns", [])?;
    Place::newest(connection)?.write(connection)
}

/// Says no more of these keys for a while.
fn write_cooldowns(connection: &Connection, said: &[Found]) -> rusqlite::Result<()> {
    let mut cool = connection
        .prepare_cached("INSERT OR REPLACE INTO alert_cooldowns VALUES (?1, ?2, ?3, ?4)")?;
    for Found { alert, until } in said {
        let threshold = alert.threshold.thousandths();
        cool.execute((alert.key.as_str(), alert.kind.word(), threshold, until.ms()))?;
    }
    Ok(())
}

fn forget_cooldowns(connection: &Connection, now: Time) -> rusqlite::Result<()> {
    let sql = format!(
        "DELETE FROM alert_cooldowns WHERE (key, kind, threshold) IN
         (SELECT key, kind, threshold FROM alert_cooldowns WHERE until <= ?1
          ORDER BY until LIMIT {ALERT_COOLDOWNS_FORGOTTEN_AT_ONCE})"
    );
    connection.prepare_cached(&sql)?.execute([now.ms()]).map(drop)
}

/// Writes what was found; it is in the audit log by the same commit.
fn write_fired(connection: &Connection, fired: &Fired) -> rusqlite::Result<()> {
    let Fired { found, place, now } = fired;
    let mut insert = connection.prepare_cached(
        "INSERT INTO alerts (namespace, for_host, for_tenant, record) VALUES (?1, 1, 1, ?2)",
    )?;
    for Found { alert, .. } in found {
        insert.execute((&alert.namespace, to_json(alert)?))?;
    }
    write_cooldowns(connection, found)?;
    if !found.is_empty() {
        let sql = format!(
            "DELETE FROM alerts WHERE id <= (SELECT max(id) FROM alerts) - {ALERTS_PENDING_MAX}"
        );
        connection.prepare_cached(&sql)?.execute([])?;
        forget_cooldowns(connection, *now)?;
    }
    place.map_or(Ok(()), |place| place.write(connection))
}

/// Notes that alerts were read; those that everybody has read go.
fn write_read(connection: &Connection, asked: &AlertsAsked, up_to: i64) -> rusqlite::Result<()> {
    let whose = whose(asked);
    let sql = format!(
        "UPDATE alerts SET {whose} = 0
         WHERE {whose} AND id <= ?1 AND (?2 IS NULL OR namespace = ?2)"
    );
    connection.prepare_cached(&sql)?.execute((up_to, asked.namespace.as_deref()))?;
    let read = "DELETE FROM alerts WHERE NOT for_host AND NOT for_tenant";
    connection.prepare_cached(read)?.execute([])?;
    Ok(())
}

/// The column that says whether somebody has yet to read an alert.
const fn whose(asked: &AlertsAsked) -> &'static str {
    if asked.by_tenant { "for_tenant" } else { "for_host" }
}

pub(super) fn read_alerts(
    connection: &Connection,
    asked: &AlertsAsked,
) -> rusqlite::Result<Vec<(i64, String)>> {
    let sql = format!(
        "SELECT id, record FROM alerts WHERE {} AND (?1 IS NULL OR namespace = ?1)
         ORDER BY id LIMIT {ALERTS_PENDING_MAX}",
        whose(asked)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([asked.namespace.as_deref()], |row| row.try_into())?;
    rows.collect()
}

impl Place {
    /// Behind all that is there.
    fn newest(connection: &Connection) -> rusqlite::Result<Self> {
        let newest = "SELECT coalesce(max(seq), 0) FROM journal";
        let seq = connection.query_row(newest, [], |row| row.get(0))?;
        let newest = "SELECT seq, n FROM refused ORDER BY seq DESC, n DESC LIMIT 1";
        let refused = connection.query_row(newest, [], |row| row.try_into()).optional()?;
        Ok(Self { seq, refused: refused.unwrap_or_default() })
    }

    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: meta(connection, "alerts_seq")?,
            refused: (
                meta(connection, "alerts_refused_seq")?,
                meta(connection, "alerts_refused_n")?,
            ),
        })
    }

    fn write(self, connection: &Connection) -> rusqlite::Result<()> {
        set_meta(connection, "alerts_seq", self.seq)?;
        set_meta(connection, "alerts_refused_seq", self.refused.0)?;
        set_meta(connection, "alerts_refused_n", self.refused.1)
    }
}

impl Seen {
    /// The next rows, and whose keys they are about.
    pub(super) fn read(
        connection: &Connection,
        rules: &[AlertRule],
        look_at: LookAt,
        now: Time,
    ) -> rusqlite::Result<Self> {
        let before = Place::read(connection)?;
        let mut used = HashMap::new();
        let (seq, all_rows) = ended(connection, before.seq, &mut used)?;
        let (refused, all_refused) = refused(connection, before.refused, &mut used)?;
        let since = now.minus(ALERT_DENIALS_WINDOW);
        let mut count = connection.prepare_cached(&counting())?;
        let mut candidates = Vec::with_capacity(used.len());
        for (key, by_rate) in used {
            let rate_denials = if by_rate {
                count.query_row((key.as_str(), since.ms()), |row| row.get(0))?
            } else {
                0
            };
            candidates.push(Candidate { key, was_used: true, rate_denials });
        }
        let mut is_all = all_rows && all_refused;
        if look_at == LookAt::IdleKeysToo {
            for rule in rules.iter().filter(|rule| rule.kind == AlertKind::KeyExpirySoon) {
                let soon = expiring(connection, rule, now)?;
                is_all &= soon.len() < ALERT_KEYS_AT_ONCE;
                let idle = |key| Candidate { key, was_used: false, rate_denials: 0 };
                candidates.extend(soon.into_iter().map(idle));
            }
        }
        Ok(Self { before, place: Place { seq, refused }, candidates, is_all })
    }
}

/// How often rate limits have refused a key since a moment.
fn counting() -> String {
    format!(
        "SELECT coalesce(sum(count), 0) FROM refused WHERE key = ?1 AND at > ?2 AND reason IN {RATES}"
    )
}

/// Keys that something happened to but a grant or its coming, which give no cause; true if a rate refused them.
type Used = HashMap<KeyId, bool>;

fn ended(connection: &Connection, after: i64, used: &mut Used) -> rusqlite::Result<(i64, bool)> {
    let next = "SELECT count(*), max(seq) FROM
                (SELECT seq FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2)";
    let (rows, up_to): (i64, Option<i64>) = connection
        .prepare_cached(next)?
        .query_row((after, ALERT_ROWS_AT_ONCE), |row| row.try_into())?;
    let Some(up_to) = up_to else { return Ok((after, true)) };
    let accounts = "SELECT DISTINCT account FROM journal
                    WHERE seq > ?1 AND seq <= ?2 AND kind NOT IN ('grant', 'import')";
    let mut statement = connection.prepare_cached(accounts)?;
    let mut accounts = statement.query((after, up_to))?;
    while let Some(row) = accounts.next()? {
        if let Some(key) = KeyId::parse(row.get_ref(0)?.as_str()?) {
            used.entry(key).or_default();
        }
    }
    Ok((up_to, rows < ALERT_ROWS_AT_ONCE))
}

fn refused(
    connection: &Connection,
    after: (i64, i64),
    used: &mut Used,
) -> rusqlite::Result<((i64, i64), bool)> {
    let sql = format!(
        "SELECT seq, n, key, reason IN {RATES} FROM refused
         WHERE (seq, n) > (?1, ?2) ORDER BY seq, n LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((after.0, after.1, ALERT_ROWS_AT_ONCE))?;
    let (mut place, mut count) = (after, 0);
    while let Some(row) = rows.next()? {
        (place, count) = ((row.get(0)?, row.get(1)?), count + 1);
        if let Some(key) = KeyId::parse(row.get_ref(2)?.as_str()?) {
            *used.entry(key).or_default() |= row.get::<_, bool>(3)?;
        }
    }
    Ok((place, count < ALERT_ROWS_AT_ONCE))
}

/// Keys that expire within a time, without those of which a rule says no more for now.
const EXPIRING: &str = "SELECT id FROM keys
     WHERE record ->> 'expiresAt' > ?1 AND record ->> 'expiresAt' <= ?2
         AND NOT EXISTS (SELECT 1 FROM alert_cooldowns AS cooling WHERE cooling.key = keys.id
             AND kind = 'key_expiry_soon' AND threshold = ?3 AND until > ?1)
         AND record ->> 'active' AND NOT coalesce(record ->> 'suspended', 0)
     ORDER BY record ->> 'expiresAt' LIMIT ?4";

/// Keys that expire within a rule's threshold.
fn expiring(connection: &Connection, rule: &AlertRule, now: Time) -> rusqlite::Result<Vec<KeyId>> {
    // Thousandths of a second.
    let within_ms = rule.threshold.thousandths();
    let until = now.ms().saturating_add(within_ms);
    let limit = i64::try_from(ALERT_KEYS_AT_ONCE).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(EXPIRING)?;
    let mut rows = statement.query((now.ms(), until, within_ms, limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(KeyId::parse(row.get_ref(0)?.as_str()?));
    }
    Ok(found)
}

/// What its rule may say now, each once.
pub(super) fn new_ones(
    connection: &Connection,
    found: Vec<Found>,
    now: Time,
) -> rusqlite::Result<Vec<Found>> {
    let mut cools = connection.prepare_cached(
        "SELECT count(*) FROM alert_cooldowns
         WHERE key = ?1 AND kind = ?2 AND threshold = ?3 AND until > ?4",
    )?;
    let (mut said, mut new) = (HashSet::new(), Vec::new());
    for one in found {
        let Alert { key, kind, threshold, .. } = &one.alert;
        let whose = (key.as_str(), kind.word(), threshold.thousandths(), now.ms());
        let is_cooling: i64 = cools.query_row(whose, |row| row.get(0))?;
        if is_cooling == 0 && said.insert((key.clone(), *kind, *threshold)) {
            new.push(one);
        }
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn idle_keys_and_refusals_are_found_by_their_indexes() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::create(&mut connection).unwrap();
        let expiring = format!("EXPLAIN QUERY PLAN {EXPIRING}");
        let counted = format!("EXPLAIN QUERY PLAN {}", counting());
        for (sql, index, values) in
            [(&expiring, "keys_by_expiry", 4), (&counted, "refused_by_rates", 2)]
        {
            let mut statement = connection.prepare(sql).unwrap();
            let plan =
                statement.query_map(rusqlite::params_from_iter(vec![1; values]), |row| row.get(3));
            let plan: Vec<String> = plan.unwrap().map(Result::unwrap).collect();
            assert!(plan[0].contains(index), "{plan:?}");
        }
    }
}
