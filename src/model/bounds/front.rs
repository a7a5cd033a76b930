//! What clients connect to, over HTTP and over stdio, and the end of a process.

use std::time::Duration;

use super::CHILD_CALLS_MAX;

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

/// Messages of a stdio client that are handled at a time. More than a server is given at a time, so
/// that a client which floods is answered that the server is busy, and its cancellations are read.
pub const STDIO_MESSAGES_MAX: usize = 2 * CHILD_CALLS_MAX;

/// Messages for a stdio client that wait to be written. Beyond it those who have one wait.
pub const STDIO_ANSWERS_QUEUED_MAX: usize = 64;

/// Pieces of stdin that wait to be looked at, each of up to [`CHILD_READ_BYTES`](super::CHILD_READ_BYTES).
pub const STDIO_PIECES_QUEUED_MAX: usize = 16;
