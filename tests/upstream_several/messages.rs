//! What servers say unasked, and what they ask.

use super::*;

#[tokio::test]
async fn progress_comes_under_the_token_of_the_call() {
    let (link, heard) = start_two().await;
    let (one, other) = (
        send(&link, "tools/call", json!({"name": "a:progress"})),
        send(&link, "tools/call", json!({"name": "b:progress"})),
    );
    let ids = [one.id(), other.id()];
    one.answer().await.unwrap();
    other.answer().await.unwrap();
    for id in ids {
        let told: Vec<_> = heard.all().into_iter().filter(|(_, call)| *call == Some(id)).collect();
        let progress: Vec<_> =
            told.iter().map(|(message, _)| message["params"].to_string()).collect();
        let expected = [1, 2].map(|n| json!({"progressToken": id, "progress": n}).to_string());
        assert_eq!(progress, expected);
    }
    link.stop(CEILING).await;
}

#[tokio::test]
async fn questions_with_the_same_id_get_their_own_answers() {
    let (link, heard) = start_two().await;
    let pendings = ["a", "b"]
        .map(|server| send(&link, "tools/call", json!({"name": format!("{server}:ask")})));
    until("both questions", async || heard.all().len() == 2).await;
    let asked = heard.all();
    assert_ne!(asked[0].0["id"], asked[1].0["id"]);
    for (question, _) in &asked {
        assert_eq!(question["params"]["_meta"]["progressToken"], question["id"]);
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": question["id"], "progress": 1}});
        link.notify(progress.to_string().into_bytes()).await;
        let reply = json!({"jsonrpc": "2.0", "id": question["id"],
            "result": {"to": question["params"]["from"]}});
        link.notify(reply.to_string().into_bytes()).await;
    }
    for (pending, server) in pendings.into_iter().zip(["a", "b"]) {
        let answer = pending.answer().await.unwrap();
        let result: Value = serde_json::from_str(answer.result_text().unwrap()).unwrap();
        let reply = json!({"jsonrpc": "2.0", "id": "q", "result": {"to": server}});
        assert_eq!(result, json!({"server": server, "reply": reply}));
        let progress = heard_by(&link, server, "notifications/progress").await;
        assert_eq!(progress[0]["params"], json!({"progressToken": 0, "progress": 1}));
    }
    link.stop(CEILING).await;
}

#[tokio::test]
async fn other_notifications_pass_and_withdrawn_questions_keep_their_id() {
    let (link, heard) = start_two().await;
    let say = |method: &str, params: Value| json!({"method": method, "params": params});
    let log = json!({"level": "info", "data": "é", "logger": "l"});
    call(&link, "b:say", say("notifications/message", log.clone())).await;
    assert_eq!(heard.first("notifications/message").await.0["params"], log);
    let updated = json!({"uri": "x://b"});
    call(&link, "b:say", say("notifications/resources/updated", updated.clone())).await;
    assert_eq!(heard.first("notifications/resources/updated").await.0["params"], updated);
    let status = json!({"taskId": "1", "status": "working"});
    call(&link, "b:say", say("notifications/tasks/status", status)).await;
    let told = heard.first("notifications/tasks/status").await.0["params"]["taskId"].clone();
    let told = told.as_str().unwrap();
    assert!(told.starts_with("b:") && told.ends_with(".1"), "{told}");

    let _waits = send(&link, "tools/call", json!({"name": "b:ask"}));
    let (question, _) = heard.first("sampling/createMessage").await;
    call(&link, "a:say", say("notifications/cancelled", json!({"requestId": "q"}))).await;
    call(&link, "b:say", say("notifications/cancelled", json!({"requestId": "q"}))).await;
    let (cancelled, _) = heard.first("notifications/cancelled").await;
    assert_eq!(cancelled["params"], json!({"requestId": question["id"]}));
    link.stop(CEILING).await;
}
