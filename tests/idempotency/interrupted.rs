//! Paygate ends, or is killed, between a call and its repetition.

use std::sync::Mutex;
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use super::support::{Paygate, Response, Setup, eventually};
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

/// Many requests run when the kill comes. Whoever sends all of them again, answered or not, is
/// charged once for each, and what was answered before is answered the same.
#[test]
fn whenever_it_is_killed_each_request_is_charged_once() {
    for (durability, answers) in [("answer", 1), ("none", 9), ("call", 25), ("answer", 60)] {
        let config = json!({"durability": durability, "globalRateLimitPerMin": 0});
        let setup = Setup::new().config(config_with(&config));
        let paygate = setup.start();
        let (key, _) = paygate.create_key(&json!({"credits": CREDITS * PRICE}));
        let answered = load_and_kill(&paygate, &key, answers);
        drop(paygate);
        assert!(answered.len() >= answers, "{}", answered.len());
        setup.verify().expect_success();

        let paygate = setup.start();
        for name in names() {
            let again = paygate.send(&instant(&key, &name, &name));
            assert_eq!(again.tool_text(), name);
            if let Some((_, before)) = answered.iter().find(|(answered, _)| *answered == name) {
                assert_eq!((&again.body, call_id(&again)), (&before.body, call_id(before)));
                assert_eq!(runs(&setup, &name), 1, "{durability}: {name}");
            }
        }
        let left = CREDITS * PRICE - i64::try_from(names().count()).unwrap() * PRICE;
        assert_eq!(paygate.credits(&key), left, "{durability}, killed after {answers} answers");
        stop_and_verify(paygate);
    }
}

fn names() -> impl Iterator<Item = String> {
    (0..80).map(|number| format!("n{number}"))
}

/// Sends all requests from several threads and kills Paygate after so many answers; those answers.
fn load_and_kill(paygate: &Paygate, key: &str, answers: usize) -> Vec<(String, Response)> {
    let left = Mutex::new(names());
    let answered = Mutex::new(Vec::new());
    let send_all = || {
        loop {
            let Some(name) = left.lock().unwrap().next() else { return };
            // Not answered: Paygate is gone.
            let Ok(response) = instant(key, &name, &name).send(&paygate.address) else { return };
            answered.lock().unwrap().push((name, response));
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(send_all);
        }
        eventually("enough answers", || answered.lock().unwrap().len() >= answers);
        paygate.signal(Signal::KILL);
    });
    answered.into_inner().unwrap()
}
