//! Making one connection: reached, secured, logged in, all within a time limit.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value, cmd};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use crate::model::bounds::REDIS_IN_FLIGHT_MAX;

/// Most of a sentence of Redis that is repeated.
const SENTENCE_CHARS_MAX: usize = 200;

/// A connection and the task that drives it. Whatever waits on it hears that it is gone when it is.
pub(super) struct Live {
    pub(super) at: Address,
    pub(super) connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The way to a server.
pub(super) enum Wire {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

/// How connections are made.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) login: RedisConnectionInfo,
    pub(super) tls: Option<TlsConnector>,
    /// To be let in, all steps together.
    pub(super) connect: Duration,
    /// For one answer.
    pub(super) answer: Duration,
    /// Are books kept there, so that a server set to lose them is not asked?
    pub(super) keeps_books: Arc<AtomicBool>,
}

impl Dialer {
    /// Connects and logs in; why not, with the address.
    pub(super) async fn dial(&self, at: &Address) -> Result<Live, String> {
        let dialed = timeout(self.connect, self.steps(at)).await;
        let dialed = dialed.unwrap_or_else(|_| Err(self.too_late().to_owned()));
        dialed.map_err(|why| format!("{at} {why}"))
    }

    const fn too_late(&self) -> &'static str {
        // A server that waits for words takes the first ones of TLS for the beginning of one.
        match self.tls {
            Some(_) => {
                "does not let us in in time; does it speak TLS on this port? Else write `redis`"
            }
            None => "does not let us in in time",
        }
    }

    async fn steps(&self, at: &Address) -> Result<Live, String> {
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(REDIS_IN_FLIGHT_MAX);
        let (connection, driver) = match self.reach(at).await? {
            Wire::Secured(stream) => {
                let made = MultiplexedConnection::new_with_config(&self.login, stream, config);
                let (connection, driver) = made.await.map_err(|error| not_let_in(&error))?;
                (connection, tokio::spawn(driver))
            }
            Wire::Plain(stream) => {
                let made = MultiplexedConnection::new_with_config(&self.login, stream, config);
                let (connection, driver) = made.await.map_err(|error| not_let_in(&error))?;
                (connection, tokio::spawn(driver))
            }
        };
        Ok(Live { at: at.clone(), connection, driver })
    }

    /// Reaches it, and secures the way to it if that is asked for.
    pub(super) async fn reach(&self, at: &Address) -> Result<Wire, String> {
        let refused = |error: std::io::Error| format!("cannot be reached: {error}");
        let stream = TcpStream::connect((at.host.as_str(), at.port)).await.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        let Some(tls) = &self.tls else { return Ok(Wire::Plain(stream)) };
        let name = rustls::pki_types::ServerName::try_from(at.host.clone())
            .map_err(|error| format!("has no name for TLS: {error}"))?;
        let unsafe_yet = |error| format!("cannot be spoken to securely: {error}");
        Ok(Wire::Secured(Box::new(tls.connect(name, stream).await.map_err(unsafe_yet)?)))
    }
}

impl Live {
    /// Asks one thing on a connection that nobody else uses yet.
    pub(super) async fn ask(&mut self, command: &Cmd, limit: Duration) -> Result<Value, String> {
        let value = timeout(limit, self.connection.send_packed_command(command)).await;
        let value = value.map_err(|_| format!("{} does not answer in time", self.at))?;
        value
            .and_then(Value::extract_error)
            .map_err(|error| format!("{} {}", self.at, sentence(&error)))
    }

    /// Is it a master that takes commands?
    pub(super) async fn expect_master(&mut self, limit: Duration) -> Result<(), String> {
        let role = match self.ask(&cmd("ROLE"), limit).await {
            Ok(Value::Array(values)) => values.into_iter().next().and_then(super::scripts::text),
            // Some who rent Redis out let nobody ask that. Whether it takes writes, those tell.
            Ok(_) | Err(_) => None,
        };
        match role.as_deref() {
            Some("slave") => Err(format!("{} is a replica, which is read-only", self.at)),
            Some("sentinel") => {
                Err(format!("{} is a Sentinel; the URL must begin with redis+sentinel", self.at))
            }
            // A server that still loads its data says so here.
            _ => self.ask(&cmd("PING"), limit).await.map(|_| ()),
        }
    }
}

pub(super) fn not_let_in(error: &RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "does not accept the user and the password".to_owned();
    }
    sentence(error)
}

/// What an error says in Redis's own words, for questions that have nothing of a customer in them.
pub(super) fn sentence(error: &RedisError) -> String {
    if error.code() == Some("NOAUTH") {
        return "wants a password, and none was given".to_owned();
    }
    let Some(detail) = error.detail() else { return said(error) };
    // Old servers repeat what they were asked, and that has a password in it.
    let detail = detail.split(", with args beginning with").next().unwrap_or_default();
    let detail = detail.chars().filter(|c| !c.is_control()).take(SENTENCE_CHARS_MAX);
    format!("{}: {}", said(error), detail.collect::<String>().trim_end_matches('.'))
}

/// What an error says, without what it was about.
pub(super) fn said(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("says {code}"),
        None => format!("fails: {}", error.category()),
    }
}
