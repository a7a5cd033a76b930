//! Paygate beside a bare bridge, in one run: `cargo bench --bench proxy [-- PART…]`.
//!
//! Parts: `fsync`, `ratio`, `memory`, `keys` (these by default), `start`,
//! `noise`, which is the bare bridge beside itself, and `cost`, which is processor time per call, and `profile`, one
//! load to look at with a profiler; of sessions `first-word`, how soon a notification is told,
//! `session-memory` and `session-calls`; of the operator's desk `desk`, how long its answers take,
//! `desk-load`, what a report costs the calls beside it, and `recording`; `shared`, books in a Redis beside
//! the embedded ones, and `leases`, the part of it that sells while that Redis is away. The contestants are processes of their own before the same scripted child, measured in turn and several times over,
//! because two noisy cores make any single number a guess. The result is Markdown for
//! `docs/performance.md`; it goes to standard output and to `target/bench-proxy.md`.
//!
//! Environment: `BENCH_REPEATS` (5), `BENCH_MS` (2000) a slice, `BENCH_WARM_UP_MS` (300),
//! `BENCH_DIR` for the databases (the target directory), `BENCH_KEYS` (100000), `BENCH_MEMORY_KEYS`
//! (10000), `BENCH_START_KEYS` (1000000), `BENCH_START_DB` (a database with those keys),
//! `BENCH_EVENTS` (10000000) calls in the books of the desk, `BENCH_BOOKS` (a directory that keeps those
//! books for the next run, 4 GB), `BENCH_OTHER` (another build of Paygate, whose cost is measured in turn
//! with this one's), `BENCH_CELLS` (which loads the cost is measured at, "0123"), `BENCH_SESSIONS` (2000) and `BENCH_OWN_SESSIONS` (256), those with a server of their own.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::format_push_string,
    reason = "a benchmark that cannot measure stops, prints its numbers, and rounds them"
)]

#[path = "proxy/alone.rs"]
mod alone;
#[path = "proxy/bare_bridge.rs"]
mod bare_bridge;
#[path = "proxy/books.rs"]
mod books;
#[path = "proxy/contestants.rs"]
mod contestants;
#[path = "proxy/cost.rs"]
mod cost;
#[path = "proxy/desk.rs"]
mod desk;
#[path = "proxy/disk.rs"]
mod disk;
#[path = "proxy/leases.rs"]
mod leases;
#[path = "proxy/load.rs"]
mod load;
#[path = "proxy/parts.rs"]
mod parts;
#[path = "proxy/report.rs"]
mod report;
#[path = "proxy/sessions.rs"]
mod sessions;
#[path = "proxy/shared.rs"]
mod shared;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "proxy/wire.rs"]
mod wire;

use std::env;
use std::fs;
use std::process::ExitCode;

use disk::{Disk, FIRST_SAMPLES};
use parts::Settings;

const PARTS: [&str; 16] = [
    "fsync",
    "ratio",
    "memory",
    "keys",
    "noise",
    "start",
    "cost",
    "profile",
    "first-word",
    "session-memory",
    "session-calls",
    "desk",
    "desk-load",
    "recording",
    "shared",
    "leases",
];
const DEFAULT_PARTS: usize = 4;

fn main() -> ExitCode {
    let mut args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "bare-bridge") {
        return match bare_bridge::run(&args[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bare bridge: {error}");
                ExitCode::FAILURE
            }
        };
    }
    // `cargo bench` says --bench. A test runner that builds all targets does not, and wants no bench.
    let is_bench = args.iter().any(|arg| arg == "--bench");
    args.retain(|arg| !arg.starts_with('-'));
    if let Some(unknown) = args.iter().find(|arg| !PARTS.contains(&arg.as_str())) {
        eprintln!("no part {unknown}; there are: {}", PARTS.join(", "));
        return ExitCode::FAILURE;
    }
    if is_bench && args.is_empty() {
        args = PARTS[..DEFAULT_PARTS].iter().map(ToString::to_string).collect();
    }
    if !args.is_empty() {
        run(&args);
    }
    ExitCode::SUCCESS
}

fn run(parts: &[String]) {
    contestants::build_child();
    let settings = Settings::from_env();
    let mut disk = Disk::open();
    disk.sample(FIRST_SAMPLES);
    let mut text = report::machine();
    for part in parts {
        eprintln!("measuring: {part}");
        text.push('\n');
        text += &match part.as_str() {
            "ratio" => parts::ratio(&settings, &mut disk),
            "memory" => parts::memory(&settings),
            "keys" => parts::keys(&settings),
            "noise" => parts::noise(&settings),
            "start" => parts::start(&settings),
            "cost" => cost::cost(&settings),
            "profile" => cost::profile(&settings),
            "first-word" => sessions::first_word(&settings),
            "session-memory" => sessions::memory(&settings),
            "session-calls" => sessions::calls(&settings),
            "desk" => desk::desk(&settings),
            "desk-load" => desk::desk_load(&settings),
            "recording" => desk::recording(&settings),
            "shared" => shared::shared(&settings) + "\n" + &leases::leases(&settings),
            "leases" => leases::leases(&settings),
            _ => disk.to_markdown(),
        };
    }
    println!("\n{text}");
    let path = support::target_dir().join("bench-proxy.md");
    match fs::write(&path, &text) {
        Ok(()) => eprintln!("written to {}", path.display()),
        Err(error) => eprintln!("cannot write {}: {error}", path.display()),
    }
}
