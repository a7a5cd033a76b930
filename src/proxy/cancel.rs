//! `notifications/cancelled`: the one notification that acts here. In a session it names one of that
//! session's requests in flight; without one it acts only if it names exactly one of the same key.

use super::Proxy;
use super::identify::Caller;
use super::in_flight::Registration;
use crate::protocol::from_client::Params;
use crate::protocol::object::string;

/// What the server is told if the client gives no reason.
const REASON: &str = "the client cancelled the request";

impl Proxy {
    pub(super) async fn cancelled(&self, caller: &Caller, params: &Params<'_>) {
        let Some(raw_id) = params.get("requestId") else { return };
        let Ok(identity) = self.identify(caller).await else { return };
        let entitled = caller.session().is_some() || identity.entitled_key().is_some();
        let name = caller.name(&identity, raw_id).filter(|_| entitled);
        let Some(request) = name.and_then(|name| self.calls.the_one(&name)) else { return };
        let reason = params.get("reason").and_then(string);
        let reason = reason.as_deref().unwrap_or(REASON);
        request.cancel(reason);
    }

    /// Notes that a request is sent, and passes on a cancellation that came meanwhile.
    pub(super) fn sent(registration: &Registration) {
        registration.sent(REASON);
    }
}
