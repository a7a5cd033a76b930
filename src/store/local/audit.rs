//! The audit log's rows. They are written in the commit of the change that they tell of; what only
//! tells of a refusal waits for nobody, and is kept apart, so that it cannot push out what was done.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::outbox;
use super::queue::Write;
use super::records::to_json;
use super::state::{Shared, State};
use crate::model::audit::{AuditEvent, AuditFilter, AuditRow, AuditTotals};
use crate::model::bounds::{AUDIT_FORGOTTEN_AT_ONCE, AUDIT_REFUSALS_MAX, AUDIT_ROWS_MAX};
use crate::model::time::Time;
use crate::store::{AuditOrder, AuditPage, Durable, StoreError};

pub(super) fn write_audit(connection: &Connection, event: &AuditEvent) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit (at, kind, actor, actor_id, namespace, target, message, metadata)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            event.at.ms(),
            event.kind,
            event.actor,
            event.actor_id,
            event.namespace,
            event.target,
            event.message,
            to_json(&event.metadata)?
        ])?;
    Ok(())
}

/// Forgets the oldest entries, a few at a time: those before a moment, refusals beyond their number,
/// and whatever is beyond the whole number.
pub(super) fn forget_audit(connection: &Connection, before: Option<Time>) -> rusqlite::Result<()> {
    let oldest = format!("SELECT id, at FROM audit ORDER BY id LIMIT {AUDIT_FORGOTTEN_AT_ONCE}");
    let beyond = format!("id <= (SELECT max(id) FROM audit) - {AUDIT_ROWS_MAX}");
    outbox::count_lost_entries(connection, &format!("SELECT id FROM ({oldest}) WHERE {beyond}"))?;
    // What webhooks still have to send waits for them, within that number.
    let sent = format!("(id <= ?2 OR kind NOT IN {})", outbox::admin_events());
    let sql = format!(
        "DELETE FROM audit WHERE id IN (SELECT id FROM ({oldest}) WHERE at < ?1 OR {beyond})
         AND ({sent} OR {beyond})"
    );
    let before = before.map_or(i64::MIN, Time::ms);
    connection.prepare_cached(&sql)?.execute([before, outbox::sent(connection)?.audit])?;
    let refusals = format!("SELECT id FROM audit WHERE kind IN {REFUSALS}");
    let sql = format!(
        "DELETE FROM audit WHERE kind IN {REFUSALS} AND id <=
         ({refusals} ORDER BY id DESC LIMIT 1 OFFSET {AUDIT_REFUSALS_MAX})"
    );
    connection.prepare_cached(&sql)?.execute([])?;
    Ok(())
}

/// What is written down about somebody who was not let in; the same as in the index of the schema.
const REFUSALS: &str = "('admin.auth_failed', 'admin.access_denied')";

/// The entries of one page.
pub(super) fn read_audit(
    connection: &Connection,
    filter: &AuditFilter,
    page: &AuditPage,
) -> rusqlite::Result<Vec<AuditRow>> {
    let mut clause = Clause::of(filter);
    let (order, beyond) = match page.order {
        AuditOrder::NewestFirst => ("DESC", "id < ?"),
        AuditOrder::OldestFirst => ("ASC", "id > ?"),
    };
    if let Some(after) = page.after {
        clause.and(beyond, after);
    }
    clause.values.extend([number(page.limit), number(page.skip)]);
    let sql = format!(
        "SELECT id, at, kind, actor, actor_id, namespace, target, message, metadata
         FROM audit WHERE {} ORDER BY id {order} LIMIT ? OFFSET ?",
        clause.text
    );
    let mut statement = connection.prepare(&sql)?;
    statement.query_map(params_from_iter(clause.values), row)?.collect()
}

pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        id: row.get(0)?,
        at: Time::from_ms(row.get(1)?),
        kind: row.get(2)?,
        actor: row.get(3)?,
        actor_id: row.get(4)?,
        namespace: row.get(5)?,
        target: row.get(6)?,
        message: row.get(7)?,
        metadata: row.get(8)?,
    })
}

/// Numbers of all entries that are meant.
pub(super) fn audit_totals(
    connection: &Connection,
    filter: &AuditFilter,
) -> rusqlite::Result<AuditTotals> {
    let Clause { text, values } = Clause::of(filter);
    let sql = format!("SELECT count(*), max(id), min(at), max(at) FROM audit WHERE {text}");
    let mut statement = connection.prepare(&sql)?;
    let mut totals = statement.query_row(params_from_iter(values.iter()), |row| {
        let time = |column| row.get::<_, Option<i64>>(column);
        Ok(AuditTotals {
            total: row.get(0)?,
            newest_id: row.get::<_, Option<i64>>(1)?.unwrap_or(0),
            oldest: time(2)?.map(Time::from_ms),
            newest: time(3)?.map(Time::from_ms),
            by_kind: Vec::new(),
        })
    })?;
    let sql = format!("SELECT kind, count(*) FROM audit WHERE {text} GROUP BY kind ORDER BY kind");
    let mut statement = connection.prepare(&sql)?;
    let kinds =
        statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))?;
    totals.by_kind = kinds.collect::<Result<_, _>>()?;
    Ok(totals)
}

/// A WHERE clause with its values in order.
struct Clause {
    text: String,
    values: Vec<Value>,
}

impl Clause {
    fn of(filter: &AuditFilter) -> Self {
        let AuditFilter { kinds, actor, since, until, namespace, up_to } = filter;
        let mut clause = Self { text: "1".to_owned(), values: Vec::new() };
        if !kinds.is_empty() {
            let places = vec!["?"; kinds.len()].join(", ");
            clause.text = format!("{} AND kind IN ({places})", clause.text);
            clause.values.extend(kinds.iter().cloned().map(Value::from));
        }
        if let Some(actor) = actor {
            clause.text.push_str(" AND (instr(lower(actor), lower(?)) > 0 OR actor_id = ?)");
            clause.values.extend([actor.clone().into(), actor.clone().into()]);
        }
        if let Some(since) = since {
            clause.and("at >= ?", since.ms());
        }
        if let Some(until) = until {
            clause.and("at <= ?", until.ms());
        }
        if let Some(namespace) = namespace {
            clause.and("namespace = ?", namespace.clone());
        }
        if let Some(up_to) = up_to {
            clause.and("id <= ?", *up_to);
        }
        clause
    }

    fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.push(value.into());
    }
}

fn number(value: usize) -> Value {
    i64::try_from(value).unwrap_or(i64::MAX).into()
}

impl State {
    /// Queues what goes with a change that was just queued.
    pub(super) fn audit(&mut self, event: Option<AuditEvent>) {
        if let Some(event) = event {
            self.queue.push(Write::Audit(Box::new(event)));
        }
    }
}

impl Shared {
    /// Writes down what nobody waits for, unless the disk cannot keep up.
    pub(super) fn note(&self, event: AuditEvent) {
        let mut state = self.lock();
        if state.open_for_writing().is_ok() && !state.queue.is_full() {
            state.audit(Some(event));
        }
    }

    /// Writes down what its doer waits for.
    pub(super) fn record(&self, event: AuditEvent) -> Result<Durable, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        state.audit(Some(event));
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(durable)
    }

    pub(super) fn forget_audit(&self, before: Option<Time>) -> Result<Durable, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        state.queue.push(Write::ForgetAudit { before });
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(durable)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    fn event(kind: &'static str, at: i64) -> AuditEvent {
        AuditEvent {
            at: Time::from_ms(at),
            kind,
            actor: "Ada".to_owned(),
            actor_id: None,
            namespace: None,
            target: None,
            message: String::new(),
            metadata: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_flood_of_refusals_pushes_out_nothing_that_was_done() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::create(&mut connection).unwrap();
        write_audit(&connection, &event("key.created", 5)).unwrap();
        let flood = AUDIT_REFUSALS_MAX + 10;
        for _ in 0..flood {
            write_audit(&connection, &event("admin.auth_failed", 6)).unwrap();
        }
        forget_audit(&connection, None).unwrap();
        let totals = |connection: &Connection| {
            audit_totals(connection, &AuditFilter::default()).unwrap().by_kind
        };
        let kept = i64::try_from(AUDIT_REFUSALS_MAX).unwrap();
        let both = [("admin.auth_failed".to_owned(), kept), ("key.created".to_owned(), 1)];
        assert_eq!(totals(&connection), both);
        // Its time passes: only what is older goes.
        forget_audit(&connection, Some(Time::from_ms(6))).unwrap();
        assert_eq!(totals(&connection), both[..1]);
        write_audit(&connection, &event("key.created", 7)).unwrap();
        let last = audit_totals(&connection, &AuditFilter::default()).unwrap().newest_id;
        assert_eq!(last, i64::try_from(flood).unwrap() + 2, "an id is never used twice");
    }
}
