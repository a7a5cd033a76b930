//! Methods other than calls of tools that have a price (`methodPricing`): judged, held, sent and
//! settled as a call is. They are no tools, so lists of tools say nothing about them; whoever has a
//! key may use them.

use std::sync::Arc;

use super::asked::{Asked, Form};
use super::free::is_of_a_connection;
use super::identify::Caller;
use super::labels::labels;
use super::repeat::Repeat;
use super::{Answer, Proxy, Reply, Shown, fault};
use crate::gate::CallFacts;
use crate::protocol::from_client::{Params, Request};
use crate::protocol::spelling;
use crate::protocol::{to_client, to_server};

impl Proxy {
    /// Does this method have a price for this caller? One that is not served has none: what belongs
    /// to a connection is served only where the caller has the server to itself.
    pub(super) fn has_price(&self, caller: &Caller, method: &str) -> bool {
        let is_served = !is_of_a_connection(method) || caller.session_with_server().is_some();
        is_served && self.options.policy.methods.contains_key(method)
    }

    /// Could a careless server take this method for one that has a price? The result of a task has
    /// that of its call.
    pub(super) fn resembles_one_with_price(&self, method: &str) -> bool {
        let priced = self.options.policy.methods.keys().map(String::as_str);
        let priced = priced.chain(std::iter::once("tasks/result"));
        spelling::resembles_method(method, priced)
    }

    pub(super) async fn priced_method(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Reply {
        let labels = match labels(&request.params) {
            Ok(labels) => labels,
            Err(error) => return Reply::error(request.id, &error, Shown::default()),
        };
        let repeat = match Repeat::read(caller, request, parameters(&request.params, &["_meta"])) {
            Ok(repeat) => repeat,
            Err(error) => return Reply::error(request.id, &error, Shown::default()),
        };
        let calls = [CallFacts { tool: &request.method, arguments: None }];
        let line =
            |_: usize, id: u64, customer: Option<&str>| to_server::request(request, id, customer);
        let token = |_: usize| request.params.progress_token();
        let form = Form::Method;
        let (id, calls) = (request.id, &calls);
        let asked =
            Asked { id, form, calls, repeat, labels, line: &line, token: &token, rounds: None };
        let ended = match self.charged(caller, &asked).await {
            Ok(ended) => ended,
            Err(reply) => return reply,
        };
        let text = match &*ended.answered.single() {
            Ok(answer) if request.method == "tools/list" => match self.identify(caller).await {
                Ok(identity) => self.listed(&identity, request.id, answer),
                Err(error) => to_client::error(request.id, &fault::store(&error)),
            },
            Ok(answer) => answer.with_id(request.id),
            Err(failure) => to_client::error(request.id, &fault::upstream(*failure)),
        };
        Reply::Message(Answer { text, shown: ended.shown })
    }
}

/// What a method is asked for: names and values, without these.
pub(super) fn parameters<'a>(
    params: &Params<'a>,
    without: &[&str],
) -> impl Iterator<Item = &'a str> {
    let mut parts = Vec::new();
    match params {
        Params::Absent => {}
        Params::Array(items) => parts.push(*items),
        Params::Object(params) => {
            for member in
                params.object.members().iter().filter(|member| !without.contains(&&*member.name))
            {
                parts.extend([member.raw_name, member.value]);
            }
        }
    }
    parts.into_iter()
}
