//! Alerts on disk. A look follows the journal and the list of refusals by their row numbers, so no call
//! knows of it, and a crash loses nothing: what was found, its entry in the audit log, the cooldown and
//! the row numbers are one commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::queue::Write;
use super::read;
use super::records::to_json;
use super::schema::{meta, set_meta};
use super::state::{LocalStore, Shared};
use crate::ledger::Account;
use crate::model::alert::{Alert, AlertKind, AlertRule, Decimal};
use crate::model::bounds::{
    ALERT_COOLDOWNS_FORGOTTEN_AT_ONCE, ALERT_DENIALS_WINDOW, ALERT_KEYS_AT_ONCE,
    ALERT_KEYS_PER_LOCK, ALERT_LOOKS_IN_A_ROW, ALERT_ROWS_AT_ONCE, ALERTS_PENDING_MAX,
    ALERTS_PER_COMMIT,
};
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::time::Time;
use crate::store::{AlertsAsked, Deed, Judge, LookAt, StoreError, Watched};

/// The refusals that are counted; the same as in the index of the schema.
const RATES: &str = "('rate_limited', 'tool_rate_limited')";

/// What memory knows of alerts.
#[derive(Default)]
pub(super) struct Alerting {
    rules: Arc<[AlertRule]>,
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
    found: Vec<Found>,
    /// If it is the last of the look, how far that went.
    place: Option<Place>,
    now: Time,
}

/// An alert, and until when its rule says no more of the key.
#[derive(Debug)]
struct Found {
    alert: Alert,
    until: Time,
}

/// How far keys were looked at: the last journal row, and the last entry of `refused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    seq: i64,
    refused: (i64, i64),
}

/// A key to look at.
struct Candidate {
    key: KeyId,
    /// Calls of it ended, or were refused.
    was_used: bool,
    rate_denials: i64,
}

/// What a look goes through.
struct Seen {
    before: Place,
    place: Place,
    candidates: Vec<Candidate>,
    is_all: bool,
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

fn count_pending(connection: &Connection) -> rusqlite::Result<usize> {
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
    let newest = "SELECT coalesce(max(seq), 0) FROM journal";
    let seq = connection.query_row(newest, [], |row| row.get(0))?;
    let newest = "SELECT seq, n FROM refused ORDER BY seq DESC, n DESC LIMIT 1";
    let refused = connection.query_row(newest, [], |row| row.try_into()).optional()?;
    Place { seq, refused: refused.unwrap_or_default() }.write(connection)
}

/// Writes what was found; it is in the audit log by the same commit.
fn write_fired(connection: &Connection, fired: &Fired) -> rusqlite::Result<()> {
    let Fired { found, place, now } = fired;
    let mut insert = connection.prepare_cached(
        "INSERT INTO alerts (namespace, for_host, for_tenant, record) VALUES (?1, 1, 1, ?2)",
    )?;
    let mut cool = connection
        .prepare_cached("INSERT OR REPLACE INTO alert_cooldowns VALUES (?1, ?2, ?3, ?4)")?;
    for Found { alert, until } in found {
        insert.execute((&alert.namespace, to_json(alert)?))?;
        let threshold = alert.threshold.thousandths();
        cool.execute((alert.key.as_str(), alert.kind.word(), threshold, until.ms()))?;
    }
    if !found.is_empty() {
        let sql = format!(
            "DELETE FROM alerts WHERE id <= (SELECT max(id) FROM alerts) - {ALERTS_PENDING_MAX}"
        );
        connection.prepare_cached(&sql)?.execute([])?;
        let sql = format!(
            "DELETE FROM alert_cooldowns WHERE (key, kind, threshold) IN
             (SELECT key, kind, threshold FROM alert_cooldowns WHERE until <= ?1
              ORDER BY until LIMIT {ALERT_COOLDOWNS_FORGOTTEN_AT_ONCE})"
        );
        connection.prepare_cached(&sql)?.execute([now.ms()])?;
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

fn read_alerts(
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
    fn read(
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
fn new_ones(connection: &Connection, found: Vec<Found>, now: Time) -> rusqlite::Result<Vec<Found>> {
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

impl Shared {
    pub(super) fn alert_rules(&self) -> Arc<[AlertRule]> {
        Arc::clone(&self.lock().alerts.rules)
    }
}

impl LocalStore {
    pub(super) async fn replace_alert_rules(
        &self,
        rules: Vec<AlertRule>,
        deed: Deed,
    ) -> Result<(), StoreError> {
        let _alone = self.turns.alerting.lock().await;
        let durable = {
            let mut state = self.shared.lock();
            state.open_for_writing()?;
            state.alerts.rules = rules.into();
            let rules = Arc::clone(&state.alerts.rules);
            state.queue.push(Write::Alert(Box::new(AlertWrite::Rules(rules))));
            state.audit(deed.audit);
            state.alerts.pending = 0;
            let durable = state.queue.durable();
            self.shared.nudge(state);
            durable
        };
        durable.wait().await
    }

    pub(super) async fn watch_keys(
        &self,
        judge: Judge,
        look_at: LookAt,
        now: Time,
    ) -> Result<(), StoreError> {
        let _alone = self.turns.alerting.lock().await;
        let rules = self.shared.alert_rules();
        if rules.is_empty() {
            return Ok(());
        }
        for _ in 0..ALERT_LOOKS_IN_A_ROW {
            // What has ended is to be seen, and what was found before is not to be found again.
            self.shared.flush()?.wait().await?;
            let asked = Arc::clone(&rules);
            let look = move |connection: &Connection| Seen::read(connection, &asked, look_at, now);
            let seen = self.reports.read(look).await?;
            let mut found = Vec::new();
            for candidates in seen.candidates.chunks(ALERT_KEYS_PER_LOCK) {
                found.extend(self.judged(candidates, &rules, judge, now).await?);
            }
            if !found.is_empty() {
                let look = move |connection: &Connection| new_ones(connection, found, now);
                found = self.reports.read(look).await?;
            }
            self.write_found(found, &seen, now).await?;
            if seen.is_all {
                break;
            }
        }
        Ok(())
    }

    /// What the rules say of some keys.
    async fn judged(
        &self,
        candidates: &[Candidate],
        rules: &[AlertRule],
        judge: Judge,
        now: Time,
    ) -> Result<Vec<Found>, StoreError> {
        let present = self.present(candidates).await?;
        let ledger = self.shared.lock().book.now().max(now);
        let mut found = Vec::new();
        for Candidate { key: id, was_used, rate_denials } in candidates {
            let Some((key, account)) = present.get(id) else { continue };
            let rate_denials = *rate_denials;
            let watched = Watched { key, account, now, ledger, rate_denials };
            let fits = |rule: &&AlertRule| *was_used || rule.kind == AlertKind::KeyExpirySoon;
            found.extend(rules.iter().filter(fits).filter_map(|rule| {
                let until = now.plus(rule.cooldown());
                judge(rule, &watched).map(|alert| Found { alert, until })
            }));
        }
        Ok(found)
    }

    /// Records and numbers as they are now. Keys that are not in memory stay out of it.
    async fn present(
        &self,
        candidates: &[Candidate],
    ) -> Result<HashMap<KeyId, (Arc<Key>, Account)>, StoreError> {
        let (mut present, mut missing) = (HashMap::new(), Vec::new());
        {
            let state = self.shared.lock();
            state.open_for_reading()?;
            for Candidate { key: id, .. } in candidates {
                match state.key(id).zip(state.book.account(&id.account())) {
                    Some((key, account)) => {
                        present.insert(id.clone(), (Arc::clone(key), account.clone()));
                    }
                    None => missing.push(id.clone()),
                }
            }
        }
        if !missing.is_empty() {
            let look = move |connection: &Connection| {
                let mut rows = Vec::with_capacity(missing.len());
                for id in &missing {
                    rows.extend(read::key_by_id(connection, id)?);
                }
                Ok(rows)
            };
            let rows = self.reports.read(look).await?;
            for (key, account) in self.as_of_now(&rows)? {
                present.insert(key.id.clone(), (key, account));
            }
        }
        Ok(present)
    }

    async fn write_found(
        &self,
        mut found: Vec<Found>,
        seen: &Seen,
        now: Time,
    ) -> Result<(), StoreError> {
        if found.is_empty() && seen.place == seen.before {
            return Ok(());
        }
        let any = !found.is_empty();
        loop {
            let rest = found.split_off(found.len().min(ALERTS_PER_COMMIT));
            let part = std::mem::replace(&mut found, rest);
            let place = found.is_empty().then_some(seen.place);
            let durable = {
                let mut state = self.shared.lock();
                state.open_for_writing()?;
                let count = u64::try_from(part.len()).unwrap_or(0);
                state.alerts.fired = state.alerts.fired.saturating_add(count);
                let events: Vec<_> = part.iter().map(|one| one.alert.audit_event()).collect();
                let fired = AlertWrite::Fired(Fired { found: part, place, now });
                state.queue.push(Write::Alert(Box::new(fired)));
                for event in events {
                    state.audit(Some(event));
                }
                let durable = state.queue.durable();
                self.shared.nudge(state);
                durable
            };
            durable.wait().await?;
            if found.is_empty() {
                break;
            }
        }
        if any { self.note_pending().await } else { Ok(()) }
    }

    pub(super) async fn read_alerts(&self, asked: AlertsAsked) -> Result<Vec<String>, StoreError> {
        let _alone = self.turns.alerting.lock().await;
        self.shared.flush()?.wait().await?;
        let wanted = asked.clone();
        let rows = self.reports.read(move |connection| read_alerts(connection, &wanted)).await?;
        let last = rows.last().map(|(id, _)| *id).filter(|_| asked.clears);
        if let Some(up_to) = last {
            let durable = {
                let mut state = self.shared.lock();
                state.open_for_writing()?;
                state.queue.push(Write::Alert(Box::new(AlertWrite::Read { asked, up_to })));
                let durable = state.queue.durable();
                self.shared.nudge(state);
                durable
            };
            durable.wait().await?;
            self.note_pending().await?;
        }
        Ok(rows.into_iter().map(|(_, record)| record).collect())
    }

    async fn note_pending(&self) -> Result<(), StoreError> {
        let pending = self.reports.read(count_pending).await?;
        self.shared.lock().alerts.pending = pending;
        Ok(())
    }
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
