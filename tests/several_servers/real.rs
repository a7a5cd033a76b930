//! Other people's servers: npm's filesystem and memory servers and PyPI's time server, as one.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::support::TempDir;
use crate::support::{npm, python};

fn npm_server(server: &str) -> PathBuf {
    npm(&format!("@modelcontextprotocol/{server}/dist/index.js"))
}

#[test]
fn filesystem_memory_and_time_are_one_server() {
    let files = TempDir::new();
    fs::write(files.file("note.txt"), "bought and paid for\n").unwrap();
    let servers = [
        json!({"prefix": "fs", "serverCommand": "node",
            "serverArgs": [npm_server("server-filesystem"), files.path()]}),
        json!({"prefix": "memory", "serverCommand": "node", "serverArgs": [npm_server("server-memory")],
            "childEnv": {"MEMORY_FILE_PATH": files.file("memory.jsonl")}}),
        json!({"prefix": "time", "serverCommand": python(),
            "serverArgs": ["-m", "mcp_server_time"]}),
    ];
    let more = json!({"toolSeparator": "__", "toolPricing": {"fs__read_text_file": {"creditsPerCall": 3}}});
    let paygate = setup(&servers, &more).start();
    let key = rich_key(&paygate);
    let call = |tool: &str, arguments: Value| {
        let answer = paygate.call(&key, tool, &arguments).json();
        assert!(
            answer["result"]["isError"] != true && answer["error"].is_null(),
            "{tool}: {answer}"
        );
        answer["result"].clone()
    };
    let read = call("fs__read_text_file", json!({"path": files.file("note.txt")}));
    assert_eq!(read["content"][0]["text"], "bought and paid for\n");
    let entity = json!({"name": "Paygate", "entityType": "program", "observations": ["sells"]});
    call("memory__create_entities", json!({"entities": [entity]}));
    let graph = call("memory__read_graph", json!({}));
    assert!(graph["content"][0]["text"].as_str().unwrap().contains("Paygate"), "{graph}");
    let time = call("time__get_current_time", json!({"timezone": "UTC"}));
    assert!(time["content"][0]["text"].as_str().unwrap().contains("UTC"), "{time}");
    assert_eq!(paygate.credits(&key), 994);
    assert!(files.file("memory.jsonl").exists(), "its own variable reached it");

    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}
