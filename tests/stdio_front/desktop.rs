//! Somebody else's client, which starts Paygate as its server: the Inspector, with the configuration
//! that the README shows.

use std::fs;
use std::path::Path;

use super::*;
use crate::support::{node, npm, python};

const README: &str = include_str!("../../README.md");

/// The README's configuration for this machine.
fn configuration(setup: &Setup, files: &str, key: &str) -> Value {
    let block = README.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let server = npm("@modelcontextprotocol/server-filesystem/dist/index.js");
    let here = block
        .replace("\"paygate\"", &json!(env!("CARGO_BIN_EXE_paygate")).to_string())
        .replace("/srv/books.db", setup.database().to_str().unwrap())
        .replace(
            "npx -y @modelcontextprotocol/server-filesystem",
            &format!("node {}", server.display()),
        )
        .replace("/srv/files", files)
        .replace("pg_…", key);
    let configuration: Value = serde_json::from_str(&here).unwrap();
    assert_ne!(here, block);
    configuration
}

/// What the Inspector prints that starts the server `files` of a configuration.
fn inspect(configuration: &Path, era: &str, arguments: &[&str]) -> String {
    let output = Command::new(node())
        .arg(npm("@modelcontextprotocol/inspector/clients/launcher/build/index.js"))
        .args(["--cli", "--config", configuration.to_str().unwrap(), "--server", "files"])
        .args(["--format", "json", "--protocol-era", era])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_inspector_buys_in_the_era_without_handshakes_too() {
    let setup = Setup::new();
    let server = format!("'{}' -m mcp_server_time", python().display());
    let import = format!("{KEY}:10");
    let database = setup.database();
    let args = [
        "wrap",
        "--stdio",
        "--db",
        database.to_str().unwrap(),
        "--import-key",
        &import,
        "--server",
        &server,
    ];
    let entry = json!({"command": env!("CARGO_BIN_EXE_paygate"), "args": args,
        "env": {"PAYGATE_API_KEY": KEY}});
    let path = setup.dir().file("mcp.json");
    fs::write(&path, json!({"mcpServers": {"files": entry}}).to_string()).unwrap();
    for era in ["modern", "auto"] {
        let call = [
            "--method",
            "tools/call",
            "--tool-name",
            "get_current_time",
            "--tool-arg",
            "timezone=UTC",
        ];
        let said = inspect(&path, era, &call);
        assert!(said.contains("UTC") && !said.contains("\"isError\": true"), "{said}");
    }
    assert_eq!(setup.with_same_files().start().credits(KEY), 8);
}

#[test]
fn the_inspector_buys_with_the_configuration_of_the_readme() {
    let setup = Setup::new();
    let paygate = setup.start();
    let (key, _) = paygate.create_key(&json!({"name": "desktop", "credits": 10}));
    paygate.stop().expect_success();
    let files = setup.dir().file("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("note.txt"), "bought and paid for\n").unwrap();
    let path = setup.dir().file("mcp.json");
    let configuration = configuration(&setup, files.to_str().unwrap(), &key);
    fs::write(&path, configuration.to_string()).unwrap();

    for era in ["legacy", "auto"] {
        let listed = inspect(&path, era, &["--method", "tools/list"]);
        assert!(listed.contains("read_text_file") && listed.contains("creditsPerCall"), "{listed}");
        let note = format!("path={}", files.join("note.txt").display());
        let call = ["--method", "tools/call", "--tool-name", "read_text_file", "--tool-arg", &note];
        let read = inspect(&path, era, &call);
        assert!(read.contains("bought and paid for"), "{read}");
    }
    assert_eq!(setup.with_same_files().start().credits(&key), 6);
}
