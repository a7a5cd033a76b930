//! Single calls that end while both sides stay.

use serde_json::{Value, json};

use super::support::{Response, Setup};
use super::{CREDITS, PRICE, Standing, config_with, stop_and_verify, used_key};

/// How the answer looks.
enum Answer {
    /// A result with this `isError`.
    Result { is_error: bool },
    /// The tool's own JSON-RPC error.
    ToolError,
    /// Paygate's error with this `data.reason`.
    Fault(&'static str),
}

/// A row of the table for single calls.
struct Cell {
    tool: &'static str,
    arguments: Value,
    refund_on_failure: bool,
    answer: Answer,
    charged: bool,
}

impl Cell {
    fn check(&self) {
        let config = config_with(&json!({"refundOnFailure": self.refund_on_failure}));
        let paygate = Setup::new().config(config).start();
        let key = used_key(&paygate);
        let response = paygate.call(&key, self.tool, &self.arguments);
        self.check_answer(&response);
        let charged = 1 + i64::from(self.charged);
        assert_eq!(Standing::of(&paygate, &key), Standing::after(2, charged));
        stop_and_verify(paygate);
    }

    fn check_answer(&self, response: &Response) {
        let json = response.json();
        assert_eq!(response.status, 200, "{json}");
        assert_eq!(json["id"], 1, "{json}");
        match self.answer {
            Answer::Result { is_error } => {
                assert_eq!(
                    json["result"]["isError"].as_bool().unwrap_or(false),
                    is_error,
                    "{json}"
                );
            }
            Answer::ToolError => {
                let error = json!({"code": -32000, "message": "this tool always fails"});
                assert_eq!(json["error"], error);
            }
            Answer::Fault(reason) => {
                assert_eq!(json["error"]["code"], -32603, "{json}");
                assert_eq!(json["error"]["data"]["reason"], reason, "{json}");
            }
        }
        let paid = if self.charged { 2 * PRICE } else { PRICE };
        let shown = response.header("X-Credits-Remaining").expect("shown on priced answers");
        assert_eq!(shown, (CREDITS - paid).to_string());
        let call_id = response.header("X-PayGate-Call-Id").expect("shown on priced answers");
        assert!(call_id.starts_with("call_") && call_id.len() == 37, "{call_id}");
    }
}

/// `name: tool arguments, refundOnFailure => answer, charged;`
macro_rules! cells {
    ($($name:ident: $tool:literal $arguments:tt, $refund:literal => $answer:expr, $charged:literal;)+) => {$(
        #[test]
        fn $name() {
            let cell = Cell {
                tool: $tool,
                arguments: json!($arguments),
                refund_on_failure: $refund,
                answer: $answer,
                charged: $charged,
            };
            cell.check();
        }
    )+};
}

cells! {
    result_is_charged: "instant" {"nonce": "n"}, true => Answer::Result { is_error: false }, true;
    result_is_charged_without_refunds: "instant" {}, false => Answer::Result { is_error: false }, true;
    error_result_is_free: "fail" {}, true => Answer::Result { is_error: true }, false;
    error_result_is_charged_without_refunds: "fail" {}, false => Answer::Result { is_error: true }, true;
    error_is_free: "error" {}, true => Answer::ToolError, false;
    error_is_charged_without_refunds: "error" {}, false => Answer::ToolError, true;
    timeout_is_free: "hang" {}, true => Answer::Fault("timeout"), false;
    timeout_is_free_without_refunds: "hang" {}, false => Answer::Fault("timeout"), false;
    exit_is_free: "crash" {}, true => Answer::Fault("upstream_exited"), false;
    exit_is_free_without_refunds: "crash" {}, false => Answer::Fault("upstream_exited"), false;
    not_json_is_free: "garbage" {"kind": "not_json"}, true => Answer::Fault("malformed_answer"), false;
    not_json_is_free_without_refunds: "garbage" {"kind": "not_json"}, false => Answer::Fault("malformed_answer"), false;
    no_result_is_free: "garbage" {"kind": "no_result"}, false => Answer::Fault("malformed_answer"), false;
    both_members_is_free: "garbage" {"kind": "both"}, false => Answer::Fault("malformed_answer"), false;
    too_large_is_free: "big" {"bytes": 5000}, true => Answer::Fault("answer_too_large"), false;
    too_large_is_free_without_refunds: "big" {"bytes": 5000}, false => Answer::Fault("answer_too_large"), false;
    large_but_within_the_limit_is_charged: "big" {"bytes": 3000}, true => Answer::Result { is_error: false }, true;
}
