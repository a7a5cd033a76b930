//! The servers, and what a client is made to do with each.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::clients::{Client, Era};
use crate::support::{Background, Setup, in_repository, node, npm, python};

/// A server and what is done with it.
#[derive(Clone, Copy)]
pub struct Server {
    pub name: &'static str,
    kind: Kind,
    /// How it can be reached but as a child.
    remote: Option<Remote>,
}

#[derive(Clone, Copy)]
enum Remote {
    StreamableHttp,
    /// The transport of 2024-11-05.
    Sse,
}

#[derive(Clone, Copy)]
enum Kind {
    Everything,
    Filesystem,
    Memory,
    Time,
    /// Our own on the official Python SDK: the one that speaks both eras and has everything.
    Fixture,
    /// The fixture and the time server, sold as one.
    Several,
}

/// As children of Paygate.
pub const CHILDREN: &[Server] = &[
    Server { name: "everything", kind: Kind::Everything, remote: None },
    Server { name: "filesystem", kind: Kind::Filesystem, remote: None },
    Server { name: "memory", kind: Kind::Memory, remote: None },
    TIME,
    FIXTURE,
];

/// At a URL.
pub const REMOTE: &[Server] = &[
    Server { name: "everything", kind: Kind::Everything, remote: Some(Remote::StreamableHttp) },
    Server { name: "everything-sse", kind: Kind::Everything, remote: Some(Remote::Sse) },
    REMOTE_FIXTURE,
];

/// What is reached in other ways than over HTTP with one server, which the lists above have: way,
/// client, server. A few of each, because each takes seconds.
pub const COMBINED: &[(&str, &str, Server)] = &[
    ("several", "typescript-v1", SEVERAL),
    ("several", "typescript-v2-auto", SEVERAL),
    ("several", "rmcp-legacy", SEVERAL),
    ("several", "rmcp-auto", SEVERAL),
    ("stdio", "typescript-v1", FIXTURE),
    ("stdio", "typescript-v2-auto", FIXTURE),
    ("stdio", "python-auto", FIXTURE),
    ("stdio", "rmcp-legacy", FIXTURE),
    ("stdio", "rmcp-auto", FIXTURE),
    ("stdio", "inspector-auto", TIME),
    ("stdio_remote", "typescript-v1", REMOTE_FIXTURE),
    ("stdio_remote", "typescript-v2-auto", REMOTE_FIXTURE),
    ("stdio_remote", "rmcp-legacy", REMOTE_FIXTURE),
    ("stdio_remote", "rmcp-auto", REMOTE_FIXTURE),
    ("stdio_several", "python-legacy", SEVERAL),
    ("stdio_several", "python-auto", SEVERAL),
    ("stdio_several", "rmcp-legacy", SEVERAL),
    ("stdio_several", "rmcp-auto", SEVERAL),
];

const FIXTURE: Server = Server { name: "fixture", kind: Kind::Fixture, remote: None };
const TIME: Server = Server { name: "time", kind: Kind::Time, remote: None };
const REMOTE_FIXTURE: Server = Server { remote: Some(Remote::StreamableHttp), ..FIXTURE };
const SEVERAL: Server = Server { name: "several", kind: Kind::Several, remote: None };

impl Server {
    /// What is guarded: a command, a URL or several commands.
    pub fn behind(self, setup: Setup, url: Option<&str>, files: &Path) -> Setup {
        match url {
            Some(url) => setup.without_server().args(["--remote-url", url]),
            None if matches!(self.kind, Kind::Several) => {
                let entry = |prefix: &str, server: Self| json!({"prefix": prefix, "serverCommand": server.command(files)});
                let servers = [entry("fixture", FIXTURE), entry("time", TIME)];
                setup.without_server().config(json!({"servers": servers}))
            }
            None => setup.server(self.command(files)),
        }
    }

    /// The command line that starts it, with `files` to write to.
    fn command(self, files: &Path) -> String {
        let npm_server = |name: &str| {
            let script = npm(&format!("@modelcontextprotocol/{name}/dist/index.js"));
            format!("'{}' '{}'", node().display(), script.display())
        };
        match self.kind {
            Kind::Everything => npm_server("server-everything") + " stdio",
            Kind::Filesystem => {
                format!("{} '{}'", npm_server("server-filesystem"), files.display())
            }
            Kind::Memory => {
                let memory = files.join("memory.jsonl");
                format!(
                    "env 'MEMORY_FILE_PATH={}' {}",
                    memory.display(),
                    npm_server("server-memory")
                )
            }
            Kind::Time => format!("'{}' -m mcp_server_time", python().display()),
            Kind::Fixture | Kind::Several => {
                let script = in_repository("tests/fixtures/conformance/server.py");
                format!("'{}' '{}'", python().display(), script.display())
            }
        }
    }

    /// Starts it at a URL, if that is how it is reached.
    pub fn start(self) -> Option<(Background, String)> {
        let (transport, path) = match self.remote? {
            Remote::StreamableHttp => ("streamableHttp", "mcp"),
            Remote::Sse => ("sse", "sse"),
        };
        let port = free_port();
        let mut command;
        if matches!(self.kind, Kind::Fixture) {
            command = Command::new(python());
            command.arg(in_repository("tests/fixtures/conformance/server.py"));
            command.args(["--http", &port.to_string()]);
        } else {
            command = Command::new(node());
            command.arg(npm("@modelcontextprotocol/server-everything/dist/index.js"));
            command.arg(transport);
        }
        command.env("PORT", port.to_string());
        let server = Background::start(command, &port.to_string());
        Some((server, format!("http://127.0.0.1:{port}/{path}")))
    }

    /// The era that this client speaks with it.
    pub fn era(self, client: Client) -> &'static str {
        let has_modern = matches!(self.kind, Kind::Time | Kind::Fixture | Kind::Several);
        if client.era == Era::Auto && has_modern { "modern" } else { "legacy" }
    }

    /// What this client does with it.
    pub fn steps(self, client: Client, files: &Path) -> Value {
        let version = if self.era(client) == "modern" { "2026-07-28" } else { "2025-11-25" };
        let version = json!([{"do": "version", "is": version}]);
        let steps = match self.kind {
            Kind::Everything => everything(),
            Kind::Filesystem => filesystem(files),
            Kind::Memory => memory(),
            Kind::Time => time(),
            Kind::Fixture => fixture(client),
            Kind::Several => several(client),
        };
        let steps = [version, steps];
        let steps = steps.iter().flat_map(|steps| steps.as_array().expect("a list"));
        Value::Array(steps.filter(|step| client.can(step)).cloned().collect())
    }
}

fn everything() -> Value {
    let resource = "demo://resource/dynamic/text/1";
    let echo = json!({"tool": "echo", "arguments": {"message": "hi"}, "text": "Echo: hi"});
    json!([
        {"do": "list", "has": "echo"},
        {"do": "call", "tool": "echo", "arguments": {"message": "hi"}, "text": "Echo: hi"},
        {"do": "progress", "tool": "trigger-long-running-operation",
            "arguments": {"duration": 0.3, "steps": 3}, "seen": [1, 2, 3], "text": "completed"},
        {"do": "read", "uri": resource, "text": "Resource 1"},
        {"do": "prompt", "name": "simple-prompt", "text": "simple prompt"},
        {"do": "call", "as": "sampling", "tool": "trigger-sampling-request",
            "arguments": {"prompt": "hi"}, "text": "sampled answer"},
        {"do": "call", "as": "elicitation", "tool": "trigger-elicitation-request",
            "arguments": {}, "text": "elicited answer"},
        {"do": "call", "as": "roots", "tool": "get-roots-list", "arguments": {}, "text": "rooted"},
        {"do": "cancel", "tool": "trigger-long-running-operation",
            "arguments": {"duration": 30, "steps": 300}, "then": echo},
        {"do": "watch", "uri": resource, "tool": "toggle-subscriber-updates", "arguments": {}},
        {"do": "log", "tool": "toggle-simulated-logging", "arguments": {}},
    ])
}

fn filesystem(files: &Path) -> Value {
    let note = files.join("note.txt");
    fs::write(&note, "bought and paid for\n").expect("a file can be written");
    json!([
        {"do": "list", "has": "read_text_file"},
        {"do": "call", "tool": "read_text_file", "arguments": {"path": note}, "text": "paid for"},
    ])
}

fn memory() -> Value {
    let entity = json!({"name": "Ada", "entityType": "person", "observations": ["counts"]});
    json!([
        {"do": "list", "has": "create_entities"},
        {"do": "call", "tool": "create_entities", "arguments": {"entities": [entity]}, "text": "Ada"},
    ])
}

fn time() -> Value {
    json!([
        {"do": "list", "has": "get_current_time"},
        {"do": "call", "tool": "get_current_time", "arguments": {"timezone": "UTC"}, "text": "UTC"},
    ])
}

fn fixture(client: Client) -> Value {
    let watched = "test://watched-resource";
    let label = json!({"label": client.name});
    let cancelled = format!("{} was cancelled", client.name);
    // Before 2026 a server sends its questions; since then it answers with them.
    let question = |kind: &str| match (client.era, kind) {
        (Era::Legacy, "sampling") => ("test_sampling", json!({"prompt": "hi"})),
        (Era::Legacy, "elicitation") => ("test_elicitation_sep1034_defaults", json!({})),
        (Era::Legacy, _) => ("test_roots", json!({})),
        (Era::Auto, "sampling") => ("test_input_required_result_sampling", json!({})),
        (Era::Auto, "elicitation") => ("test_input_required_result_elicitation", json!({})),
        (Era::Auto, _) => ("test_input_required_result_list_roots", json!({})),
    };
    let ask = |kind: &str, text: &str| {
        let (tool, arguments) = question(kind);
        json!({"do": "call", "as": kind, "tool": tool, "arguments": arguments, "text": text})
    };
    let mut steps = json!([
        {"do": "list", "has": "test_simple_text"},
        {"do": "call", "tool": "test_simple_text", "arguments": {}, "text": "simple text"},
        {"do": "progress", "tool": "test_tool_with_progress", "arguments": {},
            "seen": [0, 50, 100], "text": "Done."},
        {"do": "read", "uri": "test://static-text", "text": "static text resource"},
        {"do": "prompt", "name": "test_simple_prompt", "text": "simple prompt"},
        ask("sampling", "sampled answer"),
        ask("elicitation", "elicited answer"),
        ask("roots", "rooted"),
        {"do": "cancel", "tool": "wait_until_cancelled", "arguments": label.clone(),
            "then": {"tool": "was_cancelled", "arguments": label, "text": cancelled}},
        {"do": "watch", "uri": watched, "tool": "test_trigger_resource_update",
            "arguments": {"uri": watched}},
        {"do": "log", "tool": "test_tool_with_logging", "arguments": {}},
    ]);
    // What needs no second client to be seen.
    if client.name.starts_with("rmcp") {
        let further = further(client.era);
        steps.as_array_mut().expect("a list").extend(further);
    }
    steps
}

fn further(era: Era) -> Vec<Value> {
    let call = |name: &str, tool: &str, text: &str| json!({"do": "call", "as": name, "tool": tool, "arguments": {}, "text": text});
    let mut steps = vec![
        call("picture", "test_image_content", "image/png"),
        call("sound", "test_audio_content", "audio/wav"),
        call("embedded", "test_embedded_resource", "test://embedded-resource"),
        call("mixed", "test_multiple_content_types", "test://mixed-content-resource"),
        call("failed", "test_error_handling", "\"isError\":true"),
        json!({"do": "resources", "text": "test://static-text"}),
        json!({"do": "templates", "text": "test://template/{id}/data"}),
        json!({"do": "prompts", "text": "test_simple_prompt"}),
        json!({"do": "schema", "tool": "json_schema_2020_12_tool", "is": newer_schema()}),
        json!({"do": "complete", "name": "test_prompt_with_arguments", "argument": "arg1",
            "value": "par", "text": "[\"paris\",\"park\",\"party\"]"}),
        json!({"do": "together", "tool": "test_tool_with_progress", "arguments": {},
            "seen": [0, 50, 100], "text": "Done."}),
        json!({"do": "changed", "tool": "test_trigger_tool_change", "arguments": {}}),
    ];
    let of_era = match era {
        Era::Legacy => vec![json!({"do": "ping"})],
        Era::Auto => vec![
            json!({"do": "call", "as": "mirrored", "tool": "test_mirrored_argument",
                "arguments": {"region": "eu"}, "text": "Region: eu"}),
            json!({"do": "missing", "uri": "test://nowhere", "text": "-32602"}),
            json!({"do": "read", "as": "cached", "uri": "test://static-text",
                "text": "\"ttlMs\":60000"}),
            json!({"do": "task", "tool": "slow_compute", "arguments": {"seconds": 0.1},
                "text": "Computed."}),
        ],
    };
    steps.extend(of_era);
    steps
}

/// The schema that the fixture lists for this tool.
fn newer_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {
            "properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"],
        },
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

/// What is done with each of them alone, under full names.
fn several(client: Client) -> Value {
    let (mut steps, mut of_time) = (fixture(client), time());
    for (prefix, steps) in [("fixture", &mut steps), ("time", &mut of_time)] {
        for step in steps.as_array_mut().expect("a list") {
            let full = |name: &mut Value| {
                if let Some(own) = name.as_str() {
                    *name = format!("{prefix}:{own}").into();
                }
            };
            for member in ["tool", "name", "has"] {
                step.get_mut(member).map(full);
            }
            step.get_mut("then").and_then(|then| then.get_mut("tool")).map(full);
        }
    }
    let steps = [steps, of_time];
    let steps = steps.iter().flat_map(|steps| steps.as_array().expect("a list"));
    Value::Array(steps.cloned().collect())
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
