//! Teams: keys that share a budget and quotas, which hold exactly whatever happens.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use serde_json::{Value, json};
use support::{Paygate, Setup};

fn team(paygate: &Paygate, body: &Value) -> String {
    let made = paygate.admin_post("/teams", body);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["team"]["id"].as_str().unwrap().to_owned()
}

fn assign(paygate: &Paygate, team: &str, key: &str) {
    let done = paygate.admin_post("/teams/assign", &json!({"teamId": team, "key": key}));
    assert_eq!(done.text(), r#"{"message":"Key assigned to team"}"#);
}

fn shown(paygate: &Paygate, team: &str) -> Value {
    let all = paygate.admin_get("/teams").json();
    let teams = all["teams"].as_array().unwrap();
    teams
        .iter()
        .find(|row| row["id"] == team)
        .unwrap_or_else(|| panic!("{team} not in {all}"))
        .clone()
}

/// The reason of a refusal, empty for a call that was made.
fn call(paygate: &Paygate, raw: &str, tool: &str) -> String {
    paygate.call(raw, tool, &json!({})).error_reason()
}

#[test]
fn a_team_is_made_changed_and_deleted() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (raw, id) = paygate.create_key(&json!({"name": "Ada"}));
    let body = json!({"name": "  Research ", "description": "d", "budget": 50,
        "quota": {"dailyCalls": 9}, "tags": {"a": "1", "b": "2"}});
    let made = paygate.admin_post("/teams", &body);
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(made["message"], "Team created");
    let team = made["team"]["id"].as_str().unwrap();
    assert!(team.starts_with("team_") && team.len() == 21, "{team}");
    for (member, value) in [
        ("name", json!("Research")),
        ("budget", json!(50)),
        ("totalSpent", json!(0)),
        ("active", json!(true)),
        ("namespace", json!("default")),
        ("memberKeys", json!([])),
    ] {
        assert_eq!(made["team"][member], value, "{member}");
    }
    // The same twice is the same; by either name of the member.
    assign(&paygate, team, &raw);
    let again = paygate.admin_post("/teams/assign", &json!({"teamId": team, "apiKey": id}));
    assert_eq!(again.status, 200, "{}", again.text());
    let view = shown(&paygate, team);
    assert_eq!(view["memberIds"], json!([id]));
    assert!(!paygate.admin_get("/teams").text().contains(&raw), "a raw key is shown");
    assert_eq!(paygate.admin_get(&format!("/keys/{id}")).json()["teamId"], team);
    let change = json!({"teamId": team, "budget": 70, "tags": {"a": null}, "quota": null});
    let changed = paygate.admin_post("/teams/update", &change).json();
    assert_eq!(changed["message"], "Team updated");
    let changed = &changed["team"];
    assert_eq!(
        (&changed["budget"], &changed["tags"], &changed["name"]),
        (&json!(70), &json!({"b": "2"}), &json!("Research"))
    );
    assert!(changed.get("quota").is_none());
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(shown(&paygate, team), *changed);
    let usage = paygate.admin_get(&format!("/teams/usage?teamId={team}")).json();
    assert_eq!(
        (&usage["teamName"], &usage["memberCount"], &usage["remainingBudget"]),
        (&json!("Research"), &json!(1), &json!(70))
    );
    assert_eq!(usage["members"][0]["name"], "Ada");
    let removed = paygate.admin_post("/teams/remove", &json!({"teamId": team, "key": raw}));
    assert_eq!(removed.text(), r#"{"message":"Key removed from team"}"#);
    let again = paygate.admin_post("/teams/remove", &json!({"teamId": team, "key": raw}));
    assert_eq!(
        (again.status, again.text().as_str()),
        (404, r#"{"error":"Key not found in team"}"#)
    );
    assign(&paygate, team, &id);
    let deleted = paygate.admin_post("/teams/delete", &json!({"teamId": team}));
    assert_eq!(deleted.text(), r#"{"message":"Team deleted"}"#);
    let again = paygate.admin_post("/teams/delete", &json!({"teamId": team}));
    assert_eq!(
        (again.status, again.text().as_str()),
        (404, r#"{"error":"Team not found or already deleted"}"#)
    );
    assert_eq!(paygate.admin_get("/teams").json(), json!({"teams": [], "count": 0}));
    assert_eq!(paygate.admin_get(&format!("/keys/{id}")).json()["teamId"], Value::Null);
    assert_eq!(paygate.admin_get(&format!("/teams/usage?teamId={team}")).status, 200);
    // A deleted key leaves its team.
    let other = self::team(&paygate, &json!({"name": "Other"}));
    assign(&paygate, &other, &id);
    assert_eq!(paygate.admin("DELETE", &format!("/keys/{id}"), &Value::Null).status, 200);
    assert_eq!(shown(&paygate, &other)["memberIds"], json!([]));
    let audit = paygate.admin_get("/audit?types=team.created,team.updated,team.deleted,team.key_assigned,team.key_removed").json();
    assert_eq!(audit["total"], 8, "{audit}");
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn wrong_requests_change_nothing() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let team = team(&paygate, &json!({"name": "Research"}));
    let (_, id) = paygate.create_key(&json!({}));
    let (_, foreign) = paygate.create_key(&json!({"namespace": "acme"}));
    let nobody = "team_0000000000000000";
    for (path, body, status, error) in [
        ("/teams", json!({}), 400, "Missing required field: name"),
        ("/teams", json!({"name": " "}), 400, "Missing required field: name"),
        ("/teams", json!({"name": 5}), 400, "name must be a string"),
        ("/teams", json!({"name": "x", "budget": -1}), 400, "budget"),
        ("/teams", json!({"name": "x", "quota": {}}), 400, "Missing quota"),
        ("/teams", json!({"name": "x", "namespace": "a_b"}), 400, "namespace"),
        ("/teams", json!({"name": "x", "budgets": 1}), 400, "did you mean \\\"budget\\\"?"),
        ("/teams/update", json!({"name": "x"}), 400, "Missing required field: teamId"),
        ("/teams/update", json!({"teamId": nobody}), 404, "Team not found or inactive"),
        ("/teams/update", json!({"teamId": "x"}), 404, "Team not found or inactive"),
        ("/teams/update", json!({"teamId": team, "name": null}), 400, "name must not be empty"),
        ("/teams/update", json!({"teamId": 5}), 400, "teamId must be a string"),
        ("/teams/delete", json!({}), 400, "Missing required field: teamId"),
        ("/teams/delete", json!({"teamId": nobody}), 404, "already deleted"),
        ("/teams/assign", json!({"key": id}), 400, "Missing required field: teamId"),
        ("/teams/assign", json!({"teamId": team}), 400, "Missing required field: key"),
        ("/teams/assign", json!({"teamId": team, "key": "pg_nobody"}), 404, "API key not found"),
        ("/teams/assign", json!({"teamId": nobody, "key": id}), 400, "team_not_found"),
        ("/teams/assign", json!({"teamId": team, "key": foreign}), 400, "team_not_found"),
        ("/teams/assign", json!({"teamId": team, "key": id, "apiKey": id}), 400, "are the same"),
        ("/teams/remove", json!({"teamId": team, "key": id}), 404, "Key not found in team"),
        (
            "/teams/remove",
            json!({"teamId": team, "key": "pg_nobody"}),
            404,
            "Key not found in team",
        ),
    ] {
        let refused = paygate.admin_post(path, &body);
        assert_eq!(refused.status, status, "{path} {body}: {}", refused.text());
        assert!(refused.text().contains(error), "{path} {body}: {}", refused.text());
    }
    for (query, status) in
        [("", 400), ("?teamId=", 400), ("?teamId=x", 404), (&*format!("?teamId={nobody}"), 404)]
    {
        assert_eq!(paygate.admin_get(&format!("/teams/usage{query}")).status, status, "{query}");
    }
    assert_eq!(shown(&paygate, &team)["memberIds"], json!([]));
    let other = self::team(&paygate, &json!({"name": "Other"}));
    assign(&paygate, &other, &id);
    let refused = paygate.admin_post("/teams/assign", &json!({"teamId": team, "key": id}));
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (400, r#"{"error":"key_already_in_team"}"#)
    );
    // As many as it may have, and one more.
    for number in 0..=100 {
        let (_, id) = paygate.create_key(&json!({}));
        let done = paygate.admin_post("/teams/assign", &json!({"teamId": team, "key": id}));
        let expected = if number < 100 { 200 } else { 400 };
        assert_eq!(done.status, expected, "{number}: {}", done.text());
    }
}

#[test]
fn the_budget_is_shared_and_what_is_free_gives_it_back() {
    let config =
        json!({"toolPricing": {"instant": {"creditsPerCall": 3}, "fail": {"creditsPerCall": 3}}});
    let setup = Setup::new().without_child_log().config(config);
    let paygate = setup.start();
    let (first, first_id) = paygate.create_key(&json!({"credits": 100}));
    let (second, _) = paygate.create_key(&json!({"credits": 100}));
    let team = team(&paygate, &json!({"name": "Research", "budget": 10}));
    for key in [&first, &second] {
        assign(&paygate, &team, key);
    }
    let paid = paygate.call(&first, "instant", &json!({}));
    let paid = paid.header("x-paygate-call-id").unwrap().to_owned();
    // Failures are free, for the team too.
    for _ in 0..5 {
        assert_eq!(call(&paygate, &second, "fail"), "");
    }
    assert_eq!(shown(&paygate, &team)["totalSpent"], 3);
    assert_eq!(call(&paygate, &second, "instant"), "");
    assert_eq!(call(&paygate, &first, "instant"), "");
    let refused = paygate.call(&second, "instant", &json!({}));
    assert_eq!(refused.json()["error"]["message"], "Payment required: team_budget_exceeded");
    assert_eq!(refused.json()["error"]["data"]["remainingCredits"], 97);
    // A rotated key is still of the team, after a restart too.
    let rotated = paygate.admin_post("/keys/rotate", &json!({"key": first})).json();
    let first = rotated["newKey"].as_str().unwrap().to_owned();
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(call(&paygate, &first, "instant"), "team_budget_exceeded");
    assert_eq!(shown(&paygate, &team)["totalSpent"], 9);
    // A refund gives the team's budget back as well.
    assert_eq!(paygate.admin_post(&format!("/calls/{paid}/refund"), &json!({})).status, 200);
    assert_eq!(shown(&paygate, &team)["totalSpent"], 6);
    assert_eq!(call(&paygate, &first, "instant"), "");
    assert_eq!(call(&paygate, &first, "instant"), "team_budget_exceeded");
    // A batch that is larger than what is left is refused whole.
    let more = json!({"teamId": team, "budget": 14});
    assert_eq!(paygate.admin_post("/teams/update", &more).status, 200);
    let calls = json!({"calls": [{"name": "instant"}, {"name": "instant"}]});
    let batch = paygate.rpc(&second, "tools/call_batch", &calls);
    assert_eq!(batch.error_reason(), "team_budget_exceeded", "{}", batch.text());
    assert_eq!(call(&paygate, &second, "instant"), "");
    // Out of the team its own credits are all that counts.
    let out = json!({"teamId": team, "key": first_id});
    assert_eq!(paygate.admin_post("/teams/remove", &out).status, 200);
    assert_eq!(call(&paygate, &first, "instant"), "");
    assert_eq!(shown(&paygate, &team)["totalSpent"], 12);
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn quotas_of_the_team_come_after_those_of_the_key() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let (raw, _) = paygate.create_key(&json!({"credits": 100, "quota": {"dailyCalls": 2}}));
    let (other, _) = paygate.create_key(&json!({"credits": 100}));
    let team = team(&paygate, &json!({"name": "Research"}));
    for key in [&raw, &other] {
        assign(&paygate, &team, key);
    }
    for (quota, reason) in [
        (json!({"dailyCalls": 1}), "team_daily_call_limit"),
        (json!({"monthlyCalls": 2}), "team_monthly_call_limit"),
        (json!({"dailyCredits": 3}), "team_daily_credit_limit"),
        (json!({"monthlyCredits": 4}), "team_monthly_credit_limit"),
    ] {
        let change = json!({"teamId": team, "quota": quota});
        assert_eq!(paygate.admin_post("/teams/update", &change).status, 200);
        assert_eq!(call(&paygate, &other, "instant"), "", "{quota}");
        assert_eq!(call(&paygate, &other, "instant"), reason);
    }
    let view = shown(&paygate, &team);
    assert_eq!((&view["quotaDailyCalls"], &view["quotaMonthlyCredits"]), (&json!(4), &json!(4)));
    let change = json!({"teamId": team, "quota": null});
    assert_eq!(paygate.admin_post("/teams/update", &change).status, 200);
    for reason in ["", "", "daily_call_quota_exceeded"] {
        assert_eq!(call(&paygate, &raw, "instant"), reason);
    }
}

#[test]
fn a_team_never_spends_more_than_its_budget_however_many_call_at_once() {
    let setup = Setup::new().without_child_log().args(["--rate-limit", "0"]);
    let paygate = setup.start();
    let team = team(&paygate, &json!({"name": "Research", "budget": 60}));
    let keys: Vec<String> = (0..4)
        .map(|_| {
            let (raw, _) = paygate.create_key(&json!({"credits": 50}));
            assign(&paygate, &team, &raw);
            raw
        })
        .collect();
    let made = AtomicI64::new(0);
    thread::scope(|scope| {
        for raw in &keys {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..15 {
                        match &*call(&paygate, raw, "instant") {
                            "" => drop(made.fetch_add(1, Ordering::Relaxed)),
                            reason => assert_eq!(reason, "team_budget_exceeded"),
                        }
                    }
                });
            }
        }
        // Somebody changes the team meanwhile: no call may slip through on an older state.
        scope.spawn(|| {
            for number in 0..20 {
                let change = json!({"teamId": team, "description": format!("{number}")});
                assert_eq!(paygate.admin_post("/teams/update", &change).status, 200);
            }
        });
    });
    assert_eq!(made.load(Ordering::Relaxed), 60);
    assert_eq!(shown(&paygate, &team)["totalSpent"], 60);
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(shown(&paygate, &team)["totalSpent"], 60);
    paygate.stop().expect_success();
    setup.verify().expect_success();
}
