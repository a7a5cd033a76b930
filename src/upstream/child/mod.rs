//! An MCP server as a child process that speaks over its stdin and stdout.
//!
//! Reading order: `link` is what the proxy holds; `supervise` starts the child, watches it and
//! starts it again; `spawn` makes the process and ends it, `descendants` also ends what left its
//! group; `outbox` and `reader` move lines, `stderr` listens to the rest; `handshake` and `tools`
//! are the few things that Paygate itself asks a child. One process is one *generation*: it has
//! its own outbox and its own tasks, while the link, its table of calls and its status live on.

#[cfg(target_os = "linux")]
mod descendants;
#[cfg(not(target_os = "linux"))]
#[path = "descendants_elsewhere.rs"]
mod descendants;
mod handshake;
mod id_scan;
mod link;
mod outbox;
mod reader;
mod spawn;
mod stderr;
mod supervise;
mod tools;

use std::ffi::OsString;
use std::time::Duration;

pub use link::{ChildLink, Pending, Slot};

use crate::model::bounds;

/// How to start a child and what it may take.
#[derive(Debug, Clone)]
pub struct ChildOptions {
    /// The server's name in logs and errors.
    pub server: String,
    /// The program, looked up in the child's PATH.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The environment of Paygate, which the child inherits without any `PAYGATE_*` variable.
    pub environment: Vec<(OsString, OsString)>,
    /// Variables for the child alone (`childEnv`). They win over the inherited ones.
    pub child_environment: Vec<(OsString, OsString)>,
    /// Calls in flight at a time.
    pub calls_max: usize,
    /// The longest line taken from the child (`maxAnswerBytes`).
    pub answer_bytes_max: usize,
    /// How long the child may take until it has answered initialize and listed its tools.
    pub start_timeout: Duration,
    /// When to start it again.
    pub restart: Restart,
}

/// When a child that died is started again: after `wait_first`, then twice that, up to
/// `wait_max`. One that ran for `healthy_after` begins at `wait_first` again.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// The first wait.
    pub wait_first: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// How long a child must run to count as healthy.
    pub healthy_after: Duration,
}

impl ChildOptions {
    /// A child with an empty environment and the default bounds.
    pub fn new(server: impl Into<String>, program: impl Into<OsString>) -> Self {
        Self {
            server: server.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            child_environment: Vec::new(),
            calls_max: bounds::CHILD_CALLS_MAX,
            answer_bytes_max: bounds::ANSWER_BYTES_MAX,
            start_timeout: bounds::CHILD_START_TIMEOUT,
            restart: Restart::default(),
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            wait_first: bounds::CHILD_RESTART_WAIT_FIRST,
            wait_max: bounds::CHILD_RESTART_WAIT_MAX,
            healthy_after: bounds::CHILD_HEALTHY_AFTER,
        }
    }
}

impl Restart {
    /// The wait before the given attempt, counted from 1.
    fn wait(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.wait_first.saturating_mul(1 << doublings).min(self.wait_max)
    }
}

/// Why a child did not start. Arguments and environment are not shown: they may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such program.
    #[error(
        "server {server:?}: the command {program:?} was not found; check its spelling, give its full path, \
         or put its directory into PATH"
    )]
    NotFound {
        /// The server's name.
        server: String,
        /// The program as configured.
        program: String,
    },
    /// The operating system refused to start it.
    #[error(
        "server {server:?}: the command {program:?} cannot be started ({why}); check that it is a program that this user may run"
    )]
    Spawn {
        /// The server's name.
        server: String,
        /// The program as configured.
        program: String,
        /// What the operating system says.
        why: String,
    },
    /// It ended before it was ready.
    #[error(
        "server {server:?}: the command {program:?} ended before it was ready ({how}); run it by hand to see what it needs{stderr}"
    )]
    Exited {
        /// The server's name.
        server: String,
        /// The program as configured.
        program: String,
        /// Its exit status.
        how: String,
        /// What it wrote to stderr last.
        stderr: LastLines,
    },
    /// It gave no answer in time.
    #[error(
        "server {server:?}: the command {program:?} gave no answer to {method} within {} s; check that it is an MCP \
         server that speaks over stdio{stderr}", within.as_secs_f32()
    )]
    NoAnswer {
        /// The server's name.
        server: String,
        /// The program as configured.
        program: String,
        /// What it was asked last.
        method: &'static str,
        /// How long it had.
        within: Duration,
        /// What it wrote to stderr last.
        stderr: LastLines,
    },
    /// It answered, but not as an MCP server does.
    #[error(
        "server {server:?}: the command {program:?} does not answer as an MCP server: {why}{stderr}"
    )]
    BadAnswer {
        /// The server's name.
        server: String,
        /// The program as configured.
        program: String,
        /// What is wrong with its answer.
        why: String,
        /// What it wrote to stderr last.
        stderr: LastLines,
    },
}

impl StartError {
    /// What everybody may read. Nothing in it was said by the server, and no path is named.
    pub fn brief(&self) -> String {
        match self {
            Self::NotFound { .. } => "its command was not found".to_owned(),
            Self::Spawn { .. } => "its command cannot be started".to_owned(),
            Self::Exited { how, .. } => format!("it ended before it was ready ({how})"),
            Self::NoAnswer { method, .. } => format!("it gave no answer to {method} in time"),
            Self::BadAnswer { .. } => "it does not answer as an MCP server".to_owned(),
        }
    }
}

/// The last lines that a child wrote to stderr, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastLines(pub Vec<String>);

impl std::fmt::Display for LastLines {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        formatter.write_str("\nits last words on stderr:")?;
        self.0.iter().try_for_each(|line| write!(formatter, "\n  {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let restart = Restart::default();
        let waits: Vec<_> =
            [1, 2, 3, 7, 8, 9, u32::MAX].map(|attempt| restart.wait(attempt).as_millis()).into();
        assert_eq!(waits, [250, 500, 1000, 16_000, 30_000, 30_000, 30_000]);
    }
}
