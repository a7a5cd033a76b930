//! Requests: whose they are, and what of them changes on the way.

use super::*;

#[tokio::test]
async fn the_servers_introduce_themselves_as_one() {
    let (link, _) = start_two().await;
    let first: Value = serde_json::from_str(&link.first_result().unwrap()).unwrap();
    assert_eq!(first["protocolVersion"], "2025-06-18", "the oldest");
    assert_eq!(first["serverInfo"]["name"], "All of them");
    assert_eq!(first["instructions"], "a: I am a.\n\nb: I am b.");
    let experimental = json!({"a": {"number": 1.0}, "b": {"number": 1.0}});
    assert_eq!(first["capabilities"]["experimental"], experimental);
    assert_eq!(first["capabilities"]["resources"], json!({"subscribe": true, "listChanged": true}));
    assert!(link.tools().contains("a:echo") && link.tools().contains("b:echo"));
    assert!(!link.tools().contains("echo"));
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_call_reaches_its_server_as_the_client_wrote_it() {
    let (link, _) = start_two().await;
    let slot = link.reserve().unwrap();
    let arguments = r#"{"z":1.50e0, "a":{"name":"b:echo"},"big":123456789012345678901234567890}"#;
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{{"name":"b:echo","arguments":{arguments},"x":1}}}}"#,
        slot.id()
    );
    let answer = slot.send(call.into_bytes(), CEILING).answer().await.unwrap();
    assert!(answer.result_text().unwrap().contains(r#""server": "b""#), "{}", answer.line());
    let heard = heard_by(&link, "b", "tools/call").await;
    let expected: Value =
        serde_json::from_str(&format!(r#"{{"name":"echo","arguments":{arguments},"x":1}}"#))
            .unwrap();
    assert_eq!(heard[0]["params"], expected);
    assert!(heard_by(&link, "a", "tools/call").await.len() == 1, "a was only asked what it heard");

    let refused = error(&link, "tools/call", json!({"name": "echo"})).await;
    assert_eq!(refused["code"], -32602);
    assert!(refused["message"].as_str().unwrap().contains("must be prefixed"), "{refused}");
    link.stop(CEILING).await;
}

#[tokio::test]
async fn many_calls_to_both_are_answered_each_to_its_caller() {
    let (link, _) = start_two().await;
    let pendings: Vec<_> = (0..400)
        .map(|n| {
            let name = if n % 2 == 0 { "a:echo" } else { "b:echo" };
            let params = json!({"name": name, "arguments": {"n": n}});
            (n, tokio::spawn(send(&link, "tools/call", params).answer()))
        })
        .collect();
    for (n, pending) in pendings {
        let answer = pending.await.unwrap().unwrap();
        let result: Value = serde_json::from_str(answer.result_text().unwrap()).unwrap();
        let server = if n % 2 == 0 { "a" } else { "b" };
        assert_eq!(result, json!({"server": server, "arguments": {"n": n}}));
    }
    assert_eq!(link.in_flight(), 0);
    link.stop(CEILING).await;
}

#[tokio::test]
async fn lists_are_of_all_and_go_on_where_a_server_has_more() {
    let (link, _) = start(vec![server("a", &["paged"]), server("b", &[])]).await;
    let page = result(&link, "tools/list", json!({})).await;
    let first = names(&page["tools"]);
    assert_eq!(first.len(), 14, "four of a and all of b: {first:?}");
    assert!(first.contains(&"a:echo") && first.contains(&"b:make_task"));
    let cursor = &page["nextCursor"];
    let page = result(&link, "tools/list", json!({"cursor": cursor})).await;
    let second = names(&page["tools"]);
    assert!(second.len() == 6 && second.iter().all(|name| name.starts_with("a:")), "{second:?}");
    assert!(page.get("nextCursor").is_none(), "{page}");
    let refused = error(&link, "tools/list", json!({"cursor": "two"})).await;
    assert_eq!(refused["code"], -32602, "{refused}");

    let prompts = result(&link, "prompts/list", json!({})).await;
    assert_eq!(names(&prompts["prompts"]), ["a:greet", "b:greet"]);
    let resources = result(&link, "resources/list", json!({})).await;
    let uris: Vec<_> =
        resources["resources"].as_array().unwrap().iter().map(|r| r["uri"].clone()).collect();
    assert_eq!(uris, ["x://a", "common://b", "x://b"], "nothing twice");
    let templates = result(&link, "resources/templates/list", json!({})).await;
    assert_eq!(templates["resourceTemplates"].as_array().unwrap().len(), 2);
    link.stop(CEILING).await;
}

#[tokio::test]
async fn prompts_and_completions_go_by_name() {
    let (link, _) = start_two().await;
    let prompt = result(&link, "prompts/get", json!({"name": "b:greet", "x": 1})).await;
    assert_eq!(prompt, json!({"server": "b", "params": {"name": "greet", "x": 1}}));
    let reference = json!({"type": "ref/prompt", "name": "b:greet", "title": "t"});
    let params = json!({"ref": reference, "argument": {"name": "n", "value": "v"}});
    let completed = result(&link, "completion/complete", params).await;
    assert_eq!(completed["server"], "b");
    let own = json!({"type": "ref/prompt", "name": "greet", "title": "t"});
    assert_eq!(completed["params"]["ref"], own);
    let params = json!({"ref": {"type": "ref/resource", "uri": "t-b://{x}"}});
    let completed = result(&link, "completion/complete", params.clone()).await;
    assert_eq!(completed, json!({"server": "b", "params": params}));
    link.stop(CEILING).await;
}

#[tokio::test]
async fn resources_go_by_uri() {
    let (link, _) = start_two().await;
    let mut read = Vec::new();
    for uri in ["x://a", "x://b", "t-b://b", "nobody-lists://b"] {
        let result = result(&link, "resources/read", json!({"uri": uri})).await;
        read.push(result["contents"][0]["text"].clone());
    }
    assert_eq!(read, ["a", "b", "b", "b"]);
    // Both list it; it is the first one's, which refuses it.
    let refused = error(&link, "resources/read", json!({"uri": "common://b"})).await;
    assert_eq!(refused["message"], "a: no resource common://b");
    let refused = error(&link, "resources/read", json!({"uri": "nobody-lists://c"})).await;
    assert_eq!(refused["message"], "a: no resource nobody-lists://c");

    result(&link, "resources/subscribe", json!({"uri": "t-b://b"})).await;
    assert_eq!(heard_by(&link, "b", "resources/subscribe").await.len(), 1);
    assert!(heard_by(&link, "a", "resources/subscribe").await.is_empty());
    result(&link, "resources/unsubscribe", json!({"uri": "t-b://b"})).await;
    assert_eq!(heard_by(&link, "b", "resources/unsubscribe").await.len(), 1);
    link.stop(CEILING).await;
}

#[tokio::test]
async fn tasks_carry_their_server_in_their_id() {
    let (link, _) = start_two().await;
    let made = call(&link, "b:make_task", json!({})).await;
    assert_eq!(made["task"]["taskId"], "b:1");
    let got = result(&link, "tasks/get", json!({"taskId": "b:1"})).await;
    assert_eq!((&got["taskId"], &got["server"]), (&"b:1".into(), &"b".into()));
    assert_eq!(heard_by(&link, "b", "tasks/get").await[0]["params"]["taskId"], "1");
    assert_eq!(error(&link, "tasks/get", json!({"taskId": "1"})).await["code"], -32602);
    link.stop(CEILING).await;
}

#[tokio::test]
async fn what_concerns_all_goes_to_all() {
    let (link, _) = start_two().await;
    result(&link, "logging/setLevel", json!({"level": "error"})).await;
    link.notify(br#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#.to_vec()).await;
    for server in ["a", "b"] {
        until("the notification", async || {
            heard_by(&link, server, "notifications/roots/list_changed").await.len() == 1
        })
        .await;
        assert_eq!(heard_by(&link, server, "logging/setLevel").await.len(), 1);
        assert_eq!(heard_by(&link, server, "notifications/initialized").await.len(), 1);
    }
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_its_server() {
    let (link, _) = start_two().await;
    let pending = send(&link, "tools/call", json!({"name": "b:hold"}));
    assert!(link.cancel(pending.id(), "enough"));
    assert_eq!(pending.answer().await.unwrap_err(), Failure::Cancelled);
    let dropped = send(&link, "tools/call", json!({"name": "b:hold"}));
    drop(dropped);
    let mut cancelled = Vec::new();
    until("both cancellations", async || {
        cancelled = heard_by(&link, "b", "notifications/cancelled").await;
        cancelled.len() == 2
    })
    .await;
    let held = heard_by(&link, "b", "tools/call").await;
    let held: Vec<_> = held.iter().filter(|call| call["params"]["name"] == "hold").collect();
    for (held, cancelled) in held.iter().zip(&cancelled) {
        assert_eq!(held["id"], cancelled["params"]["requestId"]);
    }
    assert_eq!(cancelled[0]["params"]["reason"], "enough");
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_server_that_hangs_keeps_the_lists_of_the_others_back_for_a_moment_only() {
    let (link, _) = start(vec![server("a", &["mute"]), server("b", &[])]).await;
    let began = Instant::now();
    let page = result(&link, "tools/list", json!({})).await;
    assert!(names(&page["tools"]).iter().all(|name| name.starts_with("b:")), "{page}");
    assert!(began.elapsed() < Duration::from_secs(25));
    link.stop(CEILING).await;
}
