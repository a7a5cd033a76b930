//! The clients, and how one is made to follow a plan.

use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

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
    client("inspector-legacy", Era::Legacy, Kind::Inspector),
    client("inspector-auto", Era::Auto, Kind::Inspector),
];

const fn client(name: &'static str, era: Era, kind: Kind) -> Client {
    Client { name, era, kind }
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

    /// Whether this pair is tried. The Inspector begins a session for every step, which is slow, and
    /// remote servers are tried with the clients that negotiate and the oldest one.
    pub fn is_for(self, way: &str, server: &str) -> bool {
        let has_much = !matches!(server, "filesystem" | "memory" | "time");
        match (self.kind, self.era) {
            (Kind::Inspector, Era::Legacy) => way == "child" && has_much,
            (Kind::Inspector, Era::Auto) => way == "child",
            (_, Era::Auto) => true,
            (_, Era::Legacy) => way == "child" || self.name == "typescript-v1",
        }
    }

    /// Makes the client follow the plan.
    pub fn run(self, url: &str, key: &str, steps: &Value) -> Vec<StepResult> {
        match self.kind {
            Kind::Node(script) => self.script((node(), script), url, key, steps),
            Kind::Python(script) => self.script((python(), script), url, key, steps),
            Kind::Inspector => {
                let steps = steps.as_array().expect("a list").iter();
                steps.map(|step| self.inspect(url, key, step)).collect()
            }
        }
    }

    fn script(
        self,
        command: (PathBuf, &str),
        url: &str,
        key: &str,
        steps: &Value,
    ) -> Vec<StepResult> {
        let plan = json!({"url": url, "key": key, "era": self.era.word(), "steps": steps});
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

    fn inspect(self, url: &str, key: &str, step: &Value) -> StepResult {
        let arguments = inspector_arguments(step).expect("the plan has what the client can do");
        let expected = step["text"].as_str().or(step["has"].as_str()).expect("something to see");
        let launcher = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";
        let output = Command::new(node())
            .arg(npm(launcher))
            .args(["--cli", url, "--transport", "http", "--format", "json"])
            .args(["--header", &format!("X-API-Key: {key}")])
            .args(["--protocol-era", self.era.word()])
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
