//! A child's life: start, death, restart, and an end that leaves nothing behind.

use std::ffi::OsString;

use super::*;

#[tokio::test]
async fn a_child_that_dies_fails_its_calls_at_once_and_comes_back() {
    let link = start("normal").await;
    let waiting: Vec<_> = (0..20).map(|_| send(&link, "never", &json!({}), CEILING)).collect();
    let reserved = link.reserve().unwrap();
    let began = Instant::now();
    assert_eq!(call(&link, "die", json!({})).await.unwrap_err(), Failure::Exited);
    for pending in waiting {
        assert_eq!(pending.answer().await.unwrap_err(), Failure::Exited);
    }
    assert!(
        began.elapsed() < CEILING / 3,
        "the calls ended with the child, not with their timeout"
    );

    wait_for(&link, Status::is_ready).await;
    // What was reserved for the child that died does not go to the next one.
    let line = json!({"jsonrpc": "2.0", "id": reserved.id(), "method": "ping"}).to_string();
    assert_eq!(
        reserved.send(line.into_bytes(), CEILING).answer().await.unwrap_err(),
        Failure::Exited
    );
    assert_eq!(result(&link, "echo", json!({"a": 1})).await, json!({"a": 1}));
    link.stop(CEILING).await;
}

#[tokio::test]
async fn status_says_why_a_child_ended_and_how_often() {
    let mut options = options("normal");
    options.restart.wait_first = CEILING;
    let link = start_with(options).await;
    call(&link, "die", json!({})).await.unwrap_err();
    let status = wait_for(&link, |status| !status.is_ready()).await;
    assert_eq!(status, Status::Restarting { attempt: 1, why: "exit status: 3".into() });
    assert_eq!(link.reserve().unwrap_err(), Failure::Unavailable);
    let began = Instant::now();
    link.stop(CEILING).await;
    assert!(matches!(link.status(), Status::Stopped { .. }));
    assert!(began.elapsed() < CEILING / 3, "stopping does not wait for the restart");
}

#[tokio::test]
async fn an_answer_written_just_before_the_end_still_counts() {
    let link = start("normal").await;
    call(&link, "die_after_answer", json!({})).await.unwrap();
    wait_for(&link, |status| !status.is_ready()).await;
    wait_for(&link, Status::is_ready).await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_child_that_closes_its_stdout_is_replaced() {
    let link = start("normal").await;
    assert_eq!(call(&link, "close_stdout", json!({})).await.unwrap_err(), Failure::Exited);
    wait_for(&link, Status::is_ready).await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn the_handshake_is_kept_and_notifications_pass() {
    let link = start("normal").await;
    let initialize: Value = serde_json::from_str(&link.first_result().unwrap()).unwrap();
    assert_eq!(initialize["protocolVersion"], "2025-11-25");
    assert_eq!(initialize["client"]["name"], "paygate");
    link.notify(br#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#.to_vec()).await;
    let heard = result(&link, "heard", json!({})).await;
    let methods: Vec<_> = heard["heard"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["method"].as_str().unwrap())
        .collect();
    assert_eq!(
        methods,
        ["notifications/initialized", "tools/list", "tools/list", "notifications/x"]
    );
    link.stop(CEILING).await;
}

#[tokio::test]
async fn nothing_that_came_from_a_child_survives_its_stop() {
    let link = start_alone("normal").await;
    let pids = result(&link, "breed", json!({})).await["pids"].clone();
    assert!(!pids.as_array().unwrap().iter().any(is_gone));
    link.stop(Duration::from_secs(2)).await;
    for pid in pids.as_array().unwrap() {
        assert!(is_gone(pid), "{pids}: {pid} survived");
    }
}

#[tokio::test]
async fn nothing_that_came_from_a_child_survives_its_death() {
    let link = start_alone("normal").await;
    let pids = result(&link, "breed", json!({})).await["pids"].clone();
    call(&link, "die", json!({})).await.unwrap_err();
    wait_for(&link, Status::is_ready).await;
    assert!(pids.as_array().unwrap().iter().all(is_gone), "{pids}");
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_dropped_link_ends_its_child() {
    let link = start_alone("normal").await;
    let pids = result(&link, "breed", json!({})).await["pids"].clone();
    let mut status = link.watch();
    let Running { link, guard: _guard } = link;
    drop(link);
    let stopped = status.wait_for(|status| matches!(status, Status::Stopped { .. }));
    tokio::time::timeout(CEILING, stopped).await.unwrap().unwrap();
    assert!(pids.as_array().unwrap().iter().all(is_gone));
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed() {
    let link = start_alone("deaf").await;
    let pids = result(&link, "breed", json!({})).await["pids"].clone();
    let began = Instant::now();
    link.stop(Duration::from_millis(200)).await;
    assert!(began.elapsed() >= Duration::from_millis(200), "it had its grace");
    assert!(matches!(link.status(), Status::Stopped { .. }));
    assert!(pids.as_array().unwrap().iter().all(is_gone));
}

#[tokio::test]
async fn a_child_that_is_asked_to_stop_may_answer_first() {
    let link = start("normal").await;
    let pending = send(&link, "split", &json!({}), CEILING);
    let ((), answer) = tokio::join!(link.stop(CEILING), pending.answer());
    answer.unwrap();
}

#[tokio::test]
async fn a_child_that_cannot_start_says_why() {
    let missing = Link::start(link_to(ChildOptions::new("no-such-command"))).await.unwrap_err();
    assert!(
        matches!(&missing, StartError::NotFound { program, .. } if program == "no-such-command")
    );

    let not_a_program = Link::start(link_to(ChildOptions::new("/"))).await.unwrap_err();
    assert!(matches!(not_a_program, StartError::Spawn { .. }));

    let exited = Link::start(options("exit")).await.unwrap_err();
    let text = exited.to_string();
    assert!(matches!(exited, StartError::Exited { .. }));
    assert!(
        text.contains("exit status: 3") && text.contains("cannot find my licence file"),
        "{text}"
    );

    let mut mute = options("mute");
    mute.start_timeout = Duration::from_millis(100);
    let no_answer = Link::start(mute).await.unwrap_err();
    assert!(matches!(no_answer, StartError::NoAnswer { method: "initialize", .. }), "{no_answer}");

    let refused = Link::start(options("refuse")).await.unwrap_err();
    assert!(
        matches!(&refused, StartError::Refused { method: "initialize", .. })
            && refused.to_string().contains("no licence (-32000)")
    );

    let endless = Link::start(options("endless")).await.unwrap_err();
    assert!(
        matches!(&endless, StartError::BadAnswer { why, .. } if why.contains("pages")),
        "{endless}"
    );
}

#[tokio::test]
async fn the_child_sees_the_environment_without_what_is_paygates() {
    let mut child = child("normal");
    for name in ["PAYGATE_ADMIN_KEY", "PAYGATE_", "INHERITED", "OVERRIDDEN"] {
        child.environment.push((name.into(), OsString::from("parent")));
    }
    child.child_environment =
        vec![("OVERRIDDEN".into(), "child".into()), ("PAYGATE_WANTED".into(), "child".into())];
    let link = start_with(link_to(child)).await;
    let seen = result(&link, "env", json!({})).await;
    let seen = seen.as_object().unwrap();
    assert_eq!((&seen["INHERITED"], &seen["OVERRIDDEN"]), (&json!("parent"), &json!("child")));
    // An operator who gives the child such a variable by name means it.
    let ours: Vec<_> = seen.keys().filter(|name| name.starts_with("PAYGATE_")).collect();
    assert_eq!(ours, ["PAYGATE_WANTED"]);
    // What this process has, but was not handed over, is not inherited behind the scenes.
    assert!(
        std::env::var_os("CARGO_MANIFEST_DIR").is_some()
            && !seen.contains_key("CARGO_MANIFEST_DIR")
    );
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_stopped_link_and_one_that_restarts_refuse_at_once() {
    let mut options = options("normal");
    options.restart.wait_first = CEILING;
    let link = start_with(options).await;
    call(&link, "die", json!({})).await.unwrap_err();
    assert_eq!(link.reserve().unwrap_err(), Failure::Unavailable);
    link.notify(b"{}".to_vec()).await;
    link.refresh_tools().await;
    link.stop(CEILING).await;
    link.stop(CEILING).await;
    assert_eq!(link.reserve().unwrap_err(), Failure::Unavailable);
}
