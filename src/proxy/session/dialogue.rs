//! What is said between one client and the server, beside requests and their answers.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use super::asks::Asks;
use super::tasks::Tasks;
use crate::protocol::object::Object;
use crate::protocol::{lists::LISTS, to_client};
use crate::proxy::stream::{Outlet, Resuming, Streams};
use crate::upstream::{Ask, Note};

/// What a client is told and asked.
#[derive(Debug)]
pub(in crate::proxy) struct Dialogue {
    pub(in crate::proxy) streams: Arc<Streams>,
    pub(super) asks: Asks,
    /// Results that come later.
    pub(in crate::proxy) tasks: Tasks,
    /// Set when the client has been told what the server can do.
    changes: OnceLock<Changes>,
}

/// The notifications that say that a list has changed, as far as a server has said that it sends them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) struct Changes(Vec<&'static str>);

/// Says where a task stands.
const TASK_STATUS: &str = "notifications/tasks/status";

/// Does this say that a list has changed?
pub(in crate::proxy) fn is_list_change(method: &str) -> bool {
    LISTS.iter().any(|list| method == list.change)
}

impl Changes {
    /// From a result of initialize.
    pub(in crate::proxy) fn of(result: &str) -> Self {
        let offered = Object::read(result).ok();
        let offered = offered.and_then(|result| Object::read(result.get("capabilities")?).ok());
        let tells = |capability: &str| {
            let capability = Object::read(offered.as_ref()?.get(capability)?).ok()?;
            capability.get("listChanged").map(|told| told == "true")
        };
        let told = LISTS.iter().filter(|list| tells(list.capability) == Some(true));
        Self(told.map(|list| list.change).collect())
    }

    /// The messages.
    pub(in crate::proxy) fn messages(&self) -> impl Iterator<Item = Vec<u8>> + use<'_> {
        self.0.iter().map(|method| to_client::notification(method))
    }
}

impl Dialogue {
    pub(in crate::proxy) fn new(resuming: Resuming) -> Arc<Self> {
        let streams = Streams::new(resuming);
        let (asks, tasks, changes) = Default::default();
        Arc::new(Self { streams, asks, tasks, changes })
    }

    /// The client has been told what the server can do.
    pub(super) fn agreed(&self, result: &str) {
        self.changes.get_or_init(|| Changes::of(result));
    }

    /// The server tells something that is about no call.
    pub(in crate::proxy) fn notified(&self, note: &Note<'_>) {
        match note.method {
            "notifications/cancelled" => {
                self.withdrawn(note);
            }
            "notifications/resources/updated" => {
                self.streams.tell(note.line.to_vec());
            }
            method if is_list_change(method) => {
                self.streams.tell(note.line.to_vec());
            }
            method => {
                if let Some(task) = note.params.filter(|_| method == TASK_STATUS) {
                    self.tasks.told(task.get());
                }
                self.streams.tell_with_oldest(note.line.to_vec());
            }
        }
    }

    /// The server asks something; `outlet` is where, if it is about a call. False if nobody can
    /// be asked.
    pub(in crate::proxy) fn asked(&self, ask: &Ask<'_>, outlet: Option<Outlet>) -> bool {
        let Some(id) = self.asks.enter(ask.id, Instant::now()) else { return false };
        let text = to_client::with_id(ask.line, &id.to_string());
        let is_told = text.is_some_and(|text| match outlet {
            Some(outlet) => outlet.message(text),
            None => self.streams.tell_with_oldest(text),
        });
        if !is_told {
            self.asks.forget(id);
        }
        is_told
    }

    /// The server does not want an answer any more.
    fn withdrawn(&self, note: &Note<'_>) -> Option<()> {
        let params = Object::read(note.params?.get()).ok()?;
        let id = self.asks.withdrawn(params.get("requestId")?)?;
        let text = to_client::with_param(note.line, "requestId", &id.to_string())?;
        self.streams.tell_with_oldest(text).then_some(())
    }

    /// Another process took the server's place: its lists may be others, and it has asked nothing.
    pub(in crate::proxy) fn restarted(&self) {
        self.asks.clear();
        self.tasks.lose_all();
        for message in self.changes.get().into_iter().flat_map(Changes::messages) {
            self.streams.tell_once(&message.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_that_were_offered_are_told() {
        let told = |capabilities: &str| {
            let changes = Changes::of(&format!(r#"{{"capabilities":{capabilities}}}"#));
            changes.0.iter().map(|method| method.split('/').nth(1).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(
            told(r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{}}"#),
            ["tools", "prompts"]
        );
        for none in ["{}", "[]", r#"{"tools":{"listChanged":false},"resources":{"listChanged":1}}"#]
        {
            assert!(told(none).is_empty(), "{none}");
        }
        assert_eq!(Changes::of("no JSON"), Changes::default());
    }
}
