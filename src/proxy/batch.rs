//! `tools/call_batch`: many calls under one hold. It is held whole or not at all; after that each
//! call ends by its own row of the outcome table, and the hold is resolved when the last has ended.

use std::borrow::Cow;
use std::sync::Arc;

use super::asked::{Answered, Asked, Form, Outcomes};
use super::call::{is_too_long, too_long};
use super::identify::Caller;
use super::labels::labels;
use super::repeat::Repeat;
use super::settle::was_cancelled;
use super::{Answer, Proxy, Reply, Shown, fault};
use crate::gate::CallFacts;
use crate::protocol::from_client::{Params, ParamsObject, Request};
use crate::protocol::object::{self, Member, string};
use crate::protocol::result_kind::ResultKind;
use crate::protocol::spelling::IDEMPOTENCY_META;
use crate::protocol::to_client::{self, ErrorObjectOwned, push_json};
use crate::protocol::to_server;
use crate::upstream::{Failure, Outcome};

/// What a call of a batch is told that asks to be run as a task.
const NO_TASKS: &str = "calls of a batch cannot be tasks; leave \"task\" out";

/// What names of `_meta` begin with that belong to the protocol.
const PROTOCOL_PREFIX: &str = "io.modelcontextprotocol/";

/// One call of a batch.
#[derive(Debug)]
struct BatchCall<'a> {
    tool: Cow<'a, str>,
    params: ParamsObject<'a>,
}

impl Proxy {
    pub(super) async fn tool_batch(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Reply {
        let calls = match read_calls(request.param("calls"), self.options.batch_calls_max) {
            // What every request of the modern era says of itself, its calls say too.
            Ok(calls) if caller.is_modern() => {
                calls.into_iter().map(|call| call.of(request)).collect()
            }
            Ok(calls) => calls,
            Err(why) => {
                return Reply::error(request.id, &fault::invalid_params(why), Shown::default());
            }
        };
        let facts: Vec<CallFacts<'_>> = calls.iter().map(BatchCall::facts).collect();
        let token = |index: usize| {
            let meta = calls.get(index).and_then(|call| call.params.meta.as_ref());
            meta.and_then(|meta| meta.get("progressToken"))
        };
        let parts = facts.iter().flat_map(|call| [call.tool, call.arguments.unwrap_or_default()]);
        let labels = match labels(&request.params) {
            Ok(labels) => labels,
            Err(error) => return Reply::error(request.id, &error, Shown::default()),
        };
        let repeat = match Repeat::read(caller, request, parts) {
            Ok(repeat) => repeat,
            Err(error) => return Reply::error(request.id, &error, Shown::default()),
        };
        let line = |index: usize, id: u64, customer: Option<&str>| {
            calls.get(index).map_or_else(Vec::new, |call| call.line(id, customer))
        };
        let asked = Asked {
            id: request.id,
            form: Form::Batch,
            calls: &facts,
            repeat,
            labels,
            line: &line,
            token: &token,
            rounds: None,
        };
        let ended = match self.charged(caller, &asked).await {
            Ok(ended) => ended,
            Err(reply) => return reply,
        };
        let results = match &ended.answered {
            // In shadow mode a batch is not resolved by its outcomes, but cancelled it is all the
            // same.
            Answered::Now(ran) if was_cancelled(&ran.outcomes) => {
                let error = fault::upstream(Failure::Cancelled);
                return Reply::error(request.id, &error, ended.shown);
            }
            Answered::Now(ran) => &results(facts.iter().map(|call| call.tool), ran),
            Answered::Before(results) => results,
        };
        let text = to_client::result(request.id, &closed(results, ended.shown));
        Reply::Message(Answer { text, shown: ended.shown })
    }
}

impl<'a> BatchCall<'a> {
    /// The same with what the request's `_meta` says about the protocol, where its own says nothing.
    fn of(mut self, request: &Request<'a>) -> Self {
        let Params::Object(ParamsObject { meta: Some(whole), .. }) = &request.params else {
            return self;
        };
        let own = self.params.meta.take().unwrap_or_default();
        let about_protocol = |member: &&Member<'a>| {
            member.name.starts_with(PROTOCOL_PREFIX) && !own.has(&member.name)
        };
        let more: Vec<_> = whole.members().iter().filter(about_protocol).cloned().collect();
        self.params.meta = Some(own.clone().and(more));
        self
    }

    fn facts(&self) -> CallFacts<'_> {
        CallFacts { tool: &self.tool, arguments: self.params.object.get("arguments") }
    }

    fn line(&self, id: u64, customer: Option<&str>) -> Vec<u8> {
        let arguments = self.params.object.get("arguments");
        to_server::tool_call(&self.tool, arguments, self.params.meta.as_ref(), id, customer)
    }
}

/// Reads the calls; the error is the message to give.
fn read_calls(calls: Option<&str>, calls_max: usize) -> Result<Vec<BatchCall<'_>>, String> {
    let items = calls.and_then(object::items);
    let items = items.ok_or("Invalid params: \"calls\" array is required")?;
    if items.is_empty() {
        return Err("Invalid batch: empty calls array".to_owned());
    }
    if items.len() > calls_max {
        let count = items.len();
        return Err(format!(
            "Invalid batch: {count} calls, but at most {calls_max} are allowed (maxBatchCalls)"
        ));
    }
    items.into_iter().enumerate().map(|(index, item)| read_call(index, item)).collect()
}

fn read_call(index: usize, item: &str) -> Result<BatchCall<'_>, String> {
    if !item.starts_with('{') {
        return Err(format!("Invalid batch: calls[{index}] is not an object"));
    }
    let params = ParamsObject::read_call(item).map_err(|name| {
        format!("Invalid batch: calls[{index}]: \"{name}\" occurs twice or in a second spelling")
    })?;
    if params.meta.as_ref().is_some_and(|meta| meta.has(IDEMPOTENCY_META)) {
        return Err(format!(
            "Invalid batch: calls[{index}]: \"{IDEMPOTENCY_META}\" belongs into the _meta of the batch"
        ));
    }
    if params.object.has("task") {
        return Err(format!("Invalid batch: calls[{index}]: {NO_TASKS}"));
    }
    let tool = params.object.get("name").and_then(string).filter(|tool| !tool.is_empty());
    let tool =
        tool.ok_or_else(|| format!("Invalid batch: calls[{index}] has no name that is a string"))?;
    if is_too_long(&tool) {
        return Err(format!("Invalid batch: calls[{index}]: {}", too_long()));
    }
    Ok(BatchCall { tool, params })
}

/// The result of a batch but for its end, which shows a number of the moment: see [`closed`].
pub(super) fn results<'a>(tools: impl Iterator<Item = &'a str>, ran: &Outcomes) -> Vec<u8> {
    let Outcomes { outcomes, charged } = ran;
    let mut text = b"{\"results\":[".to_vec();
    for (index, ((tool, outcome), charged)) in tools.zip(outcomes).zip(charged).enumerate() {
        text.extend_from_slice(if index == 0 { b"{\"tool\":" } else { b",{\"tool\":" });
        push_json(&mut text, tool);
        push_outcome(&mut text, outcome);
        text.extend_from_slice(format!(",\"creditsCharged\":{charged}}}").as_bytes());
    }
    let total = charged.iter().fold(0_i64, |sum, charged| sum.saturating_add(*charged));
    text.extend_from_slice(format!("],\"totalCreditsCharged\":{total}").as_bytes());
    text
}

fn closed(results: &[u8], shown: Shown) -> Vec<u8> {
    let remaining = shown.reading.map_or(0, |reading| reading.available);
    [results, format!(",\"remainingCredits\":{remaining}}}").as_bytes()].concat()
}

fn push_outcome(text: &mut Vec<u8>, outcome: &Outcome) {
    let error = match outcome {
        Err(failure) => fault::upstream(*failure),
        Ok(answer) => match (answer.result_text(), answer.error_text()) {
            (Some(result), _) => match incomplete(result) {
                Some(error) => error,
                None => return push_raw(text, "result", result),
            },
            (None, Some(error)) => return push_raw(text, "error", error),
            (None, None) => fault::upstream(Failure::Malformed),
        },
    };
    text.extend_from_slice(b",\"error\":");
    push_json(text, &error);
}

fn push_raw(text: &mut Vec<u8>, member: &str, json: &str) {
    text.extend_from_slice(format!(",\"{member}\":").as_bytes());
    text.extend_from_slice(json.as_bytes());
}

/// A batch cannot go on later.
fn incomplete(result: &str) -> Option<ErrorObjectOwned> {
    if ResultKind::of(result) != ResultKind::InputRequired {
        return None;
    }
    let message = "The tool asked for more input, which a batch cannot carry on; use tools/call; \
                   nothing was charged";
    Some(fault::internal(message, "input_required", None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::from_server::FromServer;
    use crate::store::Reading;

    #[test]
    fn what_is_no_batch_is_said() {
        let cases = [
            (None, r#"Invalid params: "calls" array is required"#),
            (Some("{}"), r#"Invalid params: "calls" array is required"#),
            (Some("[ ]"), "Invalid batch: empty calls array"),
            (Some("[1,2,3]"), "Invalid batch: 3 calls, but at most 2 are allowed (maxBatchCalls)"),
            (Some(r#"[{"name":"a"},null]"#), "Invalid batch: calls[1] is not an object"),
            (Some(r#"[{"name":5}]"#), "Invalid batch: calls[0] has no name that is a string"),
            (Some("[{}]"), "Invalid batch: calls[0] has no name that is a string"),
            (
                Some(r#"[{"name":"a","task":{}}]"#),
                r#"Invalid batch: calls[0]: calls of a batch cannot be tasks; leave "task" out"#,
            ),
            (
                Some(r#"[{"name":"a","Arguments":{}}]"#),
                r#"Invalid batch: calls[0]: "arguments" occurs twice or in a second spelling"#,
            ),
        ];
        let long = format!(r#"[{{"name":"{}"}}]"#, "n".repeat(257));
        let too_long = "Invalid batch: calls[0]: the tool name is longer than 256 bytes";
        for (calls, message) in cases.into_iter().chain([(Some(long.as_str()), too_long)]) {
            assert_eq!(read_calls(calls, 2).unwrap_err(), message);
        }
    }

    #[test]
    fn a_call_is_sent_with_its_own_members_only() {
        let calls = read_calls(
            Some(r#"[{"x":1,"arguments":{"a":1.0},"_meta":{"progressToken":"p"},"name":"t"}]"#),
            2,
        );
        let line = calls.unwrap()[0].line(9, None);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            concat!(
                r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"t","#,
                r#""arguments":{"a":1.0},"_meta":{"progressToken":9}}}"#
            )
        );
    }

    #[test]
    fn results_are_raw_and_add_up() {
        let calls = read_calls(Some(r#"[{"name":"a"},{"name":"b"},{"name":"c"}]"#), 9).unwrap();
        let answered = |body: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#);
            match FromServer::read(line.as_bytes()) {
                FromServer::Answer(answer) => Ok(answer),
                other => panic!("{other:?}"),
            }
        };
        let ran = Outcomes {
            outcomes: vec![
                answered(r#""result":{"n":1.50}"#),
                answered(r#""error":{"code":5,"message":"no"}"#),
                Err(Failure::Timeout),
            ],
            charged: vec![3, 0, 0],
        };
        let shown =
            Shown { reading: Some(Reading { available: 7, rate: None }), ..Shown::default() };
        let tools = calls.iter().map(|call| call.tool.as_ref());
        assert_eq!(
            String::from_utf8(closed(&results(tools, &ran), shown)).unwrap(),
            concat!(
                r#"{"results":[{"tool":"a","result":{"n":1.50},"creditsCharged":3},"#,
                r#"{"tool":"b","error":{"code":5,"message":"no"},"creditsCharged":0},"#,
                r#"{"tool":"c","error":{"code":-32603,"message":"The MCP server did not answer in time; nothing was charged","#,
                r#""data":{"reason":"timeout"}},"creditsCharged":0}],"totalCreditsCharged":3,"remainingCredits":7}"#
            )
        );
        let input = answered(r#""result":{"resultType":"input_required"}"#);
        let mut text = Vec::new();
        push_outcome(&mut text, &input);
        assert!(String::from_utf8(text).unwrap().contains(r#""data":{"reason":"input_required"}"#));
    }
}
