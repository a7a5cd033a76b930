//! Hears one server and passes on what it says, as if the servers were one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::message::{Body, Changes};
use super::router::Router;
use super::table::{Asked, numbered};
use super::tasks;
use crate::protocol::lists::LISTS;
use crate::protocol::modern::SUBSCRIPTION_KEY;
use crate::protocol::to_client;
use crate::upstream::{Ask, Hello, Listener, Note};

/// Hears the server of this number.
pub(super) struct MemberEar {
    router: Weak<Router>,
    server: usize,
}

impl std::fmt::Debug for MemberEar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberEar").field("server", &self.server).finish_non_exhaustive()
    }
}

impl MemberEar {
    pub(super) fn new(router: Weak<Router>, server: usize) -> Self {
        Self { router, server }
    }

    /// The request of the link that a call at this server belongs to.
    fn request_of(&self, router: &Router, call: Option<u64>) -> Option<u64> {
        call.and_then(|call| router.table().request_of(self.server, call))
    }

    /// Passes on a notification that belongs to a subscription under the link's id for that.
    fn subscribed(&self, router: &Router, body: &Body<'_>, call: &str) {
        let call = call.parse().ok();
        if let Some(request) = self.request_of(router, call) {
            let meta = vec![(SUBSCRIPTION_KEY, request.to_string())];
            let line = body.with(&Changes { meta, ..Changes::default() });
            router.take(&line, Some(request));
        }
    }

    /// A server withdraws a question.
    fn cancelled(&self, router: &Router, body: &Body<'_>) {
        let Some(id) = body.param("requestId") else { return };
        let ask = router.table().withdrawn(self.server, id);
        if let Some(ask) = ask {
            let params = vec![("requestId", Some(ask.to_string()))];
            router.take(&body.with(&Changes { params, ..Changes::default() }), None);
        }
    }
}

impl Listener for MemberEar {
    fn notified(&self, note: &Note<'_>) {
        let Some(router) = self.router.upgrade() else { return };
        let request = self.request_of(&router, note.call);
        match note.method {
            "notifications/progress" => {
                if let Some(request) = request
                    && let Some(line) = to_client::progress(note.line, &request.to_string())
                {
                    router.take(&line, Some(request));
                }
                return;
            }
            // The router has acknowledged for all of them.
            "notifications/subscriptions/acknowledged" => return,
            "notifications/resources/list_changed" => {
                if let Some(server) = router.server(self.server) {
                    server.forget_uris();
                }
            }
            _ => {}
        }
        let tasks = tasks::for_client(note.line, &router.options.names, self.server, note.life);
        let line = tasks.as_deref().unwrap_or(note.line);
        let Some(body) = Body::read(line) else { return };
        match body.meta(SUBSCRIPTION_KEY) {
            Some(call) => self.subscribed(&router, &body, call),
            None if note.method == "notifications/cancelled" => self.cancelled(&router, &body),
            None => router.take(line, request),
        }
    }

    fn asked(&self, ask: &Ask<'_>) -> bool {
        let Some(router) = self.router.upgrade() else { return false };
        let tasks = tasks::for_client(ask.line, &router.options.names, self.server, ask.life);
        let Some(body) = Body::read(tasks.as_deref().unwrap_or(ask.line)) else { return false };
        let asked = Asked {
            server: self.server,
            id: ask.id.into(),
            token: body.meta("progressToken").map(Into::into),
        };
        let id = router.table().ask(asked);
        let Some(id) = id else { return false };
        let request = self.request_of(&router, ask.on);
        router.take(&body.with(&numbered(id)), request);
        true
    }

    fn restarted(&self) {
        if let Some(server) = self.router.upgrade().as_deref().and_then(|r| r.server(self.server)) {
            server.restarts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Router {
    /// Tells clients that the lists are not what they were, because a server came or went.
    pub(super) fn tell_of_changed_lists(self: &Arc<Self>, server: usize) {
        let Some(server) = self.server(server) else { return };
        for list in LISTS {
            if !server.offers(list.capability) {
                continue;
            }
            let listening: Vec<u64> = {
                let table = self.table();
                let wanted = table
                    .listening
                    .iter()
                    .filter(|(_, listening)| listening.contains(&list.change));
                wanted.map(|(request, _)| *request).collect()
            };
            for request in listening {
                let meta = format!(r#"{{"{SUBSCRIPTION_KEY}":{request}}}"#);
                let line = format!(
                    r#"{{"jsonrpc":"2.0","method":"{}","params":{{"_meta":{meta}}}}}"#,
                    list.change
                );
                self.take(line.as_bytes(), Some(request));
            }
            // Modern clients hear only what they listen for.
            if matches!(self.shared.options.hello, Hello::Initialize(_)) {
                self.take(&to_client::notification(list.change), None);
            }
        }
    }
}
