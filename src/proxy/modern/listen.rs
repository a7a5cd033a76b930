//! `subscriptions/listen`: a request whose answer is an open stream of notifications. The server
//! tells them apart by our id of the request that opened the stream; its client sees its own.
//!
//! A stream ends when its client leaves, when its key may not be used any more, when the server ends
//! it or itself, or when Paygate stops. It is no call in flight: nothing waits for it to end.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{MissedTickBehavior, interval};

use super::super::exchange::Exchange;
use super::super::identify::{Caller, Identity};
use super::super::stream::Outlet;
use super::super::tasks::TaskNames;
use super::super::{Answer, Proxy, Reply, Shown, fault};
use super::call::with_param;
use super::ear::{Subscription, Told};
use super::{ModernLink, needs_tasks};
use crate::gate::Denied;
use crate::model::bounds;
use crate::model::ids::KeyId;
use crate::protocol::from_client::{Params, Request};
use crate::protocol::modern::{self, SUBSCRIPTION_KEY, TASKS_EXTENSION};
use crate::protocol::object::{Object, items, string};
use crate::protocol::sealed::Task;
use crate::protocol::to_client;
use crate::protocol::to_server::{self, push_member, push_object};
use crate::upstream::{Failure, Patience};

/// Open streams, by key.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Listens {
    open: Arc<Mutex<HashMap<KeyId, usize>>>,
}

/// One open stream; it is counted until this is dropped.
struct Listening {
    listens: Listens,
    key: KeyId,
}

impl Listens {
    /// Counts one more, if the key may have it and the link has room for it.
    fn enter(&self, key: &KeyId, most: usize) -> Option<Listening> {
        let mut open = self.lock();
        let all: usize = open.values().sum();
        let own = open.get(key).copied().unwrap_or_default();
        if own >= bounds::LISTENS_PER_KEY_MAX || all >= most {
            return None;
        }
        open.insert(key.clone(), own.saturating_add(1));
        drop(open);
        Some(Listening { listens: self.clone(), key: key.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut open = self.listens.lock();
        if let Some(own) = open.get_mut(&self.key).filter(|own| **own > 1) {
            *own = own.saturating_sub(1);
        } else {
            open.remove(&self.key);
        }
    }
}

impl Proxy {
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        mut caller: Caller,
        request: &Request<'_>,
        modern: &ModernLink,
    ) -> Reply {
        let fails = |error| Reply::error(request.id, &error, Shown::default());
        let identity = match self.admitted_to(&caller, request).await {
            Ok(identity) => identity,
            Err(reply) => return reply,
        };
        let Some(outlet) = caller.outlet.clone() else {
            let why = "this answer is a stream; send Accept: text/event-stream too";
            return fails(fault::invalid_params(format!("Invalid params: {why}")));
        };
        let Some(key) = identity.usable_key_id() else {
            return fails(fault::upstream(Failure::Unavailable));
        };
        let Params::Object(params) = &request.params else { return fails(fault::ours()) };
        let names = match self.tasks_to_hear_of(&caller, request, &identity) {
            Ok(names) => names,
            Err(error) => return fails(error),
        };
        let filter = params.object.get("notifications").map(|it| with_tasks(it, &names, false));
        let sent = with_param(request, params, "notifications", filter.as_deref());
        let most = (modern.link.calls_max() / bounds::FREE_CALLS_DIVISOR).max(1);
        let Some(_listening) = self.listens.enter(key, most) else {
            return fails(fault::upstream(Failure::Busy));
        };
        let slot = match modern.link.reserve() {
            Ok(slot) => slot,
            Err(failure) => return fails(fault::upstream(failure)),
        };
        let subscription = modern.ear.subscribe(slot.id());
        let line = to_server::request(&sent, slot.id(), self.customer(&identity).as_deref());
        // Dropped at any of the ends below, it tells the server so.
        let pending = slot.send(line, Patience::from(bounds::LISTEN_MAX)).answer();
        let listener = Listener { request_id: request.id, outlet, names, subscription };
        caller.exchange = Exchange::uncounted();
        listener.run(self, &caller, pending).await
    }
}

struct Listener<'a> {
    /// As the client wrote it.
    request_id: &'a str,
    outlet: Outlet,
    names: TaskNames,
    subscription: Subscription,
}

enum End {
    Left,
    Closing,
    Denied(Box<(Identity, Denied)>),
    Told,
}

impl Listener<'_> {
    async fn run(
        mut self,
        proxy: &Arc<Proxy>,
        caller: &Caller,
        pending: impl Future<Output = crate::upstream::Outcome>,
    ) -> Reply {
        let mut pending = pin!(pending);
        let mut looks = interval(bounds::LISTEN_KEY_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                biased;
                () = self.outlet.left() => break End::Left,
                () = proxy.eras.closing() => break End::Closing,
                told = self.subscription.told.recv() => match told {
                    Some(Told::Note(line)) => self.pass_on(proxy, caller, &line).await,
                    Some(Told::Ended) | None => break End::Told,
                },
                outcome = &mut pending => return self.answered(outcome),
                _ = looks.tick() => if let Some(denied) = denied(proxy, caller).await {
                    break End::Denied(Box::new(denied));
                },
            }
        };
        match end {
            End::Denied(end) => {
                let (identity, denied) = *end;
                proxy.denied_free(&identity, self.request_id, denied).await
            }
            // The stream was promised to end with an answer, which this is.
            End::Left | End::Closing | End::Told => {
                let id = self.request_id;
                let result =
                    format!(r#"{{"resultType":"complete","_meta":{{"{SUBSCRIPTION_KEY}":{id}}}}}"#);
                let text = to_client::result(id, result.as_bytes());
                Reply::Message(Answer { text, shown: Shown::default() })
            }
        }
    }

    async fn pass_on(&self, proxy: &Arc<Proxy>, caller: &Caller, line: &[u8]) {
        let Some(text) = relabelled(line, "params", self.request_id, &self.names) else { return };
        // What shows a result that could not be paid is not told; whoever asks for it learns why.
        if let Some(text) = proxy.task_told(caller, text, &self.names).await {
            self.outlet.message(text);
        }
    }

    fn answered(&self, outcome: crate::upstream::Outcome) -> Reply {
        let text = match outcome {
            Ok(answer) => {
                let text = answer.with_id(self.request_id);
                relabelled(&text, "result", self.request_id, &self.names).unwrap_or(text)
            }
            Err(failure) => to_client::error(self.request_id, &fault::upstream(failure)),
        };
        Reply::Message(Answer { text, shown: Shown::default() })
    }
}

/// Why the stream's key may not listen any more.
async fn denied(proxy: &Proxy, caller: &Caller) -> Option<(Identity, Denied)> {
    if proxy.options.policy.shadow {
        return None;
    }
    // While the books are closed nobody can say; the stream stays.
    let identity: Identity = proxy.identify(caller).await.ok()?;
    identity.admitted().err().map(|denied| (identity, denied))
}

impl Proxy {
    /// The tasks that a stream is to tell of, all of them its customer's own.
    fn tasks_to_hear_of(
        &self,
        caller: &Caller,
        request: &Request<'_>,
        identity: &Identity,
    ) -> Result<TaskNames, to_client::ErrorObjectOwned> {
        let filter = request.param("notifications").and_then(|filter| Object::read(filter).ok());
        let ids = filter.as_ref().and_then(|filter| items(filter.get("taskIds")?));
        let Some(ids) = ids.filter(|ids| !ids.is_empty()) else { return Ok(TaskNames::new()) };
        if !modern::declares_extension(&request.params, TASKS_EXTENSION) {
            return Err(needs_tasks());
        }
        let mut names = TaskNames::new();
        for id in ids {
            let task = self.task_of(identity, string(id).as_deref());
            // What is not one's own is not honoured, and not told of either.
            let is_here = |task: &Task| caller.connection.link.life() == Some(task.life);
            if let Some(task) = task.filter(is_here) {
                names.insert(task.inner, id.to_owned());
            }
        }
        Ok(names)
    }
}

/// A filter with the ids of tasks that the server knows (or, `to_client`, that the client knows).
fn with_tasks(filter: &str, names: &TaskNames, to_client: bool) -> String {
    let Ok(object) = Object::read(filter) else { return filter.to_owned() };
    if !object.has("taskIds") {
        return filter.to_owned();
    }
    let ids: Vec<&str> = if to_client {
        let said = object.get("taskIds").and_then(items).unwrap_or_default();
        said.into_iter().filter_map(|id| names.get(id)).map(String::as_str).collect()
    } else {
        names.keys().map(String::as_str).collect()
    };
    let ids = format!("[{}]", ids.join(","));
    let object = object.with("taskIds", Some(&ids));
    let mut text = Vec::with_capacity(filter.len());
    push_object(&mut text, object.members(), push_member);
    String::from_utf8_lossy(&text).into_owned()
}

/// A message with the client's own id of the subscription and of the tasks in the place of ours.
fn relabelled(line: &[u8], place: &str, id: &str, names: &TaskNames) -> Option<Vec<u8>> {
    let message = Object::read(std::str::from_utf8(line).ok()?).ok()?;
    let inner = Object::read(message.get(place)?).ok()?;
    let changed = inner.get("_meta").and_then(|meta| Object::read(meta).ok()).map(|meta| {
        let mut text = Vec::new();
        push_object(&mut text, meta.with(SUBSCRIPTION_KEY, Some(id)).members(), push_member);
        String::from_utf8_lossy(&text).into_owned()
    });
    let filter = inner.get("notifications").map(|filter| with_tasks(filter, names, true));
    // Of a task that is not the client's own it is told nothing.
    let task = match inner.get("taskId") {
        Some(task) => Some(names.get(task)?.clone()),
        None => None,
    };
    let mut object = inner.clone();
    for (name, value) in [("_meta", &changed), ("notifications", &filter), ("taskId", &task)] {
        if let Some(value) = value {
            object = object.with(name, Some(value));
        }
    }
    let mut text = Vec::new();
    push_object(&mut text, object.members(), push_member);
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut whole = Vec::with_capacity(line.len());
    push_object(&mut whole, message.with(place, Some(&text)).members(), push_member);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str, names: &TaskNames) -> Option<String> {
        let text = relabelled(line.as_bytes(), "params", "\"mine\"", names)?;
        Some(String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_subscriber_sees_its_own_ids_and_every_other_byte() {
        let mut names = TaskNames::new();
        names.insert("\"inner\"".to_owned(), "\"ours\"".to_owned());
        let line = r#"{"jsonrpc":"2.0","method":"m","params":{"x":1.0,"_meta":{"a":1,"io.modelcontextprotocol/subscriptionId":4711}}}"#;
        let told = r#"{"jsonrpc":"2.0","method":"m","params":{"x":1.0,"_meta":{"a":1,"io.modelcontextprotocol/subscriptionId":"mine"}}}"#;
        assert_eq!(text(line, &names).as_deref(), Some(told));
        let line = r#"{"params":{"taskId":"inner","status":"working"}}"#;
        let told = r#"{"params":{"taskId":"ours","status":"working"}}"#;
        assert_eq!(text(line, &names).as_deref(), Some(told));
        assert_eq!(text(r#"{"params":{"taskId":"other"}}"#, &names), None);
        let line = r#"{"params":{"notifications":{"a":true,"taskIds":["other","inner"]}}}"#;
        let told = r#"{"params":{"notifications":{"a":true,"taskIds":["ours"]}}}"#;
        assert_eq!(text(line, &names).as_deref(), Some(told));
    }

    #[test]
    fn streams_of_one_key_are_bounded() {
        let listens = Listens::default();
        let (one, other) = (KeyId::from_random([1; 8]), KeyId::from_random([2; 8]));
        let most = bounds::LISTENS_PER_KEY_MAX + 1;
        let own: Vec<_> =
            (0..bounds::LISTENS_PER_KEY_MAX).map(|_| listens.enter(&one, most).unwrap()).collect();
        assert!(listens.enter(&one, most).is_none());
        let last = listens.enter(&other, most).unwrap();
        assert!(listens.enter(&other, most).is_none());
        let third = KeyId::from_random([3; 8]);
        assert!(listens.enter(&third, most).is_none());
        assert!(!listens.lock().contains_key(&third), "what is refused leaves nothing behind");
        drop((own, last));
        assert!(listens.lock().is_empty());
    }
}
