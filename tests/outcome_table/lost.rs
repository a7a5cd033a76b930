//! The connection to the child is lost, or carries what nobody asked for.

use std::path::Path;

use serde_json::json;

use super::support::{Paygate, Setup, eventually};
use super::{CREDITS, PRICE, Standing, config_with, stop_and_verify};

fn start() -> (Paygate, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/outcome_child.py");
    let config = config_with(&json!({"toolPricing": {"deaf": {"requestTimeoutMs": 200}}}));
    let setup = Setup::new().server(format!("python3 '{}'", script.display())).config(config);
    let paygate = setup.start();
    let (key, _) = paygate.create_key(&json!({"credits": CREDITS}));
    (paygate, key)
}

/// Tool, and the reason of the fault that its call must be, or its text.
const CALLS: [(&str, &str, bool); 6] = [
    ("close_stdout", "upstream_exited", false),
    ("half_line", "upstream_exited", false),
    ("deaf", "timeout", false),
    ("twice", "first", true),
    ("somebody_elses", "mine", true),
    ("fine", "fine", true),
];

#[test]
fn what_got_no_answer_is_free_and_the_next_call_is_served() {
    for (tool, told, charged) in CALLS {
        let (paygate, key) = start();
        let response = paygate.call(&key, tool, &json!({}));
        let found = if charged { response.tool_text() } else { response.error_reason() };
        assert_eq!(found, told, "{tool}: {}", response.text());
        assert_eq!(Standing::of(&paygate, &key), Standing::after(1, i64::from(charged)), "{tool}");
        // The deaf one hears nothing until it is killed; every other is there or comes back.
        if tool != "deaf" {
            eventually("the next call is served", || {
                let next = paygate.call(&key, "fine", &json!({}));
                if next.error_reason() == "upstream_unavailable" {
                    return false;
                }
                assert_eq!(next.tool_text(), "fine", "{tool}");
                true
            });
            let paid = PRICE * (1 + i64::from(charged));
            assert_eq!(paygate.credits(&key), CREDITS - paid, "{tool}");
        }
        stop_and_verify(paygate);
    }
}

#[test]
fn a_line_without_an_end_is_dropped_and_costs_nobody_his_answer() {
    let (paygate, key) = start();
    // Four megabytes that nobody can tell the call of, then the answer.
    assert_eq!(paygate.call(&key, "endless_line", &json!({})).tool_text(), "after the line");
    assert_eq!(Standing::of(&paygate, &key), Standing::after(1, 1));
    stop_and_verify(paygate);
}
