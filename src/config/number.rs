//! Numbers, from their text and exactly.
//!
//! Prices never pass through a float: `0.1` has none, and a digit lost on the way is money lost.

use crate::model::bounds::COUNTER_MAX;

/// Why a text is not the number that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberFault {
    /// It is no number at all.
    NotANumber,
    /// It is below zero.
    Negative,
    /// It has this many decimals, more than allowed.
    Decimals(u32),
    /// It is beyond what a counter holds.
    TooLarge,
}

/// The number that a JSON number's text means, times ten to the `decimals`, exactly.
pub(super) fn scaled(text: &str, decimals: u32) -> Result<i64, NumberFault> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = unsigned
        .split_once(['e', 'E'])
        .map_or((unsigned, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(NumberFault::NotANumber);
    }
    let all_digits = format!("{whole}{fraction}");
    let significant = all_digits.trim_start_matches('0').trim_end_matches('0');
    let exponent = exponent.map_or(Ok(0), exponent_value)?;
    if significant.is_empty() {
        return Ok(0);
    }
    if negative {
        return Err(NumberFault::Negative);
    }
    let dropped = all_digits.len() - all_digits.trim_end_matches('0').len();
    // The number is `significant` divided by ten to this; negative where zeros follow.
    let places = to_i64(fraction.len()) - exponent - to_i64(dropped);
    if places > i64::from(decimals) {
        return Err(NumberFault::Decimals(u32::try_from(places).unwrap_or(u32::MAX)));
    }
    let zeros = u32::try_from(i64::from(decimals) - places).map_err(|_| NumberFault::TooLarge)?;
    let factor = 10_i64.checked_pow(zeros).ok_or(NumberFault::TooLarge)?;
    significant
        .parse::<i64>()
        .ok()
        .and_then(|value| value.checked_mul(factor))
        .filter(|value| *value <= COUNTER_MAX)
        .ok_or(NumberFault::TooLarge)
}

/// A flag's number: digits with an optional minus, nothing else. A fraction is told apart, so that
/// the message can say what to do about it.
pub(super) fn strict_integer(text: &str) -> Result<i64, NumberFault> {
    if is_digits(text.strip_prefix('-').unwrap_or(text)) {
        return scaled(text, 0);
    }
    match scaled(text, 0) {
        Err(fault @ NumberFault::Decimals(_)) => Err(fault),
        _ => Err(NumberFault::NotANumber),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An exponent, cut off at a size where its effect no longer changes.
fn exponent_value(text: &str) -> Result<i64, NumberFault> {
    const FAR: i64 = 1 << 40;
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    if !is_digits(digits) {
        return Err(NumberFault::NotANumber);
    }
    Ok(sign * digits.parse::<i64>().map_or(FAR, |value| value.min(FAR)))
}

fn to_i64(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::NumberFault::{Decimals, Negative, NotANumber, TooLarge};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_exact() {
        for (text, decimals, expected) in [
            ("0", 0, Ok(0)),
            ("-0", 0, Ok(0)),
            ("0.000", 0, Ok(0)),
            ("0e99999999999999999999", 0, Ok(0)),
            ("5", 0, Ok(5)),
            ("5.0", 0, Ok(5)),
            ("1e3", 0, Ok(1000)),
            ("1.5e1", 0, Ok(15)),
            ("100e-2", 0, Ok(1)),
            ("0.5", 0, Err(Decimals(1))),
            ("0.250", 0, Err(Decimals(2))),
            ("5e-1", 0, Err(Decimals(1))),
            ("1e-99999999999999999999", 0, Err(Decimals(u32::MAX))),
            ("-1", 0, Err(Negative)),
            ("-0.5", 0, Err(Negative)),
            ("9007199254740991", 0, Ok(COUNTER_MAX)),
            ("9007199254740992", 0, Err(TooLarge)),
            ("1e400", 0, Err(TooLarge)),
            ("1e99999999999999999999", 0, Err(TooLarge)),
            ("99999999999999999999999999", 0, Err(TooLarge)),
            ("0.125", 3, Ok(125)),
            ("0.1", 3, Ok(100)),
            ("12", 3, Ok(12_000)),
            ("0.0005", 3, Err(Decimals(4))),
            ("9007199254740.991", 3, Ok(COUNTER_MAX)),
            ("9007199254740.992", 3, Err(TooLarge)),
            ("", 0, Err(NotANumber)),
            ("-", 0, Err(NotANumber)),
            ("1.", 0, Err(NotANumber)),
            (".5", 0, Err(NotANumber)),
            ("1e", 0, Err(NotANumber)),
            ("NaN", 0, Err(NotANumber)),
            ("0x10", 0, Err(NotANumber)),
            ("٣", 0, Err(NotANumber)),
        ] {
            assert_eq!(scaled(text, decimals), expected, "{text}");
        }
    }

    #[test]
    fn flags_take_digits_only() {
        for (text, expected) in [
            ("5", Ok(5)),
            ("007", Ok(7)),
            ("-5", Err(Negative)),
            ("5.0", Err(NotANumber)),
            ("0.5", Err(Decimals(1))),
            ("1e3", Err(NotANumber)),
            ("12abc", Err(NotANumber)),
            ("+5", Err(NotANumber)),
            (" 5", Err(NotANumber)),
        ] {
            assert_eq!(strict_integer(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_survive(value in 0..=COUNTER_MAX) {
            prop_assert_eq!(scaled(&value.to_string(), 0), Ok(value));
        }

        #[test]
        fn any_text_is_answered(text in "[-+0-9.eE]{0,40}|\\PC*", decimals in 0..4_u32) {
            if let Ok(value) = scaled(&text, decimals) {
                prop_assert!((0..=COUNTER_MAX).contains(&value));
            }
        }
    }
}
