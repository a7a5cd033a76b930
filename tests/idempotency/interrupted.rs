//! Paygate ends, or is killed, between a call and its repetition.

use serde_json::json;

use super::support::{Setup, eventually};
use super::{
    CREDITS, PRICE, after, call_id, config, config_with, instant, named_call, new_key, runs,
    standing, stop_and_verify,
};

#[test]
fn an_answer_survives_a_stop_and_a_kill() {
    for durability in ["answer", "call", "none"] {
        let paygate = Setup::new().config(config_with(&json!({"durability": durability}))).start();
        let setup = paygate.setup().clone();
        let key = new_key(&paygate);
        let first = paygate.send(&instant(&key, "k", "n"));
        paygate.kill9();
        setup.verify().expect_success();
        let paygate = setup.start();
        let again = paygate.send(&instant(&key, "k", "n"));
        assert_eq!((again.text(), call_id(&again)), (first.text(), call_id(&first)));
        stop_and_verify(paygate);
        let paygate = setup.start();
        assert_eq!(paygate.send(&instant(&key, "k", "n")).text(), first.text(), "{durability}");
        assert_eq!(runs(&setup, "n"), 1);
        assert_eq!(paygate.credits(&key), CREDITS - PRICE);
        stop_and_verify(paygate);
    }
}

#[test]
fn a_call_that_was_killed_before_its_end_is_run_again() {
    let paygate = Setup::new().config(config()).start();
    let setup = paygate.setup().clone();
    let key = new_key(&paygate);
    let call =
        |ms: u64| named_call(&key, "k", &json!(1), "sleep", &json!({"ms": ms, "nonce": "n"}));
    let connection = call(60_000).open(&paygate.address).unwrap();
    eventually("the call has begun", || runs(&setup, "n") == 1);
    paygate.kill9();
    drop(connection);
    let paygate = setup.start();
    // Nothing was captured, so nothing says what was asked before.
    assert_eq!(paygate.send(&call(1)).tool_text(), "n");
    assert_eq!(runs(&setup, "n"), 2);
    assert_eq!(standing(&paygate, &key)[..2], after(0, 1)[..2]);
    stop_and_verify(paygate);
}

/// The kill falls at any moment; what the customer is charged is what it can collect.
#[test]
fn whenever_it_is_killed_a_call_is_charged_once() {
    let setup = Setup::new().config(config_with(&json!({"globalRateLimitPerMin": 0})));
    let paygate = setup.start();
    let key = new_key(&paygate);
    paygate.stop().expect_success();
    let calls = 12;
    for number in 0..calls {
        let paygate = setup.start();
        let nonce = format!("n{number}");
        let request = instant(&key, &nonce, &nonce);
        let connection = request.open(&paygate.address).unwrap();
        // Sooner or later after the tool began: in the middle of the commit, before or after it.
        if number % 3 > 0 {
            eventually("the call has begun", || runs(&setup, &nonce) > 0);
        }
        for _ in 0..number {
            std::thread::yield_now();
        }
        paygate.kill9();
        drop(connection);
        let paygate = setup.start();
        let answer = paygate.send(&request);
        assert_eq!(answer.tool_text(), nonce);
        assert_eq!(call_id(&paygate.send(&request)), call_id(&answer));
        assert_eq!(paygate.credits(&key), CREDITS - (number + 1) * PRICE);
        stop_and_verify(paygate);
    }
}
