//! The guarded MCP servers and the live links to them.
//!
//! A link carries JSON-RPC lines that already have an id of ours, and gives each one exactly one
//! outcome: an answer or a [`Failure`]. What the outcome costs is not known here.
//!
//! Reading order: `link` is what the proxy holds; `options` say how to make one, and `server` makes
//! as many as sessions need. `supervise` starts
//! the server, watches it and starts it again: one life of it is a *generation*, with an `outbox`
//! for lines to it and an `inbox` for messages from it, while the link, its table of calls and its
//! status live on. `handshake` and `tools` are the few things that Paygate itself asks a server.
//! `child` is the kind of server that is a process of ours, `remote` the kind that is reached over HTTP;
//! `several` makes many servers look like one.

mod calls;
mod child;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handshake;
mod id_scan;
mod inbox;
mod link;
mod listener;
mod options;
mod outbox;
mod remote;
mod server;
mod several;
mod start_error;
mod supervise;
mod tool_names;
mod tools;

use std::sync::Arc;

pub use calls::Outcome;
pub use child::ChildOptions;
pub use link::{Link, MemberStatus, Patience, Pending, Slot};
pub use listener::{Ask, Listener, Note};
pub use options::{Hello, Kind, LinkOptions, Restart};
pub use remote::{HttpClient, Reach, RemoteOptions, RemoteSetup, RemoteSetupError, Trouble};
pub use server::{Place, Server};
pub use several::{Member, Names, SeveralOptions};
pub use start_error::{Address, LastLines, StartError};
pub use tool_names::ToolNames;

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
    /// Each of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Exited,
        Self::Unavailable,
        Self::Malformed,
        Self::Task,
        Self::TooLarge,
        Self::Busy,
        Self::Cancelled,
        Self::Ours,
    ];

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
