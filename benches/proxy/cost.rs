//! What a call costs in processor time, which other work on the machine changes far less than
//! calls per second. Also how often the process was put to sleep or off its core.

use std::env;
use std::fs;

use crate::contestants::{Contestant, setup};
use crate::load::Measured;
use crate::parts::{CELLS, Settings};
use crate::report::{Spread, Table};

/// What a process has used since it started.
#[derive(Clone, Copy)]
struct Used {
    user: f64,
    system: f64,
    /// Times a thread went to sleep.
    sleeps: f64,
    /// Times a thread was put off its core.
    preemptions: f64,
}

impl Used {
    fn by(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |field: usize| fields[field].parse::<f64>().expect("a number of ticks");
        let tick = 1e6 / 100.0;
        let (mut sleeps, mut preemptions) = (0.0, 0.0);
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("it has threads") {
            let path = task.expect("a thread").path().join("status");
            // A thread may have ended meanwhile.
            let status = fs::read_to_string(path).unwrap_or_default();
            sleeps += number(&status, "voluntary_ctxt_switches:");
            preemptions += number(&status, "nonvoluntary_ctxt_switches:");
        }
        Self { user: ticks(11) * tick, system: ticks(12) * tick, sleeps, preemptions }
    }
}

fn number(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

/// One slice: microseconds of user and of system time, sleeps and preemptions, each per call.
fn slice(settings: &Settings, contestant: &Contestant, cell: usize) -> ([f64; 4], Measured) {
    let load = settings.load(contestant, CELLS[cell]);
    let before = Used::by(contestant.pid());
    let measured = load.run();
    let after = Used::by(contestant.pid());
    // The warm-up is used too; calls of both are taken to be equally quick.
    let seconds = (load.warm_up + load.duration).as_secs_f64();
    let calls = measured.calls_per_second * seconds;
    let per_call = [
        after.user - before.user,
        after.system - before.system,
        after.sleeps - before.sleeps,
        after.preemptions - before.preemptions,
    ];
    (per_call.map(|used| used / calls), measured)
}

/// Processor time per call of the bare bridge and of Paygate, each process alone, not its child.
/// `BENCH_OTHER` is another build of Paygate that is measured in turn with this one, `BENCH_CELLS` the
/// places of what is measured ("2" for 64 connections).
pub fn cost(settings: &Settings) -> String {
    let mut contestants = vec![
        Contestant::bare("bare bridge"),
        Contestant::paygate("Paygate, durability none", "none", 1),
        Contestant::paygate("Paygate, durability answer", "answer", 1),
    ];
    if let Some(other) = env::var_os("BENCH_OTHER") {
        let other =
            |label, durability| Contestant::started(label, &setup(durability).binary(&other), 1);
        contestants.push(other("the other build, none", "none"));
        contestants.push(other("the other build, answer", "answer"));
    }
    let mut table = Table::new(&[
        "tool",
        "connections",
        "contestant",
        "user",
        "system",
        "both",
        "spread",
        "sleeps a call",
        "preemptions a call",
        "calls/s",
        "p99",
    ]);
    let wanted = env::var("BENCH_CELLS").unwrap_or_else(|_| "0123".to_owned());
    for (index, cell) in CELLS.iter().enumerate() {
        if !wanted.contains(&index.to_string()) {
            continue;
        }
        let mut all = vec![Vec::new(); contestants.len()];
        for repeat in 0..settings.repeats {
            for turn in 0..contestants.len() {
                let turn = (repeat + turn) % contestants.len();
                all[turn].push(slice(settings, &contestants[turn], index));
            }
        }
        for (contestant, slices) in contestants.iter().zip(&all) {
            let of = |place: usize| Spread::of(slices.iter().map(|(used, _)| used[place])).median;
            let rate = Spread::of(slices.iter().map(|(_, one)| one.calls_per_second)).median;
            let p99 = Spread::of(slices.iter().map(|(_, one)| one.p99.as_secs_f64())).median;
            let both = Spread::of(slices.iter().map(|(used, _)| used[0] + used[1]));
            table.row([
                cell.tool.label().to_owned(),
                cell.connections.to_string(),
                contestant.label.to_owned(),
                format!("{:.1} µs", of(0)),
                format!("{:.1} µs", of(1)),
                format!("{:.1} µs", both.median),
                format!("{:.1}..{:.1}", both.min, both.max),
                format!("{:.3}", of(2)),
                format!("{:.3}", of(3)),
                format!("{rate:.0}"),
                crate::report::time(p99),
            ]);
        }
    }
    format!("### Processor time per call\n\n{}", table.to_markdown())
}

/// Paygate alone under one load, to be looked at by a profiler: `BENCH_DURABILITY` (none),
/// `BENCH_CONNECTIONS` (64), `BENCH_OTHER` (another build, or a script that runs one in a tool). Says which process to look at.
pub fn profile(settings: &Settings) -> String {
    let durability = env::var("BENCH_DURABILITY").unwrap_or_else(|_| "none".to_owned());
    let wanted = env::var("BENCH_CONNECTIONS").map_or(64, |n| n.parse().expect("a number"));
    let contestant = match durability.as_str() {
        "bare" => Contestant::bare("bare bridge"),
        _ => match env::var_os("BENCH_OTHER") {
            Some(other) => Contestant::started("Paygate", &setup(&durability).binary(other), 1),
            None => Contestant::paygate("Paygate", &durability, 1),
        },
    };
    let cell = CELLS.iter().position(|cell| cell.connections == wanted).expect("1, 16 or 64");
    eprintln!("profile: process {}", contestant.pid());
    let ([user, system, sleeps, preemptions], measured) = slice(settings, &contestant, cell);
    format!(
        "{:.0} calls/s, {user:.1} + {system:.1} µs a call, {sleeps:.3} sleeps, {preemptions:.3} preemptions\n",
        measured.calls_per_second
    )
}
