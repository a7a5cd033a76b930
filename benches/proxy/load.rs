//! The load: keep-alive connections that each call a tool, check the answer and call again.
//!
//! It shares two cores with what it measures, so it does as little as it can: one thread, requests
//! prepared as bytes with only key and nonce patched in, one read and one write per call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::task::JoinSet;

use crate::sessions::Session;
use crate::wire::{self, Wire, show};

const NONCE_LENGTH: usize = 16;
const NONCE_BLANK: &str = "nonce-goes-here-";

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Instant,
    OneMillisecond,
}

impl Tool {
    pub fn label(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::OneMillisecond => "1 ms",
        }
    }

    fn body(self) -> String {
        let (name, arguments) = match self {
            Self::Instant => ("instant", format!(r#"{{"nonce":"{NONCE_BLANK}"}}"#)),
            Self::OneMillisecond => ("sleep", format!(r#"{{"ms":1,"nonce":"{NONCE_BLANK}"}}"#)),
        };
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
        )
    }
}

/// Which of the keys a connection uses for its next call.
#[derive(Clone, Copy, Debug)]
pub enum Spread {
    /// Any, uniformly at random.
    Random,
    /// Each exactly once, then the load ends.
    EachOnce,
}

/// One slice of load.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    pub tool: Tool,
    pub keys: Arc<[String]>,
    /// Does each connection begin a session of its own?
    pub in_sessions: bool,
    pub spread: Spread,
    pub warm_up: Duration,
    pub duration: Duration,
    /// Calls a second at most, of all connections together.
    pub at_most: Option<f64>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Measured {
    pub calls_per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

impl Load {
    /// Runs it on this thread. Panics when an answer is not the caller's own.
    pub fn run(&self) -> Measured {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(self.measure())
    }

    async fn measure(&self) -> Measured {
        let start = Instant::now() + self.warm_up;
        let mut connections = JoinSet::new();
        for index in 0..self.connections {
            let load = self.clone();
            connections.spawn(async move { load.connection(index, start).await });
        }
        let mut latencies = Vec::new();
        while let Some(of_one) = connections.join_next().await {
            latencies.append(&mut of_one.expect("a connection failed"));
        }
        // Each-once has no fixed end.
        let elapsed = start.elapsed().max(Duration::from_nanos(1));
        let seconds = match self.spread {
            Spread::Random => self.duration.as_secs_f64(),
            Spread::EachOnce => elapsed.as_secs_f64(),
        };
        assert!(!latencies.is_empty(), "no call was answered within {:?}", self.duration);
        latencies.sort_unstable();
        Measured {
            calls_per_second: latencies.len() as f64 / seconds,
            p50: latencies[latencies.len() / 2],
            p99: latencies[latencies.len() * 99 / 100],
        }
    }

    /// The latencies of one connection, of calls that ended between `start` and the end.
    async fn connection(&self, index: usize, start: Instant) -> Vec<Duration> {
        let end = start + self.duration;
        let mut caller = Caller::open(self, index).await;
        let mut latencies = Vec::with_capacity(1 << 16);
        let mut next_key = index;
        let pause =
            self.at_most.map(|rate| Duration::from_secs_f64(self.connections as f64 / rate));
        // The turns of the connections are spread evenly.
        let mut turn = Instant::now()
            + pause.unwrap_or_default().mul_f64(index as f64 / self.connections as f64);
        loop {
            if let Some(pause) = pause {
                tokio::time::sleep_until(turn.into()).await;
                turn = (turn + pause).max(Instant::now());
            }
            let key = match self.spread {
                Spread::Random => caller.random.below(self.keys.len()),
                Spread::EachOnce => next_key,
            };
            let Some(key) = self.keys.get(key) else { break };
            next_key += self.connections;
            let began = Instant::now();
            caller.call(key).await;
            let ended = Instant::now();
            match self.spread {
                Spread::Random if ended >= end => break,
                Spread::Random if ended < start => {}
                Spread::Random | Spread::EachOnce => latencies.push(ended - began),
            }
        }
        if let Some(session) = &caller.session {
            session.end(&mut caller.wire, self.address).await;
        }
        latencies
    }
}

/// One connection with its request ready to be patched.
struct Caller {
    wire: Wire,
    session: Option<Session>,
    request: Vec<u8>,
    key_at: usize,
    nonce_at: usize,
    random: Random,
}

impl Caller {
    async fn open(load: &Load, index: usize) -> Self {
        let key = load.keys.first().expect("there is a key");
        assert!(load.keys.iter().all(|other| other.len() == key.len()), "keys differ in length");
        let mut wire = Wire::open(load.address).await;
        let session = Session::begin_if(load.in_sessions, &mut wire, load.address, key).await;
        let header = format!("X-API-Key: {key}\r\n");
        let headers = session.as_ref().map_or_else(|| header.clone(), Session::headers);
        let request = wire::post(load.address, "/mcp", &headers, &load.tool.body());
        let find = |what: &str| memmem::find(&request, what.as_bytes()).expect("it was put there");
        Self {
            wire,
            session,
            key_at: find(&header) + "X-API-Key: ".len(),
            nonce_at: find(NONCE_BLANK),
            random: Random::new(index as u64 + 1),
            request,
        }
    }

    /// One call; its answer must be a success that carries its nonce.
    async fn call(&mut self, key: &str) {
        let nonce = self.random.nonce();
        self.request[self.key_at..self.key_at + key.len()].copy_from_slice(key.as_bytes());
        self.request[self.nonce_at..self.nonce_at + NONCE_LENGTH].copy_from_slice(&nonce);
        let answer = self.wire.exchange(&self.request).await;
        let is_success = answer.starts_with(b"HTTP/1.1 200 ");
        assert!(
            is_success && memmem::find(answer, &nonce).is_some(),
            "not the answer of the call with nonce {}: {}",
            show(&nonce),
            show(answer)
        );
    }
}

/// Xorshift: quick and good enough to spread keys.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, count: usize) -> usize {
        if count == 1 { 0 } else { (self.next() % count as u64) as usize }
    }

    fn nonce(&mut self) -> [u8; NONCE_LENGTH] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = self.next();
        std::array::from_fn(|digit| DIGITS[(number >> (digit * 4)) as usize & 15])
    }
}
