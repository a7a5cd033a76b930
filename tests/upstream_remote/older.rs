//! The HTTP+SSE transport of 2024-11-05.

use super::*;

fn older(endpoint: &'static str) -> Manners {
    Manners { older: Some(endpoint), ..Manners::default() }
}

#[tokio::test]
async fn an_older_server_is_found_out_and_spoken_to() {
    let (link, server, heard) = start_heard(older("/message?sessionId=7")).await;
    assert!(link.status().is_ready() && link.tools().contains("echo"));
    let slot = link.reserve().unwrap();
    let line = json!({"jsonrpc": "2.0", "id": slot.id(), "method": "ping"});
    slot.send(line.to_string().into_bytes(), CEILING).answer().await.unwrap();
    server
        .handler
        .said
        .send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n".to_owned())
        .unwrap();
    until("it is heard", || heard.notes.lock().unwrap().len() == 1).await;

    let order: Vec<_> = server
        .requests
        .lock()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", it.method, it.path))
        .collect();
    assert_eq!(order[..3], ["POST /mcp", "GET /mcp", "POST /message?sessionId=7"]);
    assert!(
        received(&server, |request| request.header("authorization")
            != Some("Bearer operators-own"))
        .is_empty()
    );
    link.stop(CEILING).await;
}

#[tokio::test]
async fn the_end_of_its_stream_is_the_end_of_the_connection() {
    let (link, server, heard) = start_heard(older("/message?sessionId=7")).await;
    server.handler.said.send(String::new()).unwrap();
    until("the server is greeted again", || *heard.restarts.lock().unwrap() == 1).await;
    wait_for(&link, Status::is_ready).await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_refused() {
    for endpoint in ["http://127.0.0.1:9/message", "//other.example/message"] {
        let server = server(older(endpoint)).await;
        let error = Link::start(options(&server)).await.unwrap_err();
        let StartError::Remote { trouble: Trouble::NotMcp(why), .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(why, "its endpoint is not a URL of the same server");
    }
}
