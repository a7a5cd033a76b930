//! What becomes of a call: answers, timeouts, cancellations, bounds; and the list of tools.

use super::*;

async fn cancellation_of(link: &Link, id: u64, reason: &str) {
    let expected = json!({"requestId": id, "reason": reason});
    until("the cancellation", async || {
        let heard = result(link, "heard", json!({})).await;
        heard["heard"].as_array().unwrap().iter().any(|message| {
            message["method"] == "notifications/cancelled" && message["params"] == expected
        })
    })
    .await;
}

async fn lists(link: &Link) -> usize {
    let heard = result(link, "heard", json!({})).await;
    heard["heard"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["method"] == "tools/list")
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_are_answered_out_of_order_each_to_its_caller() {
    let link = start("normal").await;
    assert!(link.status().is_ready());
    let pendings: Vec<_> =
        (0..500).map(|n| (n, send(&link, "hold", &json!({"n": n}), CEILING))).collect();
    assert_eq!(link.in_flight(), 500);
    let waiting: Vec<_> = pendings
        .into_iter()
        .map(|(n, pending)| tokio::spawn(async move { (n, pending.answer().await) }))
        .collect();
    result(&link, "release", json!({})).await;
    for waiter in waiting {
        let (n, answer) = waiter.await.unwrap();
        assert_eq!(answer.unwrap().result_text(), Some(format!(r#"{{"n": {n}}}"#).as_str()));
    }
    assert_eq!(link.in_flight(), 0);
    link.stop(CEILING).await;
}

#[tokio::test]
async fn calls_beyond_the_bound_are_busy_and_dropped_slots_give_back_their_room() {
    let mut options = options("normal");
    options.calls_max = 2;
    let link = start_with(options).await;
    let slots = [link.reserve().unwrap(), link.reserve().unwrap()];
    assert_eq!(link.reserve().unwrap_err(), Failure::Busy);
    drop(slots);
    result(&link, "echo", json!({})).await;
    link.stop(CEILING).await;
    assert_eq!(link.reserve().unwrap_err(), Failure::Unavailable);
}

#[tokio::test]
async fn a_call_without_an_answer_times_out_and_the_child_is_told() {
    let link = start("normal").await;
    let pending = send(&link, "never", &json!({}), Duration::from_millis(20));
    let id = pending.id();
    assert_eq!(pending.answer().await.unwrap_err(), Failure::Timeout);
    assert_eq!(link.in_flight(), 0);
    cancellation_of(&link, id, "timeout").await;

    // A late answer finds nobody and harms nobody.
    let late = send(&link, "hold", &json!({}), Duration::from_millis(20));
    assert_eq!(late.answer().await.unwrap_err(), Failure::Timeout);
    result(&link, "release", json!({})).await;
    assert!(link.status().is_ready());
    link.stop(CEILING).await;
}

#[tokio::test]
async fn cancelled_and_abandoned_calls_end_and_the_child_is_told() {
    let link = start("normal").await;
    let pending = send(&link, "never", &json!({}), CEILING);
    let id = pending.id();
    assert!(link.cancel(id, "the user said \"no\""));
    assert!(!link.cancel(id, "again"));
    assert_eq!(pending.answer().await.unwrap_err(), Failure::Cancelled);
    cancellation_of(&link, id, "the user said \"no\"").await;

    let abandoned = send(&link, "never", &json!({}), CEILING);
    let id = abandoned.id();
    drop(abandoned);
    assert_eq!(link.in_flight(), 0);
    cancellation_of(&link, id, "the caller is gone").await;

    let answered = send(&link, "echo", &json!({}), CEILING);
    let answered_id = answered.id();
    answered.answer().await.unwrap();
    let heard = result(&link, "heard", json!({})).await.to_string();
    assert!(
        !heard.contains(&format!("\"requestId\":{answered_id},")),
        "an answered call is not cancelled"
    );
    link.stop(CEILING).await;
}

#[tokio::test]
async fn an_answer_over_the_bound_fails_its_own_call_alone() {
    let mut options = options("normal");
    options.answer_bytes_max = 100_000;
    let link = start_with(options).await;
    let other = send(&link, "hold", &json!({}), CEILING);
    for id_first in [true, false] {
        for bytes in [100_000, 3_000_000] {
            let outcome = call(&link, "big", json!({"bytes": bytes, "id_first": id_first})).await;
            assert_eq!(outcome.unwrap_err(), Failure::TooLarge, "{bytes} {id_first}");
        }
        let whole =
            call(&link, "big", json!({"bytes": 99_000, "id_first": id_first})).await.unwrap();
        assert!(whole.line().len() > 99_000);
    }
    result(&link, "release", json!({})).await;
    other.answer().await.unwrap();
    link.stop(CEILING).await;
}

#[tokio::test]
async fn characters_split_between_reads_arrive_whole() {
    let link = start("normal").await;
    assert_eq!(result(&link, "split", json!({})).await, json!({"text": "hé☃😀"}));
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_broken_line_fails_the_call_it_names_and_an_error_is_an_answer() {
    let link = start("normal").await;
    assert_eq!(call(&link, "broken", json!({})).await.unwrap_err(), Failure::Malformed);
    let answer = call(&link, "error", json!({})).await.unwrap();
    assert!(answer.is_error());
    assert_eq!(answer.error_text(), Some(r#"{"code": -32602, "message": "no"}"#));
    link.stop(CEILING).await;
}

#[tokio::test]
async fn requests_of_the_server_are_answered() {
    let link = start("normal").await;
    result(&link, "ask", json!({})).await;
    let mut heard = Value::Null;
    until("both answers", async || {
        heard = result(&link, "heard", json!({})).await;
        heard["heard"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|message| message.get("method").is_none())
            .count()
            == 2
    })
    .await;
    let answers: Vec<_> = heard["heard"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message.get("method").is_none())
        .collect();
    assert_eq!(*answers[0], json!({"jsonrpc": "2.0", "id": "p-1", "result": {}}));
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!(7.5), &json!(-32601)));
    link.stop(CEILING).await;
}

#[tokio::test]
async fn tools_of_all_pages_are_known_and_kept_fresh() {
    let link = start("normal").await;
    assert_eq!(link.tools().len(), 5);
    assert!(link.tools().contains("été") && !link.tools().contains("Echo"));

    result(&link, "add_tool", json!({"name": "told", "tell": true})).await;
    until("the told tool", async || link.tools().contains("told")).await;

    result(&link, "add_tool", json!({"name": "silent", "tell": false})).await;
    let before = lists(&link).await;
    until("the silent tool", async || {
        tokio::join!(link.refresh_tools(), link.refresh_tools(), link.refresh_tools());
        link.tools().contains("silent")
    })
    .await;
    assert_eq!(lists(&link).await, before + 2, "one fetch of two pages");
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_flood_on_stderr_neither_blocks_nor_grows() {
    let link = start("normal").await;
    result(&link, "flood", json!({"lines": 20_000})).await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn more_than_the_queue_holds_gets_through() {
    let link = start("normal").await;
    let arguments = json!({"text": "x".repeat(bounds::BODY_BYTES_MAX - 1000)});
    let pendings: Vec<_> = (0..20).map(|_| send(&link, "echo", &arguments, CEILING)).collect();
    let waiting: Vec<_> =
        pendings.into_iter().map(|pending| tokio::spawn(pending.answer())).collect();
    for waiter in waiting {
        assert!(waiter.await.unwrap().unwrap().line().len() > bounds::BODY_BYTES_MAX - 1000);
    }
    link.stop(CEILING).await;
}

#[tokio::test]
async fn calls_for_a_child_that_does_not_read_time_out_and_the_link_ends_well() {
    let link = start("normal").await;
    let arguments = json!({"text": "x".repeat(bounds::BODY_BYTES_MAX - 1000)});
    let stalled = send(&link, "stall", &json!({}), CEILING);
    let timeout = Duration::from_millis(100);
    let waiting: Vec<_> = (0..20).map(|_| send(&link, "echo", &arguments, timeout)).collect();
    for pending in waiting {
        assert_eq!(pending.answer().await.unwrap_err(), Failure::Timeout);
    }
    assert_eq!(link.in_flight(), 1);
    link.stop(Duration::from_millis(100)).await;
    assert_eq!(stalled.answer().await.unwrap_err(), Failure::Exited);
}
