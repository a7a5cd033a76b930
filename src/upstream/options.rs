//! How to reach a server, what to say first, and what it may take.

use std::sync::Arc;
use std::time::Duration;

use super::child::ChildOptions;
use super::listener::Listener;
use super::remote::RemoteOptions;
use super::several::SeveralOptions;
use crate::model::bounds;

/// How to make a link.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// The server's name in logs and errors.
    pub server: String,
    /// How to reach it.
    pub kind: Kind,
    /// What to say first.
    pub hello: Hello,
    /// Who hears what it says unasked.
    pub listener: Option<Arc<dyn Listener>>,
    /// Calls in flight at a time.
    pub calls_max: usize,
    /// The longest message taken from the server (`maxAnswerBytes`).
    pub answer_bytes_max: usize,
    /// How long the server may take until it has answered the first words and listed its tools.
    pub start_timeout: Duration,
    /// When to start it again.
    pub restart: Restart,
}

/// How to reach a server.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Start it as a child process.
    Child(Arc<ChildOptions>),
    /// Speak to it over HTTP.
    Remote(Arc<RemoteOptions>),
    /// Reach several servers as if they were one.
    Several(Arc<SeveralOptions>),
}

/// What a link says first; it decides the era of the connection.
#[derive(Debug, Clone)]
pub enum Hello {
    /// `initialize`, with these parameters (JSON text) or Paygate's own.
    Initialize(Option<Arc<str>>),
    /// `server/discover`.
    Discover,
}

impl Hello {
    pub(super) const fn method(&self) -> &'static str {
        match self {
            Self::Initialize(_) => "initialize",
            Self::Discover => "server/discover",
        }
    }
}

/// When a server that ended is started again: after `wait_first`, then twice that, up to
/// `wait_max`. One that ran for `healthy_after` begins at `wait_first` again.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// The first wait.
    pub wait_first: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// How long a server must run to count as healthy.
    pub healthy_after: Duration,
}

impl LinkOptions {
    /// A link with the default bounds that begins with a handshake of Paygate's own.
    pub fn new(server: impl Into<String>, kind: Kind) -> Self {
        Self {
            server: server.into(),
            kind,
            hello: Hello::Initialize(None),
            listener: None,
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
    pub(super) fn wait(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.wait_first.saturating_mul(1 << doublings).min(self.wait_max)
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
