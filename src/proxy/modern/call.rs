//! `tools/call` of the modern era: the same paid call, in as many rounds as the server asks for.

use std::sync::Arc;

use super::super::call::tool_name;
use super::super::identify::Caller;
use super::super::run::Asked;
use super::super::{Answer, Proxy, Reply, Shown, fault};
use crate::gate::CallFacts;
use crate::protocol::from_client::{Params, ParamsObject, Request};
use crate::protocol::modern::{self, TASKS_EXTENSION};
use crate::protocol::to_server;

impl Proxy {
    pub(super) async fn modern_call(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Reply {
        let fails = |error| Reply::error(request.id, &error, Shown::default());
        let tool = match tool_name(request.param("name")) {
            Ok(tool) => tool,
            Err(error) => return fails(error),
        };
        let Params::Object(params) = &request.params else { return fails(fault::ours()) };
        let identity = match self.identify(caller).await {
            Ok(identity) => identity,
            Err(error) => return fails(fault::store(&error)),
        };
        let takes_tasks = modern::declares_extension(&request.params, TASKS_EXTENSION);
        let key = identity.usable_key_id();
        let (rounds, inner) = match self.rounds(request, &params.object, key, takes_tasks) {
            Ok(rounds) => rounds,
            Err(error) => return fails(error),
        };
        let sent = with_inner_state(request, params, inner.as_deref());
        let calls = [CallFacts { tool: &tool, arguments: request.param("arguments") }];
        let line = |_: usize, id: u64| to_server::request(&sent, id);
        let token = |_: usize| request.params.progress_token();
        let asked = Asked {
            id: request.id,
            calls: &calls,
            in_batch: false,
            line: &line,
            token: &token,
            rounds: Some(&rounds),
        };
        let ended = match self.charged(caller, &asked).await {
            Ok(ended) => ended,
            Err(reply) => return reply,
        };
        match ended.outcomes.into_iter().next() {
            Some(Ok(answer)) => {
                Reply::Message(Answer { text: answer.with_id(request.id), shown: ended.shown })
            }
            Some(Err(failure)) => Reply::error(request.id, &fault::upstream(failure), ended.shown),
            None => Reply::error(request.id, &fault::ours(), ended.shown),
        }
    }
}

/// A request with the server's own state in the place of ours, or without any.
pub(super) fn with_inner_state<'a>(
    request: &Request<'a>,
    params: &ParamsObject<'a>,
    inner: Option<&'a str>,
) -> Request<'a> {
    with_param(request, params, "requestState", inner)
}

/// A request with another value of one parameter, or without it.
pub(in crate::proxy) fn with_param<'a>(
    request: &Request<'a>,
    params: &ParamsObject<'a>,
    name: &str,
    value: Option<&'a str>,
) -> Request<'a> {
    let object = params.object.clone().with(name, value);
    request.with_params(Params::Object(ParamsObject { object, meta: params.meta.clone() }))
}
