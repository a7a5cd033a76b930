//! redis-servers of a test's own: on free ports, with nothing in them, gone with the test.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::paths::TempDir;
use super::{PATIENCE, eventually};

/// A running redis-server.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    dir: TempDir,
    settings: Vec<String>,
    /// What redis-cli needs to be let in.
    login: Vec<String>,
    is_cluster: bool,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk.
    pub fn start() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    /// Starts one with some more settings.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::start_in(TempDir::new(), settings, &[])
    }

    /// Starts one with some more settings, where there are files for it already, that asks redis-cli for
    /// more than its port.
    pub fn start_in(dir: TempDir, settings: &[&str], login: &[&str]) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let (settings, login) = (owned(settings), owned(login));
        loop {
            // Another process may take the port before the server does.
            let port = free_port();
            let mut child = spawn(port, &dir, &settings);
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    let is_cluster = false;
                    let server = Self { child, port, dir, settings, login, is_cluster };
                    server.wait_until_it_answers();
                    return server;
                }
                assert!(Instant::now() < deadline, "redis-server does not listen");
            }
            assert!(Instant::now() < deadline, "redis-server does not start");
        }
    }

    /// Starts a Sentinel that promotes another master when this one is silent for a second.
    pub fn start_sentinel(master: &Self) -> Self {
        Self::start_sentinel_with(master, "", &[])
    }

    /// The same with more settings, and what redis-cli needs to be let in.
    pub fn start_sentinel_with(master: &Self, settings: &str, login: &[&str]) -> Self {
        let dir = TempDir::new();
        let watched = format!(
            "sentinel monitor mymaster 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 4000\n{settings}",
            master.port
        );
        let file = dir.path().join("sentinel.conf");
        std::fs::write(&file, watched).unwrap();
        Self::start_in(dir, &[file.to_str().unwrap(), "--sentinel"], login)
    }

    /// Starts a cluster of one node, which refuses what would need two.
    pub fn start_cluster() -> Self {
        let bus = free_port().to_string();
        let settings = ["--save", "", "--cluster-enabled", "yes", "--cluster-port", &bus];
        let mut server = Self::start_with(&settings);
        server.is_cluster = true;
        server.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        eventually("the cluster is whole", || {
            server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        });
        server
    }

    fn wait_until_it_answers(&self) {
        eventually("redis-server answers", || self.cli(&["PING"]) == "PONG");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let kind = if self.is_cluster { "+cluster" } else { "" };
        format!("redis{kind}://127.0.0.1:{}/", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command through redis-cli; what it prints.
    pub fn cli(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let mut cli = Command::new("redis-cli");
        let output = cli.args(["-p", &port]).args(&self.login).args(command).output();
        let output = output.expect("redis-cli runs; scripts/test need installs it");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Stops it in the middle of whatever it does.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was, with the files that are there.
    pub fn restart(&mut self) {
        eventually("redis-server starts again", || {
            self.child = spawn(self.port, &self.dir, &self.settings);
            // Whether its port was taken meanwhile shows soon.
            loop {
                if self.child.try_wait().unwrap().is_some() {
                    return false;
                }
                if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                    return true;
                }
            }
        });
        self.wait_until_it_answers();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

/// A port that nobody has, a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, dir: &TempDir, settings: &[String]) -> Child {
    let mut server = Command::new("redis-server");
    // A file of settings comes first.
    let has_file = settings.first().is_some_and(|first| !first.starts_with("--"));
    let (file, rest) = settings.split_at(usize::from(has_file));
    server.args(file).args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    server.arg("--dir").arg(dir.path()).args(rest).stdout(Stdio::null());
    server.spawn().expect("redis-server runs; scripts/test need installs it")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}
