//! The same conversation with the same server, directly and through Paygate: what the client sees
//! must be the same, byte for byte, but for what is documented to differ. Those are prices in lists,
//! and the ids of requests that the server sends.
//!
//! A conversation is a file: `> message` is sent, `< n` waits for n messages and compares them in
//! order, `~ n` in any order, since a session has more than one stream. `$ASKED` is the id of the
//! server's last request, `$MODERN` what every request since 2026-07-28 has in its `_meta`; files of that
//! era begin with `modern-`. A step that differs is listed, with its reason, in `expected.txt`.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails a test panics"
)]

#[path = "../support/mod.rs"]
mod support;

mod conversation;
mod normal;
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use serde_json::json;

use conversation::{Conversation, Wire};
use support::{Expected, Lost, Paygate, Setup, Tried, in_repository, scripted_child};
use wire::{Pipes, Prefixed, Through};

/// How Paygate stands in the way.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    price: &'static str,
    front: Front,
    server: Server,
}

#[derive(Clone, Copy)]
enum Front {
    Http,
    /// The client starts Paygate, once for each conversation.
    Stdio,
}

#[derive(Clone, Copy)]
enum Server {
    Child,
    /// The scripted child speaks no HTTP: so another Paygate that costs nothing stands before it.
    Remote,
    /// One that is sold under a prefix.
    Several,
}

const WAYS: [Way; 7] = [
    way("child-free", "0", Front::Http, Server::Child),
    way("child-priced", "3", Front::Http, Server::Child),
    way("remote-priced", "3", Front::Http, Server::Remote),
    way("several-priced", "3", Front::Http, Server::Several),
    way("stdio-priced", "3", Front::Stdio, Server::Child),
    way("stdio_remote-priced", "3", Front::Stdio, Server::Remote),
    way("stdio_several-priced", "3", Front::Stdio, Server::Several),
];

const fn way(name: &'static str, price: &'static str, front: Front, server: Server) -> Way {
    Way { name, price, front, server }
}

/// What a client pays with that starts Paygate itself.
const STDIO_KEY: &str = "pg_differential_0123456789abcdef";

#[test]
fn a_client_sees_the_same_bytes_as_without_paygate() {
    let conversations = all();
    let losses: Vec<_> = thread::scope(|scope| {
        let conversations = &conversations;
        let runs = WAYS.map(|way| (way.name, scope.spawn(move || compare(way, conversations))));
        runs.into_iter().map(|(name, run)| (name, run.join().expect("a run ends"))).collect()
    });
    let names: BTreeSet<String> = conversations.into_iter().map(|(name, _)| name).collect();
    let tried = Tried::from([("every-way".to_owned(), names)]);
    Expected::read("tests/differential/expected.txt").compare(&losses, &tried);
}

/// Every conversation there is, with its name.
fn all() -> Vec<(String, Conversation)> {
    let folder = in_repository("tests/differential/conversations");
    let mut found: Vec<_> = fs::read_dir(&folder)
        .expect("the conversations")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a plain name");
            let text = fs::read_to_string(&path).expect("a conversation");
            (name.to_owned(), Conversation::parse(&text))
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

fn compare(way: Way, conversations: &[(String, Conversation)]) -> Vec<Lost> {
    let is_modern = |named: &&(String, Conversation)| named.0.starts_with("modern-");
    let (modern, legacy): (Vec<_>, Vec<_>) = conversations.iter().partition(is_modern);
    let mut lost = compare_in("legacy", way, &legacy);
    lost.extend(compare_in("modern", way, &modern));
    lost
}

/// All conversations of one era.
fn compare_in(era: &str, way: Way, conversations: &[&(String, Conversation)]) -> Vec<Lost> {
    let (setup, elsewhere) = guarded(era, way);
    let started = matches!(way.front, Front::Http).then(|| {
        let paygate = setup.start();
        let (key, _) = paygate.create_key(&json!({"credits": 1_000_000}));
        (paygate, key)
    });
    let mut lost = Vec::new();
    for (name, conversation) in conversations {
        let direct = conversation.play(&mut Pipes::server(era));
        let mut wire: Box<dyn Wire> = match &started {
            Some((paygate, key)) => Box::new(Through::new(&paygate.address, key)),
            None => Box::new(Pipes::paygate(&setup, STDIO_KEY)),
        };
        if matches!(way.server, Server::Several) {
            wire = Box::new(Prefixed { wire, prefix: "one:" });
        }
        let through = conversation.play(&mut *wire);
        // Several servers greet as one, which `tests/upstream_several/routes.rs` is about.
        let greetings = usize::from(matches!(way.server, Server::Several));
        let both = direct.iter().zip(&through).enumerate();
        for (number, (direct, through)) in both.skip(greetings) {
            if direct != through {
                let check = (name.clone(), format!("step-{}", number + 1));
                lost.push(Lost { check, how: format!("{direct:#?}\n    became {through:#?}") });
            }
        }
    }
    for paygate in started.into_iter().map(|(paygate, _)| paygate).chain(elsewhere) {
        paygate.stop().expect_success();
    }
    lost
}

/// Paygate with the scripted child behind it, and the other Paygate if there is one.
fn guarded(era: &str, way: Way) -> (Setup, Option<Paygate>) {
    let setup = Setup::new().ephemeral().env("SCRIPTED_ERA", era);
    let before = setup.clone().args(["--price", way.price]);
    match way.server {
        Server::Child => (before, None),
        Server::Several => {
            let command = format!("'{}'", scripted_child().display());
            let servers = json!([{"prefix": "one", "serverCommand": command}]);
            (before.without_server().config(json!({"servers": servers})), None)
        }
        Server::Remote => {
            let elsewhere = setup.args(["--price", "0"]).start();
            let (key, _) = elsewhere.create_key(&json!({"name": "the other Paygate"}));
            let remote =
                json!({"remoteUrl": elsewhere.mcp_url(), "upstreamHeaders": {"X-API-Key": key}});
            (before.without_server().config(remote), Some(elsewhere))
        }
    }
}
