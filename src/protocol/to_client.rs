//! JSON-RPC texts for clients. Ids go back exactly as the client wrote them.

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

/// A result answer. `id` and `result` are JSON text.
pub fn result(id: &str, result: &[u8]) -> Vec<u8> {
    let mut text = opened(id, "result", result.len());
    text.extend_from_slice(result);
    text.push(b'}');
    text
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
