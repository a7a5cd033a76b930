//! The operator's desk with many keys and many calls in the books: how long its answers take, what a
//! report costs the calls beside it, and what it costs to record usage at all.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::books::{Books, books};
use crate::contestants::{Contestant, setup};
use crate::parts::{CELLS, Settings, measure, table};
use crate::report::{Spread, Table, goal, seconds, time};
use crate::support::{ADMIN_KEY, Paygate};

/// A number of journal rows that is never reached: whatever is before it counts as summed up.
const NEVER: i64 = 1 << 60;

/// What is asked, and within how many seconds it should be answered.
const QUESTIONS: [(&str, &str, Option<f64>); 12] = [
    ("first page of keys", "/keys?limit=100", Some(0.02)),
    ("a later page of keys", "/keys?limit=100&cursor=", Some(0.02)),
    ("page of a tenant's keys", "/keys?limit=100&namespace=tenant-7", Some(0.02)),
    ("namespaces", "/namespaces", Some(0.05)),
    ("analytics, 24 h", "/analytics", Some(0.3)),
    ("analytics, 24 h, one tenant", "/analytics?namespace=tenant-7", Some(0.3)),
    ("analytics, 30 days", "/analytics?granularity=daily&from=", None),
    ("page of usage", "/usage?limit=100", None),
    ("page of the last day's usage", "/usage?limit=100&since=", None),
    ("status of a tenant", "/status?namespace=tenant-7", None),
    ("metrics", "/metrics", None),
    ("page of the audit log", "/audit?limit=100", None),
];

/// How long the answers take, and a start with such books.
pub fn desk(settings: &Settings) -> String {
    let Books { setup, text, .. } = books(settings);
    let mut text = format!(
        "### The operator's desk, {} keys, {} calls in 30 days\n\n{text}",
        settings.many_keys, settings.events
    );
    let began = Instant::now();
    let paygate = setup.start();
    text += &format!("A later start: listening after {}.\n\n", time(seconds(began.elapsed())));
    let mut table = Table::new(&["question", "median", "spread", "bytes"]);
    let mut goals = String::new();
    let questions = QUESTIONS.map(|(what, path, goal)| (what, whole(&paygate, path), goal));
    let mut took = vec![Vec::new(); QUESTIONS.len()];
    let mut sizes = vec![0; QUESTIONS.len()];
    for _ in 0..settings.repeats {
        for (index, (_, path, _)) in questions.iter().enumerate() {
            let began = Instant::now();
            let answer = paygate.admin_get(path);
            took[index].push(seconds(began.elapsed()));
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            sizes[index] = answer.body.len();
        }
    }
    for (index, (what, _, wanted)) in questions.iter().enumerate() {
        let spread = Spread::of(took[index].iter().copied());
        let range = format!("{}..{}", time(spread.min), time(spread.max));
        table.row([
            (*what).to_owned(),
            time(spread.median),
            range.clone(),
            sizes[index].to_string(),
        ]);
        if let Some(wanted) = wanted {
            let measured = format!("{} ({range})", time(spread.median));
            let what = format!("{what} under {}", time(*wanted));
            goals += &goal(&what, spread.median < *wanted, spread.min < *wanted, &measured);
        }
    }
    paygate.stop().expect_success();
    format!("{text}{}\n{goals}", table.to_markdown())
}

/// A path with what only the running books can say.
fn whole(paygate: &Paygate, path: &str) -> String {
    let ago = |hours: i64| {
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        format!("{path}{since:.0}")
    };
    if path.ends_with("cursor=") {
        let page = paygate.admin_get("/keys?limit=500");
        let cursor = page.header("X-Next-Cursor").expect("there are more").to_owned();
        return format!("{path}{cursor}");
    }
    if path.ends_with("from=") {
        return ago(30 * 24);
    }
    match path {
        path if path.ends_with("csv&since=") => ago(30 * 24),
        path if path.ends_with("since=") => ago(24),
        path => path.to_owned(),
    }
}

/// Reports that take long: the analytics of a month, asked for again and again, and the usage of a
/// month as CSV, which is never at its end.
const REPORTS: [&str; 2] = ["/analytics?granularity=daily&from=", "/usage?format=csv&since="];

/// The load beside reports.
pub fn desk_load(settings: &Settings) -> String {
    let Books { setup, keys, .. } = books(settings);
    let contestant = Contestant::over("Paygate", &setup, keys);
    let mut text = String::from("### Calls while reports run\n\n");
    let mut table = Table::new(&[
        "connections",
        "report",
        "calls/s alone",
        "with it",
        "share",
        "spread",
        "bytes of it",
    ]);
    for cell in &CELLS[1..3] {
        for path in REPORTS {
            let path = whole(contestant.server().expect("it is Paygate"), path);
            let (mut alone, mut beside, asked) = (Vec::new(), Vec::new(), AtomicUsize::new(0));
            for repeat in 0..settings.repeats {
                let mut turns = [false, true];
                turns.rotate_left(repeat % 2);
                for with_report in turns {
                    let rate = rate_beside(
                        settings,
                        &contestant,
                        *cell,
                        with_report.then_some((&*path, &asked)),
                    );
                    if with_report { beside.push(rate) } else { alone.push(rate) }
                }
            }
            let shares =
                Spread::of(beside.iter().zip(&alone).map(|(with, without)| with / without));
            let spread = format!("{:.3}..{:.3}", shares.min, shares.max);
            let report = path.split(['?', '&']).next().unwrap_or_default().to_owned();
            text += &goal(
                &format!("{report}, {} connections: at least 0.95", cell.connections),
                shares.median >= 0.95,
                shares.max >= 0.95,
                &format!("{:.3} ({spread})", shares.median),
            );
            table.row([
                cell.connections.to_string(),
                report,
                format!("{:.0}", Spread::of(alone).median),
                format!("{:.0}", Spread::of(beside).median),
                format!("{:.3}", shares.median),
                spread,
                asked.into_inner().to_string(),
            ]);
        }
    }
    format!("{text}\n{}", table.to_markdown())
}

/// Reads a report until its end or that of the load; how many bytes it was. Whoever reads it would be
/// on another machine, so this thread steps back from those that are measured.
fn read_report(address: &str, path: &str, done: &AtomicBool) -> usize {
    rustix::process::setpriority_process(None, 19).expect("a thread may step back");
    let mut stream = TcpStream::connect(address).expect("it accepts connections");
    let wait = Duration::from_millis(100);
    stream.set_read_timeout(Some(wait)).expect("a timeout can be set");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nX-Admin-Key: {ADMIN_KEY}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("the request can be sent");
    let (mut piece, mut bytes) = (vec![0; 64 << 10], 0);
    while !done.load(Ordering::Relaxed) {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(more) => {
                if bytes == 0 {
                    assert!(piece.starts_with(b"HTTP/1.1 200 "), "{path} was refused");
                }
                bytes += more;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{path}: {error}"),
        }
    }
    bytes
}

fn rate_beside(
    settings: &Settings,
    contestant: &Contestant,
    cell: crate::parts::Cell,
    report: Option<(&str, &AtomicUsize)>,
) -> f64 {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        if let Some((path, asked)) = report {
            let paygate = contestant.server().expect("it is Paygate");
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    asked.fetch_add(read_report(&paygate.address, path, done), Ordering::Relaxed);
                }
            });
        }
        let measured = settings.load(contestant, cell).run();
        done.store(true, Ordering::Relaxed);
        measured.calls_per_second
    })
}

/// With and without the sums of usage, with one key and with many. Usage itself is read from the
/// journal, which proves the balances and is always written: what can be left out is summing it up.
pub fn recording(settings: &Settings) -> String {
    let mut text = String::from("### Recording usage\n\n");
    for (name, keys) in [("1 key", 1), ("many keys", settings.many_keys)] {
        for durability in ["none", "answer"] {
            let contestants = [
                Contestant::started("not summed up", &unsummed(durability), keys),
                Contestant::started("summed up", &setup(durability), keys),
            ];
            let cells: Vec<_> = CELLS[1..3]
                .iter()
                .map(|cell| measure(settings, &contestants, *cell, || ()))
                .collect();
            text += &format!(
                "{name}, durability `{durability}`:\n\n{}\n",
                table(&cells, "not summed up").to_markdown()
            );
            for series in &cells {
                let ratio = series[1].ratio(&series[0]);
                let what = format!(
                    "{name}, {durability}, {} connections: at least 0.95",
                    series[0].connections()
                );
                let measured = format!("{:.3} ({:.3}..{:.3})", ratio.median, ratio.min, ratio.max);
                text += &goal(&what, ratio.median >= 0.95, ratio.max >= 0.95, &measured);
            }
            text.push('\n');
        }
    }
    text
}

/// Books that believe to have summed up everything for ever.
fn unsummed(durability: &str) -> crate::support::Setup {
    let setup = setup(durability);
    setup.start().stop().expect_success();
    let connection = Connection::open(setup.database()).expect("the books open");
    let changed =
        connection.execute("UPDATE meta SET value = ?1 WHERE name = 'usage_seq'", [NEVER]);
    assert_eq!(changed, Ok(1));
    setup
}
