//! The audit log's rows. They are written in the commit of the change that they tell of.

use rusqlite::{Connection, params};

use super::queue::Write;
use super::records::to_json;
use super::state::State;
use crate::model::audit::AuditEvent;

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

impl State {
    /// Queues what goes with a change that was just queued.
    pub(super) fn audit(&mut self, event: Option<AuditEvent>) {
        if let Some(event) = event {
            self.queue.push(Write::Audit(Box::new(event)));
        }
    }
}
