//! The link to Redis, whatever stands behind it, and the scripts that run over it.
//!
//! An answer may be lost after its script ran. Every script may be run again with the same arguments: a
//! hold is known by its call, a resolution finds its hold gone, a deed is known by its id. So a lost
//! answer is asked for again, a few times within a bound, before the caller is told that the books are
//! not available; and then that it may have been done nevertheless.
//!
//! Why the crate's own managers of connections are not used: `docs/decisions/006-books-in-redis.md`.

mod address;
mod breaker;
mod cluster;
mod dial;
mod node;
mod scripts;
mod sentinel;
mod slots;
mod standing;
mod subscriber;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{
    Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture, Script, ServerErrorKind,
    Value, cmd,
};
use tokio::time::{Instant, sleep};

use super::RedisOptions;
use crate::model::bounds::{REDIS_REDIRECTS_MAX, REDIS_SLOTS_PAUSE, REDIS_TRIES};
use crate::store::StoreError;
use address::{Kind, Place};
pub(super) use address::{check as check_url, shown as shown_url};
use cluster::Cluster;
use dial::{Dialer, said};
use node::{Failure, Goal, Node, Request};
pub(super) use scripts::{Reply, Scripts, text};
use sentinel::Sentinels;
pub use standing::RedisStanding;

/// What stands behind the link.
enum Reach {
    One(Node),
    Cluster(Cluster),
}

pub(super) struct Link {
    reach: Reach,
    /// For everything together that one question takes.
    limit: Duration,
    keeps_books: Arc<AtomicBool>,
    pub(super) scripts: Scripts,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) error: StoreError,
    /// It was sent, and may have been done.
    pub(super) may_be_done: bool,
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl Link {
    /// Connects once, so that a start says what is wrong.
    pub(super) async fn open(options: &RedisOptions) -> Result<Self, StoreError> {
        let (place, reach) = (Place::read(&options.url)?, &options.reach);
        let tls = place.is_tls.then(|| tls::connector(reach.ca.as_deref())).transpose()?;
        let (connect, answer) = (reach.connect_timeout, reach.answer_timeout);
        let sentinel_login = Place::sentinel_login(reach);
        let Place { kind, mut hosts, login, .. } = place;
        let keeps_books = Arc::<AtomicBool>::default();
        let dialer = Dialer { login, tls, connect, answer, keeps_books: Arc::clone(&keeps_books) };
        let away = StoreError::Unavailable;
        let reach = match kind {
            Kind::Cluster => Reach::Cluster(Cluster::open(hosts, dialer).await.map_err(away)?),
            Kind::Sentinel(master) => {
                let asking = Dialer { login: sentinel_login, ..dialer.clone() };
                let sentinels = Sentinels::new(hosts, master, asking);
                Reach::One(Node::new(Goal::Master(Box::new(sentinels)), dialer))
            }
            Kind::Server => Reach::One(Node::new(Goal::At(hosts.swap_remove(0)), dialer)),
        };
        if let Reach::One(node) = &reach {
            node.connect().await.map_err(away)?;
        }
        let limit = answer.saturating_mul(2);
        Ok(Self { reach, limit, keeps_books, scripts: Scripts::new() })
    }

    /// From now on no server is asked that is set to lose books: each new connection looks first.
    pub(super) fn keeps_books(&self) {
        self.keeps_books.store(true, Ordering::Release);
    }

    /// How many connections there were; another one may lead to another server, or to one set otherwise.
    pub(super) fn connections(&self) -> u64 {
        let nodes = self.nodes();
        nodes.iter().fold(0, |sum, node| sum.saturating_add(node.connections()))
    }

    /// Every server that is written to.
    fn nodes(&self) -> Vec<Node> {
        match &self.reach {
            Reach::One(node) => vec![node.clone()],
            Reach::Cluster(cluster) => cluster.masters(),
        }
    }

    /// How long a question may take, and so how late it may still be done.
    pub(super) const fn limit(&self) -> Duration {
        self.limit
    }

    /// Why Redis, or a part of it, is not asked now.
    pub(super) fn trouble(&self) -> Option<String> {
        match &self.reach {
            Reach::One(node) => node.trouble(),
            Reach::Cluster(cluster) => cluster.trouble(),
        }
    }

    /// Runs a script; `args` come after the clock, the epoch and the newest row.
    pub(super) async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Reply, Failed> {
        let mut command = cmd("EVALSHA");
        command.arg(script.get_hash()).arg(keys.len()).arg(keys).arg(args);
        let (value, is_repeated) = self.answer(&Request::Script(script, &command)).await?;
        let strange = || StoreError::Read("a script's answer is none".to_owned());
        Reply::read(value, is_repeated)
            .ok_or_else(|| Failed { error: strange(), may_be_done: true })
    }

    /// One command that may be repeated.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut asker = Asker { link: self, failed: None };
        let result = command.query_async::<T>(&mut asker).await;
        result.map_err(|error| asker.failed.map_or_else(|| refused(&error), |failed| failed.error))
    }

    /// Several commands that may be repeated, in one round trip where they go to one server.
    pub(super) async fn ask_all<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
    ) -> Result<T, StoreError> {
        let mut asker = Asker { link: self, failed: None };
        let result = commands.query_async::<T>(&mut asker).await;
        result.map_err(|error| asker.failed.map_or_else(|| refused(&error), |failed| failed.error))
    }

    fn node(&self, request: &Request<'_>) -> Result<Node, String> {
        match &self.reach {
            Reach::One(node) => Ok(node.clone()),
            Reach::Cluster(cluster) => cluster.node(request.key().unwrap_or_default()),
        }
    }

    /// Asks until there is an answer, or asking again helps no more. Was a first answer lost?
    async fn answer(&self, request: &Request<'_>) -> Result<(Value, bool), Failed> {
        let until = Instant::now() + self.limit;
        let (mut tries, mut redirects, mut may_be_done) = (1, 0, false);
        let mut next: Option<(Node, bool)> = None;
        loop {
            let (node, is_asking) = match next.take() {
                Some(next) => next,
                None => (self.node(request).map_err(|why| away(why, may_be_done))?, false),
            };
            let failure = match node.call(request, is_asking, until).await {
                Ok(value) => return Ok((value, may_be_done)),
                Err(failure) => failure,
            };
            if let (Reach::Cluster(cluster), Failure::Said(error)) = (&self.reach, &failure)
                && redirects < REDIS_REDIRECTS_MAX
                && let Some(sent_on) = sent_on(cluster, error).await
            {
                redirects += 1;
                next = sent_on;
                continue;
            }
            if let (Reach::Cluster(cluster), false) =
                (&self.reach, matches!(failure, Failure::Said(_)))
            {
                cluster.doubt();
            }
            may_be_done |= matches!(failure, Failure::Lost(_));
            let helps = matches!(failure, Failure::Lost(_) | Failure::Unfit(_));
            if !helps || tries >= REDIS_TRIES || Instant::now() >= until {
                return Err(match failure {
                    Failure::Said(error) => Failed { error: refused(&error), may_be_done },
                    other => away(other.why(), may_be_done),
                });
            }
            tries += 1;
        }
    }
}

/// Where a cluster sends us: to another node, or to where we would go anyway.
async fn sent_on(cluster: &Cluster, error: &RedisError) -> Option<Option<(Node, bool)>> {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => {
            Some(cluster.sent_to(error, true).map(|node| (node, false)))
        }
        ErrorKind::Server(ServerErrorKind::Ask) => {
            Some(cluster.sent_to(error, false).map(|node| (node, true)))
        }
        // A part of the slot is on its way, or all of it was while we asked for several things.
        ErrorKind::Server(ServerErrorKind::TryAgain | ServerErrorKind::ExecAbort) => {
            cluster.doubt();
            sleep(REDIS_SLOTS_PAUSE).await;
            Some(None)
        }
        _ => None,
    }
}

impl Request<'_> {
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Command(command) | Self::Script(_, command) => slots::key_of(command),
            Self::Pipeline(commands, _, _) => slots::key_of(commands.cmd_iter().next()?),
        }
    }
}

/// What the crate's commands and pipelines are asked over; keeps what it cannot tell them.
struct Asker<'a> {
    link: &'a Link,
    failed: Option<Failed>,
}

impl Asker<'_> {
    async fn one(&mut self, request: &Request<'_>) -> Result<Value, RedisError> {
        self.link.answer(request).await.map(|(value, _)| value).map_err(|failed| {
            self.failed = Some(failed);
            (ErrorKind::Io, "there is no answer").into()
        })
    }
}

impl ConnectionLike for Asker<'_> {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move { self.one(&Request::Command(cmd)).await })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let is_split =
                matches!(self.link.reach, Reach::Cluster(_)) && !commands.is_transaction();
            if is_split {
                let asked = commands.cmd_iter().map(|command| async {
                    self.link.answer(&Request::Command(command)).await.map(|(value, _)| value)
                });
                let values = futures_util::future::try_join_all(asked).await;
                return values.map_err(|failed| {
                    self.failed = Some(failed);
                    (ErrorKind::Io, "there is no answer").into()
                });
            }
            match self.one(&Request::Pipeline(commands, offset, count)).await? {
                Value::Array(values) => Ok(values),
                _ => Ok(Vec::new()),
            }
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

fn away(why: String, may_be_done: bool) -> Failed {
    Failed { error: StoreError::Unavailable(why), may_be_done }
}

fn refused(error: &RedisError) -> StoreError {
    // The whole error is for the log; it never has the URL in it.
    tracing::warn!(target: "store", %error, "Redis does not do what it was asked");
    StoreError::Unavailable(format!("Redis {}", said(error)))
}
