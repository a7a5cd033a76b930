//! Every command in the README is run: what it says works, works. The npm server of its example is
//! the one that `scripts/test tools` has installed, so that no test downloads anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod support;

use std::fs;
use std::process::Command;

use paygate::config::{self, Command as Parsed};
use serde_json::Value;
use support::{Paygate, Setup, TempDir, target_dir};

const README: &str = include_str!("../README.md");

/// The commands of all shell blocks, with continued lines joined.
fn commands() -> Vec<String> {
    let blocks = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let joined: String = blocks.collect::<String>().replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
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

/// The filesystem server of the README, with the one file that it reads.
fn seller() -> (Paygate, TempDir) {
    let script =
        "test-tools/node/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";
    let script = target_dir().join(script);
    assert!(script.exists(), "{} is missing: run `scripts/test tools` first", script.display());
    let files = TempDir::new();
    fs::write(files.file("a.txt"), "worth two credits").expect("a file can be written");
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
