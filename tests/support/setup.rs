//! How Paygate is started in a test: its server, arguments, config, environment and files.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use super::ADMIN_KEY;
use super::paths::{TempDir, scripted_child};
use super::paygate::Paygate;
use super::process::{Ended, run_to_end};

/// How Paygate will be started. Clone it to start the same again, on the same database.
#[derive(Clone, Debug)]
pub struct Setup {
    dir: Arc<TempDir>,
    /// Another build of Paygate than this one.
    binary: Option<PathBuf>,
    server: Option<String>,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    config: Option<Value>,
    is_ephemeral: bool,
    keeps_child_log: bool,
    has_port: bool,
}

impl Setup {
    /// `paygate wrap` before the scripted child, with a database in a fresh directory.
    pub fn new() -> Self {
        Self::in_dir(TempDir::new())
    }

    /// The same with everything that it writes in `dir`.
    pub fn in_dir(dir: TempDir) -> Self {
        Self {
            dir: Arc::new(dir),
            binary: None,
            server: Some(quoted(&scripted_child())),
            args: Vec::new(),
            envs: Vec::new(),
            config: None,
            is_ephemeral: false,
            keeps_child_log: true,
            has_port: true,
        }
    }

    /// Another build of Paygate, to be compared with this one.
    #[must_use]
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Another server command, as one string for `--server`.
    #[must_use]
    pub fn server(mut self, command: impl Into<String>) -> Self {
        self.server = Some(command.into());
        self
    }

    /// No `--server`: the config file names it.
    #[must_use]
    pub fn without_server(mut self) -> Self {
        self.server = None;
        self
    }

    /// Further arguments of `paygate wrap`.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// An environment variable of Paygate, and so of the child.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// A config file with this content.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = Some(config);
        self
    }

    /// `--ephemeral` in the place of a database.
    #[must_use]
    pub fn ephemeral(mut self) -> Self {
        self.is_ephemeral = true;
        self
    }

    /// The scripted child writes nothing down, which is quicker.
    #[must_use]
    pub fn without_child_log(mut self) -> Self {
        self.keeps_child_log = false;
        self
    }

    /// A plain one with the same files: no arguments, variables or config.
    #[must_use]
    pub fn with_same_files(&self) -> Self {
        let plain = (Vec::new(), Vec::new(), None);
        Self { args: plain.0, envs: plain.1, config: plain.2, has_port: true, ..self.clone() }
    }

    /// No `--port`.
    #[must_use]
    pub fn without_port(mut self) -> Self {
        self.has_port = false;
        self
    }

    pub fn dir(&self) -> &TempDir {
        &self.dir
    }

    pub fn database(&self) -> PathBuf {
        self.dir.file("paygate.db")
    }

    /// Where the scripted child writes what ran.
    pub fn child_log_path(&self) -> PathBuf {
        self.dir.file("scripted.log")
    }

    /// What the scripted children ran so far: (tool, nonce) in order.
    pub fn child_log(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.child_log_path()).unwrap_or_default();
        let line =
            |line: &str| line.split_once(' ').map(|(tool, nonce)| (tool.into(), nonce.into()));
        text.lines().filter_map(line).collect()
    }

    /// The command that will be run.
    pub fn command(&self) -> Command {
        let own = Path::new(env!("CARGO_BIN_EXE_paygate"));
        let mut command = Command::new(self.binary.as_deref().unwrap_or(own));
        command.current_dir(self.dir.path());
        if self.keeps_child_log {
            command.env("SCRIPTED_LOG", self.child_log_path());
        }
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        command.args(["wrap", "--admin-key", ADMIN_KEY]);
        if self.has_port {
            command.args(["--port", "0"]);
        }
        if let Some(server) = &self.server {
            command.arg("--server").arg(server);
        }
        if let Some(config) = &self.config {
            let path = self.dir.file("paygate.json");
            fs::write(&path, config.to_string()).expect("the config file can be written");
            command.arg("--config").arg(path);
        }
        if self.is_ephemeral {
            command.arg("--ephemeral");
        } else {
            command.arg("--db").arg(self.database());
        }
        command.args(&self.args);
        command
    }

    /// Starts it and waits until it listens.
    pub fn start(&self) -> Paygate {
        Paygate::start(self.clone(), self.command())
    }

    /// Starts it and waits until it ends by itself, which a wrong start does.
    pub fn run_to_end(&self) -> Ended {
        run_to_end(self.command())
    }

    /// Runs another sub-command in the same directory, `["ledger", "verify"]` for instance.
    pub fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paygate"));
        command.current_dir(self.dir.path()).args(args);
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        run_to_end(command)
    }

    /// `paygate ledger verify` on the database.
    pub fn verify(&self) -> Ended {
        let database = self.database();
        self.run(&["ledger", "verify", "--db", database.to_str().expect("a plain path")])
    }
}

/// A path as one word of a `--server` command.
fn quoted(path: &Path) -> String {
    let path = path.to_str().expect("a plain path");
    assert!(!path.contains('\''), "{path} cannot be quoted");
    format!("'{path}'")
}
