//! What can go wrong between Paygate and a remote server, for whom it goes wrong.

use std::fmt;

use hyper::StatusCode;

use crate::upstream::Failure;

/// Why a request got no answer of the server. Nothing in it is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no connection. Nothing was sent.
    Connect(String),
    /// There is no connection that can be trusted. Nothing was sent.
    Tls(String),
    /// The connection ended before the answer.
    Cut(String),
    /// An HTTP status that is no answer, and the JSON-RPC error that came with it, if one did.
    Status {
        /// The status.
        status: StatusCode,
        /// The error object, as JSON text.
        error: Option<Box<str>>,
    },
    /// The server is elsewhere.
    Redirect {
        /// The status.
        status: StatusCode,
        /// Where, without anything that may be a secret.
        to: Option<String>,
    },
    /// An answer that is none.
    NotMcp(String),
    /// It ended a session that it had only just opened.
    SessionEnded,
}

impl Trouble {
    /// How the call ends for which this happened.
    pub(in crate::upstream) fn failure(&self) -> Failure {
        match self {
            Self::Connect(_) | Self::Tls(_) => Failure::Unavailable,
            Self::Cut(_) | Self::SessionEnded => Failure::Exited,
            Self::Status { status, .. } if is_out_of_service(*status) => Failure::Exited,
            Self::Status { .. } | Self::Redirect { .. } | Self::NotMcp(_) => Failure::Malformed,
        }
    }

    /// The JSON-RPC error with which the server refused the request itself.
    pub(in crate::upstream) fn refusal(&self) -> Option<&str> {
        match self {
            Self::Status { status, error } if !is_out_of_service(*status) => error.as_deref(),
            _ => None,
        }
    }

    /// Did the server itself refuse this one message? Then there is nothing to doubt: it may be too
    /// many requests (429), or one that it does not like.
    pub(super) fn shows_that_it_is_there(&self) -> bool {
        match self {
            Self::Status { status, .. } => status.is_client_error() && !is_locked(*status),
            Self::Connect(_)
            | Self::Tls(_)
            | Self::Cut(_)
            | Self::Redirect { .. }
            | Self::NotMcp(_)
            | Self::SessionEnded => false,
        }
    }

    /// What everybody may read: nothing in it was said by the server.
    pub fn brief(&self) -> String {
        match self {
            Self::Connect(_) => "it cannot be reached".to_owned(),
            Self::Tls(_) => "no connection to it can be trusted".to_owned(),
            Self::Cut(_) => "it broke the connection".to_owned(),
            Self::Status { status, .. } if is_locked(*status) => {
                format!("it refuses Paygate's credentials (HTTP {})", status.as_u16())
            }
            Self::Status { status, .. } => format!("it answers HTTP {}", status.as_u16()),
            Self::Redirect { status, .. } => {
                format!("it redirects to another address (HTTP {})", status.as_u16())
            }
            Self::NotMcp(_) => "it does not answer as an MCP server".to_owned(),
            Self::SessionEnded => "it ends every session at once".to_owned(),
        }
    }
}

/// Says what happened and what to do; the address stands before it.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => {
                write!(f, "cannot be reached ({why}); check the address, and that the server runs")
            }
            Self::Tls(why) => write!(
                f,
                "cannot be trusted ({why}); if its certificate comes from an authority of your own, name that \
                 authority's file in upstreamCa"
            ),
            Self::Cut(why) => {
                write!(f, "broke the connection before it answered ({why}); look into its log")
            }
            Self::Status { status, .. } if is_locked(*status) => write!(
                f,
                "answers HTTP {status}: it does not accept Paygate's credentials; set them in upstreamHeaders"
            ),
            Self::Status { status, .. } if is_out_of_service(*status) => {
                write!(f, "answers HTTP {status}: it is out of service; look into its log")
            }
            Self::Status { status, .. } => write!(
                f,
                "answers HTTP {status}: there seems to be no MCP server at this path; check the URL (many end with \
                 /mcp or /sse)"
            ),
            Self::Redirect { status, to: Some(to) } => write!(
                f,
                "redirects to {to} (HTTP {status}); Paygate follows no redirects, so give the right URL if you trust it"
            ),
            Self::Redirect { status, to: None } => write!(
                f,
                "redirects elsewhere (HTTP {status}); Paygate follows no redirects, so give the right URL"
            ),
            Self::NotMcp(why) => {
                write!(f, "does not answer as an MCP server: {why}; check the URL")
            }
            Self::SessionEnded => write!(f, "ends every session as soon as it has opened it"),
        }
    }
}

/// Statuses that say that credentials are missing or wrong.
fn is_locked(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Statuses that say more about the server than about the request.
pub(super) fn is_out_of_service(status: StatusCode) -> bool {
    is_locked(status)
        || status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_ends_a_call_by_what_it_says_of_the_server() {
        for (status, failure, is_there) in [
            (400, Failure::Malformed, true),
            (401, Failure::Exited, false),
            (403, Failure::Exited, false),
            (404, Failure::Malformed, true),
            (408, Failure::Exited, true),
            (429, Failure::Exited, true),
            (500, Failure::Exited, false),
            (503, Failure::Exited, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let trouble = Trouble::Status { status, error: None };
            assert_eq!(trouble.failure(), failure, "{status}");
            assert_eq!(trouble.shows_that_it_is_there(), is_there, "{status}");
        }
    }
}
