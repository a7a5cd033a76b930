//! One child process with its pipes and the tasks at their ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::spawn::{self, Process};
use super::stderr::{self, Tail};
use super::{ChildOptions, descendants, reader};
use crate::model::bounds;
use crate::upstream::StartError;
use crate::upstream::handshake::Fault;
use crate::upstream::inbox::Inbox;
use crate::upstream::outbox::{self, Outbox};

/// A running child. Dropping it leaves no task behind, and its process ends by its own drop.
pub(in crate::upstream) struct Running {
    program: String,
    process: Process,
    outbox: Arc<Outbox>,
    tail: Arc<Tail>,
    reader: JoinHandle<()>,
    listener: JoinHandle<()>,
    writer: JoinHandle<()>,
    /// A pipe to or from the child is closed.
    broken: watch::Receiver<bool>,
}

/// What is known of a child that did not start.
pub(in crate::upstream) struct About {
    pub(in crate::upstream) program: String,
    pub(in crate::upstream) how: String,
    pub(in crate::upstream) stderr: Arc<Tail>,
}

impl Running {
    pub(in crate::upstream) fn start(
        server: &str,
        options: &ChildOptions,
        outbox: &Arc<Outbox>,
        inbox: Inbox,
    ) -> Result<Self, StartError> {
        let (process, pipes) = spawn::spawn(server, options)?;
        let tail = Arc::new(Tail::default());
        let (break_it, broken) = watch::channel(false);

        let (writer_outbox, writer_break) = (Arc::clone(outbox), break_it.clone());
        let has_company = inbox.has_company();
        let writer = tokio::spawn(async move {
            outbox::write(&writer_outbox, pipes.stdin, has_company).await;
            writer_break.send_replace(true);
        });
        let reader = tokio::spawn(async move {
            reader::read(pipes.stdout, &inbox).await;
            break_it.send_replace(true);
        });
        let (server, listener_tail) = (server.to_owned(), Arc::clone(&tail));
        let listener = tokio::spawn(async move {
            stderr::listen(pipes.stderr, &server, &listener_tail).await;
        });
        let program = options.program.to_string_lossy().into_owned();
        let outbox = Arc::clone(outbox);
        Ok(Self { program, process, outbox, tail, reader, listener, writer, broken })
    }

    /// Waits until the child has ended or broken its connection, and says how. Until then,
    /// collects orphans now and then. May be dropped and called again.
    pub(in crate::upstream) async fn lives(&mut self) -> String {
        let mut tick = interval(bounds::ORPHAN_REAP_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                why = self.ends() => return why,
                _ = tick.tick() => {
                    if let Err(error) = tokio::task::spawn_blocking(descendants::reap_orphans).await {
                        tracing::error!(target: "upstream", %error, "orphans were not collected");
                    }
                }
            }
        }
    }

    /// Waits until the child has ended or broken its connection, and says how.
    pub(in crate::upstream) async fn ends(&mut self) -> String {
        tokio::select! {
            how = self.process.ended() => return how,
            _ = self.broken.wait_for(|broken| *broken) => {}
        }
        // Mostly the pipes close because the process ends; then its status says more.
        match timeout(bounds::CHILD_EXIT_WAIT, self.process.ended()).await {
            Ok(how) => how,
            Err(_) => CLOSED.to_owned(),
        }
    }

    /// Closes the outbox and ends the child and all that came from it. What it wrote last is still
    /// read, then `fail` ends the calls that it leaves unanswered. Returns how it ended.
    pub(in crate::upstream) async fn end(
        mut self,
        grace: Duration,
        fail: impl Fn() -> usize,
    ) -> String {
        self.process.look().await;
        self.outbox.close();
        if grace.is_zero() {
            // Customers wait: they get what it wrote last or their failure before its descendants
            // are looked for. Who else holds its stdout must not keep them waiting.
            self.process.kill_group();
            drain(&mut self.reader).await;
            fail();
        }
        let how = self.process.stop(grace).await;
        drain(&mut self.reader).await;
        drain(&mut self.listener).await;
        how
    }

    /// What can be said about one that did not start.
    pub(in crate::upstream) async fn about(&mut self, fault: &Fault) -> About {
        let how = match fault {
            // It may have ended just now; its status says more than a broken pipe.
            Fault::Ended => timeout(bounds::CHILD_EXIT_WAIT, self.process.ended()).await.ok(),
            Fault::NoAnswer(_) | Fault::Refused(..) | Fault::Bad(_) => None,
        };
        About {
            program: self.program.clone(),
            how: how.unwrap_or_else(|| CLOSED.to_owned()),
            stderr: Arc::clone(&self.tail),
        }
    }
}

const CLOSED: &str = "it closed its stdin or stdout";

impl Drop for Running {
    fn drop(&mut self) {
        self.outbox.close();
        self.reader.abort();
        self.listener.abort();
        self.writer.abort();
    }
}

/// Lets a task read what is left in its pipe, for a moment. A finished task is not asked again.
async fn drain(task: &mut JoinHandle<()>) {
    if !task.is_finished() && timeout(bounds::CHILD_DRAIN_WAIT, &mut *task).await.is_err() {
        task.abort();
    }
}
