//! Every command in the README is run: what it says works, works. The npm server of its example is
//! the one that `scripts/test tools` has installed, so that no test downloads anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use paygate::config::{self, Command as Parsed};
use serde_json::Value;
use support::{Paygate, Setup, TempDir, npm, rpc_request};

const README: &str = include_str!("../README.md");

/// The commands of all shell blocks.
fn commands() -> Vec<String> {
    let shell = support::blocks(README).into_iter().filter(|(language, _)| *language == "sh");
    shell.flat_map(|(_, block)| support::commands(block)).collect()
}

/// The arguments of a command of ours, however it is started.
fn ours(command: &str) -> Option<Vec<String>> {
    let words = shell_words::split(command).expect("the README quotes well");
    match words.first().map(String::as_str) {
        Some("paygate") => Some(words),
        Some("cargo") => {
            let arguments = words.into_iter().skip_while(|word| word != "--").skip(1);
            Some(std::iter::once("paygate".to_owned()).chain(arguments).collect())
        }
        _ => None,
    }
}

/// Runs a command of the README in a shell and gives what it prints.
fn shell(command: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new("sh").arg("-c").arg(command).envs(variables.iter().copied()).output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_command_is_one_that_is_run_below() {
    for command in commands() {
        match ours(&command) {
            Some(arguments) => drop(config::parse(arguments).expect("the README's flags exist")),
            None => assert!(
                command.starts_with("curl ")
                    || command == "scripts/test"
                    || command.starts_with("export PAYGATE_ADMIN_KEY="),
                "this test does not know: {command}"
            ),
        }
    }
}

#[test]
fn the_demo_prints_a_key_and_a_line_that_works() {
    let demo = commands()
        .iter()
        .find_map(|command| ours(command).filter(|words| words.contains(&"--demo".into())));
    assert_eq!(demo.expect("the demo is shown"), ["paygate", "wrap", "--demo"]);
    let paygate = Setup::new().without_server().args(["--demo"]).ephemeral().start();
    paygate.wait_for_output("tools/call");
    let printed = paygate.output();
    let line = printed.lines().find(|line| line.contains("curl") && line.contains("tools/call"));
    let answer = shell(line.expect("a line of curl"), &[]);
    let body = answer.lines().last().expect("a body");
    assert_eq!(json(body)["result"]["content"][0]["text"], "5", "{answer}");
    assert!(answer.to_lowercase().contains("x-credits-remaining: 99"), "{answer}");
}

/// The filesystem server of the README.
fn filesystem_server() -> PathBuf {
    npm("@modelcontextprotocol/server-filesystem/dist/index.js")
}

/// The one file that it reads.
fn shared_files() -> TempDir {
    let files = TempDir::new();
    fs::write(files.file("a.txt"), "worth two credits").expect("a file can be written");
    files
}

/// The server that is sold, and its files.
fn seller() -> (Paygate, TempDir) {
    let (script, files) = (filesystem_server(), shared_files());
    let wrap = commands().into_iter().filter_map(|command| ours(&command));
    let wrap = wrap.filter(|words| words.contains(&"--server".to_owned()));
    let words = wrap.collect::<Vec<_>>().pop().expect("the README sells a server");
    assert!(matches!(config::parse(&words), Ok(Parsed::Wrap(_))));
    let price = words.iter().skip_while(|word| *word != "--price").take(2);
    let command = format!("node '{}' '{}'", script.display(), files.path().display());
    (Setup::new().server(command).args(price).start(), files)
}

#[test]
fn selling_a_server_works_line_by_line() {
    let (paygate, files) = seller();
    let (mut key, mut answers) = (String::new(), Vec::new());
    for command in commands().iter().filter(|command| command.starts_with("curl ")) {
        let command = command.replace("http://localhost:3402", &paygate.base_url());
        let command = command.replace("localhost:3402", &paygate.base_url());
        let command = command.replace("/srv/files", &files.path().display().to_string());
        let answer =
            json(&shell(&command, &[("PAYGATE_ADMIN_KEY", support::ADMIN_KEY), ("KEY", &key)]));
        if let Some(made) = answer["key"].as_str() {
            made.clone_into(&mut key);
        }
        answers.push(answer);
    }
    let [made, called, left, topped] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((&made["name"], &made["credits"]), (&Value::from("acme"), &Value::from(500)));
    assert_eq!(called["result"]["content"][0]["text"], "worth two credits");
    assert_eq!(topped["credits"], 598);
    assert_eq!(left["credits"], 498);
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

/// The config file of the README, with servers that are here.
#[test]
fn servers_here_and_elsewhere_are_sold_as_one() {
    let elsewhere = Setup::new().start();
    let (credential, _) = elsewhere.create_key(&json(r#"{"credits": 10}"#));
    let (script, files) = (filesystem_server(), shared_files());
    let block = README.split("```json\n").nth(2).and_then(|rest| rest.split("```").next());
    let here = block
        .expect("the second block of JSON")
        .replace(
            "npx -y @modelcontextprotocol/server-filesystem",
            &format!("node '{}'", script.display()),
        )
        .replace("/srv/files", &files.path().display().to_string())
        .replace("https://mcp.example.com/mcp", &elsewhere.mcp_url());
    let setup = Setup::new().without_server().config(json(&here)).env("SEARCH_KEY", &credential);
    let paygate = setup.start();
    let (key, _) = paygate.create_key(&json(r#"{"credits": 100}"#));
    let path = serde_json::json!({"path": files.file("a.txt")});
    let read = paygate.call(&key, "files:read_file", &path).json();
    assert_eq!(read["result"]["content"][0]["text"], "worth two credits", "{read}");
    let found = paygate.call(&key, "search:instant", &serde_json::json!({"nonce": "found"})).json();
    assert_eq!(found["result"]["content"][0]["text"], "found", "{found}");
    assert_eq!(paygate.credits(&key), 96, "3 for the file, 1 for what has no price of its own");
    assert_eq!(elsewhere.credits(&credential), 9);
    paygate.stop().expect_success();
}

/// What is said of sessions, and of a call that is sent again.
#[test]
fn sessions_have_processes_of_their_own_and_what_is_sent_again_is_charged_once() {
    let paygate = Setup::new().start();
    let (key, _) = paygate.create_key(&json(r#"{"credits": 100}"#));
    let call = |session: Option<&str>, tool: &str, once: Option<&str>| {
        let request = rpc_request(&key, "tools/call", &serde_json::json!({"name": tool}));
        let request = session.into_iter().fold(request, |it, id| it.header("Mcp-Session-Id", id));
        let request = once.into_iter().fold(request, |it, key| it.header("Idempotency-Key", key));
        paygate.send(&request)
    };
    let client_of = |session: Option<&str>| call(session, "client", None).text();
    let begin = |name: &str| {
        let params = serde_json::json!({"protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": name, "version": "1"}});
        let begun = paygate.rpc(&key, "initialize", &params);
        begun.header("mcp-session-id").expect("a session").to_owned()
    };
    for name in ["this-client", "that-client"] {
        assert!(client_of(Some(&begin(name))).contains(name), "its server has met it alone");
        assert!(!client_of(None).contains(name), "who has no session shares another");
    }
    let before = paygate.credits(&key);
    let first = call(None, "instant", Some("order-18")).text();
    assert_eq!(call(None, "instant", Some("order-18")).text(), first);
    assert_eq!(paygate.credits(&key), before - 1);
}
