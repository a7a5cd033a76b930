//! Request lines for a guarded server. Paygate writes the envelope itself (version, id, method,
//! tool name, progress token); everything else goes on as the client wrote it.

use super::from_client::{Params, ParamsObject, Request};
use super::object::{Member, Object, string};
use super::to_client::push_json;

/// The line for a client's request, with our id, which is also its progress token.
pub fn request(request: &Request<'_>, id: u64) -> Vec<u8> {
    let mut line = opened(id, &request.method, request.size());
    match &request.params {
        Params::Absent => {}
        Params::Array(items) => {
            line.extend_from_slice(b",\"params\":");
            push_raw(&mut line, items);
        }
        Params::Object(params) => {
            line.extend_from_slice(b",\"params\":");
            push_params(&mut line, params, id);
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
) -> Vec<u8> {
    let mut line = opened(id, "tools/call", tool.len() + arguments.map_or(0, str::len) + 64);
    line.extend_from_slice(b",\"params\":{\"name\":");
    push_json(&mut line, tool);
    if let Some(arguments) = arguments {
        line.extend_from_slice(b",\"arguments\":");
        push_raw(&mut line, arguments);
    }
    if let Some(meta) = meta {
        line.extend_from_slice(b",\"_meta\":");
        push_meta(&mut line, meta, id);
    }
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

fn push_params(line: &mut Vec<u8>, params: &ParamsObject<'_>, id: u64) {
    push_object(line, params.object.members(), |line, member| {
        match (member.name.as_ref(), &params.meta) {
            ("name", _) => match string(member.value) {
                Some(name) => push_pair(line, "name", |line| push_json(line, name.as_ref())),
                None => push_member(line, member),
            },
            ("_meta", Some(meta)) => push_pair(line, "_meta", |line| push_meta(line, meta, id)),
            _ => push_member(line, member),
        }
    });
}

fn push_meta(line: &mut Vec<u8>, meta: &Object<'_>, id: u64) {
    push_object(line, meta.members(), |line, member| match member.name.as_ref() {
        "progressToken" => push_pair(line, "progressToken", |line| {
            line.extend_from_slice(id.to_string().as_bytes());
        }),
        _ => push_member(line, member),
    });
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

fn push_pair(line: &mut Vec<u8>, name: &str, push: impl FnOnce(&mut Vec<u8>)) {
    push_json(line, name);
    line.push(b':');
    push(line);
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
