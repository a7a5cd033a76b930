//! Counters as the scripts keep them, read into the ledger's own: see `lua/common.lua`.

use crate::ledger::{Account, Counter, CounterName, Window, names};
use crate::model::time::Time;

/// The field of a counter: its name and its window, as postings have them.
pub(super) fn field(name: &CounterName, window: Window) -> String {
    match window {
        Window::Lifetime => format!("{name}@l"),
        Window::Day => format!("{name}@d"),
        Window::Month => format!("{name}@m"),
        Window::Rolling(length_ms) => format!("{name}@{length_ms}"),
    }
}

/// A counter by its field and text; `None` for a field that is none.
pub(super) fn read(field: &str, text: &str) -> Option<(CounterName, Counter)> {
    let (name, window) = field.rsplit_once('@')?;
    let period = || {
        let (period, value) = text.split_once(':')?;
        Some((period.parse().ok()?, value.parse().ok()?))
    };
    let counter = match window {
        "l" => Counter::Lifetime(text.parse().ok()?),
        "d" => period().map(|(day, value)| Counter::Day(day, value))?,
        "m" => period().map(|(month, value)| Counter::Month(month, value))?,
        length_ms => Counter::Rolling(length_ms.parse().ok()?, buckets(text)?),
    };
    Some((CounterName::new(name), counter))
}

/// A counter as scripts write it.
pub(super) fn text(counter: &Counter) -> String {
    match counter {
        Counter::Lifetime(value) => value.to_string(),
        Counter::Day(period, value) | Counter::Month(period, value) => format!("{period}:{value}"),
        Counter::Rolling(_, buckets) => {
            let sum = buckets.iter().fold(0_i64, |sum, (_, count)| sum.saturating_add(*count));
            let (newest, older) = match buckets.split_last() {
                Some(((bucket, count), older)) => (format!("{bucket}:{count}"), older),
                None => ("0:0".to_owned(), [].as_slice()),
            };
            let older = older.iter().map(|(bucket, count)| format!(" {bucket}:{count}"));
            format!("{sum} {newest}{}", older.collect::<String>())
        }
    }
}

/// `sum newest:count bucket:count …`, in rising order of bucket and without those that count nothing.
fn buckets(text: &str) -> Option<Vec<(i64, i64)>> {
    let mut parts = text.split(' ');
    parts.next()?;
    let mut read = parts.map(|part| {
        let (bucket, count) = part.split_once(':')?;
        Some((bucket.parse().ok()?, count.parse().ok()?))
    });
    let newest = read.next()??;
    let mut buckets: Vec<(i64, i64)> = read.collect::<Option<_>>()?;
    buckets.push(newest);
    buckets.retain(|(_, count)| *count != 0);
    Some(buckets)
}

/// An account from the fields of its hash, with those of its record among them.
pub(super) fn account<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Account {
    let (mut counters, mut held, mut last) = (Vec::new(), 0, Time::ZERO);
    for (name, text) in fields {
        match name {
            "held" => held = text.parse().unwrap_or(0),
            "last" => last = Time::from_ms(text.parse().unwrap_or(0)),
            counter => counters.extend(read(counter, text)),
        }
    }
    Account::restored(counters, held, last)
}

/// As much of an account as an answer shows: its balance and one more counter.
pub(super) fn shown(available: &str, field: &str, text: &str) -> Account {
    let balance = available.parse().map(Counter::Lifetime);
    let mut counters: Vec<_> =
        balance.into_iter().map(|counter| (names::BALANCE, counter)).collect();
    counters.extend(read(field, text));
    Account::restored(counters, 0, Time::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_scripts_write_them() {
        let cases = [
            ("balance@l", "-7", Some(Counter::Lifetime(-7))),
            ("calls/day@d", "20000:3", Some(Counter::Day(20_000, 3))),
            ("credits/month@m", "24311:9", Some(Counter::Month(24_311, 9))),
            ("rate@60000", "3 90:1 60:2", Some(Counter::Rolling(60_000, vec![(60, 2), (90, 1)]))),
            ("rate:a@d@60000", "2 90:0 60:2", Some(Counter::Rolling(60_000, vec![(60, 2)]))),
            ("held", "5", None),
            ("rate@60000", "x", None),
            ("balance@l", "1.5", None),
        ];
        for (field, text, counter) in cases {
            let read = read(field, text);
            assert_eq!(read.as_ref().map(|(_, counter)| counter), counter.as_ref(), "{field}");
            if let Some((name, counter)) = read {
                assert_eq!(super::field(&name, counter.window()), field);
                let again = super::read(field, &super::text(&counter));
                assert_eq!(again, Some((name, counter)), "{field}");
            }
        }
    }
}
