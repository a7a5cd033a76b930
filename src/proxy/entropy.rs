//! Random bytes for the ids of calls.

use crate::model::ids::CallId;

/// A new id; `None` if the operating system has no random bytes to give.
pub(super) fn call_id() -> Option<CallId> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(CallId::from_random(bytes))
}
