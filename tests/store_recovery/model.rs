//! What a customer may rely on: a sum of what was acknowledged, kept without any of the store's code.

use std::collections::BTreeMap;

/// One call: what became of it, as far as its customer knows.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) key: usize,
    pub(crate) price: i64,
    pub(crate) tools: usize,
    /// Ledger time at which it was admitted.
    pub(crate) at: i64,
    pub(crate) deadline: i64,
    pub(crate) state: CallState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallState {
    /// Its tool works.
    Open,
    /// Resolved in memory; nobody has waited for the disk. Charged if this reached the file.
    Unsure { charged: i64, calls: i64 },
    /// Waited for.
    Charged { charged: i64, calls: i64 },
    /// Given back, or never heard of again.
    Free,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// Credits given to each key.
    pub(crate) granted: Vec<i64>,
    pub(crate) calls: BTreeMap<[u8; 16], Call>,
}

impl Model {
    /// The crash decides what nobody waited for: `ended` says which calls have an end in the file.
    pub(crate) fn crash(&mut self, ended: &BTreeMap<[u8; 16], i64>) {
        for (id, call) in &mut self.calls {
            call.state = match call.state {
                CallState::Unsure { charged, calls } if ended.contains_key(id) => {
                    CallState::Charged { charged, calls }
                }
                CallState::Charged { charged, calls } => CallState::Charged { charged, calls },
                CallState::Open | CallState::Unsure { .. } | CallState::Free => CallState::Free,
            };
        }
    }

    /// A clean stop writes everything that was resolved.
    pub(crate) fn stop(&mut self) {
        for call in self.calls.values_mut() {
            call.state = match call.state {
                CallState::Unsure { charged, calls } | CallState::Charged { charged, calls } => {
                    CallState::Charged { charged, calls }
                }
                CallState::Open | CallState::Free => CallState::Free,
            };
        }
    }

    /// Releases what is overdue; which calls those were.
    pub(crate) fn expire(&mut self, now: i64) -> Vec<[u8; 16]> {
        let mut gone = Vec::new();
        for (id, call) in &mut self.calls {
            if call.state == CallState::Open && now >= call.deadline {
                call.state = CallState::Free;
                gone.push(*id);
            }
        }
        gone
    }

    /// Credits and calls that a key was charged for.
    pub(crate) fn charged(&self, key: usize) -> (i64, i64) {
        let of_key = self.calls.values().filter(|call| call.key == key);
        of_key.fold((0, 0), |(credits, calls), call| match call.state {
            CallState::Charged { charged, calls: count }
            | CallState::Unsure { charged, calls: count } => (credits + charged, calls + count),
            CallState::Open | CallState::Free => (credits, calls),
        })
    }

    /// Credits that open calls of a key hold.
    pub(crate) fn held(&self, key: usize) -> i64 {
        let open = self.calls.values().filter(|call| call.key == key);
        open.filter(|call| call.state == CallState::Open).map(|call| call.price).sum()
    }

    /// Calls of a key that a rate window of a minute certainly counts at `now`, and may count.
    pub(crate) fn rate(&self, key: usize, now: i64) -> (i64, i64) {
        let of_key = || self.calls.values().filter(|call| call.key == key);
        let count = |tools: usize| i64::try_from(tools).unwrap();
        let sure = of_key().filter(|call| {
            matches!(call.state, CallState::Charged { .. }) && now - call.at <= 60_000
        });
        let possible = of_key().filter(|call| now - call.at <= 61_000);
        (sure.map(|call| count(call.tools)).sum(), possible.map(|call| count(call.tools)).sum())
    }
}
