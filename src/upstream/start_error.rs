//! Why a server did not start, for whoever set it up.

use std::fmt;
use std::time::Duration;

use super::Trouble;

/// Why a server did not start. Arguments and environment are not shown: they may hold secrets.
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
        "server {server:?}: {place} gave no answer to {method} within {} s; check that it is an MCP server that \
         speaks {}{stderr}", within.as_secs_f32(), place.transport()
    )]
    NoAnswer {
        /// The server's name.
        server: String,
        /// Where it is.
        place: Address,
        /// What it was asked last.
        method: &'static str,
        /// How long it had.
        within: Duration,
        /// What it wrote to stderr last.
        stderr: LastLines,
    },
    /// It answered the first request with an error.
    #[error(
        "server {server:?}: {place} does not answer as an MCP server: it answered {method} with an error: {}{stderr}",
        super::handshake::said(error)
    )]
    Refused {
        /// The server's name.
        server: String,
        /// Where it is.
        place: Address,
        /// What it was asked.
        method: &'static str,
        /// Its error object, as JSON text.
        error: Box<str>,
        /// What it wrote to stderr last.
        stderr: LastLines,
    },
    /// It answered, but not as an MCP server does.
    #[error("server {server:?}: {place} does not answer as an MCP server: {why}{stderr}")]
    BadAnswer {
        /// The server's name.
        server: String,
        /// Where it is.
        place: Address,
        /// What is wrong with its answer.
        why: String,
        /// What it wrote to stderr last.
        stderr: LastLines,
    },
    /// It cannot be asked over HTTP.
    #[error("server {server:?}: {url} {trouble}")]
    Remote {
        /// The server's name.
        server: String,
        /// Where it is, without what may be a secret.
        url: String,
        /// What is wrong.
        trouble: Trouble,
    },
    /// Several servers started, but what they look like did not answer.
    #[error("server {server:?}: the servers started, but together they gave no answer: {why}")]
    Together {
        /// Their common name.
        server: String,
        /// What was missing.
        why: String,
    },
    /// It was to stop before it was ready.
    #[error("server {server:?}: it was stopped before it was ready")]
    GivenUp {
        /// The server's name.
        server: String,
    },
    /// Of several servers, not one started.
    #[error("none of the servers started{}", each(errors))]
    NoneStarted {
        /// Why, server by server.
        errors: Vec<StartError>,
    },
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A program as configured.
    Command(String),
    /// A URL without what may be a secret.
    Url(String),
}

impl Address {
    fn transport(&self) -> &'static str {
        match self {
            Self::Command(_) => "over stdio",
            Self::Url(_) => "Streamable HTTP or HTTP+SSE",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(program) => write!(f, "the command {program:?}"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

fn each(errors: &[StartError]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| format!("\n- {error}")).collect();
    lines.concat()
}

impl StartError {
    /// What everybody may read. Nothing in it was said by the server, and no path is named.
    pub fn brief(&self) -> String {
        match self {
            Self::NotFound { .. } => "its command was not found".to_owned(),
            Self::Spawn { .. } => "its command cannot be started".to_owned(),
            Self::Exited { how, .. } => format!("it ended before it was ready ({how})"),
            Self::NoAnswer { method, .. } => format!("it gave no answer to {method} in time"),
            Self::Refused { .. } | Self::BadAnswer { .. } => {
                "it does not answer as an MCP server".to_owned()
            }
            Self::Remote { trouble, .. } => trouble.brief(),
            Self::Together { .. } => "its servers gave no answer".to_owned(),
            Self::GivenUp { .. } => "it was stopped".to_owned(),
            Self::NoneStarted { .. } => "none of its servers started".to_owned(),
        }
    }

    pub(super) fn given_up(server: &str) -> Self {
        Self::GivenUp { server: server.to_owned() }
    }

    /// Would another attempt end the same way? A server that does not know `server/discover` speaks
    /// with a handshake only, and that stays so.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { method: "server/discover", .. })
    }
}

/// The last lines that a child wrote to stderr, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastLines(pub Vec<String>);

impl fmt::Display for LastLines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        formatter.write_str("\nits last words on stderr:")?;
        self.0.iter().try_for_each(|line| write!(formatter, "\n  {line}"))
    }
}
