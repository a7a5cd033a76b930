//! The parts of the benchmark, each a question of the issue: how near to the bare bridge, how much
//! memory, do many keys cost anything, how quick is the start.

use std::env;
use std::fs;
use std::iter;
use std::time::{Duration, Instant};

use crate::contestants::{Contestant, create_keys, setup};
use crate::disk::Disk;
use crate::load::{Load, Measured, Spread as KeySpread, Tool};
use crate::report::{Spread, Table, goal, seconds, time};

/// What the environment may change.
pub struct Settings {
    pub repeats: usize,
    pub slice: Duration,
    pub warm_up: Duration,
    pub many_keys: usize,
    pub memory_keys: usize,
    pub start_keys: usize,
    pub sessions: usize,
    pub own_sessions: usize,
    pub events: i64,
}

impl Settings {
    pub fn from_env() -> Self {
        Self {
            repeats: number("BENCH_REPEATS", 5).max(1),
            slice: Duration::from_millis(number("BENCH_MS", 2000) as u64),
            warm_up: Duration::from_millis(number("BENCH_WARM_UP_MS", 300) as u64),
            many_keys: number("BENCH_KEYS", 100_000),
            memory_keys: number("BENCH_MEMORY_KEYS", 10_000),
            start_keys: number("BENCH_START_KEYS", 1_000_000),
            sessions: number("BENCH_SESSIONS", 2000),
            own_sessions: number("BENCH_OWN_SESSIONS", 256),
            events: i64::try_from(number("BENCH_EVENTS", 10_000_000)).expect("a count"),
        }
    }

    pub fn load(&self, contestant: &Contestant, cell: Cell) -> Load {
        Load {
            address: contestant.address,
            connections: cell.connections,
            tool: cell.tool,
            keys: contestant.keys.clone(),
            in_sessions: contestant.in_sessions,
            spread: KeySpread::Random,
            warm_up: self.warm_up,
            duration: self.slice,
            at_most: None,
        }
    }
}

fn number(name: &str, default: usize) -> usize {
    let Ok(value) = env::var(name) else {
        return default;
    };
    value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub tool: Tool,
    pub connections: usize,
}

pub const CELLS: [Cell; 4] = [
    Cell { tool: Tool::Instant, connections: 1 },
    Cell { tool: Tool::Instant, connections: 16 },
    Cell { tool: Tool::Instant, connections: 64 },
    Cell { tool: Tool::OneMillisecond, connections: 16 },
];

/// All repeats of one contestant in one cell.
pub struct Series {
    label: &'static str,
    cell: Cell,
    measured: Vec<Measured>,
}

impl Series {
    pub fn connections(&self) -> usize {
        self.cell.connections
    }

    pub fn calls_per_second(&self) -> Spread {
        Spread::of(self.measured.iter().map(|one| one.calls_per_second))
    }

    /// Per repeat: this one's calls/s as a share of the first contestant's.
    pub fn ratio(&self, first: &Self) -> Spread {
        let pairs = self.measured.iter().zip(&first.measured);
        Spread::of(pairs.map(|(own, bare)| own.calls_per_second / bare.calls_per_second))
    }

    /// Per repeat: by how many seconds this one's median call is slower.
    fn slower_by(&self, first: &Self) -> Spread {
        let pairs = self.measured.iter().zip(&first.measured);
        Spread::of(pairs.map(|(own, bare)| seconds(own.p50) - seconds(bare.p50)))
    }
}

/// Measures every contestant in one cell, in turn, each repeat beginning with another one.
pub fn measure(
    settings: &Settings,
    contestants: &[Contestant],
    cell: Cell,
    mut between: impl FnMut(),
) -> Vec<Series> {
    let series =
        |contestant: &Contestant| Series { label: contestant.label, cell, measured: Vec::new() };
    let mut all: Vec<Series> = contestants.iter().map(series).collect();
    for repeat in 0..settings.repeats {
        for turn in 0..contestants.len() {
            let index = (repeat + turn) % contestants.len();
            let measured = settings.load(&contestants[index], cell).run();
            all[index].measured.push(measured);
        }
        between();
    }
    all
}

pub fn table(cells: &[Vec<Series>], compared_with: &str) -> Table {
    let ratio = format!("share of {compared_with}");
    let mut table = Table::new(&[
        "tool",
        "connections",
        "contestant",
        "calls/s",
        "spread",
        "p50",
        "p99",
        &ratio,
        "spread",
    ]);
    for series in cells {
        for one in series {
            let rate = Spread::of(one.measured.iter().map(|m| m.calls_per_second));
            let ratio = one.ratio(&series[0]);
            let p50 = Spread::of(one.measured.iter().map(|m| seconds(m.p50)));
            let p99 = Spread::of(one.measured.iter().map(|m| seconds(m.p99)));
            table.row([
                one.cell.tool.label().to_owned(),
                one.cell.connections.to_string(),
                one.label.to_owned(),
                format!("{:.0}", rate.median),
                format!("{:.0}..{:.0}", rate.min, rate.max),
                time(p50.median),
                time(p99.median),
                format!("{:.3}", ratio.median),
                format!("{:.3}..{:.3}", ratio.min, ratio.max),
            ]);
        }
    }
    table
}

const NONE: &str = "Paygate, durability none";
const ANSWER: &str = "Paygate, durability answer";

/// Paygate beside the bare bridge.
pub fn ratio(settings: &Settings, disk: &mut Disk) -> String {
    let contestants = [
        Contestant::bare("bare bridge"),
        Contestant::paygate(NONE, "none", 1),
        Contestant::paygate(ANSWER, "answer", 1),
    ];
    let cells: Vec<_> = CELLS
        .into_iter()
        .map(|cell| measure(settings, &contestants, cell, || disk.sample(20)))
        .collect();
    let mut text = String::from("### Beside a bare bridge\n\n");
    text += &table(&cells, "bare").to_markdown();
    text.push('\n');
    for series in &cells {
        text += &goals(series, disk.strict_median());
    }
    text
}

/// The bare bridge beside itself: a difference as small as this one's spread says nothing.
pub fn noise(settings: &Settings) -> String {
    let contestants = [Contestant::bare("bare bridge"), Contestant::bare("the same again")];
    let cells: Vec<_> =
        CELLS.into_iter().map(|cell| measure(settings, &contestants, cell, || ())).collect();
    format!("### Noise of this machine\n\n{}", table(&cells, "bare").to_markdown())
}

/// The goals of the issue for one cell. Inside the spread counts as met.
fn goals(series: &[Series], sync: f64) -> String {
    let bare = &series[0];
    let mut text = String::new();
    for own in &series[1..] {
        let share_wanted = match (own.label, own.cell.tool, own.cell.connections) {
            (NONE, Tool::Instant, 16 | 64) => Some(0.9),
            (ANSWER, Tool::Instant, 64) => Some(0.85),
            (ANSWER, Tool::OneMillisecond, 16) => Some(0.97),
            _ => None,
        };
        let cell = format!(
            "{}, {} tool, {} connections",
            own.label,
            own.cell.tool.label(),
            own.cell.connections
        );
        if let Some(wanted) = share_wanted {
            let ratio = own.ratio(bare);
            let measured = format!("{:.3} ({:.3}..{:.3})", ratio.median, ratio.min, ratio.max);
            text += &goal(
                &format!("{cell}: at least {wanted} of bare"),
                ratio.median >= wanted,
                ratio.max >= wanted,
                &measured,
            );
        }
        if own.cell.tool == Tool::Instant && own.cell.connections <= 16 {
            let slower = own.slower_by(bare);
            let measured =
                format!("{} ({}..{})", time(slower.median), time(slower.min), time(slower.max));
            let what = format!("{cell}: p50 above bare at most one sync of {}", time(sync));
            text += &goal(&what, slower.median <= sync, slower.min <= sync, &measured);
        }
    }
    text
}

/// One key beside very many.
pub fn keys(settings: &Settings) -> String {
    let mut text = format!("### 1 key beside {} keys, used at random\n\n", settings.many_keys);
    for durability in ["none", "answer"] {
        let contestants = [
            Contestant::paygate("1 key", durability, 1),
            Contestant::paygate("many keys", durability, settings.many_keys),
        ];
        let cells: Vec<_> =
            CELLS[1..3].iter().map(|cell| measure(settings, &contestants, *cell, || ())).collect();
        text +=
            &format!("durability `{durability}`:\n\n{}\n", table(&cells, "1 key").to_markdown());
        for series in &cells {
            let ratio = series[1].ratio(&series[0]);
            let what =
                format!("{durability}, {} connections: at least 0.95", series[0].cell.connections);
            let measured = format!("{:.3} ({:.3}..{:.3})", ratio.median, ratio.min, ratio.max);
            text += &goal(&what, ratio.median >= 0.95, ratio.max >= 0.95, &measured);
        }
        text.push('\n');
    }
    text
}

/// Resident memory after every one of many keys has been used.
pub fn memory(settings: &Settings) -> String {
    let contestant = Contestant::paygate("Paygate", "answer", settings.memory_keys);
    let created = contestant.resident_kib();
    let mut load = settings.load(&contestant, CELLS[1]);
    load.spread = KeySpread::EachOnce;
    load.warm_up = Duration::ZERO;
    load.run();
    let used = contestant.resident_kib();
    let is_met = used * 1024 < 40_000_000;
    let mib = |kib: u64| kib as f64 / 1024.0;
    let mut text = format!(
        "### Memory with {} keys\n\nResident: {:.1} MiB after creating them, {:.1} MiB after each made a call\n\n",
        settings.memory_keys,
        mib(created),
        mib(used)
    );
    text += &goal("under 40 MB", is_met, is_met, &format!("{:.1} MB", used as f64 * 1024.0 / 1e6));
    text
}

/// From the start of the process to the first healthy answer, with very many keys in the books.
pub fn start(settings: &Settings) -> String {
    let setup = setup("answer");
    if let Some(database) = env::var_os("BENCH_START_DB") {
        fs::copy(database, setup.database()).expect("the database can be copied");
    } else {
        let paygate = setup.start();
        create_keys(paygate.address.parse().expect("an address"), settings.start_keys, 1);
        paygate.stop().expect_success();
    }
    let one_start = || {
        let began = Instant::now();
        let paygate = setup.start();
        assert_eq!(paygate.get("/health").status, 200, "{}", paygate.output());
        let took = seconds(began.elapsed());
        paygate.stop().expect_success();
        took
    };
    let took = Spread::of(iter::repeat_with(one_start).take(settings.repeats));
    let measured = format!("{} ({}..{})", time(took.median), time(took.min), time(took.max));
    let mut text = format!("### Start with {} keys\n\n", settings.start_keys);
    text += &goal("healthy within 3 s", took.median < 3.0, took.min < 3.0, &measured);
    text
}
