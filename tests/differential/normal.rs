//! A message without what Paygate is documented to change. Everything else stays byte for byte.

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
}

/// The id of a request that the server sends, as it is written.
pub fn asked_id(message: &str) -> Option<String> {
    let envelope: Envelope<'_> = serde_json::from_str(message).ok()?;
    envelope.method?;
    envelope.id.map(|id| id.get().to_owned())
}

/// The message with a fixed id where it is a request of the server or quotes one, and without prices.
pub fn normal(message: &str) -> String {
    let text = match asked_id(message) {
        Some(id) => message.replacen(&format!("\"id\":{id}"), "\"id\":\"ASKED\"", 1),
        None => message.to_owned(),
    };
    let text = without_number_after(text, "{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"id\\\":");
    let text = without_member(text, ",\"_pricing\":");
    without_member(text, ",\"_meta\":{\"dev.paygate/pricing\":")
}

/// The server quotes the reply to its own request, and that has the id that the server knows.
fn without_number_after(mut text: String, quoted: &str) -> String {
    if let Some(start) = text.find(quoted).map(|start| start + quoted.len()) {
        let digits = text[start..].chars().take_while(char::is_ascii_digit).count();
        text.replace_range(start..start + digits, "ASKED");
    }
    text
}

/// Cuts every member that begins like this, up to the end of its value.
fn without_member(mut text: String, begins: &str) -> String {
    while let Some(start) = text.find(begins) {
        let value = &text[start + begins.len()..];
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<&RawValue>();
        let Some(Ok(found)) = values.next() else { return text };
        let end = start + begins.len() + found.get().len();
        // A whole `_meta` goes with its only member.
        let end = if begins.contains("_meta") { end + 1 } else { end };
        text.replace_range(start..end, "");
    }
    text
}

#[test]
fn only_prices_and_the_servers_own_ids_are_taken_out() {
    let listed = r#"{"id":1,"tools":[{"name":"a","_pricing":{"n":{}},"_meta":{"dev.paygate/pricing":{"n":{}}}},{"name":"b"}]}"#;
    assert_eq!(normal(listed), r#"{"id":1,"tools":[{"name":"a"},{"name":"b"}]}"#);
    assert_eq!(normal(r#"{"id":5,"method":"ping"}"#), r#"{"id":"ASKED","method":"ping"}"#);
    let plain = r#"{"id":5.0,"result":{"_meta":{"x":1.0}}}"#;
    assert_eq!(normal(plain), plain);
    assert_eq!(asked_id(plain), None);
    let quoting = r#"{"text":"{\"jsonrpc\":\"2.0\",\"id\":12,\"result\":{}}"}"#;
    assert!(normal(quoting).contains(r#"\"id\":ASKED,\"result"#), "{}", normal(quoting));
}
