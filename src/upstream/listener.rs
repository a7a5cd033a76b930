//! Who hears what a server says unasked.

use std::fmt;

use serde_json::value::RawValue;

/// Hears one link. Called by the task that reads from the server: it must neither block nor wait.
///
/// The link holds its listener, so a listener that holds the link (to answer) holds it weakly or
/// breaks the circle when it ends.
pub trait Listener: Send + Sync + fmt::Debug {
    /// The server tells something.
    fn notified(&self, note: &Note<'_>);

    /// The server asks something. False if nobody can answer: then the link refuses it. Otherwise
    /// an answer under the server's own id is owed, through [`super::Link::notify`].
    fn asked(&self, ask: &Ask<'_>) -> bool;

    /// Another process took the place of one that ended: what was known of it is old, and what it
    /// asked needs no answer any more.
    fn restarted(&self) {}
}

/// A notification.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    /// The method, with escapes resolved.
    pub method: &'a str,
    /// The parameters as written.
    pub params: Option<&'a RawValue>,
    /// The whole message as written.
    pub line: &'a [u8],
    /// Our id of the call that it belongs to: for progress always, by its token, and the call is
    /// in flight; for others if the transport tells.
    pub call: Option<u64>,
    /// Which life of the server says it: see [`crate::protocol::from_server::Answer::life`].
    pub life: u64,
}

/// A request from the server.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The server's own id as written: a JSON number or string.
    pub id: &'a str,
    /// The method, with escapes resolved.
    pub method: &'a str,
    /// The parameters as written.
    pub params: Option<&'a RawValue>,
    /// The whole message as written.
    pub line: &'a [u8],
    /// Our id of the call on whose stream it came, if the transport tells.
    pub on: Option<u64>,
    /// Which life of the server asks it: see [`crate::protocol::from_server::Answer::life`].
    pub life: u64,
}
