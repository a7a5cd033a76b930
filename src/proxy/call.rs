//! `tools/call`: one priced call.

use std::borrow::Cow;
use std::sync::Arc;

use super::asked::{Asked, Form};
use super::identify::Caller;
use super::labels::labels;
use super::parked::Rounds;
use super::repeat::Repeat;
use super::{Answer, Proxy, Reply, Shown, fault};
use crate::gate::CallFacts;
use crate::model::bounds;
use crate::protocol::from_client::Request;
use crate::protocol::object::string;
use crate::protocol::to_client::{self, ErrorObjectOwned};
use crate::protocol::to_server;

/// What a call is told that asks to be run as a task where there are none.
const NO_TASKS: &str = "a task needs a session with a server of its own; leave \"task\" out";

impl Proxy {
    pub(super) async fn tool_call(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Reply {
        let tool = match tool_name(request.param("name")) {
            Ok(tool) => tool,
            Err(error) => return Reply::error(request.id, &error, Shown::default()),
        };
        let rounds = match self.as_task(caller, request).await {
            Ok(rounds) => rounds,
            Err(error) => return Reply::error(request.id, &error, Shown::default()),
        };
        let arguments = request.param("arguments");
        let mut parts = vec![tool.as_ref(), arguments.unwrap_or_default()];
        // A task of another session would be of no use to who repeats the call in this one.
        let session = caller.session().map(|session| session.id().to_string());
        if rounds.is_some() {
            parts.extend(request.param("task").into_iter().chain(session.as_deref()));
        }
        let labels = match labels(&request.params) {
            Ok(labels) => labels,
            Err(error) => return Reply::error(request.id, &error, Shown::default()),
        };
        let repeat = match Repeat::read(caller, request, parts.into_iter()) {
            Ok(repeat) => repeat,
            Err(error) => return Reply::error(request.id, &error, Shown::default()),
        };
        let calls = [CallFacts { tool: &tool, arguments }];
        let line =
            |_: usize, id: u64, customer: Option<&str>| to_server::request(request, id, customer);
        let token = |_: usize| request.params.progress_token();
        let asked = Asked {
            id: request.id,
            form: Form::Call,
            calls: &calls,
            repeat,
            labels,
            line: &line,
            token: &token,
            rounds: rounds.as_ref(),
        };
        let ended = match self.charged(caller, &asked).await {
            Ok(ended) => ended,
            Err(reply) => return reply,
        };
        let text = match &*ended.answered.single() {
            Ok(answer) => answer.with_id(request.id),
            Err(failure) => to_client::error(request.id, &fault::upstream(*failure)),
        };
        Reply::Message(Answer { text, shown: ended.shown })
    }

    /// What to know of a call that asks to be run as a task; `None` if it does not.
    async fn as_task(
        &self,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Result<Option<Rounds>, ErrorObjectOwned> {
        if request.param("task").is_none() {
            return Ok(None);
        }
        let Some(session) = caller.session_with_server() else {
            return Err(fault::invalid_params(format!("Invalid tool call: {NO_TASKS}")));
        };
        let identity = self.identify(caller).await.map_err(|error| fault::store(&error))?;
        let key = identity.usable_key_id().cloned();
        Ok(Some(Rounds::as_task(key, Arc::clone(session))))
    }
}

pub(super) const fn is_too_long(name: &str) -> bool {
    name.len() > bounds::TOOL_NAME_BYTES_MAX
}

pub(super) fn too_long() -> String {
    format!("the tool name is longer than {} bytes", bounds::TOOL_NAME_BYTES_MAX)
}

/// The tool's name, from JSON text.
pub(super) fn tool_name(value: Option<&str>) -> Result<Cow<'_, str>, ErrorObjectOwned> {
    match value {
        None | Some("null" | "\"\"") => {
            Err(fault::invalid_params("Invalid tool call: missing tool name"))
        }
        Some(value) => {
            let name = string(value).ok_or("the tool name must be a string".to_owned());
            let name =
                name.and_then(|name| if is_too_long(&name) { Err(too_long()) } else { Ok(name) });
            name.map_err(|why| fault::invalid_params(format!("Invalid tool call: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_string_that_is_not_empty() {
        assert_eq!(tool_name(Some(r#""a\u00e9""#)).unwrap(), "aé");
        let name = |bytes: usize| format!("\"{}\"", "n".repeat(bytes));
        assert!(tool_name(Some(&name(256))).is_ok());
        let error = tool_name(Some(&name(257))).unwrap_err();
        let message = "Invalid tool call: the tool name is longer than 256 bytes";
        assert_eq!((error.code(), error.message()), (-32602, message));
        for value in [None, Some("null"), Some(r#""""#), Some("5"), Some("{}"), Some(r#""\ud800""#)]
        {
            assert_eq!(tool_name(value).unwrap_err().code(), -32602, "{value:?}");
        }
    }
}
