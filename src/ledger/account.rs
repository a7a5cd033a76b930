//! The counters of one account.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::BALANCE;
use super::{Counter, CounterName, Window};
use crate::model::time::Time;

/// All numbers of a key, later also of a team or a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    counters: BTreeMap<CounterName, Counter>,
    /// Credits reserved by open holds.
    held: i64,
    /// When a hold last touched it, in epoch milliseconds; 0 for never.
    last_call_ms: i64,
}

impl Account {
    /// Credits that can be spent now. Negative only after an adjustment.
    pub fn available(&self) -> i64 {
        self.value(&BALANCE, Time::ZERO)
    }

    /// Credits reserved by open holds.
    pub const fn held(&self) -> i64 {
        self.held
    }

    /// Credits owned, reserved ones included.
    pub fn balance(&self) -> i64 {
        self.available().saturating_add(self.held)
    }

    /// When it was last called, if ever.
    pub fn last_call(&self) -> Option<Time> {
        (self.last_call_ms > 0).then(|| Time::from_ms(self.last_call_ms))
    }

    /// One counter's value at a moment.
    pub fn value(&self, counter: &CounterName, now: Time) -> i64 {
        self.counters.get(counter).map_or(0, |counter| counter.value(now))
    }

    /// One counter, if it has ever counted.
    pub fn counter(&self, counter: &CounterName) -> Option<&Counter> {
        self.counters.get(counter)
    }

    /// Every counter, by name.
    pub fn counters(&self) -> impl Iterator<Item = (&CounterName, &Counter)> {
        self.counters.iter()
    }

    /// The same account without what no longer counts, so that two histories that agree are equal.
    #[must_use]
    pub fn settled(&self, now: Time) -> Self {
        let settled =
            self.counters.iter().map(|(name, counter)| (name.clone(), counter.settled(now)));
        let counters = settled.filter(|(_, counter)| {
            *counter != Counter::new(counter.window()) && counter.value(now) != 0
        });
        Self { counters: counters.collect(), held: self.held, last_call_ms: self.last_call_ms }
    }

    /// Adds to a counter. `None`, and nothing changed, if it would leave its range.
    #[must_use]
    pub(super) fn add(
        &mut self,
        name: &CounterName,
        window: Window,
        at: Time,
        amount: i64,
    ) -> Option<()> {
        if let Some(counter) = self.counters.get_mut(name) {
            if counter.window() != window {
                // A name means one window, for ever: see `CounterName`.
                return None;
            }
            return counter.add(at, amount);
        }
        let mut counter = Counter::new(window);
        counter.add(at, amount)?;
        self.counters.insert(name.clone(), counter);
        Some(())
    }

    #[must_use]
    pub(super) fn change_held(&mut self, amount: i64) -> Option<()> {
        self.held = self.held.checked_add(amount)?;
        Some(())
    }

    pub(super) fn called(&mut self, at: Time) {
        self.last_call_ms = self.last_call_ms.max(at.ms());
    }
}
