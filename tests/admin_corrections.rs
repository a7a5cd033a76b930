//! Putting mistakes right: adjusted balances and refunded calls, and that the books prove both.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::thread;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Paygate, Request, Response, Setup};

fn once(paygate: &Paygate, path: &str, idempotency_key: &str, body: &Value) -> Response {
    let request = Request::new("POST", path).header("X-Admin-Key", ADMIN_KEY);
    paygate.send(&request.header("Idempotency-Key", idempotency_key).json(body))
}

/// A paid call; its id.
fn call(paygate: &Paygate, raw: &str, tool: &str) -> String {
    let answer = paygate.call(raw, tool, &json!({}));
    let id = answer.header("x-paygate-call-id");
    id.unwrap_or_else(|| panic!("no call id: {}", answer.text())).to_owned()
}

fn refund(paygate: &Paygate, call: &str, body: &Value) -> Response {
    paygate.admin_post(&format!("/calls/{call}/refund"), body)
}

#[test]
fn a_balance_is_adjusted_up_and_down_with_a_reason() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (raw, id) = paygate.create_key(&json!({"credits": 10}));
    for (key, credits, balance) in
        [(&raw, json!(5), 15), (&id, json!("-7"), 8), (&id, json!(-20), -12), (&id, json!(1e1), -2)]
    {
        let body = json!({"key": key, "credits": credits, "reason": "  a mistake "});
        let done = paygate.admin_post("/credits/adjust", &body);
        let said = done.json();
        assert_eq!((done.status, &said["credits"]), (200, &json!(balance)), "{said}");
    }
    let refused = paygate.call(&raw, "instant", &json!({}));
    assert_eq!(refused.error_reason(), "insufficient_credits");
    for (body, error) in [
        (json!({"credits": 5, "reason": "x"}), "Missing key"),
        (json!({"key": id, "reason": "x"}), "Missing credits"),
        (json!({"key": id, "credits": 5}), "Missing reason"),
        (json!({"key": id, "credits": 5, "reason": "  "}), "Missing reason"),
        (json!({"key": id, "credits": 5, "reason": 5}), "reason must be a string"),
        (json!({"key": id, "credits": 5, "reason": "x".repeat(501)}), "reason is longer than"),
        (json!({"key": id, "credits": 0, "reason": "x"}), "other than 0"),
        (json!({"key": id, "credits": 0.5, "reason": "x"}), "whole number"),
        (json!({"key": id, "credits": "five", "reason": "x"}), "whole number"),
        (json!({"key": id, "credits": true, "reason": "x"}), "whole number"),
        (json!({"key": id, "credits": 9_007_199_254_740_992_i64, "reason": "x"}), "whole number"),
        (json!({"key": id, "amount": 5, "reason": "x"}), "Unknown member"),
        (json!({"key": id, "credits": 5, "resaon": "x"}), "did you mean \\\"reason\\\"?"),
    ] {
        let refused = paygate.admin_post("/credits/adjust", &body);
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(error), "{body}: {}", refused.text());
    }
    let nobody = json!({"key": "pg_nobody", "credits": 5, "reason": "x"});
    assert_eq!(paygate.admin_post("/credits/adjust", &nobody).status, 404);
    // Support may have to correct a key that is closed.
    assert_eq!(paygate.admin_post("/keys/revoke", &json!({"key": id})).status, 200);
    let body = json!({"key": id, "credits": 3, "reason": "closing"});
    let first = once(&paygate, "/credits/adjust", "ticket 7", &body);
    assert_eq!(first.json()["credits"], 1, "{}", first.text());
    paygate.kill9();
    let paygate = setup.start();
    let again = once(&paygate, "/credits/adjust", "ticket 7", &body);
    assert_eq!((again.status, again.text()), (200, first.text()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let other = json!({"key": id, "credits": 4, "reason": "closing"});
    assert_eq!(once(&paygate, "/credits/adjust", "ticket 7", &other).status, 422);
    assert_eq!(paygate.admin_get(&format!("/keys/{id}")).json()["credits"], 1);
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn a_refund_gives_back_all_that_the_call_kept_once() {
    let config = json!({"toolPricing": {"instant": {"creditsPerCall": 3}}});
    let setup = Setup::new().without_child_log().config(config);
    let paygate = setup.start();
    let body = json!({"credits": 10, "spendingLimit": 6, "quota": {"dailyCalls": 9}});
    let (raw, id) = paygate.create_key(&body);
    let view = |paygate: &Paygate| {
        let view = paygate.admin_get(&format!("/keys/{id}")).json();
        ["credits", "totalSpent", "totalCalls", "quotaDailyCalls", "quotaMonthlyCredits"]
            .map(|member| view[member].as_i64().unwrap())
    };
    let first = call(&paygate, &raw, "instant");
    let second = call(&paygate, &raw, "instant");
    assert_eq!(view(&paygate), [4, 6, 2, 2, 6]);
    let done = refund(&paygate, &first, &json!({"reason": "the answer was wrong"}));
    assert_eq!((done.status, done.header("idempotency-replayed")), (200, None), "{}", done.text());
    let said = done.json();
    assert_eq!((&said["refunded"], &said["credits"]), (&json!(3), &json!(7)));
    assert_eq!((&said["callId"], &said["key"]), (&json!(first), &json!(id)));
    // As if it had been free: also what it counted in limits and quotas.
    assert_eq!(view(&paygate), [7, 3, 1, 1, 3]);
    let status = paygate.admin_get("/status").json();
    assert_eq!(status["usage"]["totalCreditsSpent"], 3, "{status}");
    assert_eq!(
        status["usage"]["perTool"]["instant"],
        json!({"calls": 2, "credits": 3, "denied": 0})
    );
    let is_repeated = |paygate: &Paygate| {
        let again = refund(paygate, &first, &json!({}));
        assert_eq!((again.status, again.text()), (200, done.text()));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(view(paygate), [7, 3, 1, 1, 3]);
    };
    is_repeated(&paygate);
    paygate.kill9();
    let paygate = setup.start();
    is_repeated(&paygate);
    // The spending limit has room again for one call, and no more.
    let third = call(&paygate, &raw, "instant");
    let refused = paygate.call(&raw, "instant", &json!({}));
    assert_eq!(refused.error_reason(), "spending_limit_exceeded", "{}", refused.text());
    // Sent by many at once it is still booked once.
    thread::scope(|scope| {
        for _ in 0..8 {
            for call in [&second, &third] {
                scope.spawn(|| assert_eq!(refund(&paygate, call, &json!({})).status, 200));
            }
        }
    });
    assert_eq!(view(&paygate), [10, 0, 0, 0, 0]);
    paygate.stop().expect_success();
    let verified = setup.verify();
    assert!(verified.stdout.contains("10 credits granted, 9 captured, 9 refunded, 10 left"));
    verified.expect_success();
}

#[test]
fn only_a_call_that_was_charged_is_refunded() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (raw, id) = paygate.create_key(&json!({"credits": 10}));
    let failed = call(&paygate, &raw, "fail");
    let refused = refund(&paygate, &failed, &json!({}));
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (409, r#"{"error":"The call cost nothing"}"#)
    );
    let none = format!("call_{}", "0".repeat(32));
    for unknown in [&*none, "call_", "x", &none.to_uppercase(), &id] {
        let refused = refund(&paygate, unknown, &json!({}));
        let said = (refused.status, refused.text());
        assert_eq!(said, (404, r#"{"error":"Call not found"}"#.to_owned()), "{unknown}");
    }
    let paid = call(&paygate, &raw, "instant");
    for (body, error) in [
        (json!({"reason": 5}), "reason must be a string"),
        (json!({"credits": 1}), "Unknown member"),
        (json!([]), "JSON object"),
    ] {
        let refused = refund(&paygate, &paid, &body);
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(error), "{body}: {}", refused.text());
    }
    assert_eq!(paygate.credits(&raw), 9);
    // A batch is one call, and comes back whole.
    let calls = json!({"calls": [{"name": "instant"}, {"name": "fail"}, {"name": "instant"}]});
    let batch = paygate.rpc(&raw, "tools/call_batch", &calls);
    let batch = batch.header("x-paygate-call-id").unwrap().to_owned();
    assert_eq!(paygate.credits(&raw), 7);
    assert_eq!(refund(&paygate, &batch, &json!({})).json()["refunded"], 2);
    assert_eq!(paygate.credits(&raw), 9);
    // The credits of a deleted key have ended with it.
    assert_eq!(paygate.admin("DELETE", &format!("/keys/{id}"), &Value::Null).status, 200);
    assert_eq!(refund(&paygate, &paid, &json!({})).status, 404);
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn a_forged_refund_is_found() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (raw, _) = paygate.create_key(&json!({"credits": 10}));
    let paid = call(&paygate, &raw, "instant");
    assert_eq!(refund(&paygate, &paid, &json!({})).status, 200);
    paygate.stop().expect_success();
    setup.verify().expect_success();
    let books = rusqlite::Connection::open(setup.database()).unwrap();
    let again = "INSERT INTO journal (at, kind, call, account, amount, detail)
                 SELECT at, kind, call, account, amount, detail FROM journal WHERE kind = 'refund'";
    assert_eq!(books.execute(again, []).unwrap(), 1);
    drop(books);
    let verified = setup.verify();
    assert_ne!(verified.status.code(), Some(0), "{}", verified.stdout);
    assert!(
        verified.stdout.contains(&format!("{paid} was refunded before")),
        "{}",
        verified.stdout
    );
}
