//! Numbers of a state file, exactly. paygate-mcp counts in floating point, so a balance there may have
//! a fraction; here credits are whole. A number is split once into what can be brought and the rest,
//! and both are summed up, so that nothing is lost without being named.

use std::fmt;
use std::ops::AddAssign;

use crate::model::bounds::COUNTER_MAX;

/// One in units of the rest. What lies beyond 18 decimals is noise of floating point, and dropped.
const ONE: u64 = 1_000_000_000_000_000_000;
const DECIMALS: usize = 18;

/// A number, or a sum of numbers: the whole part, rounded down, and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    whole: i128,
    /// Below [`ONE`].
    rest: u64,
}

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAnAmount {
    NotANumber,
    TooLarge,
}

impl Amount {
    /// Reads the text of a JSON number.
    pub(super) fn parse(text: &str) -> Result<Self, NotAnAmount> {
        let (is_negative, unsigned) =
            text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAnAmount::NotANumber);
        }
        let digits = all.trim_start_matches('0');
        let leading = all.len().saturating_sub(digits.len());
        if digits.is_empty() {
            return Ok(Self::default());
        }
        // Where the point stands behind the first digit that counts.
        let point = to_i64(whole.len())
            .saturating_sub(to_i64(leading))
            .saturating_add(exponent_of(exponent)?);
        if point > 16 {
            return Err(NotAnAmount::TooLarge);
        }
        let places = usize::try_from(point).unwrap_or(0);
        let zeros = usize::try_from(point.saturating_neg()).unwrap_or(0).min(DECIMALS);
        let whole: String = digits.chars().chain(std::iter::repeat('0')).take(places).collect();
        let rest = std::iter::repeat_n('0', zeros).chain(digits.chars().skip(places));
        let rest: String = rest.chain(std::iter::repeat('0')).take(DECIMALS).collect();
        let whole: i64 = if whole.is_empty() { 0 } else { number(&whole)? };
        let rest: u64 = number(&rest)?;
        if whole > COUNTER_MAX {
            return Err(NotAnAmount::TooLarge);
        }
        let amount = Self { whole: i128::from(whole), rest };
        Ok(if is_negative { amount.negated() } else { amount })
    }

    /// The whole part, rounded down.
    pub(super) fn floor(self) -> i64 {
        // Single numbers are bounded, and sums are not asked.
        i64::try_from(self.whole).unwrap_or(COUNTER_MAX)
    }

    /// What rounding down leaves.
    pub(super) const fn rest(self) -> Self {
        Self { whole: 0, rest: self.rest }
    }

    /// The same without what rounding down leaves.
    pub(super) const fn rounded(self) -> Self {
        Self { whole: self.whole, rest: 0 }
    }

    pub(super) const fn is_whole(self) -> bool {
        self.rest == 0
    }

    pub(super) const fn is_zero(self) -> bool {
        self.whole == 0 && self.rest == 0
    }

    const fn negated(self) -> Self {
        let whole = self.whole.saturating_neg();
        match ONE.checked_sub(self.rest) {
            Some(rest) if self.rest > 0 => Self { whole: whole.saturating_sub(1), rest },
            Some(_) | None => Self { whole, rest: 0 },
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        let rest = self.rest.saturating_add(other.rest);
        let carried = rest.checked_sub(ONE);
        self.whole =
            self.whole.saturating_add(other.whole).saturating_add(carried.is_some().into());
        self.rest = carried.unwrap_or(rest);
    }
}

/// As a decimal, exactly.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, size) = if self.whole < 0 { ("-", self.negated()) } else { ("", *self) };
        let decimals = format!("{:018}", size.rest);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{decimals}", size.whole)
    }
}

impl serde::Serialize for Amount {
    /// As text: JSON numbers are not exact everywhere.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn number<T: std::str::FromStr>(digits: &str) -> Result<T, NotAnAmount> {
    digits.parse().map_err(|_| NotAnAmount::TooLarge)
}

/// An exponent, cut off at a size where its effect no longer changes.
fn exponent_of(text: &str) -> Result<i64, NotAnAmount> {
    const FAR: i64 = 1 << 40;
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAnAmount::NotANumber);
    }
    let size = digits.parse::<i64>().map_or(FAR, |size| size.min(FAR));
    Ok(if is_negative { size.saturating_neg() } else { size })
}

fn to_i64(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::NotAnAmount::{NotANumber, TooLarge};
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, floor, shown) in [
            ("0", 0, "0"),
            ("-0", 0, "0"),
            ("0.0e9", 0, "0"),
            ("5", 5, "5"),
            ("5.0", 5, "5"),
            ("90.5", 90, "90.5"),
            ("0.30000000000000004", 0, "0.30000000000000004"),
            ("2.7755575615628914e-17", 0, "0.000000000000000027"),
            ("1e-400", 0, "0"),
            ("-0.5", -1, "-0.5"),
            ("-7", -7, "-7"),
            ("-7.25", -8, "-7.25"),
            ("1.5e3", 1500, "1500"),
            ("1.2345e2", 123, "123.45"),
            ("0.05e1", 0, "0.5"),
            ("1E+3", 1000, "1000"),
            ("9007199254740991", COUNTER_MAX, "9007199254740991"),
            ("9007199254740991.5", COUNTER_MAX, "9007199254740991.5"),
        ] {
            let amount = Amount::parse(text).unwrap();
            assert_eq!((amount.floor(), amount.to_string().as_str()), (floor, shown), "{text}");
            let mut sum = amount.rounded();
            sum += amount.rest();
            assert_eq!(sum, amount, "{text}");
        }
        for (text, why) in [
            ("9007199254740992", TooLarge),
            ("1e400", TooLarge),
            ("1e99999999999999999999", TooLarge),
            ("-1e17", TooLarge),
            ("", NotANumber),
            ("-", NotANumber),
            (".5", NotANumber),
            ("1e", NotANumber),
            ("NaN", NotANumber),
        ] {
            assert_eq!(Amount::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn sums_are_exact() {
        let mut sum = Amount::default();
        for text in ["0.1", "0.2", "-0.5", "0.9", "9007199254740991", "-1.75"] {
            sum += Amount::parse(text).unwrap();
        }
        assert_eq!(sum.to_string(), "9007199254740989.95");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[-+0-9.eE]{0,40}|\\PC*") {
            if let Ok(amount) = Amount::parse(&text) {
                prop_assert!((-COUNTER_MAX - 1..=COUNTER_MAX).contains(&amount.floor()));
            }
        }

        #[test]
        fn what_is_shown_means_the_same(thousandths in -9_000_000_000_i64..9_000_000_000) {
            let sign = if thousandths < 0 { "-" } else { "" };
            let size = thousandths.unsigned_abs();
            let text = format!("{sign}{}.{:03}", size / 1000, size % 1000);
            let amount = Amount::parse(&text).unwrap();
            prop_assert_eq!(amount.floor(), thousandths.div_euclid(1000));
            prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
        }
    }
}
