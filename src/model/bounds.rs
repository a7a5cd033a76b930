//! Every bound of the product, each with its reason. A queue, map, wait or body that is not
//! bounded here is a bug. What an operator may change is named after its config key and is only
//! the default here.

use std::time::Duration;

/// Largest magnitude of any counter: JSON readers everywhere and Redis' Lua hold it exactly.
pub const COUNTER_MAX: i64 = (1 << 53) - 1;

/// `maxBodyBytes`: a request body, in bytes. The size that paygate-mcp accepted.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// `maxAnswerBytes`: one line from an upstream, in bytes. Room for a picture as base64.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// `maxBatchCalls`: calls in one batch.
pub const BATCH_CALLS_MAX: usize = 100;

/// Entries of one array that are worked on at a time, so that one body does not crowd out others.
pub const ARRAY_ENTRIES_AT_A_TIME: usize = 16;

/// Levels of a JSON value that are written in the one way in which two are compared. What lies deeper
/// is taken as it is written.
pub const CANONICAL_DEPTH_MAX: usize = 32;

/// How deep in a tool's schema an annotation is looked for: deeper than any real form, and no endless
/// walk.
pub const SCHEMA_DEPTH_MAX: usize = 16;

/// The longest name of a tool that every model vendor accepts.
pub const ACCEPTED_NAME_BYTES_MAX: usize = 64;

/// Largest configuration file that is read: room for tens of thousands of imported keys.
pub const CONFIG_FILE_BYTES_MAX: u64 = 8 << 20;

/// Largest state file of paygate-mcp that is imported: some 400,000 keys, which are in memory at once.
pub const STATE_FILE_BYTES_MAX: u64 = 256 << 20;

/// Longest line that the demo server reads, in bytes; a longer one is answered with an error and
/// skipped.
pub const DEMO_LINE_BYTES_MAX: usize = 4 << 20;

/// `requestTimeoutMs`: how long a call may take before it is answered with a timeout.
pub const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// `maxRequestTimeoutMs`: the hard ceiling that no progress extends.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// Buckets of a rolling window: an event may leave late by one of them, a second for a minute.
pub const ROLLING_BUCKETS: i64 = 60;

// ---- store -----------------------------------------------------------------------------------

/// Journal rows that may wait for the disk. Each is a few hundred bytes; beyond it calls are
/// refused as retryable, because a disk that is this far behind is not keeping up.
pub const JOURNAL_QUEUE_ROWS_MAX: usize = 16_384;

/// Journal rows that are worth a commit although nobody waits for it.
pub const JOURNAL_BATCH_ROWS: usize = 1_024;

/// How long a call waits for room in the journal's queue before it is refused as retryable.
pub const JOURNAL_ROOM_WAIT: Duration = Duration::from_secs(5);

/// How long a hold may wait for its resolution before the journal gets it as a row of its own.
/// A call that ends sooner costs one row instead of two. A crash loses at most the rate counts of
/// calls younger than this, none of which were charged.
pub const HOLD_ROW_DELAY: Duration = Duration::from_millis(25);

/// Rows behind which the saved accounts may lag: what a restart after a crash has to replay.
pub const REPLAY_ROWS_MAX: i64 = 500_000;

/// Time after which lagging accounts are saved even if there were few rows.
pub const ACCOUNTS_SAVE_EVERY: Duration = Duration::from_mins(1);

/// Accounts saved with one commit: small enough that no answer waits for it noticeably.
pub const ACCOUNTS_SAVED_PER_COMMIT: usize = 64;

/// Journal rows that an ephemeral store remembers; there is no disk to put more on.
pub const EPHEMERAL_JOURNAL_ROWS_MAX: i64 = 100_000;

/// Idempotency keys remembered for 24 hours, about 200 bytes each.
pub const ONCE_MAX: usize = 100_000;

/// How long an idempotency key is remembered.
pub const ONCE_TTL: Duration = Duration::from_hours(24);

/// `idempotencyTtlSeconds`: how long the answer to a call that carries an idempotency key is kept.
pub const KEPT_TTL: Duration = ONCE_TTL;

/// The longest answer that is kept for a repetition of its call, in bytes.
pub const KEPT_ANSWER_BYTES_MAX: usize = 1 << 20;

/// Kept answers, and the bytes of them: they are on disk, not in memory. From there on a new
/// idempotency key is refused; calls in flight may still go past it by what they answer.
pub const KEPT_ANSWERS_MAX: u64 = 1_000_000;
/// See [`KEPT_ANSWERS_MAX`].
pub const KEPT_BYTES_MAX: u64 = 4 << 30;

/// The same in an ephemeral store, where they are in memory.
pub const EPHEMERAL_KEPT_ANSWERS_MAX: u64 = 10_000;
/// See [`EPHEMERAL_KEPT_ANSWERS_MAX`].
pub const EPHEMERAL_KEPT_BYTES_MAX: u64 = 64 << 20;

/// The part of all kept answers that one API key may fill, as a divisor: no customer takes the
/// idempotency keys of all others.
pub const KEPT_SHARE_DIVISOR: u64 = 4;

/// Bytes of answers that may wait for the disk to be kept; beyond it calls with an idempotency key
/// are refused as retryable before they are held.
pub const KEPT_WAITING_BYTES_MAX: u64 = 64 << 20;

/// Expired answers that one commit deletes, and bytes of them: no answer waits for it noticeably.
pub const KEPT_DELETED_PER_COMMIT: usize = 256;
/// See [`KEPT_DELETED_PER_COMMIT`].
pub const KEPT_BYTES_DELETED_PER_COMMIT: u64 = 4 << 20;

/// What a hold lives longer than the longest call: time to settle an answer that came at the end.
pub const HOLD_MARGIN: Duration = Duration::from_secs(30);
// Upstream children

/// Calls in flight on one child. Far above what one stdio server works on at a time, and small
/// enough that their waiting answers stay a matter of megabytes.
pub const CHILD_CALLS_MAX: usize = 1024;

/// What an operator can raise that to: ids name a place in the table and stay within 2^53.
pub const CHILD_CALLS_CEILING: usize = 1 << 16;

/// Room in the table of calls for Paygate's own requests (initialize, tools/list), so that a
/// child full of customers' calls can still be asked.
pub const CHILD_OWN_CALLS_MAX: usize = 8;

/// Bytes that may wait for a child to read them. One line of the largest body fits several
/// times; beyond it senders wait.
pub const CHILD_QUEUE_BYTES_MAX: usize = 4 << 20;

/// Room beyond the queue for short lines that cannot wait: cancellations and answers to the
/// child's own requests.
pub const CHILD_CONTROL_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(CHILD_QUEUE_BYTES_MAX > BODY_BYTES_MAX);

/// What one read from a child may bring: the size of a Linux pipe.
pub const CHILD_READ_BYTES: usize = 64 << 10;

/// Bytes of the reason that goes with a cancellation.
pub const CANCEL_REASON_BYTES_MAX: usize = 256;

/// How long a child may take to start: until it has answered initialize and listed its tools.
/// Servers started through npx or uvx download themselves first.
pub const CHILD_START_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait before the first restart of a child that died; it doubles from there.
pub const CHILD_RESTART_WAIT_FIRST: Duration = Duration::from_millis(250);

/// The longest wait between two restarts: soon enough once the cause is gone, rare enough to
/// cost nothing while it is not.
pub const CHILD_RESTART_WAIT_MAX: Duration = Duration::from_secs(30);

/// A child that ran this long was healthy: its next restart begins at the first wait again.
pub const CHILD_HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// How long a child whose pipes are closed may take to exit by itself.
pub const CHILD_EXIT_WAIT: Duration = Duration::from_millis(500);

/// How long what a child wrote last may take to be read: at most a pipe full, unless somebody
/// else holds the pipe and would make us wait for nothing.
pub const CHILD_DRAIN_WAIT: Duration = Duration::from_millis(100);

/// How long a killed process may take to be gone. Only one that hangs in the kernel takes longer.
pub const CHILD_KILL_WAIT: Duration = Duration::from_secs(5);

/// Rounds of killing descendants that left the process group. Each round kills all it finds;
/// only something that forks all the time needs more than three.
pub const DESCENDANT_KILL_ROUNDS: usize = 50;

/// The pause between two such rounds: the kernel needs a moment to end a process.
pub const DESCENDANT_KILL_PAUSE: Duration = Duration::from_millis(10);

/// Rounds in which an orphan is given time to show whose it is: while it becomes another program it has
/// no environment to look at.
pub const DESCENDANT_MARK_ROUNDS: usize = 5;

/// How often orphans that ended by themselves are collected.
pub const ORPHAN_REAP_INTERVAL: Duration = Duration::from_secs(10);

/// Pages of tools/list that are fetched: a server that pages forever is cut off.
pub const TOOL_PAGES_MAX: usize = 100;

/// Tools of one server.
pub const TOOL_NAMES_MAX: usize = 10_000;

/// At most one tools/list in this time, however often somebody asks for unknown tools.
pub const TOOLS_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How long one answer to tools/list may take while the child runs.
pub const TOOLS_LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one line of a child's stderr that are kept; the rest of the line is dropped.
pub const STDERR_LINE_BYTES_MAX: usize = 4096;

/// Last lines of stderr that are kept for error messages.
pub const STDERR_LINES_KEPT: usize = 20;

/// Lines of stderr that are logged in one second; the rest is counted.
pub const STDERR_LINES_PER_SECOND_MAX: u32 = 200;

// ---- remote servers --------------------------------------------------------------------------

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

// ---- front -----------------------------------------------------------------------------------

/// Connections open at a time; more wait in the system's queue. Where the system allows fewer open
/// files, fewer.
pub const CONNECTIONS_MAX: usize = 4096;

/// Open files that are left for everything that is not a client's connection: the database, the
/// child's pipes, logs.
pub const FILES_RESERVED: usize = 64;

/// Bytes of a request's line and headers together.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// Headers of a request.
pub const HEADERS_MAX: usize = 100;

/// How long a TLS handshake may take, the wait for its turn included: seconds on a slow line.
pub const TLS_HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// TLS handshakes under way: each costs about a millisecond of a core, and a client that stops in
/// the middle of one keeps its turn until its time is over.
pub const TLS_HANDSHAKES_MAX: usize = 512;

const _: () = assert!(TLS_HANDSHAKES_MAX < CONNECTIONS_MAX);

/// Size of a file with certificates or a key: a chain has a few KiB.
pub const PEM_FILE_BYTES_MAX: u64 = 1 << 20;

/// How often a client over TLS that has sent more than was asked is looked at: has it left?
pub const DEPARTURE_LOOK: Duration = Duration::from_millis(250);

/// How long the head of a request may take; so also how long a connection may be idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_mins(1);

/// How long the body of a request may take.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take no byte of an answer that waits for it.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// The pause after a connection could not be accepted, for instance because files ran out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long what a client still sends after its answer is read and dropped. Closing earlier would
/// reset the connection, and the answer with it.
pub const LINGER_WAIT: Duration = Duration::from_secs(3);

/// Bytes that are read and dropped meanwhile.
pub const LINGER_BYTES_MAX: usize = 256 << 20;

/// Entries of forwarded-for headers that are looked at, from the right.
pub const FORWARDED_HOPS_MAX: usize = 32;

/// How long calls in flight may take to finish once Paygate is told to stop.
pub const DRAIN_WAIT: Duration = Duration::from_secs(30);

/// How often the drain looks whether it is done.
pub const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// How long the connections may take to write what they have once no call is in flight.
pub const CONNECTIONS_STOP_WAIT: Duration = Duration::from_secs(5);

/// How long the child may take to end by itself.
pub const CHILD_STOP_GRACE: Duration = Duration::from_secs(4);

/// How long a child may take to be gone when somebody forces the end.
pub const FORCED_STOP_WAIT: Duration = Duration::from_secs(2);

/// How long the books may take to write down what waits. A disk that does not answer must not keep
/// the process for ever; the next start replays what it has.
pub const CLOSE_BOOKS_WAIT: Duration = Duration::from_secs(10);

/// How often holds whose deadline has passed are released.
pub const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a command of an operator waits for its answer: a list of all keys takes its time.
pub const CLI_TIMEOUT: Duration = Duration::from_mins(1);

/// How long `paygate tools call` waits for a tool: the default ceiling of a call and a margin.
pub const CLI_CALL_TIMEOUT: Duration = Duration::from_mins(11);

/// Pages of a server's list of tools that `paygate tools` reads: no server of sense has more.
pub const CLI_TOOL_PAGES_MAX: usize = 100;

/// Entries that `paygate usage` asks for at a time: the most that the API gives.
pub const CLI_PAGE_ENTRIES: usize = 1000;

/// Size of an answer that such a command takes: a list of 100,000 keys has some 60 MiB.
pub const CLI_ANSWER_BYTES_MAX: usize = 256 << 20;

/// How long `paygate health` waits.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer that `paygate health` reads.
pub const HEALTH_BYTES_MAX: usize = 64 << 10;

// ---- proxy -----------------------------------------------------------------------------------

/// Bytes of a tool's name. MCP advises 128 characters at most; names go into rows and messages.
pub const TOOL_NAME_BYTES_MAX: usize = 256;

/// The part of a child's calls that free requests may fill, as a divisor: what costs nothing, some
/// of it for anybody, must leave room for what is paid.
pub const FREE_CALLS_DIVISOR: usize = 8;

/// The part of these that one key may fill, or one address without a key, as a divisor: what hangs
/// for one customer must not keep the others from what is free, such as the results of their tasks.
pub const FREE_SHARE_DIVISOR: usize = 4;
// ---- slow disks ------------------------------------------------------------------------------

/// A commit that takes longer means a disk that cannot keep up: new calls are refused as retryable
/// rather than started and left waiting for it.
pub const COMMIT_SLOW: Duration = Duration::from_secs(5);

/// A commit that takes longer is not believed to end any more: the books close, and whoever waits
/// is told so.
pub const COMMIT_HUNG: Duration = Duration::from_secs(30);

const _: () = assert!(COMMIT_SLOW.as_secs() < COMMIT_HUNG.as_secs());

/// How often a stop looks whether the writer has ended.
pub const WRITER_END_LOOK: Duration = Duration::from_millis(5);

// ---- reading beside the writer ---------------------------------------------------------------

/// How long a key lookup or a report waits for others of its kind before it is refused as retryable.
pub const READ_TURN_WAIT: Duration = Duration::from_secs(5);

// ---- webhooks --------------------------------------------------------------------------------

/// Events of one POST.
pub const WEBHOOK_BATCH_EVENTS: usize = 10;

/// How long an event waits for others to fill its batch.
pub const WEBHOOK_FLUSH_WAIT: Duration = Duration::from_secs(5);

/// How often new events are looked for.
pub const WEBHOOK_LOOK: Duration = Duration::from_millis(500);

/// How long a receiver may take, from the connection to the end of its answer.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer's body that are read, so that its connection can be used again. What it says
/// is of no interest; a longer one costs the connection.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 64 << 10;

/// `webhookMaxRetries`: about half a minute of waiting between attempts.
pub const WEBHOOK_RETRIES: i64 = 5;

/// Most retries: with the longest waits between them about an hour, then the next batch has its turn.
pub const WEBHOOK_RETRIES_MAX: i64 = 50;

/// The wait before the first retry; it doubles from there.
pub const WEBHOOK_RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest such wait.
pub const WEBHOOK_RETRY_WAIT_MAX: Duration = Duration::from_mins(1);

/// Batches that are kept when nobody took them; the oldest gives way, and is counted.
pub const WEBHOOK_DEAD_LETTERS_MAX: usize = 1_000;

/// Dead letters that are read at a time.
pub const WEBHOOK_DEAD_LETTERS_READ: usize = 50;

/// How long webhooks may be switched off before what happened meanwhile is not sent any more: a
/// mistake in the configuration is found by then, and nobody wants the events of last spring.
pub const WEBHOOK_OFF_KEPT: Duration = Duration::from_hours(7 * 24);

/// How long the last attempt may take when Paygate stops. What is not sent then is sent after the next
/// start.
pub const WEBHOOK_LAST_WAIT: Duration = Duration::from_secs(2);

// ---- the operator's API ----------------------------------------------------------------------

/// Entries of the audit log: some hundred bytes each. Beyond it the oldest are forgotten.
pub const AUDIT_ROWS_MAX: i64 = 5_000_000;

/// Entries about refusals among them, which strangers can cause.
pub const AUDIT_REFUSALS_MAX: usize = 10_000;

/// Entries that are forgotten with one commit, so that no answer waits for it noticeably.
pub const AUDIT_FORGOTTEN_AT_ONCE: usize = 5_000;

/// How often old entries are looked for.
pub const AUDIT_FORGET_INTERVAL: Duration = Duration::from_mins(1);

/// Admin tokens: all are in memory. Far more than there are operators of one Paygate.
pub const ADMIN_TOKENS_MAX: usize = 10_000;

/// Teams, deleted ones included: all are in memory with their accounts, about a kilobyte each.
pub const TEAMS_MAX: usize = 50_000;

/// Namespaces with a record of their own: all are in memory, about 200 bytes each without lists.
pub const NAMESPACES_MAX: usize = 100_000;

/// Answers to wrong admin keys that wait at once for one address. Beyond it they are refused at
/// once, so that a guesser cannot hold all connections open.
pub const ADMIN_DELAYED_MAX: usize = 64;

/// Wrong guesses of the admin key that are answered at once: a typing error should not feel like a
/// fault.
pub const ADMIN_FREE_GUESSES: u32 = 3;

/// The first delay of an answer to a wrong guess; it doubles from there.
pub const ADMIN_DELAY_FIRST: Duration = Duration::from_millis(25);

/// The longest such delay: enough against guessing, and a wrong request holds its connection no
/// longer.
pub const ADMIN_DELAY_MAX: Duration = Duration::from_secs(1);

/// A client that has guessed wrong and been quiet this long starts afresh.
pub const ADMIN_GUESSES_FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// Clients remembered that have guessed wrong, about 100 bytes each. Beyond it the quietest are
/// forgotten.
pub const ADMIN_GUESSERS_MAX: usize = 4096;

// ---- sessions --------------------------------------------------------------------------------

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

/// Bytes of an id that is remembered as it was written. Longer ones would make tables of ids a place to
/// store things.
pub const RAW_ID_BYTES_MAX: usize = 128;

/// Messages that wait in one stream for a client that does not read them: enough for a burst of
/// progress, too few for a flood to matter.
pub const STREAM_MESSAGES_MAX: usize = 256;

/// How long a stream may be silent before a comment shows that it is alive: below the minute after
/// which many a proxy gives up.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a client whose stream has ended may come back, in milliseconds.
pub const STREAM_RETRY_MS: u32 = 1_000;

// ---- rounds and tasks ------------------------------------------------------------------------

/// How long a call waits for its customer to bring what it asked for.
pub const ROUND_WAIT: Duration = Duration::from_mins(10);

/// Times that one call may ask its customer for more.
pub const ROUNDS_MAX: u32 = 10;

/// Calls of one key that wait for their next round or for their task.
pub const PARKED_PER_KEY_MAX: usize = 1_000;

/// The same of all keys; each is some hundred bytes in memory and on disk.
pub const PARKED_MAX: usize = 100_000;

/// Tasks that are settled at once. Each belongs to a request, and takes as long as a commit.
pub const TASK_TURNS_MAX: usize = 10_000;

/// Notes of paid tasks that books in memory keep; what comes before those counts as paid.
pub const EPHEMERAL_PAID_TASKS_MAX: i64 = 100_000;

/// Old notes of paid tasks that are deleted with each new one: more than one, so that they become fewer.
pub const PAID_TASKS_DELETED_PER_NOTE: i64 = 16;

/// Tasks that one session of the legacy era knows; those that are over give way.
pub const SESSION_TASKS_MAX: usize = PARKED_PER_KEY_MAX;

/// Holds of tasks whose session has ended and that wait to be released. Beyond it their deadline
/// releases them.
pub const LOST_TASKS_MAX: usize = PARKED_MAX;

/// The longest that a hold waits for its task.
pub const TASK_HOLD_MAX: Duration = Duration::from_hours(24);

/// How long a task can be asked for, and how long it is remembered that its result is paid.
pub const TASK_ASK_MAX: Duration = Duration::from_hours(7 * 24);

// ---- the modern era --------------------------------------------------------------------------

/// When to look again for a modern side that could not be started; one that was refused is looked
/// for when the server has been started anew.
pub const MODERN_LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Streams of `subscriptions/listen` of one key: one for each of its programs, not for each tool.
pub const LISTENS_PER_KEY_MAX: usize = 16;

/// How long such a stream stays open. Its client opens another one.
pub const LISTEN_MAX: Duration = Duration::from_hours(24);

/// How often the key of such a stream is looked at.
pub const LISTEN_KEY_LOOK: Duration = Duration::from_secs(2);
// ---- several servers -------------------------------------------------------------------------

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

// ---- the stdio front -------------------------------------------------------------------------

/// Messages of a stdio client that are handled at a time. More than a server is given at a time, so
/// that a client which floods is answered that the server is busy, and its cancellations are read.
pub const STDIO_MESSAGES_MAX: usize = 2 * CHILD_CALLS_MAX;

/// Messages for a stdio client that wait to be written. Beyond it those who have one wait.
pub const STDIO_ANSWERS_QUEUED_MAX: usize = 64;

/// Pieces of stdin that wait to be looked at, each of up to [`CHILD_READ_BYTES`].
pub const STDIO_PIECES_QUEUED_MAX: usize = 16;

/// Kinds of refusals (key, tool and reason) that are told apart between two looks of the writer; the
/// rest is counted by its reason alone, so that no flood makes rows without end.
pub const REFUSED_KINDS_MAX: usize = 1_000;

/// Refusals in a list of usage: older ones are then only in the sums.
pub const REFUSED_ROWS_MAX: i64 = 1_000_000;

/// How often refusals are written down. A crash loses those since.
pub const REFUSED_INTERVAL: Duration = Duration::from_secs(2);

/// So many times as seldom usage is rolled up where nobody asks for it: the longer, the fewer sums are
/// written for the same calls. After a crash the rows since are read once more.
pub const USAGE_ROLL_EVERY: u32 = 8;

/// Sums of usage that the writer notes before it writes them, whoever asks: 100 bytes each, and as much
/// again while they are written. The more of them, the more calls there are to one sum.
pub const USAGE_GROUPS_MAX: usize = 100_000;

/// Sums of usage written with one commit, unless there is no room for more: what that takes is what an
/// answer may have to wait.
pub const USAGE_SUMS_PER_COMMIT: usize = 256;

/// The same where somebody waits for all of them.
pub const USAGE_SUMS_AWAITED: usize = 1_000;

/// Calls with labels that are open at a time and whose labels the writer remembers; those of others it
/// reads again.
pub const USAGE_LABELS_OPEN_MAX: usize = 10_000;

/// How far reports step back from calls, from 0 (not at all) to 19. At 10 a report gets a tenth of one
/// processor that calls keep busy.
pub const REPORTS_NICENESS: i32 = 10;

/// Keys that are read at a time to count what the tenants have: no call waits for more than these.
pub const TENANT_KEYS_AT_ONCE: usize = 256;

/// Journal rows that one commit adds to the sums of usage, so that no answer waits for it noticeably.
pub const USAGE_ROLLED_AT_ONCE: i64 = 2_000;

/// Journal rows that one read of usage looks at, whatever it finds: other reports get their turn.
pub const USAGE_SCANNED_AT_ONCE: i64 = 20_000;

/// Reads for one page of usage: so many rows are looked at, then the page ends with what was found.
pub const USAGE_READS_MAX: usize = 50;

/// Rows of usage that one commit forgets.
pub const USAGE_FORGOTTEN_AT_ONCE: usize = 5_000;

/// How old the sums over all keys may be that a scrape of the metrics shows.
pub const METRICS_SUMS_AGE: Duration = Duration::from_secs(15);

/// Hours or days of one report.
pub const ANALYTICS_BUCKETS_MAX: usize = 1_000;

/// Tools and keys that one report names.
pub const ANALYTICS_TOP_MAX: usize = 100;

/// Labels of one request: what a call is for, not a record of it.
pub const LABELS_MAX: usize = 8;

/// Length of a label's name.
pub const LABEL_NAME_CHARS_MAX: usize = 40;

/// Length of a label's value: an id or a word.
pub const LABEL_VALUE_CHARS_MAX: usize = 100;

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

/// How often lists of teams, tenants and tokens are looked at for changes that were not told.
pub const REDIS_CHANGES_LOOK: Duration = Duration::from_secs(1);

/// After the connection for news was lost; twice as long after each attempt that fails, up to the look
/// at the lists.
pub const REDIS_SUBSCRIBE_PAUSE: Duration = Duration::from_millis(100);

/// How often an instance makes sure that it hears what is told: half open connections say nothing.
pub const REDIS_ECHO_INTERVAL: Duration = Duration::from_secs(1);

/// Without an echo for so long, it hears nothing.
pub const REDIS_ECHO_LOST: Duration = Duration::from_secs(3);

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

/// How long an instance may sell from a lease that it could not renew: an outage that lasts longer is one
/// that an operator looks after.
pub const REDIS_LEASE_LENGTH: Duration = Duration::from_mins(10);

/// How often a lease that nobody has used is renewed, and a key asked for again that had no room for one.
pub const REDIS_LEASE_RENEWAL: Duration = Duration::from_mins(1);

/// A key that was not used for so long needs no lease.
pub const REDIS_LEASE_IDLE: Duration = Duration::from_mins(5);

/// How often leases are looked after.
pub const REDIS_LEASE_LOOK: Duration = Duration::from_secs(1);

/// Keys of which one instance has leases: each is renewed by a script of its own.
pub const REDIS_LEASES_MAX: usize = 1_000;

/// Calls that a lease is good for, where there is room for so many.
pub const REDIS_LEASE_CALLS: i64 = 1_000;

/// A lease takes at most this part of what is left (one of so many), so that others have something to sell
/// while it is out.
pub const REDIS_LEASE_SHARE: i64 = 4;

/// Counters that one lease has room of: a key that uses more tools with limits of their own is sold the
/// others only by Redis.
pub const REDIS_LEASE_COUNTERS_MAX: usize = 64;

/// A lease is not used in the last part of its length (one of so many): no two clocks run apart by more.
pub const REDIS_LEASE_MARGIN: i64 = 50;

/// Starts of an instance whose leases it knows for its own: each gives back those of the one before.
pub const REDIS_LEASE_RUNS_MAX: i64 = 100;

/// Calls sold from leases that are not on disk yet.
pub const REDIS_LEASE_ROWS_WAITING_MAX: usize = 2 * CONNECTIONS_MAX;

/// Calls sold from leases that one commit writes.
pub const REDIS_LEASE_ROWS_PER_COMMIT: usize = 512;

/// Calls sold from a lease that one script books: others get their turn in between.
pub const REDIS_LEASE_ROWS_AT_ONCE: i64 = 100;

/// For an answer about a whole tenant, which commands for operators ask for: a hundred thousand accounts in
/// one step take Redis about a second.
pub const REDIS_WHOLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers that are kept in Redis for one key: Redis is memory, and all customers share it.
pub const REDIS_KEPT_ANSWERS_PER_KEY_MAX: u64 = 10_000;
/// The same in bytes.
pub const REDIS_KEPT_BYTES_PER_KEY_MAX: u64 = 64 << 20;

// ---- alerts ----------------------------------------------------------------------------------

/// Rules for alerts: each is looked at for every key that was used.
pub const ALERT_RULES_MAX: usize = 50;

/// How long a rule says no more of the same key, if it does not say how long.
pub const ALERT_COOLDOWN: Duration = Duration::from_mins(5);

/// The longest that it may say: a year. What is never to be told again needs no rule.
pub const ALERT_COOLDOWN_SECONDS_MAX: i64 = 365 * 24 * 3600;

/// The time over which refusals by rate limits are counted.
pub const ALERT_DENIALS_WINDOW: Duration = Duration::from_mins(5);

/// How often keys are looked at that were used since.
pub const ALERT_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Each so many looks go through the keys that soon expire too, used or not.
pub const ALERT_LOOKS_PER_IDLE_LOOK: u32 = 15;

/// Alerts that wait to be read. Older ones are then in the audit log only.
pub const ALERTS_PENDING_MAX: usize = 10_000;

/// Journal rows, entries of refusals, and keys that soon expire, of one look: other readers of the
/// database get their turn. What is left comes with the next.
pub const ALERT_ROWS_AT_ONCE: i64 = 20_000;
/// See [`ALERT_ROWS_AT_ONCE`].
pub const ALERT_KEYS_AT_ONCE: usize = 500;

/// Looks in a row before others get to change the rules or to read what was found.
pub const ALERT_LOOKS_IN_A_ROW: usize = 20;

/// Keys whose numbers are copied at a time, so that no call waits for it noticeably.
pub const ALERT_KEYS_PER_LOCK: usize = 64;

/// Alerts that one commit writes, for the same reason.
pub const ALERTS_PER_COMMIT: usize = 100;

/// Cooldowns that have passed and that one commit forgets: more than it adds.
pub const ALERT_COOLDOWNS_FORGOTTEN_AT_ONCE: usize = 1_000;

// ---- comparing the books ---------------------------------------------------------------------

/// How often all accounts are compared with the journal.
pub const COMPARE_INTERVAL: Duration = Duration::from_mins(1);

/// Accounts of one read of a comparison, and how many of them are read under the books' lock at a time:
/// no call waits for it noticeably.
pub const COMPARED_AT_ONCE: usize = 512;
/// See [`COMPARED_AT_ONCE`].
pub const COMPARED_PER_LOCK: usize = 64;

/// Journal rows of one read of a comparison.
pub const COMPARE_ROWS_AT_ONCE: i64 = 10_000;

/// Of those, so many are added up by one statement: SQLite adds in 64 bits, and an amount has up to 53.
pub const COMPARE_ROWS_SUMMED: i64 = 1_000;

/// The pause after each such read, so that others get their turn and the whole takes little of a core.
pub const COMPARE_PAUSE: Duration = Duration::from_millis(10);

/// Reads of accounts that may be in vain because keys were made meanwhile; the next comparison tries anew.
pub const COMPARE_TRIES_MAX: usize = 10_000;
