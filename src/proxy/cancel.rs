//! `notifications/cancelled`: the one notification that acts. Without a session it acts only if
//! it names exactly one request in flight of the same key.

use super::Proxy;
use super::identify::Caller;
use super::in_flight::{Name, Registration};
use crate::protocol::from_client::Params;
use crate::protocol::object::string;

/// What the server is told if the client gives no reason.
const REASON: &str = "the client cancelled the request";

impl Proxy {
    pub(super) async fn cancelled(&self, caller: &Caller, params: &Params<'_>) {
        let Some(raw_id) = params.get("requestId") else { return };
        let Ok(identity) = self.identify(caller).await else { return };
        let name = identity.entitled_key().and_then(|key| Name::new(&key.id, raw_id));
        let Some(request) = name.and_then(|name| self.calls.the_one(&name)) else { return };
        let reason = params.get("reason").and_then(string);
        let reason = reason.as_deref().unwrap_or(REASON);
        for id in request.cancel() {
            self.shared.link.cancel(*id, reason);
        }
    }

    /// Notes that a request is sent, and passes on a cancellation that came meanwhile.
    pub(super) fn sent(&self, registration: &Registration) {
        for id in registration.sent() {
            self.shared.link.cancel(*id, REASON);
        }
    }
}
