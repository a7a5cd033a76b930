//! Several servers that look like one.
//!
//! Each server has a link of its own, with its own restarts; a router stands between them and the
//! link that the proxy holds. It takes lines from that link's outbox as a server would, and gives
//! answers and notifications to its inbox. So sessions, streams and both eras work as with one
//! server, and a server that fails takes nothing with it but its own tools.
//!
//! What changes on the way, and nothing else does:
//!
//! - ids and progress tokens, because each link gives out its own;
//! - names of tools and prompts, and ids of tasks: `prefix`, separator, own name;
//! - the first result, lists and cursors, because they are of all servers together.
//!
//! URIs of resources stay as they are. One belongs to the first server, in the order of the
//! configuration, that lists it or has a template that matches it; a second server's entry for the
//! same URI is left out of the list. A URI that nobody lists is tried with each server in turn.
//!
//! Reading order: `names`, `message`, `hello`, `pages`, `tasks` and `uris` are pure; `router` holds
//! the servers and the requests in flight; `requests` says where each request goes, `lists`,
//! `resources` and `subscriptions` what is more than one step; `ear` hears the servers; `running`
//! starts and ends it all.

mod ear;
mod hello;
mod lists;
mod message;
mod names;
mod pages;
mod requests;
mod resources;
mod router;
mod running;
mod subscriptions;
mod table;
mod tasks;
mod uris;

use super::options::Kind;

pub use names::Names;
pub(super) use running::{Running, start_error};

/// How to make several servers look like one.
#[derive(Debug, Clone)]
pub struct SeveralOptions {
    /// What clients are told the server is called.
    pub title: String,
    /// How the servers' names are told apart.
    pub(super) names: Names,
    /// The servers, in the order of their prefixes.
    pub(super) members: Vec<Member>,
}

impl SeveralOptions {
    /// How each server is reached.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.members.iter().map(|member| &member.kind)
    }
}

/// One of several servers.
#[derive(Debug, Clone)]
pub struct Member {
    /// What its names begin with, before the separator.
    pub prefix: String,
    /// How to reach it.
    pub kind: Kind,
}

impl SeveralOptions {
    /// These servers, in this order.
    pub fn new(title: impl Into<String>, separator: &str, members: Vec<Member>) -> Self {
        let prefixes = members.iter().map(|member| member.prefix.as_str());
        Self { title: title.into(), names: Names::new(separator, prefixes), members }
    }
}
