//! One dead server does not sink the rest.

use std::fs;

use super::*;

fn health(paygate: &Paygate) -> (u16, Value) {
    let response = paygate.get("/health");
    (response.status, response.json())
}

#[test]
fn one_that_cannot_start_and_one_that_is_out_of_service() {
    let mut disabled = scripted("off");
    disabled["disabled"] = json!(true);
    let broken = json!({"prefix": "bad", "serverCommand": "sh -c 'echo no licence >&2; exit 4'"});
    let paygate = setup(&[broken, scripted("a"), disabled, telling("b", &[])], &json!({})).start();
    let said = paygate.output();
    assert!(said.contains("server \"bad\"") && said.contains("no licence"), "{said}");
    assert!(said.contains("bad: not there, it is tried again"), "{said}");
    assert!(!said.contains("off"), "{said}");

    let key = rich_key(&paygate);
    for tool in ["bad:instant", "off:instant"] {
        let answer = paygate.call(&key, tool, &json!({})).json();
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    assert!(paygate.call(&key, "a:instant", &json!({})).json()["result"].is_object());
    assert!(paygate.call(&key, "b:echo", &json!({})).json()["result"].is_object());
    assert_eq!(paygate.credits(&key), 998);

    let (status, body) = health(&paygate);
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    assert_eq!(body["upstream"]["status"], "ready");
    let servers = body["upstream"]["servers"].as_array().unwrap();
    let seen: Vec<_> = servers.iter().map(|s| (s["server"].clone(), s["status"].clone())).collect();
    let expected = [("bad", "restarting"), ("a", "ready"), ("b", "ready")];
    assert_eq!(seen, expected.map(|(server, status)| (server.into(), status.into())));
    assert!(servers[0]["why"].as_str().unwrap().contains("exit status: 4"), "{body}");
    assert!(!body.to_string().contains("licence"), "what it wrote is for the log alone");
    paygate.stop().expect_success();
}

#[test]
fn one_that_ends_takes_only_its_tools_and_brings_them_back() {
    let setup = setup(&[scripted("a")], &json!({}));
    let file = setup.dir().file("b-may-start");
    fs::write(&file, "").unwrap();
    let late = format!("late:{}", file.display());
    let setup = setup.config(json!({"servers": [scripted("a"), telling("b", &[&late])]}));
    let paygate = setup.start();
    let key = rich_key(&paygate);
    assert_eq!(health(&paygate).1["status"], "healthy");
    fs::remove_file(&file).unwrap();

    let died = paygate.call(&key, "b:die", &json!({})).json();
    assert_eq!(died["error"]["data"]["reason"], "upstream_exited", "{died}");
    eventually("its tools to vanish", || !has_tool(&paygate, "b:echo"));
    let gone = paygate.call(&key, "b:echo", &json!({})).json();
    assert_eq!(gone["error"]["code"], -32602, "{gone}");
    assert_eq!(paygate.credits(&key), 1000, "all of it was free");
    assert!(paygate.call(&key, "a:instant", &json!({})).json()["result"].is_object());
    let (status, body) = health(&paygate);
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));

    fs::write(&file, "").unwrap();
    eventually("its tools to come back", || has_tool(&paygate, "b:echo"));
    assert!(paygate.call(&key, "b:echo", &json!({})).json()["result"].is_object());
    assert_eq!(
        (health(&paygate).1["status"].clone(), paygate.credits(&key)),
        (json!("healthy"), 998)
    );
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn when_none_starts_paygate_does_not_either() {
    let servers = [
        json!({"prefix": "a", "serverCommand": "no-such-program-of-anybody"}),
        json!({"prefix": "b", "serverCommand": "sh -c 'echo no licence >&2; exit 4'"}),
    ];
    let ended = setup(&servers, &json!({})).run_to_end();
    assert_eq!(ended.code(), Some(1));
    for words in [
        "none of the servers started",
        "server \"a\"",
        "was not found",
        "server \"b\"",
        "no licence",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}

#[test]
fn while_none_is_left_health_says_so() {
    let setup = setup(&[], &json!({}));
    let file = setup.dir().file("may-start");
    fs::write(&file, "").unwrap();
    let late = format!("late:{}", file.display());
    let setup = setup.config(json!({"servers": [telling("a", &[&late]), telling("b", &[&late])]}));
    let paygate = setup.start();
    let key = rich_key(&paygate);
    fs::remove_file(&file).unwrap();
    for tool in ["a:die", "b:die"] {
        paygate.call(&key, tool, &json!({}));
    }
    eventually("the end of both", || health(&paygate).0 == 503);
    let answer = paygate.call(&key, "a:echo", &json!({})).json();
    assert_eq!(answer["error"]["data"]["reason"], "upstream_unavailable", "{answer}");
    fs::write(&file, "").unwrap();
    eventually("both again", || health(&paygate).1["status"] == "healthy");
    assert!(paygate.call(&key, "a:echo", &json!({})).json()["result"].is_object());
    assert_eq!(paygate.credits(&key), 999);
}
