//! Several servers behind one Paygate.

use std::time::Duration;

use super::BODY_BYTES_MAX;

/// Servers behind one Paygate. Each session may have a process for each of them.
pub const SERVERS_MAX: usize = 64;

/// How long servers may still take to start once one of several is there. What is not ready then
/// comes later; a customer does not wait for it.
pub const MEMBERS_START_GRACE: Duration = Duration::from_secs(10);

/// How long one of several servers may take for its part of an answer that all give together, so
/// that one that hangs does not keep the lists of the others back.
pub const MEMBER_PART_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request waits for one of several servers: longer than anything takes. The call that it
/// belongs to has its own patience, and takes the request with it when it ends.
pub const MEMBER_REQUEST_TIMEOUT: Duration = Duration::from_hours(24 * 365);

/// How long a stream of changes waits for a place at one of several servers that has none left.
pub const MEMBER_BUSY_PAUSE: Duration = Duration::from_secs(1);

/// What servers may have asked a client and not been answered, on one connection.
pub const MEMBER_ASKS_MAX: usize = 256;

/// URIs, and templates of URIs, that are remembered of one of several servers, to know whose a
/// resource is. One that is not remembered is asked for server by server.
pub const MEMBER_URIS_MAX: usize = 10_000;

/// Subscriptions to resources that are remembered, to renew them when a server comes back.
pub const MEMBER_SUBSCRIPTIONS_MAX: usize = 1_000;

/// Bytes of one server's cursor in ours. A longer one ends that server's list.
pub const MEMBER_CURSOR_BYTES_MAX: usize = 2 << 10;

/// Bytes of our cursor: as many servers with as long cursors as may be, each byte escaped.
pub const MERGED_CURSOR_BYTES_MAX: usize = 2 * SERVERS_MAX * (MEMBER_CURSOR_BYTES_MAX + 128);

const _: () = assert!(MERGED_CURSOR_BYTES_MAX < BODY_BYTES_MAX / 2);
