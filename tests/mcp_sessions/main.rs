//! Sessions of the legacy era as clients see them: who they belong to and when they end, what is told
//! on which stream, what a server may ask, what a cancellation reaches, and that nothing is left
//! behind. The real binary before the scripted child.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::similar_names,
    reason = "a helper that fails a test panics"
)]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod asks;
mod behind;
mod cancel;
mod children;
mod client;
mod life;
mod resume;
mod shared;
mod streams;

use support::{Paygate, rich_key, start};

/// The scripted children that run for a Paygate: its own children, the shared one among them.
fn children(paygate: &Paygate) -> Vec<i32> {
    descendants(paygate)
        .into_iter()
        .filter(|(_, parent)| *parent == paygate.pid())
        .map(|(pid, _)| pid)
        .collect()
}

/// Every process that came from a Paygate, with its parent.
fn descendants(paygate: &Paygate) -> Vec<(i32, u32)> {
    let mut table: Vec<(i32, u32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let parent = fields.split_whitespace().nth(1).and_then(|parent| parent.parse().ok());
        table.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found: Vec<(i32, u32)> = Vec::new();
    let mut parents = vec![paygate.pid()];
    while let Some(parent) = parents.pop() {
        let of_it: Vec<_> = table.iter().filter(|(_, of)| *of == parent).copied().collect();
        parents.extend(of_it.iter().map(|(pid, _)| u32::try_from(*pid).unwrap()));
        found.extend(of_it);
    }
    found
}
