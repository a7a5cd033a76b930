//! What a server says unasked, and streams that break.

use super::*;

fn notes(heard: &Heard) -> Vec<(String, Option<u64>)> {
    heard.notes.lock().unwrap().clone()
}

#[tokio::test]
async fn notifications_of_a_call_pass_at_once_and_belong_to_it() {
    let (link, server, heard) = start_heard(Manners::default()).await;
    let pending = send(&link, "progress", &json!({}), CEILING);
    let id = pending.id();
    until("three words of progress before the answer", || notes(&heard).len() == 3).await;
    let expected: Vec<_> = (1..=3)
        .map(|n| {
            (format!(r#"notifications/progress {{"progress":{n},"progressToken":{id}}}"#), Some(id))
        })
        .collect();
    assert_eq!(notes(&heard), expected);
    until("the call listens", || server.handler.said.send("go on".to_owned()).is_ok()).await;
    pending.answer().await.unwrap();
    link.stop(CEILING).await;
}

#[tokio::test]
async fn the_sessions_own_stream_is_read_and_taken_up_where_it_broke() {
    let manners = Manners { has_stream: true, ..Manners::default() };
    let (link, server, heard) = start_heard(manners).await;
    let streams = || server.handler.streams.lock().unwrap().clone();
    until("the stream is open", || streams().len() == 1).await;
    let asked = received(&server, |request| request.method == "GET");
    assert_eq!(asked[0].header("accept"), Some("text/event-stream"));
    assert_eq!(asked[0].header("mcp-session-id"), Some("session-1"));
    assert_eq!(asked[0].header("authorization"), Some("Bearer operators-own"));

    let say = |text: &str| server.handler.said.send(text.to_owned()).unwrap();
    say("id: one\nretry: 51\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n");
    until("it is heard", || notes(&heard) == [("notifications/x ".to_owned(), None)]).await;
    say("id: two\ndata: {\"jsonrpc\":");
    say("");
    until("the stream is taken up", || streams().len() == 2).await;
    assert_eq!(streams()[1].as_deref(), Some("one"), "what broke off does not count");
    say("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/y\"}\n\n");
    until("it is heard", || notes(&heard).len() == 2).await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_changed_list_of_tools_is_fetched_again() {
    let manners = Manners { has_stream: true, ..Manners::default() };
    let (link, server, _heard) = start_heard(manners).await;
    until("the stream is open", || server.handler.streams.lock().unwrap().len() == 1).await;
    let lists = || received(&server, |request| request.rpc() == "tools/list").len();
    assert_eq!(lists(), 1);
    server
        .handler
        .said
        .send(
            "data:{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\r\r"
                .to_owned(),
        )
        .unwrap();
    until("the list is fetched", || lists() == 2).await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn notifications_to_the_server_arrive_in_order() {
    let (link, server) = start(Manners::default()).await;
    for n in 0..50 {
        link.notify(
            json!({"jsonrpc": "2.0", "method": "notifications/n", "params": n}).to_string().into(),
        )
        .await;
    }
    let arrived = || -> Vec<_> {
        received(&server, |request| request.rpc() == "notifications/n")
            .iter()
            .map(|it| it.body["params"].as_u64().unwrap())
            .collect()
    };
    until("all have arrived", || arrived().len() == 50).await;
    assert!(arrived().is_sorted());
    link.stop(CEILING).await;
}
