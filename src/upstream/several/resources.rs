//! Whose a resource is.

use std::sync::Arc;

use super::message::{Body, Changes};
use super::router::{Router, Server, is_result};
use super::uris::{Claim, Uris};
use crate::model::bounds;
use crate::upstream::Failure;
use crate::upstream::calls::Outcome;
use crate::upstream::tools::list_request;

impl Router {
    /// Answers a request about a URI: from the server that it belongs to, else from the first in
    /// turn that does not refuse it.
    pub(super) async fn resource(
        self: Arc<Self>,
        id: u64,
        method: String,
        uri: String,
        line: Vec<u8>,
    ) -> Outcome {
        let Some(body) = Body::read(&line) else { return Err(Failure::Ours) };
        let followed = match method.as_str() {
            "resources/unsubscribe" => self.table().subscribed_to(&uri),
            _ => None,
        };
        let owner = match followed {
            Some(server) => Some(server),
            None => self.owner_of(&uri).await,
        };
        let servers = owner.map_or_else(|| self.able_servers("resources"), |server| vec![server]);
        let mut outcome = Err(Failure::Unavailable);
        for (index, server) in servers.into_iter().enumerate() {
            let wait = bounds::MEMBER_REQUEST_TIMEOUT;
            let next = match self.send(server, id, &body, Changes::default(), wait) {
                Ok(sent) => sent.answer().await,
                Err(failure) => Err(failure),
            };
            if is_result(&next) {
                self.remember(&method, &uri, server);
                return next;
            }
            if index == 0 {
                outcome = next;
            }
        }
        outcome
    }

    fn remember(&self, method: &str, uri: &str, server: usize) {
        match method {
            "resources/subscribe" => self.table().subscribe(uri, server),
            "resources/unsubscribe" => self.table().unsubscribe(uri),
            _ => {}
        }
    }

    /// The first server that lists the URI, else the first with a template that matches it.
    async fn owner_of(&self, uri: &str) -> Option<usize> {
        let mut matching = None;
        for (index, server) in self.servers.iter().enumerate() {
            if !server.link.status().is_ready() || !server.offers("resources") {
                continue;
            }
            let uris = server.uris();
            match uris.get_or_init(|| fetch(server)).await.claim(uri) {
                Some(Claim::Listed) => return Some(index),
                Some(Claim::Matches) => {
                    matching.get_or_insert(index);
                }
                None => {}
            }
        }
        matching
    }

    /// What a server that came back does not know any more: the level of logs, and which resources
    /// are followed.
    pub(super) async fn remind(&self, server: usize) {
        let Some(known) = self.server(server) else { return };
        let (level, uris) = {
            let table = self.table();
            (table.log_level.clone(), table.subscriptions_of(server))
        };
        if let Some(level) = level.filter(|_| known.offers("logging")) {
            ask(known, "logging/setLevel", &format!(r#"{{"level":{level}}}"#)).await;
        }
        for uri in uris {
            let params = format!(r#"{{"uri":{}}}"#, super::message::json(&uri));
            ask(known, "resources/subscribe", &params).await;
        }
    }
}

/// Asks something whose answer says nothing.
async fn ask(server: &Server, method: &str, params: &str) {
    let Ok(slot) = server.link.reserve() else { return };
    let id = slot.id();
    let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
    let outcome = slot.send(line.into_bytes(), bounds::MEMBER_PART_TIMEOUT).answer().await;
    if !is_result(&outcome) {
        let server = server.link.server();
        tracing::warn!(target: "upstream", server, method, "a server that came back refused what it knew before");
    }
}

/// What a server lists, as far as it tells.
async fn fetch(server: &Server) -> Uris {
    let mut uris = Uris::default();
    for method in ["resources/list", "resources/templates/list"] {
        let mut cursor = None;
        for _ in 0..bounds::TOOL_PAGES_MAX {
            let Ok(slot) = server.link.reserve() else { break };
            let hello = server.link.hello();
            let line = list_request(hello, method, slot.id(), cursor.as_deref());
            let outcome = slot.send(line, bounds::MEMBER_PART_TIMEOUT).answer().await;
            let page = outcome.ok().and_then(|answer| uris.add_page(answer.result_text()?));
            if page.is_none() {
                break;
            }
            cursor = page;
        }
    }
    uris
}
