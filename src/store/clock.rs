//! The clock on the wall, for the parts that may read it. Pure parts take time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::time::Time;

/// The present moment. A clock before 1970 reads as 1970.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::ZERO.plus(since)
}
