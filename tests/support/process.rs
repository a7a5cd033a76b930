//! Processes that are never left behind, and everything they print.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Panics with everything it printed unless it exited with 0.
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }
}

/// Runs `command` until it ends by itself.
pub fn run_to_end(command: Command) -> Ended {
    run_within(command, PATIENCE)
}

/// The same for what may take longer.
pub fn run_within(mut command: Command, patience: Duration) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guard(command.spawn().expect("the binary starts"));
    let stdout = collect(child.0.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.0.stderr.take().expect("stderr is piped"));
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.0.try_wait().expect("the child can be waited for") {
            break status;
        }
        assert!(
            Instant::now() < deadline,
            "{command:?} has not ended within {patience:?}\nstdout: {}\nstderr: {}",
            stdout.text(),
            stderr.text()
        );
        thread::sleep(Duration::from_millis(10));
    };
    Ended { status, stdout: stdout.finish(), stderr: stderr.finish() }
}

/// Everything a stream has said so far.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    text: Arc<Mutex<String>>,
    is_finished: Arc<Mutex<bool>>,
}

impl Collected {
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The text once the stream has ended; a descendant that holds it open delays this by 2 s at most.
    pub fn finish(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(2);
        while !*self.is_finished.lock().unwrap() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        self.text()
    }
}

/// Reads a stream to its end on a thread of its own.
pub fn collect(stream: impl Read + Send + 'static) -> Collected {
    let collected = Collected::default();
    let sink = collected.clone();
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let mut text = sink.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
        *sink.is_finished.lock().unwrap() = true;
    });
    collected
}

/// Kills and reaps the process when it is dropped.
#[derive(Debug)]
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only if it has ended and been reaped already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
