//! One run of the suite, and what was lost between two.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Check, Lost, TempDir, Tried, node, npm};

/// How long one scenario may take; the slowest takes 5 s where nothing else runs.
const SCENARIO_TIMEOUT_MS: &str = "60000";

/// What one run says about every check.
pub struct Results {
    statuses: BTreeMap<Check, String>,
    /// Whether every required scenario passed.
    pub has_required: bool,
    /// What the suite printed.
    pub said: String,
}

impl Results {
    pub fn passed(&self) -> usize {
        self.statuses.values().filter(|status| *status == "SUCCESS").count()
    }

    /// The scenarios, of which each is tried in every way.
    pub fn tried(&self) -> Tried {
        let scenarios = self.statuses.keys().map(|(scenario, _)| scenario.clone()).collect();
        Tried::from([("every-way".to_owned(), scenarios)])
    }
}

/// Runs everything that `version` asks of a server at `url`.
pub fn run(url: &str, version: &str) -> Results {
    let folder = TempDir::new();
    let output = Command::new(node())
        .arg(npm("@modelcontextprotocol/conformance/dist/index.js"))
        .args(["server", "--url", url, "--requirements", version])
        .args(["--timeout", SCENARIO_TIMEOUT_MS, "--output-dir"])
        .arg(folder.path())
        .output()
        .expect("Node starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let mut statuses = BTreeMap::new();
    for entry in fs::read_dir(folder.path()).expect("the suite writes its results") {
        let path = entry.expect("a folder").path();
        read_scenario(&path, &mut statuses);
    }
    assert!(!statuses.is_empty(), "the suite ran nothing:\n{said}");
    Results { statuses, has_required: output.status.success(), said }
}

/// Reads `server-SCENARIO-TIMESTAMP/checks.json`. A check is named `id:Name`, a repeated one `id:Name#2`.
fn read_scenario(folder: &Path, statuses: &mut BTreeMap<Check, String>) {
    let name = folder.file_name().and_then(|name| name.to_str()).expect("a plain name");
    let scenario = name.strip_prefix("server-").expect("a server scenario");
    // The timestamp: -2026-11-21T00-22-28-021Z.
    let scenario = &scenario[..scenario.len() - "-2026-11-21T00-22-28-021Z".len()];
    // A scenario that broke off has none: its checks were never run.
    let Ok(text) = fs::read_to_string(folder.join("checks.json")) else { return };
    let checks: Vec<Value> = serde_json::from_str(&text).expect("a list of checks");
    for check in checks.iter().filter(|check| check["status"] != "INFO") {
        let word = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
        let mut key =
            (scenario.to_owned(), format!("{}:{}", word("id"), word("name")).replace(' ', "_"));
        let first = key.1.clone();
        let mut count = 1;
        while statuses.contains_key(&key) {
            count += 1;
            key.1 = format!("{first}#{count}");
        }
        let why = word("errorMessage");
        let status = if why.is_empty() { word("status") } else { word("status") + ": " + &why };
        statuses.insert(key, status);
    }
}

/// 2 passed, 0 failed, 1 anything between: a warning, skipped, never run.
fn rank(status: Option<&String>) -> u8 {
    match status.map(String::as_str) {
        Some("SUCCESS") => 2,
        Some(status) if status.starts_with("FAILURE") => 0,
        _ => 1,
    }
}

/// Every check that is worse in `through` than in `direct`, in order.
pub fn lost(direct: &Results, through: &Results) -> Vec<Lost> {
    let mut checks: Vec<&Check> = direct.statuses.keys().chain(through.statuses.keys()).collect();
    checks.sort();
    checks.dedup();
    let is_worse =
        |check: &&Check| rank(through.statuses.get(*check)) < rank(direct.statuses.get(*check));
    let how = |check: &Check| {
        through.statuses.get(check).cloned().unwrap_or_else(|| "was never run".to_owned())
    };
    checks.into_iter().filter(is_worse).map(|c| Lost { check: c.clone(), how: how(c) }).collect()
}
