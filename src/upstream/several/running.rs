//! Starts several servers, follows how they are, and ends them together.
//!
//! They run for as long as one of them is ready. When none is left, the whole has ended, and the
//! link that they look like starts it again with the waits that hold for every server.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::SeveralOptions;
use super::router::{First, Router};
use crate::model::bounds;
use crate::upstream::handshake::Fault;
use crate::upstream::inbox::Inbox;
use crate::upstream::link::Shared;
use crate::upstream::outbox::Outbox;
use crate::upstream::supervise::{Stop, stop_wanted};
use crate::upstream::{StartError, Status};

/// Several running servers.
pub(in crate::upstream) struct Running {
    router: Arc<Router>,
    routing: JoinHandle<()>,
    following: JoinSet<()>,
}

impl Running {
    /// Starts all servers. One that does not start is tried again while the others run; if none
    /// starts, that is an error.
    pub(in crate::upstream) async fn start(
        shared: &Arc<Shared>,
        options: &Arc<SeveralOptions>,
        outbox: &Arc<Outbox>,
        inbox: Inbox,
        stop_wish: &mut Stop,
    ) -> Result<Self, StartError> {
        let (router, firsts) = Router::launch(shared, options, inbox);
        let started = tokio::select! {
            started = enough_started(firsts) => started,
            _ = stop_wanted(stop_wish) => Err(StartError::given_up(&shared.options.server)),
        };
        if let Err(error) = started {
            stop(&router, Duration::ZERO).await;
            return Err(error);
        }
        let mut following = JoinSet::new();
        for server in 0..router.servers.len() {
            following.spawn(Arc::clone(&router).follow(server));
        }
        router.publish();
        let routing = tokio::spawn(route(Arc::clone(&router), Arc::clone(outbox)));
        Ok(Self { router, routing, following })
    }

    /// Waits until no server is ready any more, and says how each ended. May be dropped and called
    /// again.
    pub(in crate::upstream) async fn lives(&mut self) -> String {
        // The channel is closed only with the router, which this holds.
        self.router.ready.subscribe().wait_for(|ready| *ready == 0).await.ok();
        let why = self.router.servers.iter().map(|server| {
            let why = match server.link.status() {
                Status::Restarting { why, .. } | Status::Stopped { why } => why,
                Status::Starting | Status::Ready => "it is starting".into(),
            };
            format!("{}: {why}", server.link.server())
        });
        why.collect::<Vec<_>>().join("; ")
    }

    /// Fetches the lists of tools whenever it is wanted, for as long as this lives.
    pub(in crate::upstream) fn keep_fresh(&self) -> impl Future<Output = ()> + Send + 'static {
        let router = Arc::clone(&self.router);
        async move {
            let tools = &router.shared.tools;
            loop {
                tools.wanted().await;
                tools.fetch_began();
                let mut fetches = JoinSet::new();
                for (_, server) in router.ready_servers() {
                    let link = server.link.clone();
                    fetches.spawn(async move { link.refresh_tools().await });
                }
                fetches.join_all().await;
                router.publish();
                tools.fetch_ended();
            }
        }
    }

    /// Ends all servers. Calls in flight may still be answered within the grace.
    pub(in crate::upstream) async fn end(mut self, grace: Duration) -> String {
        // What the servers do now is no news to anybody.
        self.following.shutdown().await;
        stop(&self.router, grace).await;
        if timeout(bounds::CHILD_DRAIN_WAIT, &mut self.routing).await.is_err() {
            self.routing.abort();
        }
        "its servers were stopped".to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.routing.abort();
    }
}

/// The link could not greet what it started just now.
pub(in crate::upstream) fn start_error(server: &str, fault: &Fault) -> StartError {
    let why = match fault {
        Fault::Ended => "its servers ended".to_owned(),
        Fault::NoAnswer(method) => format!("there was no answer to {method}"),
        Fault::Refused(method, _) => format!("{method} was refused"),
        Fault::Bad(why) => why.clone(),
    };
    StartError::Together { server: server.to_owned(), why }
}

/// Waits until every server has started or failed to, but for late ones only a moment once one is
/// there. One is enough, unless another does not speak the era at all: then all of them together
/// do not, because a client that speaks both eras finds all of them in the other one.
async fn enough_started(firsts: Vec<First>) -> Result<(), StartError> {
    let mut starts = JoinSet::new();
    for (server, first) in firsts.into_iter().enumerate() {
        starts.spawn(async move { (server, first.await) });
    }
    let (mut errors, mut late_at) = (Vec::new(), None::<Instant>);
    loop {
        let next = tokio::select! {
            next = starts.join_next() => next,
            () = sleep_until(late_at.unwrap_or_else(Instant::now)), if late_at.is_some() => None,
        };
        match next {
            Some(Ok((_, Ok(Ok(()))))) => {
                late_at.get_or_insert(Instant::now() + bounds::MEMBERS_START_GRACE);
            }
            Some(Ok((server, Ok(Err(error))))) => errors.push((server, error)),
            // A start that was given up with its link has nothing to say.
            Some(_) => {}
            None => break,
        }
    }
    errors.sort_by_key(|(server, _)| *server);
    let mut errors: Vec<StartError> = errors.into_iter().map(|(_, error)| error).collect();
    if let Some(other_era) = errors.iter().position(StartError::is_final) {
        return Err(errors.swap_remove(other_era));
    }
    if late_at.is_none() {
        return Err(none_started(errors));
    }
    for error in errors {
        tracing::warn!(target: "upstream", %error, "a server did not start; it is tried again");
    }
    Ok(())
}

/// If all of them refused to begin, that is the reason: they may speak the other era.
fn none_started(mut errors: Vec<StartError>) -> StartError {
    let is_refusal = |error: &StartError| matches!(error, StartError::Refused { .. });
    if errors.iter().all(is_refusal) && !errors.is_empty() {
        return errors.swap_remove(0);
    }
    StartError::NoneStarted { errors }
}

async fn stop(router: &Router, grace: Duration) {
    let mut stops = JoinSet::new();
    for server in &router.servers {
        let link = server.link.clone();
        stops.spawn(async move { link.stop(grace).await });
    }
    stops.join_all().await;
}

/// Takes lines until the link sends no more, then waits for what is in flight.
async fn route(router: Arc<Router>, outbox: Arc<Outbox>) {
    let mut batch = Vec::with_capacity(bounds::CHILD_READ_BYTES);
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            more = outbox.take(&mut batch, || false) => {
                for line in batch.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    router.route(line, &mut requests);
                }
                if !more {
                    break;
                }
                batch.clear();
                batch.shrink_to(bounds::CHILD_READ_BYTES);
            }
            Some(ended) = requests.join_next() => told_of_panic(ended),
        }
    }
    while let Some(ended) = requests.join_next().await {
        told_of_panic(ended);
    }
}

fn told_of_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(target: "upstream", %error, "a request to several servers failed in Paygate");
    }
}

impl Router {
    /// Follows one server and tells everybody what its coming and going changes.
    async fn follow(self: Arc<Self>, index: usize) {
        let Some(server) = self.server(index) else { return };
        let (mut status, mut fetches) = (server.link.watch(), server.link.tool_fetches());
        let (mut was_ready, mut restarts) = (server.link.status().is_ready(), server.restarts());
        loop {
            let is_over = tokio::select! {
                changed = status.changed() => changed.is_err(),
                changed = fetches.changed() => changed.is_err(),
            };
            self.publish();
            let (is_ready, now) = (server.link.status().is_ready(), server.restarts());
            if is_ready != was_ready || now != restarts {
                server.forget_uris();
                // What a server asks once it is back stays asked.
                if !is_ready || was_ready {
                    self.withdraw_asks_of(index);
                }
                self.tell_of_changed_lists(index);
                if is_ready {
                    self.remind(index).await;
                }
            }
            (was_ready, restarts) = (is_ready, now);
            if is_over {
                return;
            }
        }
    }
}
