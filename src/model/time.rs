//! Moments and calendar windows. A moment is whole milliseconds since 1970 in UTC, because that is
//! what the HTTP API accepts, what the database stores and what a script in Redis can compare.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// Length of a UTC day, which has no leap seconds in this count.
pub const DAY_MS: i64 = 86_400_000;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// The first moment there is; earlier than any clock shows.
    pub const ZERO: Self = Self(0);

    /// From epoch milliseconds, held within the years that RFC 3339 can write (1970 to 9999).
    pub fn from_ms(ms: i64) -> Self {
        const LAST: i64 = 253_402_300_799_999;
        Self(ms.clamp(0, LAST))
    }

    /// Epoch milliseconds.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339, for example `2026-12-31T23:59:59Z`.
    pub fn parse(text: &str) -> Option<Self> {
        let parsed: Timestamp = text.trim().parse().ok()?;
        let ms = parsed.as_millisecond();
        (Self::from_ms(ms).0 == ms).then_some(Self(ms))
    }

    /// This moment plus a span; the last moment there is if that is out of range.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let span_ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self::from_ms(self.0.saturating_add(span_ms))
    }

    /// So long before this moment.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let span_ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self::from_ms(self.0.saturating_sub(span_ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if it is not earlier.
    pub fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }

    /// The UTC day, counted from 1970-01-01.
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// The UTC month, counted from January of year 0.
    pub fn month(self) -> i64 {
        // Every call asks for this several times: without a time zone it is much cheaper.
        let date = Offset::UTC.to_datetime(self.timestamp()).date();
        i64::from(date.year())
            .saturating_mul(12)
            .saturating_add(i64::from(date.month()))
            .saturating_sub(1)
    }

    /// When the UTC day after this moment begins.
    #[must_use]
    pub fn next_day(self) -> Self {
        Self::from_ms(self.day().saturating_add(1).saturating_mul(DAY_MS))
    }

    /// When the UTC month after this moment begins.
    #[must_use]
    pub fn next_month(self) -> Self {
        let first = self.zoned().date().first_of_month();
        first
            .checked_add(jiff::Span::new().months(1))
            .ok()
            .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
            .map_or(self, |zoned| Self::from_ms(zoned.timestamp().as_millisecond()))
    }

    /// The UTC day as `YYYY-MM-DD`.
    pub fn day_text(self) -> String {
        self.zoned().strftime("%Y-%m-%d").to_string()
    }

    /// The UTC month as `YYYY-MM`.
    pub fn month_text(self) -> String {
        self.zoned().strftime("%Y-%m").to_string()
    }

    fn timestamp(self) -> Timestamp {
        // `from_ms` keeps every value within what jiff can hold.
        Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn zoned(self) -> jiff::Zoned {
        self.timestamp().to_zoned(TimeZone::UTC)
    }
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, as every answer of the HTTP API writes it.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.zoned().strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_milliseconds() {
        let time = Time::parse("2026-02-28T23:59:59.5Z").unwrap();
        assert_eq!(time.to_string(), "2026-02-28T23:59:59.500Z");
        assert_eq!(Time::parse(&time.to_string()), Some(time));
        assert_eq!(time.day_text(), "2026-02-28");
        assert_eq!(time.next_day().to_string(), "2026-03-01T00:00:00.000Z");
        assert_eq!(time.next_month().to_string(), "2026-03-01T00:00:00.000Z");
        assert_eq!(time.next_month().month(), time.month() + 1);
    }

    #[test]
    fn refuses_what_is_not_a_moment() {
        for text in ["", "garbage", "2026-13-01T00:00:00Z", "2026-01-01", "1969-12-31T23:59:59Z"] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }
}
