//! Books as after a busy month: very many keys in a hundred tenants, very many calls in the journal,
//! and their sums. Filled by SQL, in the form of `src/store/local/rows.rs`: to make ten million
//! calls would take longer than to measure.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, params};

use crate::contestants::{create_keys, setup};
use crate::parts::Settings;
use crate::report::time;
use crate::support::Setup;

/// Tenants that the keys are spread over.
pub const TENANTS: usize = 100;
/// The calls are spread evenly over this time, which ends now.
const DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;
const PAUSE: Duration = Duration::from_millis(20);

/// A database of that kind, the raw keys in it, and what became of making it.
pub struct Books {
    pub setup: Setup,
    pub keys: Arc<[String]>,
    pub text: String,
}

/// Makes the books, or takes those in the directory `BENCH_BOOKS`, which keeps them if it has none.
pub fn books(settings: &Settings) -> Books {
    let setup = setup("answer");
    let kept = env::var_os("BENCH_BOOKS").map(PathBuf::from);
    if let Some(kept) = kept.as_ref().filter(|kept| kept.join("keys.txt").exists()) {
        fs::copy(kept.join("books.db"), setup.database()).expect("the books can be copied");
        let keys = fs::read_to_string(kept.join("keys.txt")).expect("the keys can be read");
        let keys = keys.lines().map(str::to_owned).collect();
        return Books { setup, keys, text: String::new() };
    }
    let paygate = setup.start();
    let address = paygate.address.parse().expect("an address");
    let keys = create_keys(address, settings.many_keys, TENANTS);
    paygate.stop().expect_success();
    fill(&setup, settings.events);
    let text = roll_up(&setup, settings.events);
    if let Some(kept) = kept {
        fs::create_dir_all(&kept).expect("BENCH_BOOKS can be made");
        fs::copy(setup.database(), kept.join("books.db")).expect("the books can be kept");
        fs::write(kept.join("keys.txt"), keys.join("\n")).expect("the keys can be kept");
    }
    Books { setup, keys, text }
}

/// Tools by how often they are called, in a hundred.
const TOOLS: [(&str, i64); 5] =
    [("instant", 60), ("search", 20), ("fetch", 10), ("report", 7), ("translate", 3)];

/// Appends so many calls of any of the keys.
fn fill(setup: &Setup, events: i64) {
    let mut connection = Connection::open(setup.database()).expect("the books open");
    connection.pragma_update(None, "synchronous", "OFF").expect("a pragma");
    let transaction = connection.transaction().expect("a transaction");
    let keys: Vec<String> = {
        let mut keys = transaction.prepare("SELECT id FROM keys").expect("SQL");
        let keys = keys.query_map([], |row| row.get(0)).expect("rows");
        keys.collect::<Result<_, _>>().expect("ids")
    };
    let now = jiff::Timestamp::now().as_millisecond();
    let begin = now - DAYS * DAY_MS;
    let before: i64 = transaction
        .query_row("SELECT max(seq) FROM journal", [], |row| row.get(0))
        .expect("a journal");
    {
        let sql = "INSERT INTO journal (seq, at, kind, call, account, amount, detail)
            VALUES (?1, ?2, 'call', randomblob(16), ?3, ?4, ?5)";
        let mut insert = transaction.prepare(sql).expect("SQL");
        let mut random = Random(1);
        for index in 0..events {
            let at = begin
                + i64::try_from(i128::from(DAYS * DAY_MS) * i128::from(index) / i128::from(events))
                    .expect("a time");
            let key = &keys[random.below(keys.len())];
            let (tool, charged, outcome) = random.call();
            let detail = format!(
                r#"{{"held":{at},"until":{},"postings":[["balance@l",-1],["spent@l",1],["calls@l",1]],"end":"{}","kept":[-{charged},{charged},{charged}],"calls":[["{tool}",1,{charged},"{outcome}"]]}}"#,
                at + 600_000,
                if charged == 1 { "capture" } else { "release" },
            );
            insert.execute(params![before + 1 + index, at, key, charged, detail]).expect("a row");
        }
    }
    // As if the accounts had been saved since.
    transaction
        .execute("UPDATE meta SET value = ?1 WHERE name = 'replay_after'", [before + events])
        .expect("a number");
    transaction.commit().expect("a commit");
}

/// Lets Paygate sum up what was filled in, and says how long that took.
fn roll_up(setup: &Setup, events: i64) -> String {
    let began = Instant::now();
    let paygate = setup.start();
    let healthy = began.elapsed();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(setup.database(), flags).expect("the books open");
    let left =
        "SELECT (SELECT max(seq) FROM journal) - (SELECT value FROM meta WHERE name = 'usage_seq')";
    while connection.query_row(left, [], |row| row.get::<_, i64>(0)).expect("a number") > 0 {
        std::thread::park_timeout(PAUSE);
    }
    let took = began.elapsed();
    drop(connection);
    paygate.stop().expect_success();
    format!(
        "First start with {events} calls that have no sums: listening after {}, summed up after {:.0} s.\n\n",
        time(healthy.as_secs_f64()),
        took.as_secs_f64()
    )
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).expect("64 bits") % end
    }

    fn call(&mut self) -> (&'static str, i64, &'static str) {
        let mut place = i64::try_from(self.next() % 100).expect("small");
        let found = TOOLS.iter().find(|(_, share)| {
            place -= share;
            place < 0
        });
        let (tool, _) = found.expect("the shares are a hundred");
        if self.next().is_multiple_of(50) { (tool, 0, "timeout") } else { (tool, 1, "result") }
    }
}
