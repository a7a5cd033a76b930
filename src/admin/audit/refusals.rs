//! Who was not let in, for the audit log: a sample that a flood cannot make large. The rest is counted
//! in the next entry.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::admin::routes::Route;
use crate::admin::{Admin, Call};
use crate::model::audit::AuditEvent;
use crate::model::time::Time;

/// Entries in a minute. Enough to see who tries what, and 5 MB a day at the very most.
const ENTRIES_PER_MINUTE: u32 = 10;

const MINUTE: Duration = Duration::from_mins(1);

/// How many were written down of late.
#[derive(Debug, Default)]
pub(in crate::admin) struct Refusals(Mutex<Window>);

#[derive(Debug)]
struct Window {
    since: Time,
    entries: u32,
    /// Refusals without an entry.
    unlisted: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { since: Time::ZERO, entries: 0, unlisted: 0 }
    }
}

impl Refusals {
    /// May this one be written down? With how many were not since the last one.
    fn admit(&self, now: Time) -> Option<u64> {
        // Nothing in here panics half way.
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= window.since.plus(MINUTE) || now < window.since {
            (window.since, window.entries) = (now, 0);
        }
        if window.entries >= ENTRIES_PER_MINUTE {
            window.unlisted = window.unlisted.saturating_add(1);
            return None;
        }
        window.entries = window.entries.saturating_add(1);
        Some(std::mem::take(&mut window.unlisted))
    }
}

impl Admin {
    /// Somebody came without the right key.
    pub(in crate::admin) fn note_stranger(&self, route: &Route, address: &str, now: Time) {
        let event = AuditEvent {
            at: now,
            kind: "admin.auth_failed",
            actor: "unknown".to_owned(),
            actor_id: None,
            namespace: None,
            target: None,
            message: format!("Admin auth failed on {}", route.path),
            metadata: serde_json::Map::new(),
        };
        self.note(route, event.with("address", address));
    }

    /// Somebody who is known wanted more than is allowed.
    pub(in crate::admin) fn note_denied(&self, route: &Route, call: &Call, why: &str) {
        let message = format!("Admin access denied on {}: {why}", route.path);
        self.note(route, call.event("admin.access_denied", message));
    }

    fn note(&self, route: &Route, event: AuditEvent) {
        let Some(unlisted) = self.refusals.admit(event.at) else { return };
        // The route as it is in the table: what a stranger writes into a path is not worth keeping.
        let event = event.with("url", route.path).with("method", route.method.as_str());
        self.store.note(if unlisted > 0 { event.with("unlisted", unlisted) } else { event });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_sampled_and_counted() {
        let refusals = Refusals::default();
        let at = |seconds: i64| Time::from_ms(1_000_000 + seconds * 1000);
        let admitted: Vec<_> = (0..50).filter_map(|second| refusals.admit(at(second))).collect();
        assert_eq!(admitted, [0; 10]);
        assert_eq!(refusals.admit(at(61)), Some(40));
        assert_eq!(refusals.admit(at(62)), Some(0));
    }
}
