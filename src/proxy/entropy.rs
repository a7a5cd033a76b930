//! Random bytes for the ids of calls and sessions.

use std::cell::RefCell;

use crate::model::ids::{CallId, SessionId};

const ID_BYTES: usize = 16;
/// Ids that one question to the operating system gives.
const IDS: usize = 64;

/// Random bytes, those before `used` used up.
struct Supply {
    bytes: [u8; IDS * ID_BYTES],
    used: usize,
}

thread_local! {
    static SUPPLY: RefCell<Supply> =
        const { RefCell::new(Supply { bytes: [0; IDS * ID_BYTES], used: IDS * ID_BYTES }) };
}

/// A new id; `None` if the operating system has no random bytes to give.
pub(super) fn call_id() -> Option<CallId> {
    SUPPLY.with_borrow_mut(|supply| {
        if supply.used >= supply.bytes.len() {
            getrandom::fill(&mut supply.bytes).ok()?;
            supply.used = 0;
        }
        let (id, _) = supply.bytes.get(supply.used..)?.split_first_chunk::<ID_BYTES>()?;
        supply.used += ID_BYTES;
        Some(CallId::from_random(*id))
    })
}

/// The same for a session.
pub(super) fn session_id() -> Option<SessionId> {
    let mut bytes = [0_u8; ID_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(SessionId::from_random(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_twice() {
        let ids: std::collections::HashSet<_> = (0..10 * IDS).filter_map(|_| call_id()).collect();
        assert_eq!(ids.len(), 10 * IDS);
    }
}
