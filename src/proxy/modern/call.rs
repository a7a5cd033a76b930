//! What costs credits in the modern era: the same paid call, in as many rounds as the server asks
//! for.

use std::sync::Arc;

use super::super::asked::{Asked, Ended, Form};
use super::super::call::tool_name;
use super::super::identify::Caller;
use super::super::method::parameters;
use super::super::parked::TaskForm;
use super::super::repeat::Repeat;
use super::super::{Answer, Proxy, Reply, Shown, fault};
use crate::gate::CallFacts;
use crate::protocol::from_client::{Params, ParamsObject, Request};
use crate::protocol::{modern, sealed};
use crate::protocol::{to_client, to_server};
use crate::proxy::labels::labels;

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
        let arguments = request.param("arguments");
        let parts = [tool.as_ref(), arguments.unwrap_or_default()];
        let repeat = match Repeat::read(caller, request, parts.into_iter()) {
            Ok(repeat) => repeat,
            Err(error) => return fails(error),
        };
        let call = CallFacts { tool: &tool, arguments };
        match self.in_rounds(caller, request, Form::Call, call, repeat).await {
            Ok(ended) => answered(request, &ended),
            Err(reply) => reply,
        }
    }

    /// Another method that has a price.
    pub(super) async fn modern_method(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Reply {
        let lasting = parameters(&request.params, &sealed::OF_A_ROUND);
        let repeat = match Repeat::read(caller, request, lasting) {
            Ok(repeat) => repeat,
            Err(error) => return Reply::error(request.id, &error, Shown::default()),
        };
        let call = CallFacts { tool: &request.method, arguments: None };
        let ended = match self.in_rounds(caller, request, Form::Method, call, repeat).await {
            Ok(ended) => ended,
            Err(reply) => return reply,
        };
        let (Ok(answer), "tools/list") = (&*ended.answered.single(), request.method.as_ref())
        else {
            return answered(request, &ended);
        };
        let text = match self.identify(caller).await {
            Ok(identity) => self.modern_tools(&identity, request.id, answer),
            Err(error) => to_client::error(request.id, &fault::store(&error)),
        };
        Reply::Message(Answer { text, shown: ended.shown })
    }

    /// One round of a request with a price.
    async fn in_rounds(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Request<'_>,
        form: Form,
        call: CallFacts<'_>,
        repeat: Option<Repeat>,
    ) -> Result<Ended, Reply> {
        let fails = |error| Reply::error(request.id, &error, Shown::default());
        let Params::Object(params) = &request.params else { return Err(fails(fault::ours())) };
        let identity = self.identify(caller).await.map_err(|it| fails(fault::store(&it)))?;
        let takes_tasks = form == Form::Call && modern::takes_tasks(request);
        let tasks = if takes_tasks { TaskForm::Extension } else { TaskForm::Not };
        let key = identity.usable_key_id();
        let rounds = self.rounds(request, &params.object, key, tasks);
        let (rounds, inner) = rounds.map_err(fails)?;
        let sent = with_inner_state(request, params, inner.as_deref());
        let line =
            |_: usize, id: u64, customer: Option<&str>| to_server::request(&sent, id, customer);
        let token = |_: usize| request.params.progress_token();
        let asked = Asked {
            id: request.id,
            form,
            calls: &[call],
            repeat,
            labels: labels(&request.params).map_err(fails)?,
            line: &line,
            token: &token,
            rounds: Some(&rounds),
        };
        self.charged(caller, &asked).await
    }
}

fn answered(request: &Request<'_>, ended: &Ended) -> Reply {
    let text = match &*ended.answered.single() {
        Ok(answer) => answer.with_id(request.id),
        Err(failure) => to_client::error(request.id, &fault::upstream(*failure)),
    };
    Reply::Message(Answer { text, shown: ended.shown })
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
