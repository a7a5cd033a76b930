//! A redis-server of a test's own: on a free port, with nothing in it, gone with the test.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::paths::TempDir;
use super::{PATIENCE, eventually};

/// A running redis-server.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk.
    pub fn start() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    /// Starts one with some more settings.
    pub fn start_with(settings: &[&str]) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Another process may take the port before the server does.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let dir = TempDir::new();
            let mut child = spawn(port, &dir, settings);
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    let server = Self { child, port, dir };
                    eventually("redis-server answers", || server.cli(&["PING"]) == "PONG");
                    return server;
                }
                assert!(Instant::now() < deadline, "redis-server does not listen");
            }
            assert!(Instant::now() < deadline, "redis-server does not start");
        }
    }

    /// Kills it and starts it again where it was, with what it kept on disk.
    pub fn restart(&mut self, settings: &[&str]) {
        self.kill();
        self.child = spawn(self.port, &self.dir, settings);
        eventually("redis-server answers again", || self.cli(&["PING"]) == "PONG");
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Where it keeps its files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command through redis-cli; what it prints.
    pub fn cli(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let mut cli = Command::new("redis-cli");
        let output = cli.args(["-p", &port]).args(command).output();
        let output = output.expect("redis-cli runs; scripts/test need installs it");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

fn spawn(port: u16, dir: &TempDir, settings: &[&str]) -> Child {
    let mut server = Command::new("redis-server");
    server.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    server.arg("--dir").arg(dir.path()).args(settings).stdout(Stdio::null());
    server.spawn().expect("redis-server runs; scripts/test need installs it")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}
