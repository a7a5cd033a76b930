//! The clients, and how one is made to follow a plan.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::rmcp;
use crate::support::{in_repository, node, npm, python};

/// Which era a client prefers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Era {
    Legacy,
    /// The newest version if the server knows it, else the newest legacy one.
    Auto,
}

impl Era {
    fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Auto => "auto",
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    /// A script for Node that takes a whole plan.
    Node(&'static str),
    /// The same for Python.
    Python(&'static str),
    /// The Inspector's command line: one process per step.
    Inspector,
    /// In this process.
    Rust,
}

/// One client in one era.
#[derive(Clone, Copy)]
pub struct Client {
    pub name: &'static str,
    pub era: Era,
    kind: Kind,
}

pub const ALL: &[Client] = &[
    client("typescript-v1", Era::Legacy, Kind::Node("typescript_v1.mjs")),
    client("typescript-v2-legacy", Era::Legacy, Kind::Node("typescript_v2.mjs")),
    client("typescript-v2-auto", Era::Auto, Kind::Node("typescript_v2.mjs")),
    client("python-legacy", Era::Legacy, Kind::Python("python_v2.py")),
    client("python-auto", Era::Auto, Kind::Python("python_v2.py")),
    client("rmcp-legacy", Era::Legacy, Kind::Rust),
    client("rmcp-auto", Era::Auto, Kind::Rust),
    client("inspector-legacy", Era::Legacy, Kind::Inspector),
    client("inspector-auto", Era::Auto, Kind::Inspector),
];

const fn client(name: &'static str, era: Era, kind: Kind) -> Client {
    Client { name, era, kind }
}

/// Where a client finds Paygate.
pub enum Reached {
    /// At a URL, with a key.
    Url { url: String, key: String },
    /// Started by the client itself, which has a directory to write to.
    Command { command: Vec<String>, env: Value, dir: PathBuf },
}

impl Reached {
    /// Paygate as this command starts it, with `key` in its environment.
    pub fn command(command: &Command, key: &str, dir: &Path) -> Self {
        let text = |word: &OsStr| word.to_str().expect("plain words").to_owned();
        let words = std::iter::once(command.get_program()).chain(command.get_args()).map(text);
        let set = command.get_envs().filter_map(|(name, value)| Some((text(name), value?)));
        let set = set.map(|(name, value)| (name, Value::from(text(value))));
        let key = ("PAYGATE_API_KEY".to_owned(), Value::from(key));
        let env = set.chain([key]).collect();
        Self::Command { command: words.collect(), env: Value::Object(env), dir: dir.to_owned() }
    }

    /// As a plan has it.
    fn as_plan(&self) -> Value {
        match self {
            Self::Url { url, key } => json!({"url": url, "key": key}),
            Self::Command { command, env, .. } => json!({"command": command, "env": env}),
        }
    }

    /// As the Inspector wants it.
    fn as_arguments(&self) -> Vec<String> {
        match self {
            Self::Url { url, key } => {
                let header = format!("X-API-Key: {key}");
                let words = ["--cli", url, "--transport", "http", "--header", &header];
                words.map(str::to_owned).to_vec()
            }
            Self::Command { command, env, dir } => {
                let entry = json!({"command": command[0], "args": command[1..], "env": env});
                let path = dir.join("inspector.json");
                let config = json!({"mcpServers": {"paygate": entry}});
                fs::write(&path, config.to_string()).expect("a file can be written");
                let path = path.to_str().expect("a plain path");
                let words = ["--cli", "--config", path, "--server", "paygate"];
                words.map(str::to_owned).to_vec()
            }
        }
    }
}

/// What came of one step.
#[derive(Debug, Deserialize)]
pub struct StepResult {
    #[serde(rename = "do")]
    pub step: String,
    pub passed: bool,
    pub why: String,
}

impl Client {
    /// Whether the client can do a step of this kind.
    pub fn can(self, step: &Value) -> bool {
        !matches!(self.kind, Kind::Inspector) || inspector_arguments(step).is_some()
    }

    /// Whether this pair is tried over HTTP. The Inspector begins a session for every step, which is
    /// slow, and remote servers are tried with the clients that negotiate, the oldest one and a quick one.
    pub fn is_for(self, way: &str, server: &str) -> bool {
        let has_much = !matches!(server, "filesystem" | "memory" | "time");
        match (self.kind, self.era) {
            (Kind::Inspector, Era::Legacy) => way == "child" && has_much,
            (Kind::Inspector, Era::Auto) => way == "child",
            (_, Era::Auto) => true,
            (_, Era::Legacy) => {
                way == "child" || matches!(self.name, "typescript-v1" | "rmcp-legacy")
            }
        }
    }

    /// The client of this name.
    pub fn named(name: &str) -> Self {
        *ALL.iter().find(|client| client.name == name).expect("there is such a client")
    }

    /// Makes the client follow the plan.
    pub fn run(self, paygate: &Reached, steps: &Value) -> Vec<StepResult> {
        match self.kind {
            Kind::Node(script) => self.script((node(), script), paygate, steps),
            Kind::Python(script) => self.script((python(), script), paygate, steps),
            Kind::Rust => rmcp::run(paygate, self.era, steps.as_array().expect("a list")),
            Kind::Inspector => {
                let steps = steps.as_array().expect("a list").iter();
                steps.map(|step| self.inspect(paygate, step)).collect()
            }
        }
    }

    fn script(self, command: (PathBuf, &str), paygate: &Reached, steps: &Value) -> Vec<StepResult> {
        let mut plan = paygate.as_plan();
        plan["era"] = self.era.word().into();
        plan["steps"] = steps.clone();
        let (interpreter, script) = command;
        let output = Command::new(interpreter)
            .arg(in_repository("tests/clients").join(script))
            .arg(plan.to_string())
            .env("NODE_MODULES", npm(""))
            .output()
            .expect("the interpreter starts");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}: {output:#?}", self.name))
    }

    fn inspect(self, paygate: &Reached, step: &Value) -> StepResult {
        let arguments = inspector_arguments(step).expect("the plan has what the client can do");
        let expected = step["text"].as_str().or(step["has"].as_str()).expect("something to see");
        let launcher = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";
        let output = Command::new(node())
            .arg(npm(launcher))
            .args(paygate.as_arguments())
            .args(["--format", "json", "--protocol-era", self.era.word()])
            .args(arguments)
            .output()
            .expect("Node starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let passed = output.status.success() && said.contains(expected);
        let why = if passed { String::new() } else { format!("{output:?}") };
        StepResult { step: name_of(step).to_owned(), passed, why }
    }
}

/// The name under which the step is listed.
pub fn name_of(step: &Value) -> &str {
    step["as"].as_str().or(step["do"].as_str()).expect("a step says what to do")
}

/// What to add to the Inspector's command line, if it can do such a step.
fn inspector_arguments(step: &Value) -> Option<Vec<String>> {
    let word = |member: &str| step[member].as_str().unwrap_or_default().to_owned();
    let mut arguments = vec!["--method".to_owned()];
    match (name_of(step), step["do"].as_str()?) {
        ("list", _) => arguments.push("tools/list".into()),
        ("call", _) => {
            arguments.extend(["tools/call".into(), "--tool-name".into(), word("tool")]);
            for (name, value) in step["arguments"].as_object()? {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                arguments.extend(["--tool-arg".into(), format!("{name}={value}")]);
            }
        }
        (_, "read") => arguments.extend(["resources/read".into(), "--uri".into(), word("uri")]),
        (_, "prompt") => {
            arguments.extend(["prompts/get".into(), "--prompt-name".into(), word("name")]);
        }
        _ => return None,
    }
    Some(arguments)
}
