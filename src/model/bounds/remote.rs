//! A server that is reached over HTTP.

use std::time::Duration;

/// Bytes of an event's type that are kept; the longest that anybody asks for has eight.
pub const EVENT_NAME_BYTES_MAX: usize = 64;

/// Bytes of an event's id. It goes back to the server in a header; a stream with a longer one
/// cannot be taken up again.
pub const EVENT_ID_BYTES_MAX: usize = 1024;

/// How long a connection to a remote server may take, name lookup and TLS included.
pub const REMOTE_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unused connection is kept: less than the five seconds after which common servers
/// close theirs, because a request that meets the close is lost.
pub const REMOTE_IDLE_CONNECTION: Duration = Duration::from_secs(4);

/// Unused connections that are kept for one server.
pub const REMOTE_IDLE_CONNECTIONS_MAX: usize = 256;

/// After how long a silent connection is asked whether anybody is there, and how often then.
pub const REMOTE_KEEPALIVE: Duration = Duration::from_secs(30);

/// Unanswered questions after which the connection counts as broken.
pub const REMOTE_KEEPALIVE_TRIES: u32 = 4;

/// Bytes of an answer's status line and headers together.
pub const REMOTE_HEAD_BYTES_MAX: usize = 64 << 10;

/// Headers of an answer.
pub const REMOTE_HEADERS_MAX: usize = 100;

/// Bytes of a session id or a protocol version that a server names: both go into headers.
pub const REMOTE_SESSION_BYTES_MAX: usize = 1024;

/// How long a message without an answer may take to be accepted.
pub const REMOTE_NOTE_TIMEOUT: Duration = Duration::from_secs(30);

/// Notifications that may wait until the one before them is accepted.
pub const REMOTE_NOTES_MAX: usize = 256;

/// Posts beside those of calls: cancellations and answers to what the server asks.
pub const REMOTE_POSTS_MAX: usize = 64;

/// How often a post that goes on looks whether its call still waits.
pub const REMOTE_WAITER_LOOK: Duration = Duration::from_secs(1);

/// The wait before a broken stream is taken up, if the server names none; it doubles from there.
pub const REMOTE_RETRY_FIRST: Duration = Duration::from_millis(500);

/// The longest such wait, also if the server wants a longer one.
pub const REMOTE_RETRY_MAX: Duration = Duration::from_secs(30);

/// The shortest such wait, also if the server wants a shorter one.
pub const REMOTE_RETRY_MIN: Duration = Duration::from_millis(50);

/// Attempts in a row to take up the broken stream of a call.
pub const REMOTE_RESUME_TRIES: u32 = 5;

/// How long a server may take to say that it is there, once a call has failed.
pub const REMOTE_PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause between two such questions.
pub const REMOTE_PROBE_PAUSE: Duration = Duration::from_secs(1);

/// How long the end of a session may take to be told: it is a courtesy.
pub const REMOTE_FAREWELL_WAIT: Duration = Duration::from_secs(2);
