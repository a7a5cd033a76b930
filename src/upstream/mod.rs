//! The guarded MCP servers and the live links to them.
//!
//! A link carries JSON-RPC lines that already have an id of ours, and gives each one exactly one
//! outcome: an answer or a [`Failure`]. What the outcome costs is not known here. Today there is
//! one kind of link, a child process over stdio ([`child`]); `calls` and `tools` do not know
//! about processes, so that remote sessions can stand on them too.

mod calls;
pub mod child;
mod tools;

use std::sync::Arc;

pub use calls::Outcome;
pub use child::{ChildLink, ChildOptions, Pending, Slot, StartError};
pub use tools::ToolNames;

/// Why a call got no answer. The customer got nothing, so none of these is ever charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer in time. The server was told that nobody waits any more.
    Timeout,
    /// The server ended, or its connection did, while the call was in flight.
    Exited,
    /// The server is not there: starting, restarting or stopped. Nothing was sent.
    Unavailable,
    /// The server's answer was no JSON-RPC answer.
    Malformed,
    /// The server's answer was a task, which nobody asked for.
    Task,
    /// The server's answer was longer than `maxAnswerBytes`.
    TooLarge,
    /// As many calls are in flight as the server is given at a time. Nothing was sent.
    Busy,
    /// The call was cancelled before its answer.
    Cancelled,
    /// Paygate failed while it waited for the answer: no fault of the server.
    Ours,
}

impl Failure {
    /// The fixed word for answers, usage rows and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Exited => "upstream_exited",
            Self::Unavailable | Self::Busy => "upstream_unavailable",
            Self::Malformed | Self::Task => "malformed_answer",
            Self::TooLarge => "answer_too_large",
            Self::Cancelled => "cancelled",
            Self::Ours => "internal_error",
        }
    }
}

/// Where a link stands. Calls are taken only while it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The first start is under way.
    Starting,
    /// Calls are taken.
    Ready,
    /// The server ended and is being started again.
    Restarting {
        /// Which restart since the server was last healthy, from 1.
        attempt: u32,
        /// What ended it, or why the last attempt failed.
        why: Arc<str>,
    },
    /// The link has ended for good.
    Stopped {
        /// What ended it.
        why: Arc<str>,
    },
}

impl Status {
    /// Are calls taken?
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}
