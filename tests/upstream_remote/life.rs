//! Sessions that end, servers that go and come back, and servers that are none.

use super::*;

async fn start_error(manners: Manners) -> StartError {
    let server = server(manners).await;
    Link::start(options(&server)).await.unwrap_err()
}

#[tokio::test]
async fn an_ended_session_is_opened_again_and_nobody_notices() {
    for ends_with_400 in [false, true] {
        let manners = Manners { ends_with_400, has_stream: true, ..Manners::default() };
        let (link, server, heard) = start_heard(manners).await;
        server.handler.end_sessions();
        let both: Vec<_> =
            (0..10).map(|n| send(&link, "echo", &json!({"n": n}), CEILING)).collect();
        for pending in both {
            pending.answer().await.unwrap();
        }
        assert!(link.status().is_ready());
        let openings = || received(&server, |request| request.rpc() == "initialize");
        assert_eq!(openings().len(), 2, "one new session for all that found the old one ended");
        assert_eq!(openings()[1].header("mcp-session-id"), None);
        let ran = received(&server, |request| {
            request.rpc() == "tools/call" && request.header("mcp-session-id") == Some("session-2")
        });
        assert_eq!(ran.len(), 10, "each ran once");
        until("whoever listens is told", || *heard.restarts.lock().unwrap() == 1).await;
        until("the new session's stream is open", || {
            !received(&server, |request| {
                request.method == "GET" && request.header("mcp-session-id") == Some("session-2")
            })
            .is_empty()
        })
        .await;
        link.stop(CEILING).await;
        let ended = received(&server, |request| request.method == "DELETE");
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].header("mcp-session-id"), Some("session-2"));
    }
}

#[tokio::test]
async fn a_server_that_ends_every_session_at_once_is_given_up_and_tried_again() {
    let (link, server) = start(Manners::default()).await;
    server.handler.manners.lock().unwrap().forgets = true;
    server.handler.end_sessions();
    assert_eq!(call(&link, "echo", json!({})).await.unwrap_err(), Failure::Exited);
    wait_for(&link, |status| matches!(status, Status::Restarting { .. })).await;
    server.handler.manners.lock().unwrap().forgets = false;
    wait_for(&link, Status::is_ready).await;
    result(&link, "echo", json!({})).await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_noticed_and_found_again() {
    let (link, server) = start(Manners::default()).await;
    let address = server.address.clone();
    let waiting = send(&link, "never", &json!({}), CEILING);
    until("the call has arrived", || {
        !received(&server, |request| request.rpc() == "tools/call").is_empty()
    })
    .await;
    drop(server);
    assert_eq!(
        waiting.answer().await.unwrap_err(),
        Failure::Exited,
        "at once, with its connection"
    );
    let status = wait_for(
        &link,
        |status| matches!(status, Status::Restarting { attempt, .. } if *attempt > 1),
    )
    .await;
    let Status::Restarting { why, .. } = status else { panic!("{status:?}") };
    assert_eq!(&*why, "it cannot be reached");
    assert_eq!(link.reserve().unwrap_err(), Failure::Unavailable);
    let _server = listen(Arc::new(Mcp::new(Manners::default())), &address, None).await;
    wait_for(&link, Status::is_ready).await;
    result(&link, "echo", json!({})).await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn credentials_that_are_refused_later_are_seen_in_the_status() {
    let (link, server) = start(Manners::default()).await;
    server.handler.manners.lock().unwrap().refuses = Some((401, "", "who are you, operators-own?"));
    assert_eq!(call(&link, "echo", json!({})).await.unwrap_err(), Failure::Exited);
    let status = wait_for(
        &link,
        |status| matches!(status, Status::Restarting { attempt, .. } if *attempt > 1),
    )
    .await;
    let Status::Restarting { why, .. } = status else { panic!("{status:?}") };
    assert_eq!(&*why, "it refuses Paygate's credentials (HTTP 401)");
    server.handler.manners.lock().unwrap().refuses = None;
    wait_for(&link, Status::is_ready).await;
    link.stop(CEILING).await;
}

/// One customer's many calls must not end those of the others.
#[tokio::test]
async fn a_server_that_takes_no_more_for_now_keeps_its_calls_in_flight() {
    for status in [408, 429] {
        let manners = Manners { refuses_pings: Some(status), ..Manners::default() };
        let (link, server) = start(manners).await;
        let waiting = send(&link, "never", &json!({}), CEILING);
        until("the call has arrived", || {
            !received(&server, |request| request.rpc() == "tools/call").is_empty()
        })
        .await;
        let refused = call(&link, "status", json!({"status": status})).await;
        assert_eq!(refused.unwrap_err(), Failure::Exited);
        assert_eq!(call(&link, "hang_up", json!({})).await.unwrap_err(), Failure::Exited);
        let pings = || received(&server, |request| request.rpc() == "ping").len();
        until("the server is asked whether it is there", || pings() > 0).await;
        // A server that is given up has no answer to these any more.
        for _ in 0..2 {
            result(&link, "echo", json!({})).await;
        }
        assert!(link.status().is_ready(), "{status}: {:?}", link.status());
        assert_eq!(pings(), 1, "a refusal of the question is no reason to ask again");
        let (answer, ()) = tokio::join!(waiting.answer(), link.stop(Duration::ZERO));
        assert_eq!(answer.unwrap_err(), Failure::Exited);
    }
}

#[tokio::test]
async fn what_does_not_start_says_why() {
    let html = "Content-Type: text/html\r\n";
    let error = "Content-Type: application/json\r\n";
    let refused =
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no such version"}}"#;
    for (refuses, words) in [
        ((401, "", ""), &["HTTP 401", "upstreamHeaders"][..]),
        ((403, error, refused), &["HTTP 403", "upstreamHeaders"]),
        ((404, html, "<p>"), &["HTTP 404", "check the URL"]),
        ((405, "", ""), &["HTTP 405", "check the URL"]),
        ((500, "", ""), &["HTTP 500", "out of service"]),
        (
            (301, "Location: https://u:pass@other.example/mcp?token=x\r\n", ""),
            &["redirects to https://other.example/mcp?…", "follows no redirects"],
        ),
        ((200, html, "<p>"), &["does not answer as an MCP server", "text/html"]),
        ((202, "", ""), &["does not answer as an MCP server", "nothing"]),
        ((200, error, "{}"), &["does not answer as an MCP server", "no answer"]),
        ((400, error, refused), &["initialize", "no such version (-32602)"]),
    ] {
        let manners = Manners { refuses: Some(refuses), ..Manners::default() };
        let said = start_error(manners).await.to_string();
        assert!(said.contains("fixture") && said.contains("http://127.0.0.1:"), "{said}");
        assert!(!said.contains("pass") && !said.contains("operators-own"), "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
    let nobody = Link::start(options_to("http://127.0.0.1:1/mcp?key=hidden")).await.unwrap_err();
    let said = nobody.to_string();
    assert!(
        said.contains("http://127.0.0.1:1/mcp?… cannot be reached (Connection refused"),
        "{said}"
    );
    assert_eq!(nobody.brief(), "it cannot be reached");
    let nowhere = Link::start(options_to("http://no-such-host.invalid/mcp")).await.unwrap_err();
    assert!(nowhere.to_string().contains("cannot be reached"), "{nowhere}");
}

#[tokio::test]
async fn a_server_of_the_other_era_is_told_by_its_refusal() {
    let legacy = server(Manners { refuses: Some((400, "Content-Type: application/json\r\n",
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#)), ..Manners::default() }).await;
    let mut discover = options(&legacy);
    discover.hello = Hello::Discover;
    let error = Link::start(discover).await.unwrap_err();
    assert!(matches!(&error, StartError::Refused { method: "server/discover", .. }), "{error}");
    let error = start_error(Manners { modern: true, ..Manners::default() }).await;
    assert!(matches!(&error, StartError::Refused { method: "initialize", .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_not_waited_for_longer_than_a_start_may_take() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = options_to(&format!("http://{}/mcp", socket.local_addr().unwrap()));
    options.start_timeout = Duration::from_millis(50);
    let error = Link::start(options).await.unwrap_err();
    assert!(matches!(error, StartError::NoAnswer { method: "initialize", .. }), "{error}");
    assert!(error.to_string().contains("speaks Streamable HTTP or HTTP+SSE"), "{error}");
}

#[tokio::test]
async fn calls_in_flight_are_answered_within_the_grace_and_cut_off_after_it() {
    let (link, _server) = start(Manners::default()).await;
    let slow = send(&link, "slow", &json!({"ms": 100}), CEILING);
    let (answer, ()) = tokio::join!(slow.answer(), link.stop(CEILING));
    answer.unwrap();
    assert!(matches!(link.status(), Status::Stopped { .. }));

    let (link, server) = start(Manners::default()).await;
    let never = send(&link, "never", &json!({}), CEILING);
    until("the call has arrived", || {
        !received(&server, |request| request.rpc() == "tools/call").is_empty()
    })
    .await;
    let (answer, ()) = tokio::join!(never.answer(), link.stop(Duration::from_millis(50)));
    assert_eq!(answer.unwrap_err(), Failure::Exited);
    assert!(server.handler.sessions.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_link_that_is_dropped_leaves_no_connection() {
    let manners = Manners { has_stream: true, ..Manners::default() };
    let (link, server) = start(manners).await;
    let never = send(&link, "never", &json!({}), CEILING);
    until("the stream is open", || server.handler.streams.lock().unwrap().len() == 1).await;
    until("the call has arrived", || {
        !received(&server, |request| request.rpc() == "tools/call").is_empty()
    })
    .await;
    drop((link, never));
    until("the call's connection is closed", || server.handler.hung_up.lock().unwrap().len() == 1)
        .await;
    until("the session is ended", || server.handler.sessions.lock().unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_server_without_sessions_is_told_of_none() {
    let manners = Manners { names_sessions: false, ..Manners::default() };
    let (link, server) = start(manners).await;
    result(&link, "echo", json!({})).await;
    let arguments = json!({"status": 404});
    let outcome = call(&link, "status", arguments).await;
    assert_eq!(outcome.unwrap_err(), Failure::Malformed, "404 ends no session where there is none");
    link.stop(CEILING).await;
    assert_eq!(received(&server, |request| request.rpc() == "initialize").len(), 1);
    let names = |request: &Received| request.header("mcp-session-id").is_some();
    assert!(received(&server, |request| request.method == "DELETE" || names(request)).is_empty());
}
