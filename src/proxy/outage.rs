//! What the log has of requests that are refused because the books are not available: in an outage that is each
//! of them, for the same reason. The first is told at once, then one line a second with how many there were,
//! and their sum when the books answer again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::model::bounds::OUTAGE_LINE_PAUSE;
use crate::store::{Store, StoreError};

/// Looked at by each call, so that only the first after an outage takes the lock.
static IS_ON: AtomicBool = AtomicBool::new(false);
/// One process has one log.
static OUTAGE: Mutex<Outage> = Mutex::new(Outage { line: None, untold: 0, refused: 0 });

#[derive(Debug)]
struct Outage {
    /// When the last line was written; none outside an outage.
    line: Option<Instant>,
    /// Refused since then.
    untold: u64,
    /// Refused since it began.
    refused: u64,
}

impl Outage {
    /// One more; how many the line is about, if there is to be one.
    fn refused(&mut self, now: Instant) -> Option<u64> {
        self.refused = self.refused.saturating_add(1);
        self.untold = self.untold.saturating_add(1);
        let line =
            self.line.filter(|line| now.saturating_duration_since(*line) < OUTAGE_LINE_PAUSE);
        if line.is_some() {
            return None;
        }
        self.line = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    /// It is over; how many were refused.
    fn ended(&mut self) -> u64 {
        (self.line, self.untold) = (None, 0);
        std::mem::take(&mut self.refused)
    }
}

/// A request was refused.
pub(super) fn refused(error: &StoreError) {
    let count = OUTAGE.lock().unwrap_or_else(PoisonError::into_inner).refused(Instant::now());
    IS_ON.store(true, Ordering::Release);
    match count {
        Some(1) => tracing::warn!(
            target: "proxy", %error, "a request was refused because the books are not available"
        ),
        Some(count) => tracing::warn!(
            target: "proxy", %error, count, "requests were refused because the books are not available"
        ),
        None => {}
    }
}

/// The books have answered somebody; others may still be refused.
pub(super) fn answered(store: &dyn Store) {
    if !IS_ON.load(Ordering::Acquire) || store.health().is_err() {
        return;
    }
    if !IS_ON.swap(false, Ordering::AcqRel) {
        return;
    }
    let refused = OUTAGE.lock().unwrap_or_else(PoisonError::into_inner).ended();
    tracing::info!(target: "proxy", refused, "the books are available again; so many requests were refused");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_at_once_then_each_second_and_summed_up() {
        let mut outage = Outage { line: None, untold: 0, refused: 0 };
        let start = Instant::now();
        assert_eq!(outage.refused(start), Some(1));
        for _ in 0..10 {
            assert_eq!(outage.refused(start), None);
        }
        assert_eq!(outage.refused(start + OUTAGE_LINE_PAUSE), Some(11));
        assert_eq!(outage.ended(), 12);
        assert_eq!(outage.refused(start + OUTAGE_LINE_PAUSE), Some(1), "the next one");
    }
}
