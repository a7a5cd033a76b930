//! The same conversation with the same server, directly and through Paygate: what the client sees
//! must be the same, byte for byte, but for what is documented to differ. Those are prices in lists,
//! and the ids of requests that the server sends.
//!
//! A conversation is a file: `> message` is sent, `< n` waits for n messages and compares them in
//! order, `~ n` in any order, since a session has more than one stream. `$ASKED` is the id of the
//! server's last request. A step that differs is listed, with its reason, in `expected.txt`.
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

use std::fs;
use std::thread;

use serde_json::json;

use conversation::Conversation;
use support::{Expected, Lost, Setup, in_repository};
use wire::{Direct, Through};

/// How Paygate stands in the way: a name and a price.
const WAYS: [(&str, &str); 2] = [("child-free", "0"), ("child-priced", "3")];

#[test]
fn a_client_sees_the_same_bytes_as_without_paygate() {
    let conversations = all();
    let losses: Vec<_> = thread::scope(|scope| {
        let conversations = &conversations;
        let runs =
            WAYS.map(|(way, price)| (way, scope.spawn(move || compare(price, conversations))));
        runs.into_iter().map(|(way, run)| (way, run.join().expect("a run ends"))).collect()
    });
    Expected::read("tests/differential/expected.txt").compare(&losses);
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

fn compare(price: &str, conversations: &[(String, Conversation)]) -> Vec<Lost> {
    let paygate = Setup::new().ephemeral().args(["--price", price]).start();
    let (key, _) = paygate.create_key(&json!({"credits": 1_000_000}));
    let mut lost = Vec::new();
    for (name, conversation) in conversations {
        let direct = conversation.play(&mut Direct::start());
        let through = conversation.play(&mut Through::new(&paygate.address, &key));
        for (number, (direct, through)) in direct.iter().zip(&through).enumerate() {
            if direct != through {
                let check = (name.clone(), format!("step-{}", number + 1));
                lost.push(Lost { check, how: format!("{direct:#?}\n    became {through:#?}") });
            }
        }
    }
    paygate.stop().expect_success();
    lost
}
