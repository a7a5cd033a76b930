//! Request lines for a guarded server. Paygate writes the envelope itself (version, id, method,
//! tool name, progress token); everything else goes on as the client wrote it, but for what stands
//! under Paygate's own names in `_meta`: that is between the client and Paygate. Where the server is
//! told who its customer is, the name for that holds what Paygate says and nothing else.

use super::from_client::{Params, ParamsObject, Request};
use super::object::{Member, Object, replaced, string};
use super::spelling;
use super::to_client::push_json;

/// Where a server is told whose call it is.
pub const CUSTOMER_META: &str = "dev.paygate/customer";

/// The line for a client's request, with our id, which is also its progress token. `customer` is
/// JSON text.
pub fn request(request: &Request<'_>, id: u64, customer: Option<&str>) -> Vec<u8> {
    let mut line = opened(id, &request.method, request.size());
    match (&request.params, customer) {
        (Params::Absent, None) => {}
        (Params::Absent, Some(_)) => {
            line.extend_from_slice(b",\"params\":{\"_meta\":");
            push_meta(&mut line, &Object::default(), id, customer);
            line.push(b'}');
        }
        // MCP has no parameters by position, so there is nothing in them that means anything.
        (Params::Array(items), _) => {
            line.extend_from_slice(b",\"params\":");
            push_raw(&mut line, items);
        }
        (Params::Object(params), _) => {
            line.extend_from_slice(b",\"params\":");
            push_params(&mut line, params, id, customer);
        }
    }
    for member in &request.others {
        line.push(b',');
        push_member(&mut line, member);
    }
    line.push(b'}');
    line
}

/// The line for one call of a batch.
pub fn tool_call(
    tool: &str,
    arguments: Option<&str>,
    meta: Option<&Object<'_>>,
    id: u64,
    customer: Option<&str>,
) -> Vec<u8> {
    let mut line = opened(id, "tools/call", tool.len() + arguments.map_or(0, str::len) + 64);
    line.extend_from_slice(b",\"params\":{\"name\":");
    push_json(&mut line, tool);
    if let Some(arguments) = arguments {
        line.extend_from_slice(b",\"arguments\":");
        push_raw(&mut line, arguments);
    }
    if meta.is_some() || customer.is_some() {
        line.extend_from_slice(b",\"_meta\":");
        push_meta(&mut line, meta.unwrap_or(&Object::default()), id, customer);
    }
    line.extend_from_slice(b"}}");
    line
}

/// A client's message as one line, nothing else changed.
pub fn line(text: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len());
    push_raw(&mut line, text);
    line
}

/// A client's notification as one line, without what stands under Paygate's own names in `_meta`.
/// `None` if its parameters could be read in two ways.
pub fn notification(text: &str, params: &Params<'_>) -> Option<Vec<u8>> {
    let Params::Object(ParamsObject { object, meta: Some(meta) }) = params else {
        let is_ambiguous =
            matches!(params, Params::Absent) && Object::read(text).ok()?.has("params");
        return (!is_ambiguous).then(|| line(text));
    };
    let is_own = |member: &&Member<'_>| spelling::is_paygates_own(&member.name);
    if meta.members().iter().any(|member| is_own(&member)) {
        let mut kept = Vec::new();
        let mut list = List::open(&mut kept);
        meta.members().iter().filter(|member| !is_own(member)).for_each(|one| list.member(one));
        list.close();
        let kept = String::from_utf8(kept).ok()?;
        let text = String::from_utf8(replaced(text, object.get("_meta")?, &kept)).ok()?;
        return Some(line(&text));
    }
    Some(line(text))
}

/// A client's answer under the server's own id (JSON text); `id` is the part of `text` that it
/// replaces.
pub fn response(text: &str, id: &str, own_id: &str) -> Vec<u8> {
    let text = replaced(text, id, own_id);
    line(std::str::from_utf8(&text).unwrap_or_default())
}

/// Parameters as they were written but for the progress token, which becomes `token`.
pub fn params(params: &Params<'_>, token: u64) -> Vec<u8> {
    let mut text = Vec::new();
    match params {
        Params::Absent => text.extend_from_slice(b"{}"),
        Params::Array(items) => push_raw(&mut text, items),
        Params::Object(params) => push_params(&mut text, params, token, None),
    }
    text
}

/// The answer to a server's request that nobody will answer. `id` is the server's own.
pub fn unanswered(id: &str, why: &str) -> Vec<u8> {
    let mut line =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"message":"#).into_bytes();
    push_json(&mut line, why);
    line.extend_from_slice(b"}}");
    line
}

fn opened(id: u64, method: &str, more: usize) -> Vec<u8> {
    let mut line = Vec::with_capacity(80 + method.len() + more);
    line.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    line.extend_from_slice(id.to_string().as_bytes());
    line.extend_from_slice(b",\"method\":");
    push_json(&mut line, method);
    line
}

fn push_params(line: &mut Vec<u8>, params: &ParamsObject<'_>, id: u64, customer: Option<&str>) {
    let mut list = List::open(line);
    for member in params.object.members() {
        match (member.name.as_ref(), &params.meta) {
            ("name", _) => match string(member.value) {
                Some(name) => list.pair("name", |line| push_json(line, name.as_ref())),
                None => list.member(member),
            },
            ("_meta", Some(meta)) => list.pair("_meta", |line| push_meta(line, meta, id, customer)),
            // No object, so nobody's `_meta`: it makes room for ours.
            ("_meta", None) if customer.is_some() => {}
            _ => list.member(member),
        }
    }
    if params.meta.is_none() && customer.is_some() {
        list.pair("_meta", |line| push_meta(line, &Object::default(), id, customer));
    }
    list.close();
}

fn push_meta(line: &mut Vec<u8>, meta: &Object<'_>, id: u64, customer: Option<&str>) {
    let mut list = List::open(line);
    for member in meta.members() {
        match member.name.as_ref() {
            "progressToken" => list.pair("progressToken", |line| {
                line.extend_from_slice(id.to_string().as_bytes());
            }),
            name if spelling::is_paygates_own(name) => {}
            _ => list.member(member),
        }
    }
    if let Some(customer) = customer {
        list.pair(CUSTOMER_META, |line| line.extend_from_slice(customer.as_bytes()));
    }
    list.close();
}

/// Writes an object, each member by `push`.
pub fn push_object<'a>(
    line: &mut Vec<u8>,
    members: &[Member<'a>],
    push: impl Fn(&mut Vec<u8>, &Member<'a>),
) {
    line.push(b'{');
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        push(line, member);
    }
    line.push(b'}');
}

/// An object that is being written.
struct List<'a> {
    line: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> List<'a> {
    fn open(line: &'a mut Vec<u8>) -> Self {
        line.push(b'{');
        Self { line, is_empty: true }
    }

    fn member(&mut self, member: &Member<'_>) {
        self.next();
        push_member(self.line, member);
    }

    fn pair(&mut self, name: &str, push: impl FnOnce(&mut Vec<u8>)) {
        self.next();
        push_json(self.line, name);
        self.line.push(b':');
        push(self.line);
    }

    fn next(&mut self) {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.line.push(b',');
        }
    }

    fn close(self) {
        self.line.push(b'}');
    }
}

/// Writes a member's name as it was written, and the colon.
pub fn push_name(line: &mut Vec<u8>, member: &Member<'_>) {
    line.extend_from_slice(member.raw_name.as_bytes());
    line.push(b':');
}

/// Writes a member as it was written, without line breaks.
pub fn push_member(line: &mut Vec<u8>, member: &Member<'_>) {
    push_name(line, member);
    push_raw(line, member.value);
}

/// Copies JSON text without its line breaks. They stand between tokens only: parsing refused
/// control characters in strings, and two tokens are never parted by white space alone.
pub fn push_raw(line: &mut Vec<u8>, json: &str) {
    let mut rest = json.as_bytes();
    while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
        let (before, after) = rest.split_at(end);
        line.extend_from_slice(before);
        rest = after.get(1..).unwrap_or_default();
    }
    line.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::super::from_client::Message;
    use super::*;

    const CUSTOMER: &str = r#"{"id":"key_1"}"#;

    /// What of the line for a request with these parameters comes after the method.
    fn sent(params: &str, customer: Option<&str>) -> String {
        let params =
            if params.is_empty() { String::new() } else { format!(r#","params":{params}"#) };
        let text = format!(r#"{{"jsonrpc":"2.0","id":"a","method":"m"{params}}}"#);
        let Ok(Message::Request(read)) = Message::read(&text) else { panic!("{text}") };
        let line = String::from_utf8(request(&read, 7, customer)).unwrap();
        line.strip_prefix(r#"{"jsonrpc":"2.0","id":7,"method":"m""#).unwrap().to_owned()
    }

    #[test]
    fn what_is_said_under_our_names_is_ours() {
        // (parameters, without a customer, with one)
        let table = [
            ("", "}", r#","params":{"_meta":{"dev.paygate/customer":{"id":"key_1"}}}}"#),
            ("[1]", r#","params":[1]}"#, r#","params":[1]}"#),
            (
                r#"{"a":1.0}"#,
                r#","params":{"a":1.0}}"#,
                r#","params":{"a":1.0,"_meta":{"dev.paygate/customer":{"id":"key_1"}}}}"#,
            ),
            (
                r#"{"_meta":5,"a":1}"#,
                r#","params":{"_meta":5,"a":1}}"#,
                r#","params":{"a":1,"_meta":{"dev.paygate/customer":{"id":"key_1"}}}}"#,
            ),
            (
                r#"{"_meta":{"x":1,"dev.paygate/customer":{"id":"me"},"progressToken":"t","dev.paygate/y":2}}"#,
                r#","params":{"_meta":{"x":1,"progressToken":7}}}"#,
                r#","params":{"_meta":{"x":1,"progressToken":7,"dev.paygate/customer":{"id":"key_1"}}}}"#,
            ),
            (
                r#"{"_meta":{"Dev.PayGate\u002fcustomer":1,"dev.paygate\u0000/customer":2,"\u0000dev.paygate/c":3}}"#,
                r#","params":{"_meta":{}}}"#,
                r#","params":{"_meta":{"dev.paygate/customer":{"id":"key_1"}}}}"#,
            ),
        ];
        for (params, without, with) in table {
            assert_eq!(sent(params, None), without, "{params}");
            assert_eq!(sent(params, Some(CUSTOMER)), with, "{params}");
        }
    }

    #[test]
    fn calls_of_a_batch_are_told_too() {
        let meta = Object::read(r#"{"dev.paygate/customer":0,"k":1}"#).unwrap();
        let call =
            |meta, customer| String::from_utf8(tool_call("t", None, meta, 7, customer)).unwrap();
        assert!(call(None, None).ends_with(r#""params":{"name":"t"}}"#));
        assert!(call(Some(&meta), None).ends_with(r#""_meta":{"k":1}}}"#));
        let told = r#""_meta":{"dev.paygate/customer":{"id":"key_1"}}}}"#;
        assert!(call(None, Some(CUSTOMER)).ends_with(told));
    }
}
