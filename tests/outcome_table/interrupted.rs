//! Paygate itself is killed: before the resolution of a call was durable, and after it.

use serde_json::{Value, json};

use super::support::{Request, Setup, eventually, rpc_request};
use super::{
    CREDITS, PRICE, Standing, config, config_with, has_run, stop_and_verify, used_key, verify,
};

/// Kills Paygate while `request` runs, starts it again on the same database, and compares.
fn killed_during(config: Value, request: impl FnOnce(&str) -> Request, after: Standing) {
    let paygate = Setup::new().config(config).start();
    let setup = paygate.setup().clone();
    let key = used_key(&paygate);
    let connection = request(&key).open(&paygate.address).expect("it can be sent");
    eventually("the call has begun", || has_run(&setup, "n"));
    paygate.kill9();
    drop(connection);
    verify(&setup);
    let paygate = setup.start();
    assert_eq!(Standing::of(&paygate, &key), after);
    let next = paygate.call(&key, "instant", &json!({"nonce": "after"}));
    assert_eq!(next.tool_text(), "after");
    stop_and_verify(paygate);
}

fn sleeping(key: &str) -> Request {
    let sleep = json!({"name": "sleep", "arguments": {"ms": 60_000, "nonce": "n"}});
    rpc_request(key, "tools/call", &sleep)
}

#[test]
fn killed_before_the_resolution_is_free() {
    // With this durability the hold is on disk before the tool starts, so the rate is known too.
    let config = config_with(&json!({"durability": "call"}));
    killed_during(config, sleeping, Standing::after(2, 1));
}

#[test]
fn killed_before_the_resolution_is_free_whatever_was_on_disk() {
    for durability in ["answer", "none"] {
        let config = config_with(&json!({"durability": durability, "globalRateLimitPerMin": 0}));
        let paygate = Setup::new().config(config).start();
        let setup = paygate.setup().clone();
        let (key, _) = paygate.create_key(&json!({"credits": CREDITS}));
        let connection = sleeping(&key).open(&paygate.address).expect("it can be sent");
        eventually("the call has begun", || has_run(&setup, "n"));
        // What a balance shows is also what a call would be judged by.
        assert_eq!(paygate.credits(&key), CREDITS - PRICE);
        paygate.kill9();
        drop(connection);
        verify(&setup);
        let paygate = setup.start();
        let balance = paygate.balance(&key);
        let shown = ["credits", "totalSpent", "totalCalls"].map(|name| balance[name].clone());
        assert_eq!(shown, [json!(CREDITS), json!(0), json!(0)], "{durability}");
        stop_and_verify(paygate);
    }
}

#[test]
fn killed_before_the_end_of_a_batch_is_free() {
    let config = config_with(&json!({"durability": "call"}));
    let batch = |key: &str| {
        let calls = json!({"calls": [
            {"name": "instant", "arguments": {"nonce": "done"}},
            {"name": "sleep", "arguments": {"ms": 60_000, "nonce": "n"}},
        ]});
        rpc_request(key, "tools/call_batch", &calls)
    };
    killed_during(config, batch, Standing::after(3, 1));
}

#[test]
fn killed_after_the_answer_is_charged() {
    let paygate = Setup::new().config(config()).start();
    let setup = paygate.setup().clone();
    let key = used_key(&paygate);
    let answer = paygate.call(&key, "instant", &json!({"nonce": "n"}));
    paygate.kill9();
    assert_eq!(answer.tool_text(), "n");
    verify(&setup);
    let paygate = setup.start();
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    stop_and_verify(paygate);
}

#[test]
fn killed_after_a_free_end_never_charges_it() {
    let paygate = Setup::new().config(config()).start();
    let setup = paygate.setup().clone();
    let key = used_key(&paygate);
    let answer = paygate.call(&key, "fail", &json!({"nonce": "n"}));
    paygate.kill9();
    assert_eq!(answer.json()["result"]["isError"], true);
    verify(&setup);
    let paygate = setup.start();
    // Released calls wait for no disk, so the rate may or may not know of it; the money does not.
    let standing = Standing::of(&paygate, &key);
    assert!([Standing::after(2, 1), Standing::after(1, 1)].contains(&standing), "{standing:?}");
    stop_and_verify(paygate);
}
