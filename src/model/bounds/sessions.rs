//! Sessions, and the streams that clients are told by.

use std::time::Duration;

/// `maxChildren`: processes that run for single sessions at a time. A server in Node.js or Python takes
/// some 50 MB.
pub const CHILDREN_MAX: usize = 64;

/// Open files that a child's pipes and handle take.
pub const FILES_PER_CHILD: usize = 5;

/// `sessionIdleSeconds`: how long nothing may go on in a session before it ends.
pub const SESSION_IDLE: Duration = Duration::from_mins(30);

/// How long a session must have been idle before it gives way to another: long enough that none does
/// between two messages of one conversation between programs.
pub const SESSION_YIELDS_AFTER: Duration = Duration::from_secs(10);

/// Sessions with a key on the shared link, all together and of one key. They cost memory only.
pub const SESSIONS_MAX: usize = 2048;
/// See [`SESSIONS_MAX`]: one customer does not take all of them.
pub const SESSIONS_PER_KEY_MAX: usize = 256;

/// Sessions of nobody, all together. They keep nothing and can be flooded by anybody.
pub const KEYLESS_SESSIONS_MAX: usize = 1024;

/// Sessions of nobody from one address.
pub const KEYLESS_SESSIONS_PER_ADDRESS_MAX: usize = 16;

/// Messages that one session keeps: those that wait and those that its client may come back for.
pub const SESSION_MESSAGES_MAX: usize = 512;

/// The same in bytes: what a call tells before its answer is mostly far less.
pub const SESSION_MESSAGE_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(STREAM_MESSAGES_MAX < SESSION_MESSAGES_MAX);

/// Questions of one server that its client has not answered yet.
pub const SESSION_ASKS_MAX: usize = 64;

/// How long such a question waits for a client that reads nothing. A client that reads has as long as
/// the longest call.
pub const SESSION_ASK_UNHEARD_WAIT: Duration = Duration::from_secs(30);

/// How often sessions are looked after.
pub const SESSION_TEND_INTERVAL: Duration = Duration::from_secs(1);

/// Messages that wait in one stream for a client that does not read them: enough for a burst of
/// progress, too few for a flood to matter.
pub const STREAM_MESSAGES_MAX: usize = 256;

/// How long a stream may be silent before a comment shows that it is alive: below the minute after
/// which many a proxy gives up.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a client whose stream has ended may come back, in milliseconds.
pub const STREAM_RETRY_MS: u32 = 1_000;

/// When to look again for a modern side that could not be started; one that was refused is looked
/// for when the server has been started anew.
pub const MODERN_LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Streams of `subscriptions/listen` of one key: one for each of its programs, not for each tool.
pub const LISTENS_PER_KEY_MAX: usize = 16;

/// How long such a stream stays open. Its client opens another one.
pub const LISTEN_MAX: Duration = Duration::from_hours(24);

/// How often the key of such a stream is looked at.
pub const LISTEN_KEY_LOOK: Duration = Duration::from_secs(2);
