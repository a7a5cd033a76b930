//! JSON-RPC texts for clients. Ids go back exactly as the client wrote them.

use super::object::{Object, replaced};

pub use jsonrpsee_types::{ErrorCode, ErrorObject, ErrorObjectOwned};

/// The id of an answer to something whose id is unknown.
pub const NO_ID: &str = "null";

/// An error answer. `id` is JSON text.
pub fn error(id: &str, error: &ErrorObject<'_>) -> Vec<u8> {
    let mut text = opened(id, "error", 128 + error.message().len());
    push_json(&mut text, error);
    text.push(b'}');
    text
}

/// An error answer. `id` and `error` are JSON text.
pub fn raw_error(id: &str, error: &str) -> Vec<u8> {
    let mut text = opened(id, "error", error.len());
    text.extend_from_slice(error.as_bytes());
    text.push(b'}');
    text
}

/// A result answer. `id` and `result` are JSON text.
pub fn result(id: &str, result: &[u8]) -> Vec<u8> {
    let mut text = opened(id, "result", result.len());
    text.extend_from_slice(result);
    text.push(b'}');
    text
}

/// A progress notification of a server with the client's own token in the place of ours.
/// `None` if it has no token.
pub fn progress(line: &[u8], token: &str) -> Option<Vec<u8>> {
    with_param(line, "progressToken", token)
}

/// A message of a server with another value (JSON text) for a parameter, and nothing else changed.
/// `None` if it has no such parameter.
pub fn with_param(line: &[u8], name: &str, value: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    let params = Object::read(Object::read(text).ok()?.get("params")?).ok()?;
    Some(replaced(text, params.get(name)?, value))
}

/// A request of a server under an id of ours (JSON text), and nothing else changed. `None` if it has
/// no id.
pub fn with_id(line: &[u8], id: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    Some(replaced(text, Object::read(text).ok()?.get("id")?, id))
}

/// A notification without parameters.
pub fn notification(method: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#).into_bytes()
}

fn opened(id: &str, member: &str, more: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(40 + id.len() + more);
    text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    text.extend_from_slice(id.as_bytes());
    text.extend_from_slice(b",\"");
    text.extend_from_slice(member.as_bytes());
    text.extend_from_slice(b"\":");
    text
}

/// Writes a value as JSON. Strings and error objects, which this is for, cannot fail.
pub fn push_json<T: serde::Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) {
    let start = text.len();
    if serde_json::to_writer(&mut *text, value).is_err() {
        text.truncate(start);
        text.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_carries_the_clients_token_and_every_other_byte() {
        let line = br#"{"method":"notifications/progress","params":{"progress":1.50,"progressToken":4711,"x":{"progressToken":4711}},"jsonrpc":"2.0"}"#;
        assert_eq!(
            String::from_utf8(progress(line, r#""a\u0041""#).unwrap()).unwrap(),
            r#"{"method":"notifications/progress","params":{"progress":1.50,"progressToken":"a\u0041","x":{"progressToken":4711}},"jsonrpc":"2.0"}"#
        );
        assert!(progress(b"[]", "1").is_none());
        let asked = br#"{"params":{"id":1}, "id" : 1,"jsonrpc":"2.0","method":"x"}"#;
        assert_eq!(
            String::from_utf8(with_id(asked, "77").unwrap()).unwrap(),
            r#"{"params":{"id":1}, "id" : 77,"jsonrpc":"2.0","method":"x"}"#
        );
    }

    #[test]
    fn answers_carry_the_id_as_it_was_written() {
        let refused = ErrorObject::owned(-32602, "no \"x\"", Some(serde_json::json!({"a": 1})));
        assert_eq!(
            String::from_utf8(error("1.50", &refused)).unwrap(),
            r#"{"jsonrpc":"2.0","id":1.50,"error":{"code":-32602,"message":"no \"x\"","data":{"a":1}}}"#
        );
        assert_eq!(
            String::from_utf8(result(r#""a\u0041""#, b"{}")).unwrap(),
            r#"{"jsonrpc":"2.0","id":"a\u0041","result":{}}"#
        );
    }
}
