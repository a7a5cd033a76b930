//! The ways in which it ends.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::*;

fn signal(client: &Client, signal: Signal) {
    let pid = i32::try_from(client.child.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn what_is_in_flight_when_the_client_leaves_is_finished_and_written() {
    let setup = setup();
    let mut client = Client::begun(&setup, "2025-11-25");
    client.call("late", "sleep", &json!({"ms": 300, "nonce": "paid"}));
    let gone = client.leave();
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
    assert_eq!(gone.rest.len(), 1, "{:?}", gone.rest);
    assert!(gone.rest[0].contains("paid"));
    assert_eq!(credits_left(&setup), 999);
}

#[test]
fn a_signal_ends_it_while_the_client_is_there() {
    let setup = setup();
    let mut client = Client::begun(&setup, "2025-11-25");
    client.call("late", "sleep", &json!({"ms": 300, "nonce": "paid"}));
    // The call is under way when the answer to what came after it is there.
    client.ask("p", "ping", &json!({}));
    signal(&client, Signal::TERM);
    let began = Instant::now();
    let gone = client.wait();
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
    assert!(gone.rest.iter().any(|line| line.contains("paid")), "{:?}", gone.rest);
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
    assert_eq!(credits_left(&setup), 999);
}

#[test]
fn a_client_that_takes_nothing_any_more_has_left() {
    let setup = setup();
    let mut command = setup.command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_wrong_start_says_why_on_stderr_alone() {
    for (setup, words) in [
        (setup().server("sh -c 'exit 4'"), "ended before it was ready"),
        (
            Setup::new().without_port().args(["--api-key", KEY]),
            "--api-key is set but --stdio is not",
        ),
        (setup().args(["--api-key", "key_0123456789abcdef"]), "must not begin with"),
    ] {
        let ended = setup.run_to_end();
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains(words) && !ended.stderr.contains(KEY), "{ended:?}");
    }
}

#[test]
fn a_question_that_the_client_left_behind_keeps_nobody() {
    let setup = setup();
    let mut client = Client::begun(&setup, "2025-11-25");
    client.call("b", "ask", &json!({"method": "roots/list", "wait": true}));
    assert_eq!(client.next()["method"], "roots/list");
    let gone = client.leave();
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
    assert_eq!(gone.rest.len(), 1, "the call has an answer: {:?}", gone.rest);
}
