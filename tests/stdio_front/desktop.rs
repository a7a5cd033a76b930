//! Somebody else's client, which starts Paygate as its server: the Inspector, with the configuration
//! that the README shows.

use std::fs;

use super::*;
use crate::support::{node, npm};

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

    let inspect = |era: &str, arguments: &[&str]| {
        let output = Command::new(node())
            .arg(npm("@modelcontextprotocol/inspector/clients/launcher/build/index.js"))
            .args(["--cli", "--config", path.to_str().unwrap(), "--server", "files"])
            .args(["--format", "json", "--protocol-era", era])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for era in ["legacy", "auto"] {
        let listed = inspect(era, &["--method", "tools/list"]);
        assert!(listed.contains("read_text_file") && listed.contains("creditsPerCall"), "{listed}");
        let note = format!("path={}", files.join("note.txt").display());
        let call = ["--method", "tools/call", "--tool-name", "read_text_file", "--tool-arg", &note];
        let read = inspect(era, &call);
        assert!(read.contains("bought and paid for"), "{read}");
    }
    assert_eq!(setup.with_same_files().start().credits(&key), 6);
}
