//! The counters of one account.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::names::BALANCE;
use super::{Counter, CounterName, Window};
use crate::model::time::Time;

/// All numbers of a key, later also of a team or a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    #[serde(serialize_with = "as_map", deserialize_with = "from_map")]
    counters: Vec<(CounterName, Counter)>,
    /// Credits reserved by open holds.
    held: i64,
    /// When a hold last touched it, in epoch milliseconds; 0 for never.
    last_call_ms: i64,
}

impl Account {
    /// An account as it was kept elsewhere.
    pub fn restored(mut counters: Vec<(CounterName, Counter)>, held: i64, last: Time) -> Self {
        counters.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self { counters, held, last_call_ms: last.ms() }
    }

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
        self.counter(counter).map_or(0, |counter| counter.value(now))
    }

    /// One counter, if it has ever counted.
    pub fn counter(&self, counter: &CounterName) -> Option<&Counter> {
        let place = self.place(counter).ok()?;
        self.counters.get(place).map(|(_, counter)| counter)
    }

    /// Where a counter is, or belongs. They stand in order: a dozen in one piece of memory, which
    /// every call goes through several times.
    fn place(&self, counter: &CounterName) -> Result<usize, usize> {
        const FEW: usize = 16;
        if self.counters.len() <= FEW {
            // To look for an equal name is quicker than to compare half as many.
            let found = self.counters.iter().position(|(name, _)| name == counter);
            if let Some(place) = found {
                return Ok(place);
            }
        }
        self.counters.binary_search_by(|(name, _)| name.cmp(counter))
    }

    /// Every counter, by name.
    pub fn counters(&self) -> impl Iterator<Item = (&CounterName, &Counter)> {
        self.counters.iter().map(|(name, counter)| (name, counter))
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
        match self.place(name) {
            Ok(place) => {
                let (_, counter) = self.counters.get_mut(place)?;
                // A name means one window, for ever: see `CounterName`.
                if counter.window() == window { counter.add(at, amount) } else { None }
            }
            Err(place) => {
                let mut counter = Counter::new(window);
                counter.add(at, amount)?;
                self.counters.insert(place, (name.clone(), counter));
                Some(())
            }
        }
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

/// Saved accounts keep their counters under their names.
fn as_map<S: Serializer>(
    counters: &[(CounterName, Counter)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counters.iter().map(|(name, counter)| (name, counter)))
}

fn from_map<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(CounterName, Counter)>, D::Error> {
    let map = BTreeMap::<CounterName, Counter>::deserialize(deserializer)?;
    Ok(map.into_iter().collect())
}
