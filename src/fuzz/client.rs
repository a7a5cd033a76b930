//! Messages from clients: what is read is what a server will read, however careless it is.

use crate::protocol::from_client::{self, Incoming, Message, Params, Request};
use crate::protocol::object::{Object, string};
use crate::protocol::to_server;

/// The id under which lines go to the server here.
const OUR_ID: u64 = 4711;

/// A body on `/mcp`.
pub fn client_message(bytes: &[u8]) {
    match from_client::read(bytes) {
        Ok(Incoming::Single(message)) => check(&message),
        Ok(Incoming::Batch(entries)) => {
            for entry in entries {
                match Message::read(entry) {
                    Ok(message) => check(&message),
                    Err(invalid) => assert_json(&invalid.text()),
                }
            }
        }
        Err(invalid) => assert_json(&invalid.text()),
    }
}

fn check(message: &Message<'_>) {
    let Message::Request(request) = message else { return };
    check_line(request, &to_server::request(request, OUR_ID, None));
    if let Params::Object(params) = &request.params
        && let Some(tool) = request.param("name").and_then(string)
        && request.method == "tools/call"
    {
        let arguments = params.object.get("arguments");
        let line = to_server::tool_call(&tool, arguments, params.meta.as_ref(), OUR_ID, None);
        check_line(request, &line);
    }
}

/// The line is one JSON text in one line, and a reader that ignores the case of names, stops at a
/// NUL, and takes either of two members of one name finds our id and the method and name that
/// Paygate found.
fn check_line(request: &Request<'_>, line: &[u8]) {
    assert_json(line);
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'), "a line end within a line");
    let text = std::str::from_utf8(line).unwrap_or_default();
    assert_eq!(careless(text, "id"), [OUR_ID.to_string()]);
    let methods = careless(text, "method");
    assert!(methods.len() == 1 && string(&methods[0]).is_some_and(|m| m == request.method));
    let found = request.param("name").and_then(string);
    for params in careless(text, "params") {
        for name in careless(&params, "name") {
            assert_eq!(string(&name), found, "two readers find two names");
        }
        for meta in careless(&params, "_meta") {
            for token in careless(&meta, "progressToken") {
                assert_eq!(token, OUR_ID.to_string(), "a client's token reaches the server");
            }
        }
    }
}

/// Every value that a careless reader could find under this name.
fn careless(text: &str, wanted: &str) -> Vec<String> {
    let Ok(object) = Object::read(text) else { return Vec::new() };
    let folded = |name: &str| {
        let name: String = name.split('\0').next().unwrap_or_default().chars().collect();
        name.replace('\u{17f}', "s").replace('\u{212a}', "k").to_ascii_lowercase()
    };
    let members = object.members().iter();
    let found = members.filter(|member| folded(&member.name) == folded(wanted));
    found.map(|member| member.value.to_owned()).collect()
}

/// It is JSON, as far as that can be said without decoding it.
pub(super) fn assert_json(text: &[u8]) {
    let read = serde_json::from_slice::<&serde_json::value::RawValue>(text);
    assert!(read.is_ok(), "not JSON: {}", String::from_utf8_lossy(text));
}
