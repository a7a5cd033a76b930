//! `tools/call`: one priced call.

use std::borrow::Cow;
use std::sync::Arc;

use super::identify::Caller;
use super::run::Asked;
use super::{Answer, Proxy, Reply, Shown, fault};
use crate::gate::CallFacts;
use crate::protocol::from_client::Request;
use crate::protocol::object::string;
use crate::protocol::to_client::ErrorObjectOwned;
use crate::protocol::to_server;

/// What a call is told that asks to be run as a task.
pub(super) const NO_TASKS: &str = "tasks are not supported yet; leave \"task\" out";

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
        if request.param("task").is_some() {
            let error = fault::invalid_params(format!("Invalid tool call: {NO_TASKS}"));
            return Reply::error(request.id, &error, Shown::default());
        }
        let calls = [CallFacts { tool: &tool, arguments: request.param("arguments") }];
        let line = |_: usize, id: u64| to_server::request(request, id);
        let asked = Asked { id: request.id, calls: &calls, in_batch: false, line: &line };
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

/// The tool's name, from JSON text.
fn tool_name(value: Option<&str>) -> Result<Cow<'_, str>, ErrorObjectOwned> {
    match value {
        None | Some("null" | "\"\"") => {
            Err(fault::invalid_params("Invalid tool call: missing tool name"))
        }
        Some(value) => string(value).ok_or_else(|| {
            fault::invalid_params("Invalid tool call: the tool name must be a string")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_string_that_is_not_empty() {
        assert_eq!(tool_name(Some(r#""a\u00e9""#)).unwrap(), "aé");
        for value in [None, Some("null"), Some(r#""""#), Some("5"), Some("{}"), Some(r#""\ud800""#)]
        {
            assert_eq!(tool_name(value).unwrap_err().code(), -32602, "{value:?}");
        }
    }
}
