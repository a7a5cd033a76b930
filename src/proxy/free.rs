//! Everything that costs nothing: all but calls of tools and methods with a price. Some methods need no key; the others are
//! forwarded for a valid key, with id and progress token of our own.

use std::sync::Arc;

use super::identify::{Caller, Identity};
use super::{Answer, Proxy, Reply, Shown, fault};
use crate::protocol::from_client::Request;
use crate::protocol::to_client::{self, ErrorCode, ErrorObject};
use crate::protocol::to_server;
use crate::upstream::{Failure, Outcome, Patience};

/// Methods that anybody may use, beside `notifications/*`.
const OPEN: &[&str] = &[
    "initialize",
    "initialized",
    "ping",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "server/discover",
];

/// Methods that change or read what belongs to one connection: who subscribed, how much is
/// logged, whose tasks there are. On a connection that is shared one customer would decide for the
/// others, or read what is theirs; so they are for sessions that have a server to themselves.
const OF_A_CONNECTION: &[&str] =
    &["tasks/*", "resources/subscribe", "resources/unsubscribe", "logging/setLevel"];

impl Proxy {
    /// Who asks, if they may use this method.
    pub(super) async fn admitted_to(
        &self,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Result<Identity, Reply> {
        let open = is_open(&request.method) && !self.options.require_key_for_all;
        let identity = match self.identify(caller).await {
            Ok(identity) => identity,
            // Free methods keep working while the books are closed.
            Err(_) if open => Identity::nobody(caller),
            Err(error) => {
                return Err(Reply::error(request.id, &fault::store(&error), Shown::default()));
            }
        };
        if !open && let Err(denied) = identity.admitted() {
            if !self.options.policy.shadow {
                return Err(self.denied_free(&identity, request.id, denied).await);
            }
            tracing::debug!(
                target: "proxy", reason = denied.denial.word(), "shadow mode: a free method would have been refused"
            );
        }
        Ok(identity)
    }

    pub(super) async fn free(self: &Arc<Self>, caller: &Caller, request: &Request<'_>) -> Reply {
        let identity = match self.admitted_to(caller, request).await {
            Ok(identity) => identity,
            Err(reply) => return reply,
        };
        let text = match request.method.as_ref() {
            "ping" | "initialized" | "notifications/initialized" => {
                to_client::result(request.id, b"{}")
            }
            "initialize" => return self.initialize(caller, &identity, request).await,
            "tools/list" => self.list_tools(caller, &identity, request).await,
            method
                if method.starts_with("tasks/")
                    && let Some(session) = caller.session_with_server() =>
            {
                return self.session_task(caller, session, &identity, request).await;
            }
            method
                if method.starts_with("notifications/")
                    || (is_of_a_connection(method) && caller.session_with_server().is_none()) =>
            {
                let error = ErrorObject::from(ErrorCode::MethodNotFound);
                to_client::error(request.id, &error)
            }
            _ => match self.ask(caller, &identity, request).await {
                Ok(answer) => answer.with_id(request.id),
                Err(failure) => to_client::error(request.id, &fault::upstream(failure)),
            },
        };
        Reply::Message(Answer { text, shown: self.shown(&identity).await })
    }

    /// Asks the guarded server, if what is free has a place left there. A client that disconnects
    /// does not take the request with it.
    pub(super) async fn ask(
        self: &Arc<Self>,
        caller: &Caller,
        identity: &Identity,
        request: &Request<'_>,
    ) -> Outcome {
        self.ask_within(caller, identity, request, self.options.patience()).await
    }

    /// The same with another patience.
    pub(super) async fn ask_within(
        self: &Arc<Self>,
        caller: &Caller,
        identity: &Identity,
        request: &Request<'_>,
        patience: Patience,
    ) -> Outcome {
        let connection = &caller.connection;
        let place = connection.free_places.take(&caller.owner(identity));
        let place = place.ok_or(Failure::Busy)?;
        let slot = connection.link.reserve()?;
        let hearing = caller.listen(slot.id(), request.params.progress_token());
        let line = to_server::request(request, slot.id(), self.customer(identity).as_deref());
        let name = caller.name(identity, request.id);
        let registration =
            self.calls.enter(name, std::iter::once(slot.id()), Some(&connection.link));
        let pending = slot.send(line, patience);
        Self::sent(&registration);
        let exchange = caller.exchange.clone();
        let task = tokio::spawn(async move {
            let _kept = (exchange, registration, place, hearing);
            pending.answer().await
        });
        fault::joined(task.await)
    }
}

pub(super) fn is_of_a_connection(method: &str) -> bool {
    OF_A_CONNECTION.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => method.starts_with(start),
        None => method == *known,
    })
}

fn is_open(method: &str) -> bool {
    OPEN.contains(&method) || method.starts_with("notifications/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_key() {
        for method in ["initialize", "ping", "notifications/x", "prompts/list", "server/discover"] {
            assert!(is_open(method), "{method}");
        }
        for method in ["resources/read", "prompts/get", "Ping", "tools/call", "notifications", ""] {
            assert!(!is_open(method), "{method}");
        }
    }
}
