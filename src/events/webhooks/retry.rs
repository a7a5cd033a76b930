//! When a batch is sent again.

use std::time::Duration;

use crate::model::bounds::{WEBHOOK_RETRY_FIRST, WEBHOOK_RETRY_WAIT_MAX};

/// The wait after a failed attempt (the first is 0): it doubles up to a bound. `random` spreads it by a
/// quarter to both sides, so that many senders do not come back at once.
pub(super) fn wait(attempt: u32, random: u8) -> Duration {
    let factor = 2_u32.saturating_pow(attempt);
    let wait = WEBHOOK_RETRY_FIRST.saturating_mul(factor).min(WEBHOOK_RETRY_WAIT_MAX);
    let spread = wait / 2 * u32::from(random) / u32::from(u8::MAX);
    wait.saturating_sub(wait / 4).saturating_add(spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_spread() {
        for (attempt, least, most) in [
            (0, 750, 1_250),
            (1, 1_500, 2_500),
            (4, 12_000, 20_000),
            (6, 45_000, 75_000),
            (u32::MAX, 45_000, 75_000),
        ] {
            assert_eq!(wait(attempt, 0).as_millis(), least, "{attempt}");
            assert_eq!(wait(attempt, u8::MAX).as_millis(), most, "{attempt}");
        }
    }
}
