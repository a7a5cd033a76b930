//! Framing: arrays, bounds, and what is no message.

use super::*;

#[test]
fn arrays_are_of_one_version() {
    let both = json!([{"jsonrpc": "2.0", "id": "1", "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
        {"jsonrpc": "2.0", "id": "2", "method": "tools/call", "params": {"name": "instant"}}]);
    let mut client = Client::begun(&setup(), "2025-03-26");
    client.say(&both);
    let answers = client.next();
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, ["1", "2"]);
    client.leave();

    let mut client = Client::begun(&setup(), "2025-06-18");
    client.say(&both);
    assert_eq!(client.next()["error"]["code"], -32600);
    client.leave();
}

#[test]
fn what_is_no_message_is_answered_and_the_next_one_counts() {
    let setup = setup().config(json!({"maxBodyBytes": 4096}));
    let mut client = Client::begun(&setup, "2025-11-25");
    for (bytes, code) in [
        (&b"not JSON\n"[..], -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}\n", -32700),
        (b"5\n", -32600),
        (b"{\"id\":1}\n", -32600),
    ] {
        client.write(bytes);
        let answer = client.next();
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    let long = "x".repeat(4096);
    client.call("long", "instant", &json!({"nonce": long}));
    let answer = client.next();
    assert!(answer["error"]["message"].as_str().unwrap().contains("4096 bytes"), "{answer}");
    client.write(b"\n \r\n");
    // A message may come in pieces, two in one.
    let pings = "{\"jsonrpc\":\"2.0\",\"id\":\"é\",\"method\":\"ping\"}\n".repeat(2);
    let (first, second) = pings.as_bytes().split_at(24);
    client.write(first);
    client.write(second);
    assert_eq!([client.next()["id"].clone(), client.next()["id"].clone()], ["é", "é"]);
    assert_eq!(client.leave().code, Some(0));
}

#[test]
fn a_server_that_spreads_its_answer_is_put_on_one_line() {
    let setup = setup();
    let mut client = Client::begun(&setup, "2025-11-25");
    for number in 0..200 {
        client.call(&number.to_string(), "big", &json!({"bytes": 50_000}));
    }
    // Nothing is read for a while, which keeps nobody but this client waiting.
    let mut ids: Vec<String> =
        (0..200).map(|_| client.next()["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(ids.last().map(String::as_str), Some("199"));
    assert_eq!(client.leave().code, Some(0));
}
