//! Usage as the operator sees it: the list of what became of calls, sums by hour, `/status`, and the
//! metrics. All but the metrics survive a kill.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::{Paygate, Request, Setup};

fn get(paygate: &Paygate, path: &str) -> Value {
    let answer = paygate.admin_get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn events(paygate: &Paygate, query: &str) -> Vec<Value> {
    let list = get(paygate, &format!("/usage?{query}"));
    let events = list["events"].as_array().unwrap().clone();
    assert_eq!(list["count"], json!(events.len()));
    events
}

/// Two tenants; four calls, one of them free and one refunded; three refusals.
fn use_it(paygate: &Paygate) -> (String, String) {
    let rich = json!({"name": "=Ada, \"A\"", "namespace": "acme", "credits": 10});
    let (rich, rich_id) = paygate.create_key(&rich);
    let (poor, poor_id) =
        paygate.create_key(&json!({"name": "Bob", "namespace": "zoo", "credits": 1}));
    for tool in ["instant", "instant", "fail"] {
        assert_eq!(paygate.call(&rich, tool, &json!({})).status, 200);
    }
    let call = paygate.call(&poor, "instant", &json!({}));
    let call = call.header("x-paygate-call-id").unwrap().to_owned();
    paygate.call(&poor, "instant", &json!({}));
    paygate.call(&poor, "instant", &json!({}));
    paygate.call("pg_unknown", "instant", &json!({}));
    let refund = paygate.admin_post(&format!("/calls/{call}/refund"), &json!({"reason": "sorry"}));
    assert_eq!(refund.status, 200, "{}", refund.text());
    (rich_id, poor_id)
}

fn count(events: &[Value]) -> i64 {
    events.iter().map(|event| event["count"].as_i64().unwrap()).sum()
}

#[test]
fn usage_is_listed_filtered_and_paged_and_survives_a_kill() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (rich, poor) = use_it(&paygate);
    let all = get(&paygate, "/usage");
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(get(&paygate, "/usage"), all);
    assert_eq!(all["since"], "all");
    let all = all["events"].as_array().unwrap();
    assert_eq!((count(all), all.len()), (8, 7), "{all:#?}");
    let (first, refund) = (&all[0], all.iter().find(|one| one["outcome"] == "refund").unwrap());
    assert_eq!(
        (&first["keyName"], &first["tool"], &first["creditsCharged"], &first["allowed"]),
        (&json!("=Ada, \"A\""), &json!("instant"), &json!(1), &json!(true))
    );
    assert_eq!((&first["namespace"], &first["keyId"]), (&json!("acme"), &json!(rich)));
    assert_eq!(first["apiKey"].as_str().unwrap().len(), 13, "{first}");
    assert!(first["callId"].as_str().unwrap().starts_with("call_"), "{first}");
    assert_eq!((&refund["creditsCharged"], &refund["keyId"]), (&json!(-1), &json!(poor)));
    let refused: Vec<_> = all.iter().filter(|event| event["allowed"] == false).collect();
    assert_eq!(refused.len(), 2);
    let unknown = refused.iter().find(|one| one["denyReason"] == "invalid_api_key").unwrap();
    assert_eq!((&unknown["apiKey"], &unknown["keyName"]), (&json!("none"), &json!("")));
    for (query, expected) in [
        ("namespace=acme", 3),
        ("namespace=zoo", 4),
        (&*format!("key={rich}"), 3),
        ("tool=fail", 1),
        ("outcome=result", 3),
        ("outcome=allowed", 5),
        ("outcome=denied", 3),
        ("outcome=insufficient_credits", 2),
        ("outcome=refund", 1),
        ("since=2000-01-01T00:00:00Z&until=2100-01-01T00:00:00Z", 8),
        ("since=2100-01-01T00:00:00Z", 0),
        ("until=2000-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(count(&events(&paygate, query)), expected, "{query}");
    }
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = paygate.admin_get(&format!("/usage?limit=2{cursor}"));
        let events = page.json()["events"].as_array().unwrap().clone();
        assert!(events.len() <= 2);
        paged.extend(events);
        let Some(next) = page.header("x-next-cursor") else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(&paged, all);
    for bad in [
        "since=yesterday",
        "limit=0",
        "cursor=x",
        "format=xml",
        "key=Ada",
        "namespace=a_b",
        "key=a&team=b",
    ] {
        let refused = paygate.admin_get(&format!("/usage?{bad}"));
        assert_eq!(refused.status, 400, "{bad}: {}", refused.text());
    }
    assert_eq!(paygate.admin_get("/usage?team=team_0123456789abcdef").status, 404);
}

#[test]
fn an_outcome_that_there_is_not_is_refused_with_those_that_there_are() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    use_it(&paygate);
    for event in events(&paygate, "") {
        let outcome = event["outcome"].as_str().unwrap();
        assert!(!events(&paygate, &format!("outcome={outcome}")).is_empty(), "{outcome}");
    }
    let refused = paygate.admin_get("/usage?outcome=foo");
    assert_eq!(refused.status, 400);
    for word in ["\\\"foo\\\"", "allowed", "tool_error", "insufficient_credits"] {
        assert!(refused.text().contains(word), "{word} is missing in {}", refused.text());
    }
    let ended = paygate.command(&["usage", "--outcome", "foo"]);
    assert!(ended.code() == Some(1) && ended.stderr.contains("tool_error"), "{ended:#?}");
}

#[test]
fn old_usage_is_forgotten_and_the_books_are_not() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (rich, _) = use_it(&paygate);
    let all = events(&paygate, "").len();
    let balance = |paygate: &Paygate| get(paygate, &format!("/keys/{rich}"))["credits"].clone();
    let before = balance(&paygate);
    paygate.stop().expect_success();
    let books = rusqlite::Connection::open(setup.database()).unwrap();
    for (table, column) in [
        ("refused", "at"),
        ("usage_marks", "start"),
        ("usage_hours", "start"),
        ("usage_days", "start"),
        ("usage_tools", "start"),
    ] {
        let two_days_ago = format!("UPDATE {table} SET {column} = {column} - 2 * 86400000");
        assert!(books.execute(&two_days_ago, []).unwrap() > 0, "{table}");
    }
    drop(books);
    // Not with the default …
    let paygate = setup.start();
    assert_eq!(events(&paygate, "").len(), all);
    paygate.stop().expect_success();
    // … and at every start and every minute with less than that.
    let setup = setup.config(json!({"retention": {"usageDays": 1}}));
    let paygate = setup.start();
    support::eventually("old usage is gone", || {
        events(&paygate, "").is_empty() && get(&paygate, "/status")["usage"]["totalCalls"] == 0
    });
    assert_eq!(balance(&paygate), before);
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn usage_as_csv_runs_no_formula() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    use_it(&paygate);
    let csv = paygate.admin_get("/usage?format=csv");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let name = Some("attachment; filename=\"paygate-usage.csv\"");
    assert_eq!(csv.header("content-disposition"), name);
    let text = csv.text();
    let mut lines = text.split("\r\n");
    let head = "timestamp,apiKey,keyName,tool,creditsCharged,allowed,denyReason,";
    assert!(lines.next().unwrap().starts_with(head), "{text}");
    assert!(lines.next().unwrap().contains(",\"'=Ada, \"\"A\"\"\",instant,1,true,,acme,key_"));
    assert!(text.contains(",Bob,instant,-1,true,,zoo,"), "{text}");
    assert!(
        text.contains(",none,,instant,0,false,invalid_api_key,,,,invalid_api_key,0,1"),
        "{text}"
    );
    assert!(text.ends_with("\r\n"));
}

#[test]
fn a_team_is_the_keys_that_are_in_it() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let (rich, _) = use_it(&paygate);
    let team = paygate.admin_post("/teams", &json!({"name": "T", "namespace": "acme"})).json();
    let team = team["team"]["id"].as_str().or(team["id"].as_str()).unwrap().to_owned();
    assert_eq!(events(&paygate, &format!("team={team}")).len(), 0);
    let assign = paygate.admin_post("/teams/assign", &json!({"teamId": team, "key": rich}));
    assert_eq!(assign.status, 200, "{}", assign.text());
    assert_eq!(events(&paygate, &format!("team={team}")).len(), 3);
}

#[test]
fn status_counts_refusals_by_tool_and_key_and_survives_a_kill() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    use_it(&paygate);
    let usage = get(&paygate, "/status")["usage"].clone();
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(get(&paygate, "/status")["usage"], usage);
    assert_eq!(
        usage,
        json!({"totalCalls": 4, "totalCreditsSpent": 2, "totalDenied": 3,
            "perTool": {"instant": {"calls": 3, "credits": 2, "denied": 3},
                        "fail": {"calls": 1, "credits": 0, "denied": 0}},
            "perKey": {"=Ada, \"A\"": {"calls": 3, "credits": 2, "denied": 0},
                       "Bob": {"calls": 1, "credits": 0, "denied": 2}},
            "denyReasons": {"insufficient_credits": 2, "invalid_api_key": 1}})
    );
    let zoo = get(&paygate, "/status?namespace=zoo")["usage"].clone();
    assert_eq!((&zoo["totalCalls"], &zoo["totalDenied"]), (&json!(1), &json!(2)), "{zoo}");
}

#[test]
fn analytics_are_in_whole_hours_or_days() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (rich, _) = use_it(&paygate);
    let hourly = get(&paygate, "/analytics");
    paygate.kill9();
    let paygate = setup.start();
    let again = get(&paygate, "/analytics");
    assert_eq!(again["summary"], hourly["summary"]);
    let series = hourly["timeSeries"].as_array().unwrap();
    assert_eq!(series.len(), 25);
    for bucket in series {
        assert!(bucket["start"].as_str().unwrap().ends_with(":00:00.000Z"), "{bucket}");
    }
    // The hour may have changed in between.
    let sum = |name: &str| series.iter().map(|one| one[name].as_i64().unwrap()).sum::<i64>();
    assert_eq!(["calls", "allowed", "denied", "credits"].map(sum), [7, 4, 3, 2]);
    assert_eq!(
        hourly["summary"],
        json!({"totalCalls": 7, "totalCredits": 2, "totalDenied": 3, "uniqueKeys": 2,
            "uniqueTools": 2, "successRate": 57.1})
    );
    assert_eq!(
        hourly["tools"][0],
        json!({"tool": "instant", "calls": 6, "allowed": 3, "denied": 3, "credits": 2,
            "successRate": 50.0, "avgCreditsPerCall": 0.67})
    );
    assert_eq!(
        hourly["topConsumers"][0],
        json!({"keyName": "=Ada, \"A\"", "calls": 3, "credits": 2, "denied": 0,
            "topTool": "instant", "keyId": rich})
    );
    assert_eq!(hourly["trend"]["previous"], json!({"calls": 0, "credits": 0, "denied": 0}));
    let nothing = json!({"calls": null, "credits": null, "denied": null});
    assert_eq!(hourly["trend"]["change"], nothing);
    let daily = get(&paygate, "/analytics?granularity=daily&namespace=zoo&top=1");
    let first = &daily["timeSeries"][0]["start"];
    assert!(first.as_str().unwrap().ends_with("T00:00:00.000Z"), "{daily}");
    assert_eq!(
        (&daily["summary"]["totalCalls"], &daily["summary"]["uniqueKeys"]),
        (&json!(3), &json!(1))
    );
    let past = get(&paygate, "/analytics?from=2020-01-01T10:59:00Z&to=2020-01-01T12:00:00Z");
    assert_eq!(past["timeSeries"].as_array().unwrap().len(), 3);
    assert_eq!(past["summary"]["totalCalls"], 0);
    for bad in [
        "from=never",
        "to=2020-13-01",
        "from=1970-01-01T00:00:00Z",
        "from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z",
        "granularity=weekly",
        "top=x",
    ] {
        let refused = paygate.admin_get(&format!("/analytics?{bad}"));
        assert_eq!(refused.status, 400, "{bad}: {}", refused.text());
    }
}

#[test]
fn an_anonymous_flood_is_one_row_and_pushes_nothing_out() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    use_it(&paygate);
    let before = events(&paygate, "outcome=allowed");
    for number in 0..300 {
        paygate.call(&format!("pg_{number}"), &format!("junk{number}"), &json!({}));
    }
    let refused = events(&paygate, "outcome=invalid_api_key");
    assert_eq!(count(&refused), 301);
    assert!(refused.len() < 20, "{}", refused.len());
    assert_eq!(events(&paygate, "outcome=allowed"), before);
    let tools = get(&paygate, "/status")["usage"]["perTool"].to_string();
    let metrics = paygate.get("/metrics").text();
    assert!(!tools.contains("junk") && !metrics.contains("junk"), "{tools} {metrics}");
    assert!(
        metrics.contains("paygate_denials_total{reason=\"invalid_api_key\"} 301\n"),
        "{metrics}"
    );
}

#[test]
fn metrics_have_their_names_and_real_values() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    use_it(&paygate);
    let page = paygate.get("/metrics");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = page.text();
    for line in [
        "# HELP paygate_tool_calls_total Total tool calls processed",
        "# TYPE paygate_tool_calls_total counter",
        "paygate_tool_calls_total{status=\"allowed\",tool=\"instant\"} 3",
        "paygate_tool_calls_total{status=\"denied\",tool=\"instant\"} 3",
        "paygate_credits_charged_total{tool=\"instant\"} 3",
        "paygate_denials_total{reason=\"insufficient_credits\"} 2",
        "paygate_refunds_total{tool=\"fail\"} 1",
        "paygate_http_requests_total{method=\"POST\",path=\"/mcp\",status=\"200\"} 7",
        "paygate_http_requests_total{method=\"POST\",path=\"/calls/{id}/refund\",status=\"200\"} 1",
        "# TYPE paygate_uptime_seconds gauge",
        "paygate_active_keys_total 2",
        "paygate_active_sessions_total 0",
        "paygate_total_credits_available 9",
        "paygate_active_teams_total 0",
        "paygate_credits_held 0",
        "paygate_open_holds 0",
        "paygate_credits_captured_total 3",
        "paygate_credits_released_total 1",
        "paygate_upstream_latency_seconds_count 4",
        "paygate_added_latency_seconds_bucket{le=\"+Inf\"} 4",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn metrics_are_for_this_machine_as_long_as_there_is_no_token() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let ask = |headers: &[(&str, &str)]| {
        let request = Request::new("GET", "/metrics");
        let request = headers.iter().fold(request, |all, (name, value)| all.header(name, value));
        paygate.send(&request).status
    };
    assert_eq!(ask(&[]), 200);
    for name in ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "Via", "CF-Connecting-IP"] {
        assert_eq!(ask(&[(name, "for=203.0.113.9")]), 401, "{name}");
    }
}

#[test]
fn metrics_are_for_who_has_a_right() {
    let token = "a-token-for-the-scraper-0123456789";
    let setup = Setup::new().ephemeral().without_child_log();
    let paygate = setup.config(json!({"metricsToken": token})).start();
    let bound = json!({"name": "t", "role": "owner", "namespace": "acme"});
    let bound = paygate.admin_post("/admin/tokens", &bound).json();
    let bound = bound["token"].as_str().unwrap();
    let ask = |headers: &[(&str, &str)]| {
        let mut request = Request::new("GET", "/metrics");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        paygate.send(&request).status
    };
    let forwarded = ("X-Forwarded-For", "203.0.113.9");
    let right = format!("Bearer {token}");
    assert_eq!(ask(&[]), 401);
    assert_eq!(ask(&[forwarded]), 401);
    assert_eq!(ask(&[forwarded, ("Authorization", "Bearer wrong")]), 401);
    assert_eq!(ask(&[forwarded, ("Authorization", &right)]), 200);
    assert_eq!(ask(&[forwarded, ("X-Admin-Key", support::ADMIN_KEY)]), 200);
    assert_eq!(ask(&[("X-Admin-Key", bound)]), 403);
    // It opens nothing else.
    let keys = Request::new("GET", "/keys").header("Authorization", &right);
    assert_eq!(paygate.send(&keys).status, 401);
}

#[test]
fn labels_are_kept_filtered_and_summed_up() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (raw, _) = paygate.create_key(&json!({"name": "Ada", "namespace": "acme"}));
    let call = |labels: Value| {
        let params = json!({"name": "instant", "arguments": {},
            "_meta": {"dev.paygate/labels": labels}});
        paygate.rpc(&raw, "tools/call", &params)
    };
    for labels in [
        json!({"user": "u:1", "feature": "chat"}),
        json!({"user": "u:1"}),
        json!({"user": "u2", "feature": "chat"}),
        json!({}),
    ] {
        let answer = call(labels);
        assert!(answer.json()["result"].is_object(), "{}", answer.text());
    }
    for bad in
        [json!([]), json!("x"), json!({"a": 1}), json!({"": "x"}), json!({"a": "x".repeat(101)})]
    {
        let refused = call(bad);
        assert_eq!(refused.error_code(), -32602, "{}", refused.text());
        assert!(refused.text().contains("dev.paygate/labels"), "{}", refused.text());
    }
    let modern = json!({"name": "instant", "arguments": {}, "_meta": {"dev.paygate/labels": 5}});
    assert_eq!(paygate.rpc(&raw, "tools/call", &modern).error_code(), -32602);
    assert!(paygate.admin_get("/usage").json()["count"].as_i64().is_some());
    paygate.kill9();
    let paygate = setup.start();
    let of_one = events(&paygate, "label=user:u:1");
    assert_eq!(count(&of_one), 2);
    assert_eq!(of_one[0]["labels"], json!({"feature": "chat", "user": "u:1"}));
    assert_eq!(events(&paygate, "label=user:nobody").len(), 0);
    assert_eq!(count(&events(&paygate, "")), 4);
    assert!(events(&paygate, "")[3].get("labels").is_none());
    let csv = paygate.admin_get("/usage?format=csv&label=feature:chat").text();
    assert!(csv.contains("\"{\"\"feature\"\":\"\"chat\"\""), "{csv}");
    let by_user = get(&paygate, "/analytics?label=user&namespace=acme");
    let expected = json!([{"value": "u:1", "calls": 2, "credits": 2},
        {"value": "u2", "calls": 1, "credits": 1}]);
    assert_eq!(by_user["labels"], expected);
    assert_eq!(get(&paygate, "/analytics?label=user&namespace=zoo")["labels"], json!([]));
    assert!(get(&paygate, "/analytics").get("labels").is_none());
    assert_eq!(paygate.admin_get("/usage?label=user").status, 400);
}
