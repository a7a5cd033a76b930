//! Books in Redis: the link to it, and what instances share.

use std::time::Duration;

use super::CONNECTIONS_MAX;

/// Redis is near: one that takes longer to let us in is down.
pub const REDIS_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A script runs for microseconds. A connection on which an answer takes longer is given up, and what
/// waits on it is asked again on another one; whoever waits twice as long is better off with a clear
/// refusal.
pub const REDIS_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections that fail in a row before Redis is left alone.
pub const REDIS_FAILURES_MAX: u32 = 3;

/// How often a Redis that is left alone is looked for.
pub const REDIS_PROBE_PAUSE: Duration = Duration::from_millis(250);

/// How often Sentinels are asked whether the master is still it.
pub const REDIS_SENTINEL_LOOK: Duration = Duration::from_secs(1);

/// How often the map of a cluster is read while a node is away.
pub const REDIS_SLOTS_LOOK: Duration = Duration::from_secs(1);

/// The shortest time between two reads of that map; and how long a slot that is on its way is given.
pub const REDIS_SLOTS_PAUSE: Duration = Duration::from_millis(100);

/// How often a cluster may send one question on.
pub const REDIS_REDIRECTS_MAX: u32 = 5;

/// Calls whose end is not known, each about a kilobyte, that are seen to once Redis is back. Beyond it
/// their deadline ends them.
pub const REDIS_LOOSE_ENDS_MAX: usize = 2 * CONNECTIONS_MAX;

/// How many of them the log names.
pub const REDIS_LOOSE_ENDS_NAMED: usize = 100;

/// How many of them are seen to at once: each asks several times, and after an outage there are many.
pub const REDIS_LOOSE_ENDS_AT_ONCE: usize = 32;

/// How often they are looked at.
pub const REDIS_LOOSE_ENDS_LOOK: Duration = Duration::from_millis(250);

/// How often something is asked for whose answer was lost with its connection.
pub const REDIS_TRIES: u32 = 3;

/// Commands under way on the one connection: as many as calls can be.
pub const REDIS_IN_FLIGHT_MAX: usize = CONNECTIONS_MAX;

/// Scripts of one kind for one tenant that are on their way at once from one instance; calls that come
/// meanwhile share the next. With one there are the fewest scripts, and each takes all that has come.
pub const REDIS_SCRIPTS_AT_ONCE: usize = 1;

/// Calls that share a script, some microseconds each: Redis does nothing else meanwhile.
pub const REDIS_CALLS_TOGETHER_MAX: usize = 64;

/// For so long a record is believed at most without asking again. Who changes it tells so at once, and
/// calls that cost something rely on neither.
pub const REDIS_RECORD_AGE: Duration = Duration::from_secs(4);

/// Records of keys that one instance keeps at hand.
pub const REDIS_KEYS_CACHED_MAX: usize = 100_000;

/// Tenants whose books are asked in one look whether they are whole, beside those that were not.
pub const REDIS_LOOKED_AT_FOR_LOSSES: usize = 16;

/// Clocks of this machine and of Redis that differ by this are told of: more than a slow answer explains, less than
/// matters to whose key expires.
pub const REDIS_CLOCKS_APART: Duration = Duration::from_secs(5);

/// How often it is looked at how Redis is set, beside each new connection: two small questions.
pub const REDIS_STANDING_LOOK: Duration = Duration::from_secs(10);

/// How often lists of teams, tenants and tokens are looked at for changes that were not told.
pub const REDIS_CHANGES_LOOK: Duration = Duration::from_secs(1);

/// After the connection for news was lost; twice as long after each attempt that fails, up to the look
/// at the lists.
pub const REDIS_SUBSCRIBE_PAUSE: Duration = Duration::from_millis(100);

/// How often an instance makes sure that it hears what is told: half open connections say nothing.
pub const REDIS_ECHO_INTERVAL: Duration = Duration::from_secs(1);

/// Without an echo for so long, it hears nothing.
pub const REDIS_ECHO_LOST: Duration = Duration::from_secs(3);

/// Instances whose configuration is compared with one's own: more than anybody runs on one Redis.
pub const REDIS_PEERS_MAX: usize = 256;

/// An instance that has told nothing for so long is gone; it tells each second.
pub const REDIS_PEER_GONE: Duration = Duration::from_secs(10);

/// Longest name of an instance, in characters: a host's name and a port, with room to spare.
pub const REDIS_PEER_NAME_CHARS_MAX: usize = 200;

/// Rows of one tenant's journal that stay in Redis; instances copy them long before.
pub const REDIS_JOURNAL_ROWS_MAX: usize = 1_000_000;

/// Keys that one script takes over from other books: Redis does nothing else meanwhile.
pub const REDIS_IMPORTED_AT_ONCE: usize = 200;

/// How long what only one instance may do stays its own without a word from it: then another one does it.
pub const REDIS_DUTY_LEASE: Duration = Duration::from_secs(10);

/// Rows of one journal that are read at once to be sent, and events of all that wait to be sent.
pub const REDIS_UNSENT_ROWS: usize = 50;
/// See [`REDIS_UNSENT_ROWS`].
pub const REDIS_UNSENT_WAITING_MAX: usize = 500;

/// Entries of refusals that stay in Redis, one every other second of each instance that refuses: statistics,
/// which an instance that was gone for an hour may miss.
pub const REDIS_REFUSED_ENTRIES_MAX: usize = 5_000;

/// Kinds of refusals that wait for a Redis that is away; later ones are not written down.
pub const REDIS_REFUSED_WAITING_MAX: usize = 10_000;

/// The newest rows of the journal of no tenant that are looked at for admin tokens that have just ended.
pub const REDIS_TOKEN_ROWS_LOOK: usize = 64;

/// How long it is remembered that something was done, for whoever lost the answer.
pub const REDIS_DEED_REMEMBERED: Duration = Duration::from_mins(10);

/// How long a request with an idempotency key counts as running on an instance that says nothing more.
pub const REDIS_RUN_LEASE: Duration = Duration::from_secs(10);

/// How often an instance says which requests with an idempotency key still run on it.
pub const REDIS_RUN_RENEWAL: Duration = Duration::from_secs(3);

/// How often a repetition looks whether the request that runs elsewhere has ended.
pub const REDIS_RUN_LOOK: Duration = Duration::from_millis(100);

/// How long a repetition waits for the request that runs elsewhere.
pub const REDIS_RUN_WAIT: Duration = Duration::from_mins(10);

/// Commands of one kind that are sent together.
pub const REDIS_TOGETHER_MAX: usize = 256;

/// How long the instance that looks for what is late may be silent before another one does it.
pub const REDIS_SWEEP_LEASE: Duration = Duration::from_secs(5);

/// Tenants that are looked at in one go, every second: ten thousand take five.
pub const REDIS_SWEPT_TENANTS: usize = 2_000;

/// Holds that one look for those that are late names, and what it forgets beside.
pub const REDIS_SWEPT_AT_ONCE: usize = 200;

/// A credential that was claimed for a key which is not there is free again after this.
pub const REDIS_CLAIM_AGE: Duration = Duration::from_mins(1);

/// What nobody waits for and is not in Redis yet.
pub const REDIS_NOTES_MAX: usize = 1_024;

/// The wait for those when an instance ends.
pub const REDIS_CLOSE_WAIT: Duration = Duration::from_secs(3);

/// How often a change of several records is tried again that others changed meanwhile.
pub const REDIS_CONFLICT_TRIES: u32 = 5;

/// For an answer about a whole tenant, which commands for operators ask for: a hundred thousand accounts in
/// one step take Redis about a second.
pub const REDIS_WHOLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers that are kept in Redis for one key: Redis is memory, and all customers share it.
pub const REDIS_KEPT_ANSWERS_PER_KEY_MAX: u64 = 10_000;
/// The same in bytes.
pub const REDIS_KEPT_BYTES_PER_KEY_MAX: u64 = 64 << 20;
