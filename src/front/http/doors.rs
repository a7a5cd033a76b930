//! Who is let in, and who is still inside. A message is counted before the doors are looked at, so
//! whoever closes them either sees it counted or keeps it out: none slips in behind a drain that
//! has found nobody.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::sleep;

use crate::model::bounds;

#[derive(Debug, Default)]
pub(super) struct Doors {
    inside: AtomicUsize,
    /// Its lock orders the closing against the count.
    closed: watch::Sender<bool>,
}

/// One message; it is inside until this is dropped.
#[derive(Debug)]
pub(super) struct Inside<'a>(&'a Doors);

impl Doors {
    /// Lets a message in unless the doors are closed.
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        self.inside.fetch_add(1, Ordering::AcqRel);
        let inside = Inside(self);
        (!self.are_closed()).then_some(inside)
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(super) fn are_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(super) fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }

    /// Until the doors have been closed for as long as the rest of a body may take.
    pub(super) async fn bodies_are_late(&self) {
        // `self` keeps the sender, so this ends only when the doors close.
        self.closed.subscribe().wait_for(|closed| *closed).await.ok();
        sleep(bounds::CONNECTIONS_STOP_WAIT).await;
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_enters_closed_doors() {
        let doors = Doors::default();
        let first = doors.enter();
        assert!(first.is_some() && !doors.are_closed());
        doors.close();
        assert!(doors.enter().is_none());
        assert_eq!(doors.inside(), 1);
        drop(first);
        assert_eq!(doors.inside(), 0);
    }
}
