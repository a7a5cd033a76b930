//! `subscriptions/listen`: streams that stay open.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::support::{Paygate, TASKS, eventually, modern_request};
use super::{dual, key};

/// An open stream.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(paygate: &Paygate, key: &str, filter: &Value) -> Self {
        let params = json!({"notifications": filter});
        let request = modern_request(key, "subscriptions/listen", &params);
        Self(BufReader::new(request.open(&paygate.address).expect("it can be sent")))
    }

    /// The next message; nothing once the stream has ended.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        while self.0.read_line(&mut line).expect("it can be read") > 0 {
            if let Some(data) = line.strip_prefix("data:") {
                return Some(serde_json::from_str(data.trim()).expect("JSON"));
            }
            line.clear();
        }
        None
    }
}

fn cancelled(paygate: &Paygate) -> usize {
    paygate.setup().child_log().iter().filter(|(what, _)| what == "cancelled").count()
}

#[test]
fn each_is_told_what_it_asked_for_under_its_own_id() {
    let paygate = dual().start();
    let (mine, other) = (key(&paygate), key(&paygate));
    let mut first = Stream::open(&paygate, &mine, &json!({"toolsListChanged": true}));
    let acknowledged = first.next().expect("an acknowledgement");
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    let meta = &acknowledged["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/subscriptionId"], 1, "{acknowledged}");
    let mut second = Stream::open(&paygate, &other, &json!({"promptsListChanged": true}));
    second.next().expect("an acknowledgement");

    let call = paygate.modern_call(&other, "change", &json!({}));
    assert_eq!(call.tool_text(), "changed");
    let told = first.next().expect("a notification");
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);

    drop(first);
    eventually("the server is told that nobody listens", || cancelled(&paygate) == 1);
    // The other stream was told nothing; it ends with Paygate, which does not wait for it.
    let started = std::time::Instant::now();
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    assert!(started.elapsed().as_secs() < 10, "the stop waited for a stream");
    let last = second.next().expect("an answer");
    assert_eq!(
        (&last["id"], &last["result"]["resultType"]),
        (&json!(1), &json!("complete")),
        "{last}"
    );
    assert!(second.next().is_none());
    drop(setup);
}

#[test]
fn a_stream_ends_with_its_key_and_with_its_server() {
    let paygate = dual().start();
    let (mine, other) = (key(&paygate), key(&paygate));
    let mut stream = Stream::open(&paygate, &mine, &json!({"toolsListChanged": true}));
    stream.next().expect("an acknowledgement");
    assert_eq!(paygate.admin_post("/keys/revoke", &json!({"key": mine})).status, 200);
    let last = stream.next().expect("an answer");
    assert_eq!(last["error"]["code"], -31402, "{last}");
    assert!(stream.next().is_none());

    let mut stream = Stream::open(&paygate, &other, &json!({}));
    stream.next().expect("an acknowledgement");
    paygate.modern_call(&other, "crash", &json!({}));
    let last = stream.next().expect("an answer");
    assert_eq!(last["error"]["data"]["reason"], "upstream_exited", "{last}");
    paygate.stop().expect_success();
}

#[test]
fn streams_need_a_key_and_are_bounded() {
    let paygate = dual().start();
    let key = key(&paygate);
    let refused = paygate.modern("", "subscriptions/listen", &json!({"notifications": {}}));
    assert_eq!(refused.error_code(), -31402);
    let streams: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = Stream::open(&paygate, &key, &json!({}));
            stream.next().expect("an acknowledgement");
            stream
        })
        .collect();
    let refused = paygate.modern(&key, "subscriptions/listen", &json!({"notifications": {}}));
    assert_eq!(refused.error_reason(), "upstream_unavailable", "{}", refused.text());
    drop(streams);
    eventually("there is room again", || cancelled(&paygate) == 16);
    let mut stream = Stream::open(&paygate, &key, &json!({}));
    stream.next().expect("an acknowledgement");
    paygate.stop().expect_success();
}

#[test]
fn tasks_are_told_to_their_customer_alone_and_paid_before() {
    let paygate = dual().start();
    let (mine, other) = (key(&paygate), key(&paygate));
    let made = paygate.modern_call(&mine, "later", &json!({"ms": 600_000, "nonce": "n"})).json();
    let task = made["result"]["taskId"].clone();
    let mut stranger = Stream::open(&paygate, &other, &json!({"taskIds": [task, "task-0"]}));
    let acknowledged = stranger.next().expect("an acknowledgement");
    assert_eq!(acknowledged["params"]["notifications"]["taskIds"], json!([]), "{acknowledged}");
    let mut stream = Stream::open(&paygate, &mine, &json!({"taskIds": [task]}));
    let acknowledged = stream.next().expect("an acknowledgement");
    assert_eq!(acknowledged["params"]["notifications"]["taskIds"], json!([task]), "{acknowledged}");

    let update =
        paygate.modern(&mine, "tasks/update", &json!({"taskId": task, "inputResponses": {}}));
    assert_eq!(update.status, 200, "{}", update.text());
    let told = stream.next().expect("a notification");
    assert_eq!(
        (&told["method"], &told["params"]["taskId"]),
        (&json!("notifications/tasks"), &task)
    );
    assert_eq!(told["params"]["result"]["content"][0]["text"], "n");
    assert_eq!(paygate.balance(&mine)["totalSpent"], 3);
    // Asked for once more, it is paid already.
    assert_eq!(
        paygate.modern(&mine, "tasks/get", &json!({"taskId": task})).json()["result"]["status"],
        "completed"
    );
    assert_eq!(paygate.credits(&mine), 97);
    assert!(TASKS.contains("tasks"));
    paygate.stop().expect_success();
}
