//! Starts a child, watches it, and starts it again when it dies.
//!
//! One task per link owns the child of the moment: nobody else ends it or waits for it, so there
//! is one place where a generation begins and one where it ends. A generation ends when the
//! process does, or when one of its pipes breaks, because half a connection is none. At its end
//! the table is closed, what the child wrote last is still read, and then every call in flight
//! ends at once. New calls are taken again only after the next child has been greeted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::handshake::{self, Fault};
use super::link::Shared;
use super::outbox::{self, Outbox};
use super::reader::{self, Inbox};
use super::spawn::{self, Process};
use super::stderr::{self, Tail};
use super::{ChildOptions, StartError, descendants, tools};
use crate::model::bounds;
use crate::upstream::{Failure, Status};

/// The wish to stop: the grace, once somebody has asked. A closed channel asks too.
type Stop = watch::Receiver<Option<Duration>>;

/// Starts the first child and, if that worked, the task that looks after it and its successors.
pub(super) async fn start(shared: &Arc<Shared>, stop: Stop) -> Result<(), StartError> {
    let generation = Generation::start(shared).await?;
    // The task ends with the link: it reports `Stopped`, which `ChildLink::stop` waits for.
    tokio::spawn(supervise(Arc::clone(shared), generation, stop));
    Ok(())
}

async fn supervise(shared: Arc<Shared>, mut generation: Generation, mut stop: Stop) {
    let mut attempt = 0;
    loop {
        let started = Instant::now();
        let ended = tokio::select! {
            why = generation.lives() => Ended::ByItself(why),
            grace = stop_wanted(&mut stop) => Ended::Stopped(grace),
        };
        shared.calls.close();
        let why = match ended {
            Ended::Stopped(grace) => return stopped(&shared, generation, grace).await,
            Ended::ByItself(why) => {
                set_status(
                    &shared,
                    Status::Restarting { attempt: attempt + 1, why: why.as_str().into() },
                );
                tracing::warn!(target: "upstream", server = shared.options.server, why, "the server ended");
                generation.end(&shared, Duration::ZERO).await;
                why
            }
        };
        if started.elapsed() >= shared.options.restart.healthy_after {
            attempt = 0;
        }
        match restart(&shared, &mut attempt, why, &mut stop).await {
            Some(next) => generation = next,
            None => {
                return set_status(&shared, Status::Stopped { why: "it was stopped".into() });
            }
        }
    }
}

enum Ended {
    ByItself(String),
    Stopped(Duration),
}

async fn stop_wanted(stop: &mut Stop) -> Duration {
    match stop.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        // The last link was dropped: nobody waits for anything any more.
        Err(_) => Duration::ZERO,
    }
}

async fn stopped(shared: &Arc<Shared>, generation: Generation, grace: Duration) {
    let how = generation.end(shared, grace).await;
    tracing::debug!(target: "upstream", server = shared.options.server, how, "the server was stopped");
    set_status(shared, Status::Stopped { why: "it was stopped".into() });
}

/// Tries until a child is ready. None if the link is to stop.
async fn restart(
    shared: &Arc<Shared>,
    attempt: &mut u32,
    mut why: String,
    stop: &mut Stop,
) -> Option<Generation> {
    loop {
        *attempt = attempt.saturating_add(1);
        set_status(shared, Status::Restarting { attempt: *attempt, why: why.as_str().into() });
        tokio::select! {
            () = sleep(shared.options.restart.wait(*attempt)) => {}
            _ = stop_wanted(stop) => return None,
        }
        // A start that is given up half way takes its process with it (`spawn::Process`).
        let started = tokio::select! {
            started = Generation::start(shared) => started,
            _ = stop_wanted(stop) => return None,
        };
        match started {
            Ok(generation) => {
                tracing::info!(target: "upstream", server = shared.options.server, attempt = *attempt, "the server runs again");
                return Some(generation);
            }
            Err(error) => {
                tracing::warn!(target: "upstream", attempt = *attempt, %error, "the server could not be started again");
                // The status is for everybody; what the server wrote is in the log alone.
                why = error.brief();
            }
        }
    }
}

fn set_status(shared: &Shared, status: Status) {
    shared.status.send_if_modified(|now| {
        let changed = *now != status;
        *now = status;
        changed
    });
}

/// One running child with its tasks.
struct Generation {
    process: Process,
    outbox: Arc<Outbox>,
    tail: Arc<Tail>,
    reader: JoinHandle<()>,
    listener: JoinHandle<()>,
    /// Those that need not come to an end of their own.
    tasks: JoinSet<()>,
    /// A pipe to or from the child is closed.
    broken: watch::Receiver<bool>,
}

impl Generation {
    /// Starts a child and greets it; the link is ready when this returns.
    async fn start(shared: &Arc<Shared>) -> Result<Self, StartError> {
        let options = &shared.options;
        let deadline = Instant::now() + options.start_timeout;
        let mut generation = Self::spawn(shared)?;
        let outbox = Arc::clone(&generation.outbox);
        let greeted = tokio::select! {
            biased;
            greeted = handshake::greet(shared, &outbox, deadline) => greeted,
            _ = generation.ends() => Err(Fault::Ended),
        };
        match greeted {
            Ok(()) => {
                shared.calls.open(Arc::clone(&generation.outbox));
                generation
                    .tasks
                    .spawn(tools::keep_fresh(Arc::clone(shared), Arc::clone(&generation.outbox)));
                set_status(shared, Status::Ready);
                tracing::debug!(target: "upstream", server = options.server, pid = generation.process.id(), "the server is ready");
                Ok(generation)
            }
            Err(fault) => Err(generation.start_error(shared, fault).await),
        }
    }

    fn spawn(shared: &Arc<Shared>) -> Result<Self, StartError> {
        let (process, pipes) = spawn::spawn(&shared.options)?;
        let outbox = Arc::new(Outbox::default());
        let tail = Arc::new(Tail::default());
        let (break_it, broken) = watch::channel(false);
        let mut tasks = JoinSet::new();

        let writer_outbox = Arc::clone(&outbox);
        let writer_break = break_it.clone();
        let writer_shared = Arc::clone(shared);
        tasks.spawn(async move {
            let has_company = || writer_shared.calls.in_flight() > 1;
            outbox::write(&writer_outbox, pipes.stdin, has_company).await;
            writer_break.send_replace(true);
        });
        let mut inbox = Inbox::new(Arc::clone(shared), Arc::clone(&outbox));
        let reader = tokio::spawn(async move {
            reader::read(pipes.stdout, &mut inbox).await;
            break_it.send_replace(true);
        });
        let (listener_shared, listener_tail) = (Arc::clone(shared), Arc::clone(&tail));
        let listener = tokio::spawn(async move {
            stderr::listen(pipes.stderr, &listener_shared.options.server, &listener_tail).await;
        });
        Ok(Self { process, outbox, tail, reader, listener, tasks, broken })
    }

    /// Waits until the child has ended or broken its connection, and says how. Until then,
    /// collects orphans now and then. May be dropped and called again.
    async fn lives(&mut self) -> String {
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

    async fn ends(&mut self) -> String {
        tokio::select! {
            how = self.process.ended() => return how,
            _ = self.broken.wait_for(|broken| *broken) => {}
        }
        // Mostly the pipes close because the process ends; then its status says more.
        match timeout(bounds::CHILD_EXIT_WAIT, self.process.ended()).await {
            Ok(how) => how,
            Err(_) => "it closed its stdin or stdout".to_owned(),
        }
    }

    /// Ends the child and all that came from it, and every call that it leaves unanswered.
    /// Returns how it ended.
    async fn end(mut self, shared: &Arc<Shared>, grace: Duration) -> String {
        self.outbox.close();
        if grace.is_zero() {
            // Customers wait: they get what it wrote last or their failure before its descendants
            // are looked for. Who else holds its stdout must not keep them waiting.
            self.process.kill_group();
            drain(&mut self.reader).await;
            shared.calls.fail_all(Failure::Exited);
        }
        let how = self.process.stop(grace).await;
        drain(&mut self.reader).await;
        drain(&mut self.listener).await;
        shared.calls.fail_all(Failure::Exited);
        self.tasks.shutdown().await;
        how
    }

    async fn start_error(mut self, shared: &Arc<Shared>, fault: Fault) -> StartError {
        let ended = match fault {
            // It may have ended just now; its status says more than a broken pipe.
            Fault::Ended => timeout(bounds::CHILD_EXIT_WAIT, self.process.ended()).await.ok(),
            Fault::NoAnswer(_) | Fault::Bad(_) => None,
        };
        let tail = Arc::clone(&self.tail);
        self.end(shared, Duration::ZERO).await;
        let ChildOptions { server, program, start_timeout, .. } = &shared.options;
        let (server, program) = (server.clone(), program.to_string_lossy().into_owned());
        let stderr = tail.last_lines();
        match fault {
            Fault::Ended => {
                let how = ended.unwrap_or_else(|| "it closed its stdin or stdout".to_owned());
                StartError::Exited { server, program, how, stderr }
            }
            Fault::NoAnswer(method) => {
                StartError::NoAnswer { server, program, method, within: *start_timeout, stderr }
            }
            Fault::Bad(why) => StartError::BadAnswer { server, program, why, stderr },
        }
    }
}

/// A generation that is dropped half way leaves no task behind; its process ends by its own drop.
impl Drop for Generation {
    fn drop(&mut self) {
        self.outbox.close();
        self.reader.abort();
        self.listener.abort();
    }
}

/// Lets a task read what is left in its pipe, for a moment. A finished task is not asked again.
async fn drain(task: &mut JoinHandle<()>) {
    if !task.is_finished() && timeout(bounds::CHILD_DRAIN_WAIT, &mut *task).await.is_err() {
        task.abort();
    }
}
