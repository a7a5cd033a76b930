//! One counter: a value, and the window that it is counted in.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::bounds::{COUNTER_MAX, ROLLING_BUCKETS};
use crate::model::text::Text;
use crate::model::time::Time;

/// Name of a counter within its account. A name means one window for ever: a limit that is redefined
/// over another window gets another name, so that no history is read as something that it is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterName(Name);

/// A name has one form only, so equal names are equal here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Fixed(Fixed),
    Named(Text),
}

/// The counters that every account may have, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Fixed {
    Balance,
    Calls,
    CallsDay,
    CallsMonth,
    CreditsDay,
    CreditsMonth,
    Rate,
    Spent,
}

impl Fixed {
    const ALL: [Self; 8] = [
        Self::Balance,
        Self::Calls,
        Self::CallsDay,
        Self::CallsMonth,
        Self::CreditsDay,
        Self::CreditsMonth,
        Self::Rate,
        Self::Spent,
    ];

    const fn bit(self) -> u8 {
        match self {
            Self::Balance => 1,
            Self::Calls => 2,
            Self::CallsDay => 4,
            Self::CallsMonth => 8,
            Self::CreditsDay => 16,
            Self::CreditsMonth => 32,
            Self::Rate => 64,
            Self::Spent => 128,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Calls => "calls",
            Self::CallsDay => "calls/day",
            Self::CallsMonth => "calls/month",
            Self::CreditsDay => "credits/day",
            Self::CreditsMonth => "credits/month",
            Self::Rate => "rate",
            Self::Spent => "spent",
        }
    }
}

impl CounterName {
    /// A counter by its name: a fixed one, or one made from configuration, for example `rate:search`.
    pub fn new(name: &str) -> Self {
        let fixed = Fixed::ALL.into_iter().find(|fixed| fixed.as_str() == name);
        Self(fixed.map_or_else(|| Name::Named(name.into()), Name::Fixed))
    }

    pub(super) const fn fixed(fixed: Fixed) -> Self {
        Self(Name::Fixed(fixed))
    }

    /// Is it one that every account may have, not one of a tool?
    pub const fn is_fixed(&self) -> bool {
        matches!(self.0, Name::Fixed(_))
    }

    /// A bit of its own, if it is one that every account may have.
    pub(super) const fn bit(&self) -> Option<u8> {
        match self.0 {
            Name::Fixed(fixed) => Some(fixed.bit()),
            Name::Named(_) => None,
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Fixed(fixed) => fixed.as_str(),
            Name::Named(name) => name.as_str(),
        }
    }
}

impl fmt::Display for CounterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl Serialize for CounterName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
impl<'de> Deserialize<'de> for CounterName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::new(&name))
    }
}

/// What a counter counts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Window {
    /// For ever.
    Lifetime,
    /// A UTC day.
    Day,
    /// A UTC month.
    Month,
    /// The last so many milliseconds, at a resolution of one [`ROLLING_BUCKETS`]th.
    Rolling(i64),
}

impl Window {
    /// A rolling minute, the window of all rates.
    pub const MINUTE: Self = Self::Rolling(60_000);
}

/// State of one counter. Its values include open holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Counter {
    /// A value for ever.
    Lifetime(i64),
    /// The day it was last used in (from 1970-01-01), and its value in that day.
    Day(i64, i64),
    /// The month it was last used in (from year 0), and its value in that month.
    Month(i64, i64),
    /// Length of the window in milliseconds, and (bucket, count) in rising order of bucket. A
    /// bucket is one [`ROLLING_BUCKETS`]th of the length; an event leaves with its whole bucket, so
    /// it may stay that much too long but never leaves too early.
    Rolling(i64, Vec<(i64, i64)>),
}

impl Counter {
    /// A counter that has counted nothing yet.
    pub const fn new(window: Window) -> Self {
        match window {
            Window::Lifetime => Self::Lifetime(0),
            Window::Day => Self::Day(0, 0),
            Window::Month => Self::Month(0, 0),
            Window::Rolling(length_ms) => Self::Rolling(length_ms, Vec::new()),
        }
    }

    /// What it counts over.
    pub const fn window(&self) -> Window {
        match self {
            Self::Lifetime(_) => Window::Lifetime,
            Self::Day(..) => Window::Day,
            Self::Month(..) => Window::Month,
            Self::Rolling(length_ms, _) => Window::Rolling(*length_ms),
        }
    }

    /// Its value at a moment.
    pub fn value(&self, now: Time) -> i64 {
        match self {
            Self::Lifetime(value) => *value,
            Self::Day(day, value) => {
                if *day == now.day() {
                    *value
                } else {
                    0
                }
            }
            Self::Month(month, value) => {
                if *month == now.month() {
                    *value
                } else {
                    0
                }
            }
            Self::Rolling(length_ms, buckets) => {
                let first = first_bucket(bucket_of(now, *length_ms));
                let live = buckets.iter().filter(|(bucket, _)| *bucket >= first);
                live.fold(0, |sum, (_, count)| sum.saturating_add(*count))
            }
        }
    }

    /// Adds an amount (or, negative, gives it back) in the window that `at` lies in. What belongs to
    /// a window that has passed is dropped, so entries may be applied in any order of time. `None`,
    /// and nothing changed, if the value would leave ±[`COUNTER_MAX`].
    #[must_use]
    pub fn add(&mut self, at: Time, amount: i64) -> Option<()> {
        match self {
            Self::Lifetime(value) => *value = within(value.checked_add(amount)?)?,
            Self::Day(day, value) => add_in_period(day, value, at.day(), amount)?,
            Self::Month(month, value) => add_in_period(month, value, at.month(), amount)?,
            Self::Rolling(length_ms, buckets) => {
                let bucket = bucket_of(at, *length_ms);
                let newest = buckets.last().map_or(bucket, |(newest, _)| bucket.max(*newest));
                let first = first_bucket(newest);
                if bucket >= first {
                    add_in_bucket(buckets, bucket, amount)?;
                }
                let gone = buckets.partition_point(|(bucket, _)| *bucket < first);
                buckets.drain(..gone);
            }
        }
        Some(())
    }

    /// When its value will have fallen to `target` or below by the passing of time alone.
    /// `None` if that never happens.
    pub fn falls_to(&self, target: i64, now: Time) -> Option<Time> {
        match self {
            Self::Lifetime(_) => None,
            Self::Day(..) => (target >= 0).then(|| now.next_day()),
            Self::Month(..) => (target >= 0).then(|| now.next_month()),
            Self::Rolling(length_ms, buckets) => {
                let mut left = self.value(now);
                let first = first_bucket(bucket_of(now, *length_ms));
                let live = buckets.iter().filter(|(bucket, _)| *bucket >= first);
                for (bucket, count) in live {
                    left = left.saturating_sub(*count);
                    if left <= target {
                        // The bucket is live up to the end of the ROLLING_BUCKETS-th one after it.
                        let gone = bucket.saturating_add(ROLLING_BUCKETS).saturating_add(1);
                        return Some(Time::from_ms(gone.saturating_mul(bucket_ms(*length_ms))));
                    }
                }
                None
            }
        }
    }

    /// When the oldest thing counted leaves the window; `None` if nothing is counted or it never does.
    pub fn oldest_leaves(&self, now: Time) -> Option<Time> {
        match self.value(now) {
            0 => None,
            value => self.falls_to(value.saturating_sub(1), now),
        }
    }

    /// The same counter without what no longer counts at a moment: two histories that agree have
    /// equal counters then.
    #[must_use]
    pub fn settled(&self, now: Time) -> Self {
        match self {
            Self::Lifetime(_) => self.clone(),
            Self::Day(..) => Self::Day(now.day(), self.value(now)),
            Self::Month(..) => Self::Month(now.month(), self.value(now)),
            Self::Rolling(length_ms, buckets) => {
                let first = first_bucket(bucket_of(now, *length_ms));
                let live = buckets.iter().filter(|(bucket, _)| *bucket >= first).copied();
                Self::Rolling(*length_ms, live.collect())
            }
        }
    }
}

fn add_in_period(period: &mut i64, value: &mut i64, at: i64, amount: i64) -> Option<()> {
    if at > *period {
        (*period, *value) = (at, within(amount)?);
    } else if at == *period {
        *value = within(value.checked_add(amount)?)?;
    }
    Some(())
}

/// Buckets stand in rising order, and one that counts nothing is not kept.
fn add_in_bucket(buckets: &mut Vec<(i64, i64)>, bucket: i64, amount: i64) -> Option<()> {
    // Nearly always it is the newest or newer.
    let place = match buckets.last() {
        Some((newest, _)) if *newest < bucket => Err(buckets.len()),
        Some((newest, _)) if *newest == bucket => Ok(buckets.len().saturating_sub(1)),
        Some(_) | None => buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket),
    };
    match place {
        Ok(found) => {
            let (_, count) = buckets.get_mut(found)?;
            *count = within(count.checked_add(amount)?)?;
            if *count == 0 {
                buckets.remove(found);
            }
        }
        Err(place) => {
            let count = within(amount)?;
            if count != 0 {
                buckets.insert(place, (bucket, count));
            }
        }
    }
    Some(())
}

fn within(value: i64) -> Option<i64> {
    (value.checked_abs()? <= COUNTER_MAX).then_some(value)
}

pub(super) fn bucket_ms(length_ms: i64) -> i64 {
    // Rounded up, so that the buckets never span less than the window; a window shorter than its
    // buckets are many still gets buckets of a millisecond.
    let rounding = ROLLING_BUCKETS.saturating_sub(1);
    length_ms.saturating_add(rounding).checked_div(ROLLING_BUCKETS).unwrap_or(1).max(1)
}

fn bucket_of(at: Time, length_ms: i64) -> i64 {
    at.ms().checked_div(bucket_ms(length_ms)).unwrap_or(0)
}

/// The oldest bucket that still counts when `newest` is the present one: with it, the buckets span
/// more than the window whatever the moment within `newest`.
fn first_bucket(newest: i64) -> i64 {
    newest.saturating_sub(ROLLING_BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Time {
        Time::from_ms(ms)
    }

    #[test]
    fn a_rolling_minute_holds_an_event_for_a_minute_and_at_most_a_second_more() {
        for offset in [0, 1, 500, 999] {
            let mut counter = Counter::new(Window::MINUTE);
            counter.add(at(1_000_000 + offset), 1).unwrap();
            assert_eq!(counter.value(at(1_060_000 + offset)), 1, "at exactly a minute");
            assert_eq!(counter.value(at(1_061_000)), 0, "after a minute and a second");
            assert_eq!(counter.falls_to(0, at(1_000_999)), Some(at(1_061_000)));
        }
    }

    #[test]
    fn a_rolling_counter_is_small_and_forgets() {
        let mut counter = Counter::new(Window::MINUTE);
        for ms in (0..600_000).step_by(100) {
            counter.add(at(ms), 1).unwrap();
        }
        let Counter::Rolling(_, buckets) = &counter else { panic!("not rolling") };
        assert_eq!(buckets.len(), 61);
        assert_eq!(counter.value(at(600_000)), 600);
    }

    #[test]
    fn order_of_time_does_not_matter() {
        let events = [(5_000, 2), (70_000, 1), (64_000, 3), (9_000, 4), (125_000, 1), (70_100, -1)];
        for window in [Window::MINUTE, Window::Day, Window::Month, Window::Lifetime] {
            let (mut forth, mut back) = (Counter::new(window), Counter::new(window));
            for (ms, amount) in events {
                forth.add(at(ms), amount).unwrap();
            }
            for (ms, amount) in events.into_iter().rev() {
                back.add(at(ms), amount).unwrap();
            }
            assert_eq!(forth.settled(at(125_000)), back.settled(at(125_000)));
        }
    }

    #[test]
    fn calendar_windows_end_and_give_nothing_back_later() {
        let mut day = Counter::new(Window::Day);
        let (monday, tuesday) = (at(86_399_999), at(86_400_000));
        day.add(monday, 5).unwrap();
        assert_eq!((day.value(monday), day.value(tuesday)), (5, 0));
        day.add(tuesday, 1).unwrap();
        day.add(monday, -5).unwrap();
        assert_eq!(day.value(tuesday), 1);
        assert_eq!(day.falls_to(0, tuesday), Some(at(172_800_000)));
    }

    #[test]
    fn values_stay_where_json_is_exact() {
        let mut counter = Counter::Lifetime(COUNTER_MAX);
        assert_eq!(counter.add(Time::ZERO, 1), None);
        assert_eq!(counter, Counter::Lifetime(COUNTER_MAX));
        assert_eq!(Counter::new(Window::Day).add(Time::ZERO, i64::MIN), None);
    }
}
