//! What costs nothing in the modern era. A client that leaves cancels it.

use std::sync::Arc;

use super::super::identify::{Caller, Identity};
use super::super::parked::with_state;
use super::super::run::CLIENT_LEFT;
use super::super::{Answer, Proxy, Reply, fault};
use super::ModernLink;
use super::call::with_inner_state;
use super::lists;
use crate::model::bounds;
use crate::model::ids::KeyId;
use crate::model::secret::Digest;
use crate::protocol::from_client::{Params, Request};
use crate::protocol::from_server;
use crate::protocol::object::Object;
use crate::protocol::result_kind::ResultKind;
use crate::protocol::sealed::{self, Round};
use crate::protocol::{to_client, to_server};
use crate::store::clock;
use crate::upstream::{Failure, Outcome};

/// Methods beside `tools/call` whose server may ask its client for more.
const IN_ROUNDS: &[&str] = &["prompts/get", "resources/read"];

impl Proxy {
    pub(super) async fn discover(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Request<'_>,
        modern: &ModernLink,
    ) -> Reply {
        let identity = match self.admitted_to(caller, request).await {
            Ok(identity) => identity,
            Err(reply) => return reply,
        };
        let text = match modern.link.first_result() {
            Some(result) => {
                let versions = self.eras.versions(modern);
                to_client::result(request.id, &lists::discovered(&result, &versions))
            }
            None => to_client::error(request.id, &fault::upstream(Failure::Unavailable)),
        };
        Reply::Message(Answer { text, shown: self.shown(&identity).await })
    }

    pub(super) async fn modern_free(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Reply {
        let identity = match self.admitted_to(caller, request).await {
            Ok(identity) => identity,
            Err(reply) => return reply,
        };
        let text = match request.method.as_ref() {
            "tools/list" => match self.ask_while_there(caller, &identity, request).await {
                Ok(answer) => self.modern_tools(&identity, request.id, &answer),
                Err(failure) => to_client::error(request.id, &fault::upstream(failure)),
            },
            method if IN_ROUNDS.contains(&method) => {
                self.free_round(caller, &identity, request).await
            }
            _ => match self.ask_while_there(caller, &identity, request).await {
                Ok(answer) => answer.with_id(request.id),
                Err(failure) => to_client::error(request.id, &fault::upstream(failure)),
            },
        };
        Reply::Message(Answer { text, shown: self.shown(&identity).await })
    }

    /// Asks the server, if what is free has a place left there, for as long as the client is there.
    pub(in crate::proxy) async fn ask_while_there(
        &self,
        caller: &Caller,
        identity: &Identity,
        request: &Request<'_>,
    ) -> Outcome {
        let connection = &caller.connection;
        let place = connection.free_places.take(&caller.owner(identity));
        let _place = place.ok_or(Failure::Busy)?;
        let link = &connection.link;
        let slot = link.reserve()?;
        let id = slot.id();
        let _hearing = caller.listen(id, request.params.progress_token());
        let text = to_server::request(request, id, self.customer(identity).as_deref());
        let answer = slot.send(text, self.options.patience()).answer();
        let Some(outlet) = &caller.leaves else { return answer.await };
        tokio::pin!(answer);
        tokio::select! {
            biased;
            outcome = &mut answer => return outcome,
            () = outlet.left() => {}
        }
        link.cancel(id, CLIENT_LEFT);
        answer.await
    }

    /// A request that costs nothing and may take several rounds: the state that its client keeps in
    /// between is sealed, and for this client and this request alone.
    async fn free_round(
        self: &Arc<Self>,
        caller: &Caller,
        identity: &Identity,
        request: &Request<'_>,
    ) -> Vec<u8> {
        let Params::Object(params) = &request.params else {
            return to_client::error(request.id, &fault::ours());
        };
        let key = identity.usable_key_id();
        let asked = sealed::digest(&request.method, &params.object);
        let round = match self.earlier_round(request, key, asked) {
            Ok(round) => round,
            Err(error) => return to_client::error(request.id, &error),
        };
        let number = round.as_ref().map_or(0, |round| round.number).saturating_add(1);
        let inner = round.and_then(|round| round.inner);
        let sent = with_inner_state(request, params, inner.as_deref());
        match self.ask_while_there(caller, identity, &sent).await {
            Ok(answer) => {
                let changed = self.with_sealed_state(&answer, key, asked, number);
                changed.unwrap_or(answer).with_id(request.id)
            }
            Err(failure) => to_client::error(request.id, &fault::upstream(failure)),
        }
    }

    fn with_sealed_state(
        &self,
        answer: &from_server::Answer,
        key: Option<&KeyId>,
        asked: Digest,
        number: u32,
    ) -> Option<from_server::Answer> {
        let result = answer.result_text()?;
        if ResultKind::of(result) != ResultKind::InputRequired {
            return None;
        }
        let result = Object::read(result).ok()?;
        let inner = Some(result.get("requestState")?.to_owned());
        let key = key.map_or_else(String::new, |key| key.as_str().to_owned());
        let until = self.store.ledger_now(clock::now()).plus(bounds::ROUND_WAIT);
        let state = Round { call: None, key, asked, number, until, inner };
        answer.with_result(&with_state(&result, &state.seal(&self.seal_key)))
    }

    pub(super) fn modern_tools(
        &self,
        identity: &Identity,
        id: &str,
        answer: &from_server::Answer,
    ) -> Vec<u8> {
        let filtered = identity.entitled_key().is_some();
        let keep = |tool: &str| !filtered || identity.may_call(tool);
        let priced = answer.result_text();
        let priced = priced.and_then(|it| lists::priced(&self.options.policy, it, keep));
        match priced {
            Some(result) => to_client::result(id, &result),
            None => answer.with_id(id),
        }
    }
}
