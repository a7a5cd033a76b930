//! The connection, and the scripts that run over it.
//!
//! An answer may be lost after its script ran. Every script may be run again with the same arguments: a
//! hold is known by its call, a resolution finds its hold gone, a deed is known by its id. So a lost
//! answer is asked for again, a few times, before the caller is told that the books are not available.

mod subscriber;

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, RedisError, Script, Value};
use secrecy::{ExposeSecret, SecretString};

use crate::model::bounds::{
    REDIS_CONNECT_TIMEOUT, REDIS_IN_FLIGHT_MAX, REDIS_RESPONSE_TIMEOUT, REDIS_TRIES,
};
use crate::model::time::Time;
use crate::store::StoreError;

/// Every script, loaded where it is missing.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) hold: Script,
    pub(super) check: Script,
    pub(super) resolve: Script,
    pub(super) park: Script,
    pub(super) sweep: Script,
    pub(super) deed: Script,
}

const COMMON: &str = include_str!("lua/common.lua");

/// At its limit of memory Redis refuses a script with this first line before it runs, not half way.
fn script(own: &str) -> Script {
    Script::new(&format!("#!lua\n{COMMON}\n{own}"))
}

impl Scripts {
    pub(super) fn new() -> Self {
        let hold = include_str!("lua/hold.lua");
        Self {
            hold: script(&format!("local is_check = false\n{hold}")),
            check: script(&format!("local is_check = true\n{hold}")),
            resolve: script(include_str!("lua/resolve.lua")),
            park: script(include_str!("lua/park.lua")),
            sweep: script(include_str!("lua/sweep.lua")),
            deed: script(include_str!("lua/deed.lua")),
        }
    }
}

/// What a script answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: String,
    /// The tenant's ledger time at which this was decided.
    pub(super) now: Time,
    /// The last moment that the tenant's books have seen.
    pub(super) saved: Time,
    /// The newest row of the tenant's journal.
    pub(super) seq: i64,
    /// What tells that row from any other with its number.
    pub(super) mark: String,
    pub(super) epoch: String,
    pub(super) rest: Vec<Value>,
    /// It may have run before: an answer was lost.
    pub(super) is_repeated: bool,
}

impl Reply {
    fn read(value: Value, is_repeated: bool) -> Option<Self> {
        let Value::Array(values) = value else { return None };
        let mut values = values.into_iter();
        let mut next = || values.next().and_then(text);
        let status = next()?;
        let mut time = || Some(Time::from_ms(next()?.parse().ok()?));
        let (now, saved) = (time()?, time()?);
        let (row, epoch) = (next()?, next()?);
        let (seq, mark) = row.split_once(' ')?;
        let (seq, mark) = (seq.parse().ok()?, mark.to_owned());
        let rest = values.collect();
        Some(Self { status, now, saved, seq, mark, epoch, rest, is_repeated })
    }

    /// One of the values behind the head, as text.
    pub(super) fn text(&self, index: usize) -> &str {
        match self.rest.get(index) {
            Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).unwrap_or_default(),
            _ => "",
        }
    }

    pub(super) fn number(&self, index: usize) -> i64 {
        self.text(index).parse().unwrap_or(0)
    }
}

/// A value that is a text.
pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(super) struct Link {
    client: Client,
    manager: ConnectionManager,
    pub(super) scripts: Scripts,
}

impl Link {
    pub(super) async fn open(url: &SecretString) -> Result<Self, StoreError> {
        // What is wrong with a URL is said without the URL, which has a password in it.
        let client = Client::open(url.expose_secret()).map_err(|error| {
            StoreError::Unavailable(format!("the Redis URL: {:?}", error.kind()))
        })?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(50))
            .set_connection_timeout(Some(REDIS_CONNECT_TIMEOUT))
            .set_response_timeout(Some(REDIS_RESPONSE_TIMEOUT))
            .set_pipeline_buffer_size(REDIS_IN_FLIGHT_MAX)
            .set_concurrency_limit(REDIS_IN_FLIGHT_MAX);
        let manager = ConnectionManager::new_with_config(client.clone(), config).await;
        let manager = manager.map_err(|error| unavailable(&error))?;
        Ok(Self { client, manager, scripts: Scripts::new() })
    }

    /// Runs a script; `args` come after the clock, the epoch and the newest row.
    pub(super) async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Reply, StoreError> {
        let mut invocation = script.prepare_invoke();
        invocation.key(keys);
        for arg in args {
            invocation.arg(*arg);
        }
        let mut tries = 1;
        loop {
            match invocation.invoke_async::<Value>(&mut self.manager.clone()).await {
                Ok(value) => {
                    let strange = || StoreError::Read("a script's answer is none".to_owned());
                    return Reply::read(value, tries > 1).ok_or_else(strange);
                }
                Err(error) if may_help(&error) && tries < REDIS_TRIES => tries += 1,
                Err(error) => return Err(unavailable(&error)),
            }
        }
    }

    /// One command that may be repeated.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut tries = 1;
        loop {
            match command.query_async::<T>(&mut self.manager.clone()).await {
                Err(error) if may_help(&error) && tries < REDIS_TRIES => tries += 1,
                result => return result.map_err(|error| unavailable(&error)),
            }
        }
    }

    /// Several commands that may be repeated, in one round trip.
    pub(super) async fn ask_all<T: FromRedisValue>(
        &self,
        commands: &redis::Pipeline,
    ) -> Result<T, StoreError> {
        let mut tries = 1;
        loop {
            match commands.query_async::<T>(&mut self.manager.clone()).await {
                Err(error) if may_help(&error) && tries < REDIS_TRIES => tries += 1,
                result => return result.map_err(|error| unavailable(&error)),
            }
        }
    }
}

/// The connection failed, and the next one may not.
fn may_help(error: &RedisError) -> bool {
    (error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error())
        && !error.is_timeout()
        && !error.is_connection_refusal()
}

fn unavailable(error: &RedisError) -> StoreError {
    // The whole error is for the log; it never has the URL in it.
    tracing::warn!(target: "store", %error, "Redis does not do what it was asked");
    if error.is_timeout() {
        return StoreError::Unavailable("Redis does not answer in time".to_owned());
    }
    let what = error.code().map_or_else(|| format!("{:?}", error.kind()), str::to_owned);
    StoreError::Unavailable(format!("Redis says {what}"))
}
