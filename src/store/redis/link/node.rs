//! One server: its one connection, who may use it, and what becomes of it when it fails.
//!
//! A connection on which one answer is overdue is given up: it may be half open. All that waits on it is
//! asked again on the next one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::address::Address;
use super::breaker::{Breaker, Pass};
use super::dial::{Dialer, Live, said};
use super::sentinel::Sentinels;
use crate::model::bounds::{REDIS_IN_FLIGHT_MAX, REDIS_PROBE_PAUSE, REDIS_SENTINEL_LOOK};

const SLOW: &str = "Redis does not answer in time";
const GONE: &str = "the connection to Redis was lost";
const FULL: &str = "too much waits for Redis already";

/// What is asked.
pub(super) enum Request<'a> {
    Command(&'a Cmd),
    Script(&'a Script, &'a Cmd),
    /// The commands, answers to leave out, answers to return.
    Pipeline(&'a Pipeline, usize, usize),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not sent.
    Refused(String),
    /// It was sent, and may have been done.
    Lost(String),
    /// This server cannot do it now; another one may, or this one soon.
    Unfit(RedisError),
    /// Redis says no.
    Said(RedisError),
}

/// Where the server is.
pub(super) enum Goal {
    At(Address),
    Master(Box<Sentinels>),
}

/// A server; all clones are one.
#[derive(Clone)]
pub(super) struct Node(Arc<Inner>);

struct Inner {
    goal: Goal,
    dialer: Dialer,
    live: Mutex<Option<(u64, Live)>>,
    /// Held while somebody connects.
    connecting: tokio::sync::Mutex<()>,
    breaker: Mutex<Breaker>,
    room: Semaphore,
    connections: AtomicU64,
}

/// Leave to ask; the one that goes first gives it back if it goes away.
struct Turn<'a>(&'a Inner, Pass);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.1 == Pass::Trial {
            self.0.breaker().left();
        }
    }
}

impl Node {
    pub(super) fn new(goal: Goal, dialer: Dialer) -> Self {
        let inner = Arc::new(Inner {
            goal,
            dialer,
            live: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            breaker: Mutex::new(Breaker::new()),
            room: Semaphore::new(REDIS_IN_FLIGHT_MAX),
            connections: AtomicU64::new(1),
        });
        if matches!(inner.goal, Goal::Master(_)) {
            tokio::spawn(watch(Arc::downgrade(&inner)));
        }
        Self(inner)
    }

    /// Connects; for a start, which wants to know why not.
    pub(super) async fn connect(&self) -> Result<(), String> {
        let connected = self.0.connect().await;
        connected.map(|live| self.0.install(live))
    }

    /// Where it is at this moment, and how it is reached.
    pub(super) async fn target(&self) -> Result<(Address, Dialer), String> {
        let address = match &self.0.goal {
            Goal::At(address) => address.clone(),
            Goal::Master(sentinels) => sentinels.master().await?,
        };
        Ok((address, self.0.dialer.clone()))
    }

    /// Why nothing is asked of it now, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.breaker().trouble()
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Leaves it alone until a new connection finds it well.
    pub(super) fn leave(&self, why: &str) {
        if let Some((number, _)) = self.0.place() {
            self.0.give_up(number);
        }
        let is_new = self.0.breaker().open(why);
        self.probe_if(is_new, why);
    }

    /// Asks once.
    pub(super) async fn call(
        &self,
        request: &Request<'_>,
        is_asking: bool,
        until: Instant,
    ) -> Result<Value, Failure> {
        let inner = &*self.0;
        let pass = inner.breaker().enter().map_err(Failure::Refused)?;
        let _turn = Turn(inner, pass);
        let room = inner.room.try_acquire();
        let _room = room.map_err(|_| Failure::Refused(FULL.to_owned()))?;
        let connected = timeout_at(until, inner.connection()).await;
        let connected = connected.unwrap_or_else(|_| Err(SLOW.to_owned()));
        let (number, mut connection) = connected.map_err(|why| {
            let is_new = inner.breaker().open(&why);
            self.probe_if(is_new, &why);
            Failure::Refused(why)
        })?;
        let limit = until.min(Instant::now() + inner.dialer.answer);
        let answer = timeout_at(limit, request.send(&mut connection, is_asking)).await;
        let failure = match answer {
            Ok(Ok(value)) => {
                inner.answered();
                return Ok(value);
            }
            Ok(Err(error)) if is_lost(&error) => Failure::Lost(GONE.to_owned()),
            Ok(Err(error)) if is_unfit(&error) => Failure::Unfit(error),
            Ok(Err(error)) => {
                inner.answered();
                return Err(Failure::Said(error));
            }
            Err(_) => Failure::Lost(SLOW.to_owned()),
        };
        inner.give_up(number);
        let why = failure.why();
        let is_new = inner.breaker().failed(number, &why);
        self.probe_if(is_new, &why);
        Err(failure)
    }

    fn probe_if(&self, is_new: bool, why: &str) {
        if is_new {
            tracing::warn!(target: "store", why, "Redis is not available; calls are refused until it is");
            tokio::spawn(probe(Arc::downgrade(&self.0)));
        }
    }
}

/// Looks again and again whether the server is back.
async fn probe(node: Weak<Inner>) {
    loop {
        sleep(REDIS_PROBE_PAUSE).await;
        let Some(inner) = node.upgrade() else { return };
        match inner.connect().await {
            Ok(live) => {
                inner.install(live);
                inner.breaker().probed();
                return;
            }
            Err(why) => {
                inner.breaker().open(&why);
            }
        }
    }
}

/// Leaves a master that is none any more: it may not know yet, and what it is told would be lost.
async fn watch(node: Weak<Inner>) {
    loop {
        sleep(REDIS_SENTINEL_LOOK).await;
        let Some(inner) = node.upgrade() else { return };
        let Goal::Master(sentinels) = &inner.goal else { return };
        let Some((number, at)) = inner.place() else { continue };
        let found = sentinels.master().await;
        if found.is_ok_and(|found| found != at) {
            inner.give_up(number);
        }
    }
}

impl Inner {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> MutexGuard<'_, Option<(u64, Live)>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<(u64, MultiplexedConnection)> {
        self.live().as_ref().map(|(number, live)| (*number, live.connection.clone()))
    }

    fn place(&self) -> Option<(u64, Address)> {
        self.live().as_ref().map(|(number, live)| (*number, live.at.clone()))
    }

    fn install(&self, live: Live) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        *self.live() = Some((number, live));
    }

    /// The next one to ask connects anew.
    fn give_up(&self, number: u64) {
        let mut live = self.live();
        if live.as_ref().is_some_and(|(current, _)| *current == number) {
            *live = None;
        }
    }

    fn answered(&self) {
        if self.breaker().answered() {
            tracing::info!(target: "store", "Redis is back");
        }
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), String> {
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let _alone = self.connecting.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        if let Some(why) = self.breaker().trouble() {
            // Whoever was before us has found out.
            return Err(why);
        }
        let live = self.connect().await?;
        self.install(live);
        self.current().ok_or_else(|| GONE.to_owned())
    }

    async fn connect(&self) -> Result<Live, String> {
        let mut live = match &self.goal {
            Goal::At(address) => self.dialer.dial(address).await?,
            Goal::Master(sentinels) => {
                let address = sentinels.master().await?;
                self.dialer.dial(&address).await?
            }
        };
        live.expect_master(self.dialer.answer).await?;
        if self.dialer.keeps_books.load(Ordering::Acquire) {
            live.expect_fit(self.dialer.answer).await?;
        }
        Ok(live)
    }
}

impl Request<'_> {
    async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        is_asking: bool,
    ) -> RedisResult<Value> {
        match self {
            Self::Command(command) => one(connection, command, is_asking).await,
            Self::Script(script, command) => match one(connection, command, is_asking).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    script.load_async(connection).await?;
                    one(connection, command, is_asking).await
                }
                result => result,
            },
            Self::Pipeline(commands, offset, count) => {
                let values = connection.send_packed_commands(commands, *offset, *count).await?;
                let values = Value::Array(values);
                // Nothing of a transaction was done if it is refused.
                if commands.is_transaction() { values.extract_error() } else { Ok(values) }
            }
        }
    }
}

async fn one(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    is_asking: bool,
) -> RedisResult<Value> {
    if !is_asking {
        return connection.send_packed_command(command).await?.extract_error();
    }
    // Nothing of anybody else's may come between the two.
    let mut both = redis::pipe();
    both.cmd("ASKING").add_command(command.clone());
    let values = connection.send_packed_commands(&both, 0, 2).await?;
    values.into_iter().next_back().unwrap_or(Value::Nil).extract_error()
}

impl Failure {
    pub(super) fn why(&self) -> String {
        match self {
            Self::Refused(why) | Self::Lost(why) => why.clone(),
            Self::Unfit(error) | Self::Said(error) => format!("Redis {}", said(error)),
        }
    }
}

/// The connection is no good any more.
fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

fn is_unfit(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly};
    matches!(error.kind(), ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly))
}
