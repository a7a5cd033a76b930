//! What is under way between a link and the servers behind it: a plain table behind one lock.

use std::collections::HashMap;

use tokio::task::AbortHandle;

use super::message::Changes;
use crate::model::bounds;

/// Requests, questions and wishes that the router must remember.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Requests in flight, by the outer link's id.
    requests: HashMap<u64, Option<AbortHandle>>,
    /// The same by server and its link's id. A request may be with several servers.
    calls: HashMap<(usize, u64), u64>,
    /// What servers have asked the client.
    asks: HashMap<u64, Asked>,
    next_ask: u64,
    /// Modern clients that listen for changes of lists, by the outer link's id of their request.
    pub(super) listening: HashMap<u64, Listening>,
    /// The level of logs that the client chose, as JSON text.
    pub(super) log_level: Option<Box<str>>,
    /// The resources that the client follows, and whose they are.
    subscribed: HashMap<Box<str>, usize>,
}

/// A server's question.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) server: usize,
    /// The server's own id, as JSON text.
    pub(super) id: Box<str>,
    /// The progress token that it gave, as JSON text.
    pub(super) token: Option<Box<str>>,
}

/// The lists that a modern client wants to hear of, by their notifications.
pub(super) type Listening = Vec<&'static str>;

impl Table {
    pub(super) fn open(&mut self, request: u64) {
        self.requests.insert(request, None);
    }

    /// Notes what would end a request. One that has ended already needs nothing.
    pub(super) fn runs(&mut self, request: u64, task: AbortHandle) {
        if let Some(known) = self.requests.get_mut(&request) {
            *known = Some(task);
        }
    }

    pub(super) fn close(&mut self, request: u64) {
        self.requests.remove(&request);
        self.listening.remove(&request);
    }

    /// Takes a request out, with what ends it and where it is.
    pub(super) fn cancel(&mut self, request: u64) -> (Option<AbortHandle>, Vec<(usize, u64)>) {
        let calls = self.calls.iter().filter(|(_, of)| **of == request).map(|(call, _)| *call);
        let calls = calls.collect();
        (self.requests.remove(&request).flatten(), calls)
    }

    pub(super) fn sent(&mut self, server: usize, call: u64, request: u64) {
        self.calls.insert((server, call), request);
    }

    pub(super) fn ended(&mut self, server: usize, call: u64) {
        self.calls.remove(&(server, call));
    }

    /// The request that a server's call belongs to.
    pub(super) fn request_of(&self, server: usize, call: u64) -> Option<u64> {
        self.calls.get(&(server, call)).copied()
    }

    /// An id for a question that is the only one of its kind among all servers. `None` if too many
    /// questions wait already.
    pub(super) fn ask(&mut self, asked: Asked) -> Option<u64> {
        if self.asks.len() >= bounds::MEMBER_ASKS_MAX {
            return None;
        }
        self.next_ask = self.next_ask.wrapping_add(1);
        self.asks.insert(self.next_ask, asked);
        Some(self.next_ask)
    }

    /// Whose question this is.
    pub(super) fn asked(&self, ask: u64) -> Option<Asked> {
        self.asks.get(&ask).cloned()
    }

    /// Takes out a question, because it is answered or withdrawn.
    pub(super) fn answered(&mut self, ask: u64) -> Option<Asked> {
        self.asks.remove(&ask)
    }

    /// Takes out the question to which a server gave this id.
    pub(super) fn withdrawn(&mut self, server: usize, id: &str) -> Option<u64> {
        let is_it = |(_, asked): &(&u64, &Asked)| asked.server == server && *asked.id == *id;
        let ask = self.asks.iter().find(is_it).map(|(ask, _)| *ask)?;
        self.asks.remove(&ask);
        Some(ask)
    }

    /// Takes out all questions of a server that has ended.
    pub(super) fn forget_asks_of(&mut self, server: usize) -> Vec<u64> {
        let of_server = |(_, asked): &(&u64, &Asked)| asked.server == server;
        let gone: Vec<u64> = self.asks.iter().filter(of_server).map(|(ask, _)| *ask).collect();
        self.asks.retain(|_, asked| asked.server != server);
        gone
    }

    pub(super) fn subscribe(&mut self, uri: &str, server: usize) {
        if self.subscribed.len() < bounds::MEMBER_SUBSCRIPTIONS_MAX {
            self.subscribed.insert(uri.into(), server);
        }
    }

    /// Whose resource it was when the client began to follow it.
    pub(super) fn subscribed_to(&self, uri: &str) -> Option<usize> {
        self.subscribed.get(uri).copied()
    }

    pub(super) fn unsubscribe(&mut self, uri: &str) {
        self.subscribed.remove(uri);
    }

    /// What the client follows of a server.
    pub(super) fn subscriptions_of(&self, server: usize) -> Vec<Box<str>> {
        let of_server = self.subscribed.iter().filter(|(_, owner)| **owner == server);
        of_server.map(|(uri, _)| uri.clone()).collect()
    }
}

/// The changes that give a message another id, and a progress token of the same number if it has one.
pub(super) fn numbered(id: u64) -> Changes {
    let id = id.to_string();
    let meta = vec![("progressToken", id.clone())];
    Changes { id: Some(id), params: Vec::new(), meta }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_ids_of_their_own_and_are_bounded() {
        let asked = |server| Asked { server, id: "\"1\"".into(), token: None };
        let mut table = Table::default();
        let (first, second) = (table.ask(asked(0)).unwrap(), table.ask(asked(1)).unwrap());
        assert_ne!(first, second);
        assert_eq!(table.withdrawn(1, "\"1\""), Some(second));
        assert_eq!(table.withdrawn(1, "\"1\""), None);
        assert_eq!(table.forget_asks_of(0), [first]);
        assert!(table.answered(first).is_none());
        for _ in 0..bounds::MEMBER_ASKS_MAX {
            assert!(table.ask(asked(0)).is_some());
        }
        assert!(table.ask(asked(0)).is_none());
    }

    #[test]
    fn a_cancelled_request_is_found_at_every_server() {
        let mut table = Table::default();
        table.open(7);
        table.sent(0, 1, 7);
        table.sent(1, 1, 7);
        table.sent(1, 2, 8);
        let (_, mut calls) = table.cancel(7);
        calls.sort_unstable();
        assert_eq!(calls, [(0, 1), (1, 1)]);
        assert_eq!(table.request_of(1, 2), Some(8));
    }
}
