//! schemathesis reads `/openapi.json` and sends what it allows and what it does not: nothing may end in
//! a 5xx, and no answer may be off the document. The same seed every time, and so many cases.
//!
//! That what the document allows is accepted, and the rest refused, is not demanded: some rules are
//! between members, which a schema does not say.

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use support::{ADMIN_KEY, Setup, TempDir, run_within, tool};

const CHECKS: [&str; 9] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
];

/// A single answer that takes longer hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// All of it.
const WITHIN: Duration = Duration::from_mins(5);

#[test]
fn no_request_gets_an_answer_that_the_document_does_not_name() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let (raw, _) = paygate.create_key(&json!({"name": "fuzzed", "namespace": "acme"}));
    // Something of everything, so that lists are not empty.
    assert_eq!(paygate.call(&raw, "instant", &json!({})).error_reason(), "");
    paygate.admin_post("/teams", &json!({"name": "fuzzed", "namespace": "acme"}));
    let dir = TempDir::new();
    let mut command = Command::new(tool("venv/bin/python"));
    command
        .current_dir(dir.path())
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("{}/openapi.json", paygate.base_url()))
        .args(["--header", &format!("X-Admin-Key: {ADMIN_KEY}")])
        .args(["--header", &format!("X-API-Key: {raw}")])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--checks", &CHECKS.join(",")])
        .args(["--seed", "20260728", "--max-examples", "5", "--workers", "1"])
        .args(["--request-timeout", &ANSWER_WITHIN.as_secs().to_string()])
        .args(["--continue-on-failure", "--no-color", "--warnings", "off"]);
    let ended = run_within(command, WITHIN);
    let said = format!("{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.status.success(), "schemathesis found something:\n{said}");
    assert!(said.contains("Tested: "), "it did not test anything:\n{said}");
    assert_eq!(paygate.get("/health").status, 200);
}
