//! What sessions cost: how soon something is told, how much memory a session takes, and what a call
//! in a session costs beside one without.

use std::net::SocketAddr;
use std::time::Instant;

use memchr::memmem;
use serde_json::{Value, json};

use crate::contestants::Contestant;
use crate::load::Tool;
use crate::parts::{Cell, Settings, measure, table};
use crate::report::{Spread, Table, seconds, time};
use crate::wire::{self, Wire, show};

const VERSION: &str = "2025-11-25";
/// One key may not have all sessions.
const KEYS: usize = 16;
/// Calls of one repeat that tell something before their answer.
const STREAMED_CALLS: usize = 200;

/// A session that was begun over a connection.
pub struct Session {
    key: String,
    id: String,
}

impl Session {
    pub async fn begin(wire: &mut Wire, address: SocketAddr, key: &str) -> Self {
        let params = json!({"protocolVersion": VERSION, "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let header = format!("X-API-Key: {key}\r\n");
        let request = wire::post(address, "/mcp", &header, &body.to_string());
        let id = session_id(wire.exchange(&request).await);
        let session = Self { key: key.to_owned(), id };
        let body = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        let request = wire::post(address, "/mcp", &session.headers(), &body);
        let answer = wire.exchange(&request).await;
        assert!(answer.starts_with(b"HTTP/1.1 202 "), "{}", show(answer));
        session
    }

    pub async fn begin_if(
        is_wanted: bool,
        wire: &mut Wire,
        address: SocketAddr,
        key: &str,
    ) -> Option<Self> {
        if is_wanted { Some(Self::begin(wire, address, key).await) } else { None }
    }

    /// What each of its requests carries.
    pub fn headers(&self) -> String {
        let Self { key, id } = self;
        format!("X-API-Key: {key}\r\nMcp-Session-Id: {id}\r\nMCP-Protocol-Version: {VERSION}\r\n")
    }

    pub async fn end(&self, wire: &mut Wire, address: SocketAddr) {
        let headers = self.headers();
        let request = format!("DELETE /mcp HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        let answer = wire.exchange(request.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 2"), "{}", show(answer));
    }
}

fn session_id(answer: &[u8]) -> String {
    let name = b"\r\nmcp-session-id: ";
    let at = memmem::find(&answer.to_ascii_lowercase(), name);
    let at = at.unwrap_or_else(|| panic!("no session: {}", show(answer))) + name.len();
    let id = answer[at..].split(|byte| *byte == b'\r').next().expect("a value");
    show(id)
}

fn on_this_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(work)
}

fn isolation(which: &str, children_max: usize) -> Value {
    json!({"isolation": which, "maxChildren": children_max})
}

/// From the request to the first thing that its call tells, beside a whole answer of the bare bridge,
/// which tells nothing.
pub fn first_word(settings: &Settings) -> String {
    let bare = Contestant::bare("bare bridge, the answer");
    let told = [
        Contestant::paygate("Paygate, no session", "answer", 1),
        Contestant::with_sessions("Paygate, session", "answer", 1, isolation("session", 64)),
    ];
    let mut waits = vec![Vec::new(); told.len() + 1];
    for _ in 0..settings.repeats {
        waits[0].push(seconds(on_this_thread(waits_for(&bare, false))));
        for (contestant, waits) in told.iter().zip(&mut waits[1..]) {
            waits.push(seconds(on_this_thread(waits_for(contestant, true))));
        }
    }
    let mut table = Table::new(&["contestant", "first byte", "spread"]);
    for (label, waits) in
        std::iter::once(bare.label).chain(told.iter().map(|it| it.label)).zip(waits)
    {
        let all = Spread::of(waits);
        let spread = format!("{}..{}", time(all.min), time(all.max));
        table.row([label.to_owned(), time(all.median), spread]);
    }
    format!(
        "### Time to the first byte of a notification\n\nMedian of {STREAMED_CALLS} calls one after the other.\n\n{}",
        table.to_markdown()
    )
}

/// The median wait of so many calls, one after the other.
async fn waits_for(contestant: &Contestant, is_told: bool) -> std::time::Duration {
    let (address, key) = (contestant.address, &contestant.keys[0]);
    let mut wire = Wire::open(address).await;
    let session = Session::begin_if(contestant.in_sessions, &mut wire, address, key).await;
    let alone = format!("X-API-Key: {key}\r\n");
    let headers = session.as_ref().map_or(alone, Session::headers);
    let call = |name: &str| {
        let params = json!({"name": name, "arguments": {"count": 1, "nonce": "n"},
            "_meta": {"progressToken": "t"}});
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
    };
    let mut waits = Vec::with_capacity(STREAMED_CALLS);
    for _ in 0..STREAMED_CALLS {
        let seen;
        let began;
        if is_told {
            let accept = format!("Accept: text/event-stream\r\n{headers}");
            let request = wire::post(address, "/mcp", &accept, &call("progress"));
            began = Instant::now();
            seen = wire.stream(&request, b"notifications/progress").await;
        } else {
            let request = wire::post(address, "/mcp", &headers, &call("instant"));
            began = Instant::now();
            wire.exchange(&request).await;
            seen = Instant::now();
        }
        waits.push(seen - began);
    }
    if let Some(session) = session {
        session.end(&mut wire, address).await;
    }
    waits.sort_unstable();
    waits[waits.len() / 2]
}

/// Resident memory of Paygate alone for each session, its server not counted.
pub fn memory(settings: &Settings) -> String {
    let mut table = Table::new(&["server", "sessions", "resident", "for each", "sessions per GB"]);
    let (shared, own) = (settings.sessions, settings.own_sessions);
    for (which, label, count) in
        [("shared", "one for all", shared), ("session", "one for each", own)]
    {
        let contestant =
            Contestant::with_sessions(label, "none", KEYS, isolation(which, own.max(1)));
        let before = contestant.resident_kib();
        on_this_thread(async {
            let mut wire = Wire::open(contestant.address).await;
            for index in 0..count {
                let key = &contestant.keys[index % contestant.keys.len()];
                Session::begin(&mut wire, contestant.address, key).await;
            }
        });
        let after = contestant.resident_kib();
        let each = (after.saturating_sub(before) * 1024) as f64 / count.max(1) as f64;
        table.row([
            label.to_owned(),
            count.to_string(),
            format!("{:.1} MiB", after as f64 / 1024.0),
            format!("{:.1} KiB", each / 1024.0),
            format!("{:.0}", 1e9 / each.max(1.0)),
        ]);
    }
    format!(
        "### Memory of sessions\n\nPaygate's own memory; servers not counted.\n\n{}",
        table.to_markdown()
    )
}

/// Calls in sessions beside calls without.
pub fn calls(settings: &Settings) -> String {
    let contestants = [
        Contestant::paygate("no sessions", "answer", 1),
        Contestant::with_sessions("sessions, one server", "answer", 1, isolation("shared", 64)),
        Contestant::with_sessions("sessions, own servers", "answer", 1, isolation("session", 64)),
    ];
    let cells = [1, 16].map(|connections| Cell { tool: Tool::Instant, connections });
    let cells = cells.map(|cell| measure(settings, &contestants, cell, || ()));
    let table = table(&cells, "no sessions").to_markdown();
    format!(
        "### Calls in sessions\n\nDurability `answer`; a session for each connection.\n\n{table}"
    )
}
