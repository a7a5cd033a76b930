//! Numbers as clients write them, read exactly: no float comes near money. `100`, `100.0` and `1e2`
//! are the same whole number; `0.5` and `1e400` are told apart from text that is no number.

use crate::model::bounds::COUNTER_MAX;

/// Why a text is not a whole number within ±[`COUNTER_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum NotWhole {
    /// It is no number.
    NotANumber,
    /// It has a fraction.
    Fraction,
    /// It is beyond the exact range.
    TooLarge,
}

/// Reads a JSON number, or a string that is one.
pub(in crate::admin) fn whole(text: &str) -> Result<i64, NotWhole> {
    scaled(text, 0, Rest::Refused)
}

/// The same in thousandths; what is smaller is left out.
pub(in crate::admin) fn thousandths(text: &str) -> Result<i64, NotWhole> {
    scaled(text, 3, Rest::LeftOut)
}

/// What becomes of decimals beyond those that are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Refused,
    LeftOut,
}

/// Reads a number times 10^`decimals`.
fn scaled(text: &str, decimals: u32, rest: Rest) -> Result<i64, NotWhole> {
    let text = text.trim();
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (text, 0),
    };
    let (units, fraction) = match mantissa.split_once('.') {
        Some((units, fraction)) if !fraction.is_empty() => (units, fraction),
        Some(_) => return Err(NotWhole::NotANumber),
        None => (mantissa, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if units.is_empty() || !is_digits(units) || !is_digits(fraction) {
        return Err(NotWhole::NotANumber);
    }
    let digits = format!("{units}{fraction}");
    let significant = digits.trim_end_matches('0');
    let zeros = length(&digits).saturating_sub(length(significant));
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let exponent = exponent.saturating_sub(length(fraction)).saturating_add(zeros);
    let exponent = exponent.saturating_add(i64::from(decimals));
    let value = match usize::try_from(exponent.saturating_neg()) {
        Ok(beyond) if beyond > 0 && rest == Rest::LeftOut => {
            let kept = significant.get(..significant.len().saturating_sub(beyond));
            kept.filter(|kept| !kept.is_empty()).map_or(Ok(0), |kept| scale(kept, 0))?
        }
        Ok(_) | Err(_) => scale(significant, exponent)?,
    };
    let most = 10_i64.checked_pow(decimals).and_then(|power| COUNTER_MAX.checked_mul(power));
    let value = Some(value).filter(|value| most.is_some_and(|most| *value <= most));
    let value = value.ok_or(NotWhole::TooLarge)?;
    Ok(if is_negative { value.saturating_neg() } else { value })
}

/// `digits` × 10^`exponent`; the last digit is not 0.
fn scale(digits: &str, exponent: i64) -> Result<i64, NotWhole> {
    let Ok(exponent) = u32::try_from(exponent) else {
        return Err(if exponent < 0 { NotWhole::Fraction } else { NotWhole::TooLarge });
    };
    let value: i64 = digits.parse().map_err(|_| NotWhole::TooLarge)?;
    let value = 10_i64.checked_pow(exponent).and_then(|power| value.checked_mul(power));
    value.ok_or(NotWhole::TooLarge)
}

fn read_exponent(text: &str) -> Result<i64, NotWhole> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NotWhole::NotANumber);
    }
    let size = digits.parse().unwrap_or(i64::MAX / 2);
    Ok(if text.starts_with('-') { size.saturating_neg() } else { size })
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly() {
        use NotWhole::{Fraction, NotANumber, TooLarge};
        let cases = [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("0e99999999999999999999", Ok(0)),
            ("100", Ok(100)),
            (" 100 ", Ok(100)),
            ("100.0", Ok(100)),
            ("1e2", Ok(100)),
            ("1.5e1", Ok(15)),
            ("1500e-2", Ok(15)),
            ("-5", Ok(-5)),
            ("9007199254740991", Ok(9_007_199_254_740_991)),
            ("9007199254740992", Err(TooLarge)),
            ("9007199254740991.1", Err(Fraction)),
            ("1e400", Err(TooLarge)),
            ("1e99999999999999999999", Err(TooLarge)),
            ("99999999999999999999999", Err(TooLarge)),
            ("0.5", Err(Fraction)),
            ("1e-99999999999999999999", Err(Fraction)),
            ("-0.5", Err(Fraction)),
            ("", Err(NotANumber)),
            ("-", Err(NotANumber)),
            ("NaN", Err(NotANumber)),
            ("Infinity", Err(NotANumber)),
            ("0x10", Err(NotANumber)),
            ("1e", Err(NotANumber)),
            ("1.", Err(NotANumber)),
            (".5", Err(NotANumber)),
            ("1 000", Err(NotANumber)),
            ("--1", Err(NotANumber)),
        ];
        for (text, expected) in cases {
            assert_eq!(whole(text), expected, "{text:?}");
        }
    }

    #[test]
    fn reads_three_decimals() {
        let cases = [
            ("0", Ok(0)),
            ("82.5", Ok(82_500)),
            ("1e-3", Ok(1)),
            ("9007199254740991", Ok(9_007_199_254_740_991_000)),
            ("9007199254740991.001", Err(NotWhole::TooLarge)),
            ("33.3339", Ok(33_333)),
            ("0.00099999999999999999999", Ok(0)),
            ("1e-99999999999999999999", Ok(0)),
            ("123456789e-6", Ok(123_456)),
            ("1e17", Err(NotWhole::TooLarge)),
            ("0.0001", Ok(0)),
            ("NaN", Err(NotWhole::NotANumber)),
        ];
        for (text, expected) in cases {
            assert_eq!(thousandths(text), expected, "{text:?}");
        }
    }
}
