//! Counts what is under way: from a body's arrival to its answer, or to the end of its call if
//! the client has left before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::session::Busy;

#[derive(Debug, Default)]
pub(super) struct Exchanges {
    open: Arc<AtomicUsize>,
}

/// One exchange; it ends when the last clone of this is dropped.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    _counted: Option<Arc<Counted>>,
}

impl Exchange {
    /// One that nobody waits for, as a stream that stays open.
    pub(super) const fn uncounted() -> Self {
        Self { _counted: None }
    }
}

#[derive(Debug)]
struct Counted {
    open: Arc<AtomicUsize>,
    /// Keeps its session awake.
    _busy: Option<Busy>,
}

impl Exchanges {
    pub(super) fn enter(&self, busy: Option<Busy>) -> Exchange {
        self.open.fetch_add(1, Ordering::Relaxed);
        let counted = Counted { open: Arc::clone(&self.open), _busy: busy };
        Exchange { _counted: Some(Arc::new(counted)) }
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_lasts_as_long_as_its_last_holder() {
        let exchanges = Exchanges::default();
        let first = exchanges.enter(None);
        let call = first.clone();
        let second = exchanges.enter(None);
        assert_eq!(exchanges.open(), 2);
        drop(first);
        assert_eq!(exchanges.open(), 2);
        drop((call, second));
        assert_eq!(exchanges.open(), 0);
    }
}
