//! The protocol versions that Paygate speaks. All begin with a handshake.

/// The versions, oldest first.
pub const ALL: [&str; 4] = ["2024-11-05", WITH_ARRAYS, "2025-06-18", LATEST];

/// The one version in which a body may be an array of messages.
pub const WITH_ARRAYS: &str = "2025-03-26";

/// The newest version that begins with a handshake; Paygate offers it to a server.
pub const LATEST: &str = "2025-11-25";

/// The first version in which a stream begins with a place to come back to.
pub const WITH_PLACES: &str = LATEST;

/// The version without handshakes and sessions.
pub const MODERN: &str = "2026-07-28";

/// How old a version is, as its place in the list; `None` if Paygate does not know it.
pub fn age(version: &str) -> Option<usize> {
    ALL.iter().position(|known| *known == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_order() {
        assert!(ALL.is_sorted());
        assert_eq!(ALL.last(), Some(&LATEST));
        assert_eq!((age("2024-11-05"), age(LATEST), age("2024-10-07")), (Some(0), Some(3), None));
    }
}
