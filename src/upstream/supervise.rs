//! Starts a server, watches it, and starts it again when it ends.
//!
//! One task per link owns the generation of the moment: nobody else ends it or waits for it, so there
//! is one place where a generation begins and one where it ends. A generation ends when its
//! peer does: the process, or one of its pipes, because half a connection is none; a remote server
//! when it does not answer any more. At its end
//! the table is closed, what the server wrote last is still read, and then every call in flight
//! ends at once. New calls are taken again only after the next generation has been greeted.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::handshake::{self, Fault};
use super::inbox::Inbox;
use super::link::Shared;
use super::outbox::Outbox;
use super::start_error::{Address, LastLines};
use super::{Failure, Kind, StartError, Status, Trouble, child, remote, several, tools};

/// The wish to stop: the grace, once somebody has asked. A closed channel asks too.
pub(super) type Stop = watch::Receiver<Option<Duration>>;

/// Starts the first generation and, if that worked, the task that looks after it and its successors.
pub(super) async fn start(shared: &Arc<Shared>, mut stop: Stop) -> Result<(), StartError> {
    let generation = Generation::start(shared, &mut stop).await?;
    // The task ends with the link: it reports `Stopped`, which `Link::stop` waits for.
    tokio::spawn(supervise(Arc::clone(shared), generation, stop));
    Ok(())
}

/// Starts the first generation in the task that looks after it, which tries again if that fails.
/// The receiver is told how the first start went.
pub(super) fn launch(
    shared: &Arc<Shared>,
    stop: Stop,
) -> oneshot::Receiver<Result<(), StartError>> {
    let (first, told) = oneshot::channel();
    // The task ends with the link, as above.
    tokio::spawn(start_or_retry(Arc::clone(shared), stop, first));
    told
}

async fn start_or_retry(
    shared: Arc<Shared>,
    mut stop: Stop,
    first: oneshot::Sender<Result<(), StartError>>,
) {
    let error = match Generation::start(&shared, &mut stop).await {
        Ok(generation) => {
            first.send(Ok(())).ok();
            return supervise(shared, generation, stop).await;
        }
        Err(_) if is_stop_wanted(&stop) => {
            return set_status(&shared, Status::Stopped { why: "it was stopped".into() });
        }
        Err(error) => error,
    };
    let (why, is_final) = (error.brief(), error.is_final());
    let restarting = Status::Restarting { attempt: 1, why: why.as_str().into() };
    let stopped = Status::Stopped { why: why.as_str().into() };
    set_status(&shared, if is_final { stopped } else { restarting });
    // Nobody may wait for the first start any more.
    first.send(Err(error)).ok();
    if is_final {
        return;
    }
    match restart(&shared, &mut 0, why, &mut stop).await {
        Some(generation) => supervise(shared, generation, stop).await,
        None => set_status(&shared, Status::Stopped { why: "it was stopped".into() }),
    }
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

fn is_stop_wanted(stop: &Stop) -> bool {
    stop.has_changed().is_err() || stop.borrow().is_some()
}

pub(super) async fn stop_wanted(stop: &mut Stop) -> Duration {
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

/// Tries until a generation is ready. None if the link is to stop.
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
        match Generation::start(shared, stop).await {
            Ok(generation) => {
                tracing::info!(target: "upstream", server = shared.options.server, attempt = *attempt, "the server runs again");
                if let Some(listener) = &shared.options.listener {
                    listener.restarted();
                }
                return Some(generation);
            }
            Err(_) if is_stop_wanted(stop) => return None,
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

/// A number that no other life of a process has, in this Paygate or the next. Remote servers live on
/// by themselves, and several servers each have lives of their own.
fn life_of(kind: &Kind) -> u64 {
    match kind {
        // Each of these hashes with keys of its own, which come from the system's randomness.
        Kind::Child(_) => RandomState::new().build_hasher().finish() | 1,
        Kind::Remote(_) | Kind::Several(_) => 0,
    }
}

/// One life of a server, from its first word to its end.
struct Generation {
    outbox: Arc<Outbox>,
    peer: Peer,
    /// Those that need not come to an end of their own.
    tasks: JoinSet<()>,
}

/// The other end of a generation.
enum Peer {
    Child(child::Running),
    Remote(remote::Running),
    Several(several::Running),
}

impl Generation {
    /// Starts a server and greets it; the link is ready when this returns. A start that is given up
    /// half way, because it is time to stop, ends what it has started before this returns.
    async fn start(shared: &Arc<Shared>, stop: &mut Stop) -> Result<Self, StartError> {
        let outbox = Arc::new(Outbox::of_life(life_of(&shared.options.kind)));
        let inbox = Inbox::new(Arc::clone(shared), Arc::clone(&outbox));
        let mut peer = match &shared.options.kind {
            Kind::Child(options) => {
                let server = &shared.options.server;
                Peer::Child(child::Running::start(server, options, &outbox, inbox)?)
            }
            Kind::Remote(options) => {
                Peer::Remote(remote::Running::start(shared, options, &outbox, inbox))
            }
            Kind::Several(options) => {
                Peer::Several(several::Running::start(shared, options, &outbox, inbox, stop).await?)
            }
        };
        let deadline = Instant::now() + shared.options.start_timeout;
        let greeted = tokio::select! {
            biased;
            greeted = handshake::greet(shared, &outbox, deadline) => greeted,
            () = peer.breaks() => Err(Fault::Ended),
            _ = stop_wanted(stop) => {
                peer.end(shared, &outbox, Duration::ZERO).await;
                return Err(StartError::given_up(&shared.options.server));
            }
        };
        if let Err(fault) = greeted {
            return Err(peer.start_error(shared, &outbox, fault).await);
        }
        shared.generation.fetch_add(1, Ordering::Relaxed);
        shared.calls.open(Arc::clone(&outbox));
        let mut tasks = JoinSet::new();
        match &peer {
            Peer::Child(_) | Peer::Remote(_) => {
                tasks.spawn(tools::keep_fresh(Arc::clone(shared), Arc::clone(&outbox)));
            }
            Peer::Several(several) => {
                tasks.spawn(several.keep_fresh());
            }
        }
        set_status(shared, Status::Ready);
        tracing::debug!(target: "upstream", server = shared.options.server, "the server is ready");
        Ok(Self { outbox, peer, tasks })
    }

    /// Waits until the server has ended or broken its connection, and says how. May be dropped and
    /// called again.
    async fn lives(&mut self) -> String {
        match &mut self.peer {
            Peer::Child(child) => child.lives().await,
            Peer::Remote(remote) => remote.ends().await,
            Peer::Several(several) => several.lives().await,
        }
    }

    /// Ends the server and all that came from it, and every call that it leaves unanswered.
    /// Returns how it ended.
    async fn end(mut self, shared: &Arc<Shared>, grace: Duration) -> String {
        let how = self.peer.end(shared, &self.outbox, grace).await;
        self.tasks.shutdown().await;
        how
    }
}

impl Peer {
    async fn breaks(&mut self) {
        match self {
            Self::Child(child) => drop(child.ends().await),
            Self::Remote(remote) => drop(remote.ends().await),
            Self::Several(several) => drop(several.lives().await),
        }
    }

    async fn end(self, shared: &Arc<Shared>, outbox: &Outbox, grace: Duration) -> String {
        // A child is looked at before its stdin closes: what it leaves then is known.
        if !matches!(self, Self::Child(_)) {
            outbox.close();
        }
        let fail = || shared.calls.fail_all(Failure::Exited);
        let how = match self {
            Self::Child(child) => child.end(grace, fail).await,
            Self::Remote(remote) => remote.end(grace, fail).await,
            Self::Several(several) => several.end(grace).await,
        };
        fail();
        how
    }

    async fn start_error(
        mut self,
        shared: &Arc<Shared>,
        outbox: &Outbox,
        fault: Fault,
    ) -> StartError {
        match &mut self {
            Self::Child(child) => {
                let about = child.about(&fault).await;
                self.end(shared, outbox, Duration::ZERO).await;
                let stderr = about.stderr.last_lines();
                let (server, program) = (shared.options.server.clone(), about.program);
                match fault {
                    Fault::Ended => StartError::Exited { server, program, how: about.how, stderr },
                    fault => said(fault, shared, Address::Command(program), stderr),
                }
            }
            Self::Remote(remote) => {
                let (url, trouble) = (remote.address(), remote.trouble());
                self.end(shared, outbox, Duration::ZERO).await;
                match (fault, trouble) {
                    (Fault::Bad(_) | Fault::Ended, Some(trouble)) => {
                        unreached(shared, url, trouble)
                    }
                    (fault, _) => said(fault, shared, Address::Url(url), LastLines::default()),
                }
            }
            Self::Several(_) => {
                self.end(shared, outbox, Duration::ZERO).await;
                several::start_error(&shared.options.server, &fault)
            }
        }
    }
}

/// What a remote server's HTTP says. A refusal in JSON-RPC is one, whatever its status.
fn unreached(shared: &Shared, url: String, trouble: Trouble) -> StartError {
    let server = shared.options.server.clone();
    match trouble.refusal() {
        Some(error) => {
            let method = shared.options.hello.method();
            let (place, stderr) = (Address::Url(url), LastLines::default());
            StartError::Refused { server, place, method, error: error.into(), stderr }
        }
        None => StartError::Remote { server, url, trouble },
    }
}

/// What a server says that there is a connection to.
fn said(fault: Fault, shared: &Shared, place: Address, stderr: LastLines) -> StartError {
    let server = shared.options.server.clone();
    match fault {
        Fault::NoAnswer(method) => {
            let within = shared.options.start_timeout;
            StartError::NoAnswer { server, place, method, within, stderr }
        }
        Fault::Refused(method, error) => {
            StartError::Refused { server, place, method, error, stderr }
        }
        Fault::Bad(why) => StartError::BadAnswer { server, place, why, stderr },
        Fault::Ended => {
            let why = "it ended the connection".to_owned();
            StartError::BadAnswer { server, place, why, stderr }
        }
    }
}
