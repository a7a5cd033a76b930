//! The era of 2026-07-28: no handshake and no session; every request says for itself what it needs.
//! All modern clients share one link to the server, so ids, progress tokens and subscriptions are
//! ours on it, and whatever has no owner is dropped.
//!
//! Reading order: this file sorts requests; `eras` is the link and whether there is one, `call` what
//! costs credits, `free` and `lists` the rest, `listen` the streams that stay open.

mod call;
mod ear;
mod eras;
mod free;
mod listen;
mod lists;

use std::sync::Arc;

use serde_json::json;

use super::answering::Answering;
use super::identify::Caller;
use super::stream::{self, Outlet, Resuming, Streams};
use super::{Answer, Inbound, Proxy, Reply, Shown};
use crate::protocol::from_client::{self, Incoming, Invalid, Message, Request};
use crate::protocol::modern::{self, Headers, Mirror, Unfit};
use crate::protocol::object::{Object, string};
use crate::protocol::to_client::{ErrorCode, ErrorObject, ErrorObjectOwned, NO_ID};
use crate::protocol::version;

pub(super) use call::with_param;
pub use ear::ModernEar;
pub use eras::ModernSide;
pub(super) use eras::{Eras, ModernLink};
pub(super) use listen::Listens;

impl Proxy {
    /// Is this body of the modern era, by its version header or by what it says itself?
    pub(super) fn is_modern(&self, inbound: &Inbound) -> bool {
        let Some(headers) = &inbound.headers else { return self.eras.is_only() };
        match &headers.version {
            Mirror::One(version) if version::age(version).is_none() => return true,
            Mirror::Unreadable => return true,
            Mirror::One(_) | Mirror::Absent => {}
        }
        self.eras.is_only() || claims_to_be(&inbound.body)
    }

    pub(super) async fn handle_modern(self: &Arc<Self>, inbound: Inbound) -> Reply {
        let (outlet, streaming) = Streams::new(Resuming::No).open(None);
        let proxy = Arc::clone(self);
        // The work outlives a client that leaves, to cancel it properly.
        let answering = Answering::new(&outlet, &inbound.body);
        tokio::spawn(async move {
            let reply = proxy.modern_body(&inbound, &outlet).await;
            answering.answer(finished(reply));
        });
        streaming.begin(stream::FIRST_WORD_WAIT).await
    }

    async fn modern_body(self: &Arc<Self>, inbound: &Inbound, outlet: &Outlet) -> Reply {
        let request = match from_client::read(&inbound.body) {
            Ok(Incoming::Single(Message::Request(request))) => request,
            Ok(Incoming::Single(Message::Notification { .. })) => return Reply::Accepted,
            Ok(Incoming::Single(Message::Response { .. })) => {
                return malformed("clients of this version send no responses");
            }
            Ok(Incoming::Batch(_)) => return malformed("this version has no arrays of messages"),
            Err(invalid) if invalid.is_about_params() => {
                let answer = Answer { text: invalid.text(), shown: Shown::default() };
                return Reply::Failed(answer, invalid.code.code());
            }
            Err(invalid) => return Reply::Malformed(invalid.text()),
        };
        let headers = inbound.headers.as_deref().cloned().unwrap_or_default();
        self.modern_request(inbound, &request, &headers, outlet).await
    }

    async fn modern_request(
        self: &Arc<Self>,
        inbound: &Inbound,
        request: &Request<'_>,
        headers: &Headers,
        outlet: &Outlet,
    ) -> Reply {
        let is_claimed = modern::is_claimed(&request.params);
        if !is_claimed && !self.eras.is_only() && headers.version.text() != Some(version::MODERN) {
            return malformed(&unknown_version());
        }
        let Some(link) = self.eras.link(&self.shared.link).await else {
            // A client that speaks both eras takes this for what it is, and begins a handshake.
            return malformed(&unknown_version());
        };
        if !is_claimed && request.method == "initialize" {
            let wanted = request.param("protocolVersion").and_then(string);
            return self.unsupported(request.id, &link, wanted.as_deref().unwrap_or_default());
        }
        let checked = modern::check(request, headers).and_then(|version| {
            let tools = link.link.tools();
            let name = request.param("name").filter(|_| request.method == "tools/call");
            let name = name.and_then(string);
            match name.as_deref().and_then(|name| tools.param_headers(name)) {
                Some(expected) => expected.check(request.param("arguments"), headers),
                None => Ok(()),
            }
            .map(|()| version)
        });
        match checked {
            Err(Unfit { code, message }) => {
                let error = ErrorObject::owned(code, message, None::<()>);
                return Reply::error(request.id, &error, Shown::default());
            }
            Ok(version) if version != version::MODERN => {
                return self.unsupported(request.id, &link, &version);
            }
            Ok(_) => {}
        }
        if modern::is_removed(&request.method) {
            return Reply::error(request.id, &method_not_found(), Shown::default());
        }
        self.dispatch(inbound, request, link, outlet).await
    }

    async fn dispatch(
        self: &Arc<Self>,
        inbound: &Inbound,
        request: &Request<'_>,
        modern: ModernLink,
        outlet: &Outlet,
    ) -> Reply {
        let connection = modern.connection.clone();
        let hears = inbound.takes_events.then(|| outlet.clone());
        let mut caller = Caller::new(inbound, self.exchanges.enter(None), connection, None, hears);
        caller.leaves = Some(outlet.clone());
        match request.method.as_ref() {
            "tools/call" => self.modern_call(&caller, request).await,
            "tools/call_batch" => self.tool_batch(&caller, request).await,
            "subscriptions/listen" => self.subscribe(caller, request, &modern).await,
            method if self.has_price(&caller, method) => self.modern_method(&caller, request).await,
            method if self.resembles_one_with_price(method) => {
                Reply::Malformed(Invalid::second_spelling(request.id).text())
            }
            "server/discover" => self.discover(&caller, request, &modern).await,
            "tasks/get" | "tasks/update" | "tasks/cancel" => self.task(&caller, request).await,
            _ => self.modern_free(&caller, request).await,
        }
    }

    fn unsupported(&self, id: &str, modern: &ModernLink, requested: &str) -> Reply {
        let data = json!({ "supported": self.eras.versions(modern), "requested": requested });
        let spoken = self.eras.versions(modern).join(", ");
        let message = format!("Unsupported protocol version; this server speaks {spoken}");
        let error = ErrorObject::owned(modern::UNSUPPORTED_VERSION, message, Some(data));
        Reply::error(id, &error, Shown::default())
    }
}

/// Does a body say of itself that it is of a version without handshakes?
fn claims_to_be(body: &[u8]) -> bool {
    match from_client::read(body) {
        Ok(Incoming::Single(
            Message::Request(Request { params, .. }) | Message::Notification { params, .. },
        )) => modern::is_claimed(&params),
        Ok(Incoming::Single(Message::Response { .. }) | Incoming::Batch(_)) | Err(_) => false,
    }
}

fn malformed(why: &str) -> Reply {
    Reply::Malformed(Invalid::request(NO_ID, why).text())
}

/// What a client is told that names a version which is not spoken. The code is none of the modern
/// era's.
fn unknown_version() -> String {
    format!("unsupported MCP-Protocol-Version; this server speaks {}", version::ALL.join(", "))
}

pub(super) fn method_not_found() -> ErrorObjectOwned {
    ErrorObject::from(ErrorCode::MethodNotFound)
}

/// A request that needs an extension which its client has not declared.
pub(super) fn needs_tasks() -> ErrorObjectOwned {
    let extensions = json!({ modern::TASKS_EXTENSION: {} });
    let data = json!({ "requiredCapabilities": { "extensions": extensions } });
    let message = "Missing required client capability: tasks";
    ErrorObject::owned(modern::MISSING_CAPABILITY, message, Some(data))
}

/// Marks what the front has to put in this era's way: denials, and errors whose code decides the
/// status.
fn finished(reply: Reply) -> Reply {
    match reply {
        Reply::Denied(mut refused) => {
            refused.is_modern = true;
            Reply::Denied(refused)
        }
        Reply::Message(answer) => match error_code(&answer.text) {
            Some(code) => Reply::Failed(answer, code),
            None => Reply::Message(answer),
        },
        other => other,
    }
}

/// The code of a JSON-RPC error; `None` for anything else.
fn error_code(text: &[u8]) -> Option<i32> {
    memchr::memmem::find(text, b"\"error\"")?;
    let object = Object::read(std::str::from_utf8(text).ok()?).ok()?;
    let error = Object::read(object.get("error")?).ok()?;
    error.get("code")?.parse().ok()
}
