//! Counters in words, for reports of what two books say differently. Two that differ never read alike.

use std::fmt;

use super::counter::{Counter, bucket_ms};
use crate::model::bounds::ROLLING_BUCKETS;
use crate::model::time::Time;

const DAY_MS: i64 = 86_400_000;

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lifetime(value) => write!(f, "{value}"),
            Self::Day(day, value) => {
                let day = Time::from_ms(day.saturating_mul(DAY_MS));
                write!(f, "{value} on {}", day.day_text())
            }
            Self::Month(month, value) => {
                let (year, month) = (month.div_euclid(12), month.rem_euclid(12).saturating_add(1));
                write!(f, "{value} in {year:04}-{month:02}")
            }
            Self::Rolling(length_ms, buckets) => rolling(f, *length_ms, buckets),
        }
    }
}

/// The sum, and each bucket from the first one.
fn rolling(f: &mut fmt::Formatter<'_>, length_ms: i64, buckets: &[(i64, i64)]) -> fmt::Result {
    let sum = buckets.iter().fold(0_i64, |sum, (_, count)| sum.saturating_add(*count));
    write!(f, "{sum} in a window of {length_ms} ms")?;
    let (Some((first, _)), Some((last, _))) = (buckets.first(), buckets.last()) else {
        return Ok(());
    };
    if last.saturating_sub(*first) > ROLLING_BUCKETS {
        return write!(f, " {buckets:?}");
    }
    let begin = Time::from_ms(first.saturating_mul(bucket_ms(length_ms)));
    write!(f, ", from {begin} on")?;
    for bucket in *first..=*last {
        let count =
            buckets.iter().find(|(known, _)| *known == bucket).map_or(0, |(_, count)| *count);
        write!(f, "{} {count}", if bucket == *first { ":" } else { "," })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_in_words() {
        for (counter, words) in [
            (Counter::Lifetime(9), "9"),
            (Counter::Day(20_778, 552), "552 on 2026-11-21"),
            (Counter::Month(24_322, 7), "7 in 2026-11"),
            (Counter::Rolling(60_000, Vec::new()), "0 in a window of 60000 ms"),
            (
                Counter::Rolling(60_000, vec![(1_795_253_988, 5), (1_795_253_990, 2)]),
                "7 in a window of 60000 ms, from 2026-11-21T09:39:48.000Z on: 5, 0, 2",
            ),
        ] {
            assert_eq!(counter.to_string(), words);
        }
        let apart = Counter::Rolling(60_000, vec![(0, 1), (1_000, 2)]);
        assert!(apart.to_string().ends_with("[(0, 1), (1000, 2)]"), "{apart}");
    }
}
