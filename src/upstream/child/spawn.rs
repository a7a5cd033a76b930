//! Makes the process of a child, and ends it with everything that came from it.
//!
//! The child leads a process group of its own, so that one signal reaches all that stayed in it;
//! `descendants` finds the rest. The end is polite first: stdin is closed (the writer does that),
//! then SIGTERM, then SIGKILL. Only the child itself is waited for through tokio; process-wrap's
//! own wait would wait for the whole group, for as long as anybody in it lives.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessGroup};
use rustix::process::Signal;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::ChildOptions;
use super::descendants::{self, Leader, Mark};
use crate::model::bounds;
use crate::upstream::StartError;

/// One running child.
#[derive(Debug)]
pub(super) struct Process {
    child: Box<dyn ChildWrapper>,
    leader: Leader,
    /// How it ended, once it has.
    end: Option<String>,
    /// Its descendants are gone too.
    swept: bool,
}

/// Our ends of a child's pipes.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// Starts the program.
pub(super) fn spawn(server: &str, options: &ChildOptions) -> Result<(Process, Pipes), StartError> {
    let mark = Mark::new();
    let mut command = Command::new(&options.program);
    command
        .args(&options.arguments)
        .env_clear()
        .envs(environment(options))
        .env(Mark::NAME, mark.value())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut command = CommandWrap::from(command);
    command.wrap(ProcessGroup::leader());

    let spawned = descendants::spawn(mark, || {
        let mut child = command.spawn()?;
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .ok_or_else(|| io::Error::other("it has no pid"))?;
        let pipes = Pipes {
            stdin: child.stdin().take().ok_or_else(|| io::Error::other("it has no stdin"))?,
            stdout: child.stdout().take().ok_or_else(|| io::Error::other("it has no stdout"))?,
            stderr: child.stderr().take().ok_or_else(|| io::Error::other("it has no stderr"))?,
        };
        let inodes = vec![inode(&pipes.stdin)?, inode(&pipes.stdout)?, inode(&pipes.stderr)?];
        Ok(((child, pipes), pid, inodes))
    });
    let ((child, pipes), leader) = spawned.map_err(|error| start_error(server, options, &error))?;
    Ok((Process { child, leader, end: None, swept: false }, pipes))
}

/// What the child inherits, without anything that is Paygate's own, plus what is its own.
fn environment(options: &ChildOptions) -> impl Iterator<Item = (&OsString, &OsString)> {
    let inherited = options.environment.iter().filter(|(name, _)| !is_ours(name));
    inherited.chain(&options.child_environment).map(|(name, value)| (name, value))
}

fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"PAYGATE_")
}

fn inode(pipe: &impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(pipe)?.st_ino)
}

fn start_error(server: &str, options: &ChildOptions, error: &io::Error) -> StartError {
    let server = server.to_owned();
    let program = options.program.to_string_lossy().into_owned();
    if error.kind() == io::ErrorKind::NotFound {
        return StartError::NotFound { server, program };
    }
    StartError::Spawn { server, program, why: error.to_string() }
}

impl Process {
    /// Waits until the child itself has ended, and says how. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> String {
        if self.end.is_none() {
            let end = match self.child.inner_mut().wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("its exit status cannot be read: {error}"),
            };
            self.end = Some(end);
        }
        self.end.clone().unwrap_or_default()
    }

    /// Ends the child and all its descendants. `grace` is divided between waiting for it to end
    /// by itself and waiting for it to heed SIGTERM. [`Self::look`] comes before. Returns how it ended.
    pub(super) async fn stop(&mut self, grace: Duration) -> String {
        let half = grace / 2;
        if timeout(half, self.ended()).await.is_err() {
            self.signal(Signal::TERM);
            if timeout(half, self.ended()).await.is_err() {
                self.look().await;
            }
        }
        // The rest of the group, and the child if it is still there.
        self.signal(Signal::KILL);
        if timeout(bounds::CHILD_KILL_WAIT, self.ended()).await.is_err() {
            tracing::error!(target: "upstream", pid = self.child.id(), "a killed child does not end");
        }
        self.sweep().await;
        self.end.clone().unwrap_or_else(|| "it does not end".to_owned())
    }

    /// Kills what is left of the group after the child itself has ended.
    pub(super) fn kill_group(&self) {
        self.signal(Signal::KILL);
    }

    /// Remembers the tree, unless the child is gone and there is none.
    pub(super) async fn look(&mut self) {
        if self.end.is_none() {
            let family = self.leader.family();
            match tokio::task::spawn_blocking(move || family.look()).await {
                Ok(seen) => self.leader.remember(seen),
                Err(error) => {
                    tracing::error!(target: "upstream", %error, "descendants of a child were not looked for");
                }
            }
        }
    }

    async fn sweep(&mut self) {
        let family = self.leader.family();
        match tokio::task::spawn_blocking(move || family.end()).await {
            Ok(0) => self.swept = true,
            Ok(left) => {
                tracing::error!(target: "upstream", left, "descendants of a child could not be killed");
            }
            Err(error) => {
                tracing::error!(target: "upstream", %error, "descendants of a child were not looked for");
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = self.child.signal(signal.as_raw()) {
            tracing::trace!(target: "upstream", %error, "nobody is left in the child's group");
        }
    }
}

/// The backstop for a supervisor that did not get to the end: nothing survives the handle.
impl Drop for Process {
    fn drop(&mut self) {
        if !self.swept {
            let seen = self.leader.family().look();
            self.leader.remember(seen);
            if self.end.is_none() {
                self.signal(Signal::KILL);
            }
            self.leader.family().kill_once();
        }
    }
}
