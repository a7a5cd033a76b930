//! The command line, and the files that it reads.

use std::time::Duration;

/// Largest configuration file that is read: room for tens of thousands of imported keys.
pub const CONFIG_FILE_BYTES_MAX: u64 = 8 << 20;

/// Largest state file of paygate-mcp that is imported: some 400,000 keys, which are in memory at once.
pub const STATE_FILE_BYTES_MAX: u64 = 256 << 20;

/// Longest line that the demo server reads, in bytes; a longer one is answered with an error and
/// skipped.
pub const DEMO_LINE_BYTES_MAX: usize = 4 << 20;

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
