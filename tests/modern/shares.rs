//! What costs nothing has places of its own at the shared server, and nobody has all of them.

use std::net::TcpStream;

use serde_json::json;

use super::support::{Paygate, Request, eventually, modern_request, rpc_request};
use super::{dual, key};

#[test]
fn who_lets_free_requests_hang_keeps_nobody_from_what_is_free() {
    for request in [modern_request, rpc_request] {
        let paygate = dual().start();
        let (broke, other) = (paygate.create_key(&json!({"credits": 0})).0, key(&paygate));
        let read = |key: &str, uri: &str| request(key, "resources/read", &json!({"uri": uri}));
        let hangs: Vec<TcpStream> =
            (0..128).map(|_| open(&paygate, &read(&broke, "test://hang"))).collect();
        eventually("its share is taken", || {
            paygate.send(&read(&broke, "test://ok")).error_reason() == "upstream_unavailable"
        });
        for answer in [
            paygate.send(&read(&other, "test://ok")),
            paygate.send(&request("", "tools/list", &json!({}))),
        ] {
            assert!(answer.json()["result"].is_object(), "{}", answer.text());
        }
        drop(hangs);
    }
}

fn open(paygate: &Paygate, request: &Request) -> TcpStream {
    request.open(&paygate.address).expect("it can be sent")
}
