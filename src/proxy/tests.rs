//! The life of a call against a real child and ephemeral books.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::gate::{Policy, ToolPolicy};
use crate::model::ids::KeyId;
use crate::model::key::{IpAllowlist, Key, ToolList};
use crate::model::secret::RawKey;
use crate::store::clock;
use crate::store::local::{LocalOptions, LocalStore};
use crate::upstream::{ChildOptions, Hello, Kind, LinkOptions};

const KEY: &str = "a-key-for-tests-0001";
pub(super) const CREDITS: i64 = 100;
pub(super) const PRICE: i64 = 3;

pub(super) struct Bench {
    proxy: Arc<Proxy>,
    pub(super) store: Arc<LocalStore>,
    key: KeyId,
}

pub(super) fn options() -> ProxyOptions {
    let mut policy = Policy { default_price: PRICE, key_rate: 50, ..Policy::default() };
    policy.tools.insert("env".into(), ToolPolicy::new("env", Some(0), 1, 0));
    ProxyOptions { policy, refuse_unlisted_tools: false, ..ProxyOptions::default() }
}

pub(super) async fn bench(options: ProxyOptions) -> Bench {
    bench_with(options, bounds::CHILD_CALLS_MAX).await
}

async fn bench_with(options: ProxyOptions, calls_max: usize) -> Bench {
    let store = LocalStore::open(&LocalOptions::default(), clock::now()).unwrap();
    let raw = RawKey::parse(KEY).unwrap();
    let key = Key {
        suspended: false,
        team: None,
        id: KeyId::from_random([7; 8]),
        digest: raw.digest(),
        ends: raw.ends(),
        old: None,
        name: "test".into(),
        namespace: "default".into(),
        created_at: clock::now(),
        active: true,
        spending_limit: 0,
        allowed_tools: ToolList::default(),
        denied_tools: ToolList::from_names(["hidden", "été"].into_iter()),
        expires_at: None,
        quota: None,
        tags: BTreeMap::new(),
        ip_allowlist: IpAllowlist::default(),
        revision: 0,
    };
    let id = key.id.clone();
    store.create_key(key, CREDITS, None.into(), clock::now()).await.unwrap();
    let mut child = ChildOptions::new("python3");
    child.arguments =
        vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstream_child.py").into()];
    child.environment = std::env::vars_os().collect();
    let mut options_of_link = LinkOptions::new("fixture", Kind::Child(Arc::new(child)));
    options_of_link.calls_max = calls_max;
    let server = Server::new(options_of_link, 2);
    let ear = Arc::new(Ear::default());
    let link = server.link(Hello::Initialize(None), Arc::clone(&ear) as _).await.unwrap();
    let store = Arc::new(store);
    let books: Arc<dyn Store> = Arc::<LocalStore>::clone(&store);
    Bench { proxy: Arc::new(Proxy::new(options, books, server, link, ear)), store, key: id }
}

impl Bench {
    fn inbound(body: &str, credential: Option<&str>) -> Inbound {
        Inbound {
            body: Bytes::copy_from_slice(body.as_bytes()),
            credential: credential.map(str::to_owned),
            address: "127.0.0.1".parse().unwrap(),
            protocol_version: None,
            headers: None,
            takes_events: false,
            idempotency_key: None,
            session: None,
        }
    }

    pub(super) async fn send(&self, message: &Value) -> Reply {
        self.proxy.handle(Self::inbound(&message.to_string(), Some(KEY))).await
    }

    pub(super) async fn call(&self, tool: &str, arguments: Value) -> (Value, Shown) {
        let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}});
        let message =
            json!({"jsonrpc": "2.0", "id": "mine", "method": "tools/call", "params": params});
        answer(self.send(&message).await)
    }

    pub(super) async fn available(&self) -> i64 {
        self.proxy.store.account(&self.key).await.unwrap().available()
    }
}

pub(super) fn answer(reply: Reply) -> (Value, Shown) {
    match reply {
        Reply::Message(answer) | Reply::Opened(_, answer) => {
            (serde_json::from_slice(&answer.text).unwrap(), answer.shown)
        }
        other => panic!("{other:?}"),
    }
}

fn denied(reply: Reply) -> (String, Box<Refused>) {
    match reply {
        Reply::Denied(refused) => (refused.denied.denial.to_string(), refused),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn outcomes_cost_what_the_table_says() {
    let mut options = options();
    options.tool_timeouts.insert("never".into(), Duration::from_millis(50));
    let bench = bench(options).await;

    let (paid, shown) = bench.call("echo", json!({"n": 1.5})).await;
    assert_eq!(paid, json!({"jsonrpc": "2.0", "id": "mine", "result": {"n": 1.5}}));
    let left = CREDITS - PRICE;
    assert!(shown.call.is_some());
    assert_eq!((shown.reading.unwrap().available, shown.rate().unwrap().remaining), (left, 49));

    let (error, shown) = bench.call("error", json!({})).await;
    assert_eq!(
        error,
        json!({"jsonrpc": "2.0", "id": "mine", "error": {"code": -32602, "message": "no"}})
    );
    assert_eq!((shown.reading.unwrap().available, shown.rate().unwrap().remaining), (left, 48));

    let (tool_error, _) = bench.call("echo", json!({"isError": true})).await;
    assert_eq!(tool_error["result"]["isError"], true);

    for (tool, reason) in
        [("never", "timeout"), ("broken", "malformed_answer"), ("die", "upstream_exited")]
    {
        let (failed, shown) = bench.call(tool, json!({})).await;
        assert_eq!(failed["error"]["code"], -32603, "{failed}");
        assert_eq!(failed["error"]["data"]["reason"], reason);
        assert!(shown.call.is_some() && shown.reading.is_some());
    }
    assert_eq!(bench.available().await, left);
    assert_eq!(bench.proxy.store.account(&bench.key).await.unwrap().held(), 0);
    assert_eq!(bench.proxy.in_flight(), 0);
}

#[tokio::test]
async fn without_refunds_an_answer_that_failed_is_paid() {
    let bench = bench(ProxyOptions { refund_on_failure: false, ..options() }).await;
    bench.call("error", json!({})).await;
    bench.call("echo", json!({"isError": true})).await;
    bench.call("broken", json!({})).await;
    assert_eq!(bench.available().await, CREDITS - 2 * PRICE);
}

#[tokio::test]
async fn a_batch_ends_call_by_call() {
    let bench = bench(options()).await;
    let calls = json!([
        {"name": "echo", "arguments": {"n": 1}},
        {"name": "error"},
        {"name": "echo", "arguments": {"resultType": "task"}},
        {"name": "env", "arguments": {}},
    ]);
    let batch = |calls: &Value| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call_batch", "params": {"calls": calls}});
    let (result, shown) = answer(bench.send(&batch(&calls)).await);
    let result = &result["result"];
    let charged: Vec<_> = result["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["creditsCharged"].clone())
        .collect();
    assert_eq!(charged, [json!(PRICE), json!(0), json!(0), json!(0)]);
    assert_eq!(result["results"][0]["result"], json!({"n": 1}));
    assert_eq!(result["results"][1]["error"], json!({"code": -32602, "message": "no"}));
    assert_eq!(result["results"][2]["error"]["data"]["reason"], "malformed_answer");
    assert_eq!(result["totalCreditsCharged"], PRICE);
    assert_eq!(result["remainingCredits"], CREDITS - PRICE);
    assert_eq!(shown.reading.unwrap().available, CREDITS - PRICE);

    let (reason, refused) = denied(bench.send(&batch(&calls)).await);
    assert_eq!(reason, "tool_rate_limited: env limited to 1 calls/min");
    assert_eq!((refused.denied.failed_index, refused.batch_calls), (3, Some(4)));
    assert!(refused.retry_after_ms.is_some() && refused.shown.reading.is_some());
    assert_eq!(bench.proxy.denials().snapshot().by_tool["env"], 1);
}

#[tokio::test]
async fn what_is_refused_costs_nothing() {
    let bench = bench(ProxyOptions { refuse_unlisted_tools: true, ..options() }).await;
    let (unknown, shown) = bench.call("Echo", json!({})).await;
    assert_eq!(unknown["error"]["message"], "Unknown tool: Echo");
    assert_eq!((shown.call, shown.reading.unwrap().available), (None, CREDITS));

    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}})
            .to_string();
    let (reason, refused) = denied(bench.proxy.handle(Bench::inbound(&call, None)).await);
    assert_eq!(
        (reason.as_str(), refused.id.as_str(), refused.is_tool_call),
        ("missing_api_key", "1", true)
    );
    assert!(refused.shown.reading.is_none());
    let (reason, _) = denied(bench.proxy.handle(Bench::inbound(&call, Some("wrong"))).await);
    assert_eq!(reason, "invalid_api_key");
    let read =
        json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {}}).to_string();
    let (reason, _) = denied(bench.proxy.handle(Bench::inbound(&read, None)).await);
    assert_eq!(reason, "missing_api_key");
    let silent = json!({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "echo"}});
    assert!(matches!(bench.send(&silent).await, Reply::Accepted));
    assert_eq!(bench.available().await, CREDITS);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_its_call_with_it() {
    let bench = bench(options()).await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "hold", "arguments": {}}});
    let gone = tokio::time::timeout(Duration::from_millis(100), bench.send(&message)).await;
    assert!(gone.is_err());
    assert_eq!((bench.proxy.in_flight(), bench.available().await), (1, CREDITS - PRICE));
    bench.call("release", json!({})).await;
    while bench.proxy.in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let account = bench.proxy.store.account(&bench.key).await.unwrap();
    assert_eq!((account.available(), account.held()), (CREDITS - 2 * PRICE, 0));
}

#[tokio::test]
async fn a_cancelled_call_is_free_and_keeps_its_rate() {
    let bench = bench(options()).await;
    let message =
        json!({"jsonrpc": "2.0", "id": "7", "method": "tools/call", "params": {"name": "hold"}});
    let cancel = |id: Value| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    let cancelling = async {
        while bench.proxy.link().in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        bench.send(&cancel(json!(7))).await;
        loop {
            bench.send(&cancel(json!("7"))).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (cancelled, shown) = tokio::select! {
        reply = bench.send(&message) => answer(reply),
        () = cancelling => unreachable!(),
    };
    assert_eq!(cancelled["error"]["data"]["reason"], "cancelled");
    assert_eq!((shown.reading.unwrap().available, shown.rate().unwrap().remaining), (CREDITS, 49));
}

#[tokio::test]
async fn shadow_mode_refuses_nothing_and_charges_nothing() {
    let mut options = options();
    options.policy.shadow = true;
    options.policy.default_price = CREDITS + 1;
    options.tool_timeouts.insert("été".into(), Duration::from_millis(50));
    let bench = bench(options).await;
    for tool in ["echo", "env", "env", "été"] {
        let (answer, shown) = bench.call(tool, json!({"a": 1})).await;
        assert!(answer["error"].is_null() || tool == "été", "{answer}");
        assert!(shown.call.is_some(), "{tool}");
        assert_eq!(shown.reading.unwrap().available, CREDITS);
    }
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let (result, shown) = answer(bench.proxy.handle(Bench::inbound(&call.to_string(), None)).await);
    assert_eq!((&result["result"], shown.call), (&json!({}), None));
}

#[tokio::test]
async fn free_methods_and_lists() {
    let bench = bench(options()).await;
    let ask = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let (pong, shown) = answer(bench.send(&ask("ping", json!({}))).await);
    assert_eq!((&pong["result"], shown.reading.unwrap().available), (&json!({}), CREDITS));
    let hello = ask("initialize", json!({"protocolVersion": "2024-11-05"})).to_string();
    let (result, shown) = answer(bench.proxy.handle(Bench::inbound(&hello, None)).await);
    assert_eq!(result["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(result["result"]["serverInfo"]["name"], "fixture");
    assert!(shown.reading.is_none());
    let list = ask("tools/list", json!({"cursor": "1"}));
    let names = |reply| {
        let (list, _) = answer(reply);
        let tools = list["result"]["tools"].as_array().unwrap().clone();
        assert!(tools.iter().all(|tool| tool["_pricing"] == tool["_meta"]["dev.paygate/pricing"]));
        tools
            .iter()
            .map(|tool| tool["_pricing"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(bench.send(&list).await), ["env"]);
    let anonymous = bench.proxy.handle(Bench::inbound(&list.to_string(), None)).await;
    assert_eq!(names(anonymous), ["été", "env"]);

    let strict = self::bench(ProxyOptions { require_key_for_all: true, ..options() }).await;
    let (reason, _) = denied(strict.proxy.handle(Bench::inbound(&hello, None)).await);
    assert_eq!(reason, "missing_api_key");
}

#[tokio::test]
async fn an_array_is_handled_entry_by_entry() {
    let bench = bench(options()).await;
    let call = |id: i64, tool: &str| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {"i": id}}});
    let ping = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let body = json!([call(1, "echo"), ping, call(2, "été"), 5, call(3, "echo")]);
    let Reply::Several(several) = bench.send(&body).await else { panic!("not several") };
    let [first, second, third, fourth] = several.parts.as_slice() else { panic!("{several:?}") };
    let text = |part: &Part| match part {
        Part::Message(answer) => String::from_utf8(answer.text.clone()).unwrap(),
        Part::Denied(refused) => refused.denied.denial.to_string(),
    };
    let first: Value = serde_json::from_str(&text(first)).unwrap();
    assert_eq!(first, json!({"jsonrpc": "2.0", "id": 1, "result": {"i": 1}}));
    assert_eq!(text(second), "tool_denied: été is in deniedTools");
    assert!(text(third).contains("-32600"));
    assert!(text(fourth).contains("\"id\": 3"));
    assert_eq!(several.shown.reading.unwrap().available, CREDITS - 2 * PRICE);

    assert!(matches!(bench.send(&json!([ping])).await, Reply::Accepted));
    let newer = Inbound {
        protocol_version: Some("2025-06-18".into()),
        ..Bench::inbound(&body.to_string(), Some(KEY))
    };
    assert!(matches!(bench.proxy.handle(newer).await, Reply::Malformed(_)));
    assert_eq!(bench.available().await, CREDITS - 2 * PRICE);
}

fn ask(id: i64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[tokio::test]
async fn what_belongs_to_a_connection_is_not_forwarded() {
    // The child answers none of these, so one that were forwarded would end with a timeout.
    let options = ProxyOptions { request_timeout: Duration::from_millis(50), ..options() };
    let bench = bench(options).await;
    let methods = [
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "tasks/cancel",
        "tasks/",
        "resources/subscribe",
        "resources/unsubscribe",
        "logging/setLevel",
    ];
    for method in methods {
        let request = ask(1, method, &json!({"taskId": "1", "uri": "a:b", "level": "debug"}));
        let (refused, _) = answer(bench.send(&request).await);
        assert_eq!(refused["error"]["code"], -32601, "{method}: {refused}");
        let stranger = Bench::inbound(&request.to_string(), None);
        assert_eq!(denied(bench.proxy.handle(stranger).await).0, "missing_api_key");
    }
    let (forwarded, _) = answer(bench.send(&ask(1, "resources/read", &json!({}))).await);
    assert_eq!(forwarded["error"]["data"]["reason"], "timeout");
}

#[tokio::test]
async fn without_a_session_tasks_are_neither_asked_for_nor_paid() {
    let bench = bench(options()).await;
    for task in [json!({"ttl": 1000}), json!({}), json!(null)] {
        let call = json!({"name": "echo", "arguments": {}, "task": task});
        for (method, params) in
            [("tools/call", call.clone()), ("tools/call_batch", json!({"calls": [call]}))]
        {
            let (refused, shown) = answer(bench.send(&ask(1, method, &params)).await);
            assert_eq!(refused["error"]["code"], -32602, "{refused}");
            assert!(refused["error"]["message"].as_str().unwrap().contains("leave \"task\" out"));
            assert!(shown.call.is_none());
        }
    }
    let created = json!({"task": {"taskId": "1", "status": "working"}});
    for result in [created, json!({"resultType": "task"})] {
        let (failed, shown) = bench.call("echo", result).await;
        assert_eq!(failed["error"]["code"], -32603, "{failed}");
        assert_eq!(failed["error"]["data"]["reason"], "malformed_answer");
        assert!(shown.call.is_some());
    }
    assert_eq!(bench.available().await, CREDITS);
}

#[tokio::test]
async fn a_cancellation_at_once_frees_calls_and_batches() {
    let bench = bench(options()).await;
    let calls = json!({"calls": [{"name": "hold"}, {"name": "hold"}]});
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    for (method, params, rate) in
        [("tools/call", json!({"name": "hold"}), 49), ("tools/call_batch", calls, 47)]
    {
        let request = ask(1, method, &params);
        let both = async { tokio::join!(bench.send(&request), bench.send(&cancel)) };
        let both = tokio::time::timeout(Duration::from_secs(5), both).await;
        let (cancelled, shown) = answer(both.expect("an answer").0);
        assert_eq!(cancelled["error"]["data"]["reason"], "cancelled", "{cancelled}");
        let shown = shown.reading.unwrap();
        assert_eq!((shown.available, shown.rate.unwrap().remaining), (CREDITS, rate));
    }
    assert_eq!(bench.proxy.link().in_flight(), 0);
}

#[tokio::test]
async fn free_requests_leave_room_for_paid_calls() {
    let bench = bench_with(options(), 8).await;
    let read = ask(1, "resources/read", &json!({}));
    let proxy = Arc::clone(&bench.proxy);
    let body = read.to_string();
    // The child never answers it, so it keeps the one place.
    let first = tokio::spawn(async move { proxy.handle(Bench::inbound(&body, Some(KEY))).await });
    while bench.proxy.link().in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    let list = ask(2, "tools/list", &json!({}));
    for (request, credential) in [(&list, None), (&list, Some(KEY)), (&read, Some(KEY))] {
        let inbound = Bench::inbound(&request.to_string(), credential);
        let (busy, _) = answer(bench.proxy.handle(inbound).await);
        let data = json!({"reason": "upstream_unavailable", "retryAfterMs": 1000});
        assert_eq!((&busy["error"]["code"], &busy["error"]["data"]), (&json!(-32603), &data));
    }
    let calls = json!({"calls": vec![json!({"name": "echo"}); 7]});
    let (paid, _) = answer(bench.send(&ask(3, "tools/call_batch", &calls)).await);
    assert_eq!(paid["result"]["totalCreditsCharged"], 7 * PRICE, "{paid}");
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    bench.send(&cancel).await;
    first.await.unwrap();
    let (listed, _) = answer(bench.send(&list).await);
    assert!(listed["result"]["tools"].is_array(), "{listed}");
}
