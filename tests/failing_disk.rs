//! A disk that fails under the books, injected from outside by a preloaded library: the store closes,
//! nothing is acknowledged that is not on disk, and a restart finds everything that was.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use serde_json::json;
use support::{
    Paygate, RedisServer, Request, Response, Setup, eventually, rpc_request, target_dir,
};

const MODES: [&str; 3] = ["write", "sync", "full"];
const FIRST_CREDITS: i64 = 1_000;

/// The library, built once for all tests of this file.
fn faulty_disk() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/faulty_disk.c");
            // Each test process builds its own and puts it in its place whole, so none loads what
            // another is writing.
            let library = target_dir().join("faulty_disk.so");
            let draft = library.with_extension(std::process::id().to_string());
            let mut cc = Command::new("cc");
            cc.args(["-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o"]).arg(&draft);
            let status = cc.arg(source).arg("-ldl").status().expect("cc runs");
            assert!(status.success(), "{source} does not compile");
            fs::rename(draft, &library).unwrap();
            library
        })
        .clone()
}

struct Disk {
    setup: Setup,
}

impl Disk {
    fn new() -> Self {
        let setup = Setup::new().args(["--price", "2", "--rate-limit", "0"]);
        let control = setup.dir().file("disk-fault");
        let setup = setup
            .env("LD_PRELOAD", faulty_disk())
            .env("FAULTY_DISK_MATCH", "paygate.db")
            .env("FAULTY_DISK_CONTROL", control);
        Self { setup }
    }

    fn fail(&self, mode: &str) {
        // All at once: the library may look while this writes.
        let (control, draft) =
            (self.setup.dir().file("disk-fault"), self.setup.dir().file("draft"));
        fs::write(&draft, mode).unwrap();
        fs::rename(draft, control).unwrap();
    }

    fn mend(&self) {
        fs::remove_file(self.setup.dir().file("disk-fault")).unwrap();
    }

    fn was_hit(&self) -> bool {
        self.setup.dir().file("disk-fault.hit").exists()
    }

    fn has_run(&self, nonce: &str) -> bool {
        self.setup.child_log().iter().any(|(_, ran)| ran == nonce)
    }
}

fn top_up(paygate: &Paygate, id: &str, amount: i64) -> Response {
    paygate.admin_post("/topup", &json!({"key": id, "credits": amount}))
}

fn expect_store_unavailable(response: &Response) {
    let found = (response.status, response.error_code(), response.error_reason());
    assert_eq!(found, (200, -32_603, "store_unavailable".to_owned()), "{}", response.text());
}

#[test]
fn a_disk_that_fails_closes_the_books() {
    for mode in MODES {
        closes(mode);
    }
}

fn closes(mode: &str) {
    let disk = Disk::new();
    let paygate = disk.setup.start();
    let (key, id) = paygate.create_key(&json!({"credits": FIRST_CREDITS}));
    assert_eq!(top_up(&paygate, &id, 50).status, 200);
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "before"})).tool_text(), "before");
    let sure = FIRST_CREDITS + 50 - 2;
    assert_eq!(paygate.credits(&key), sure);

    // A call is on its way when the disk begins to fail: its answer must not leave.
    let slow = thread::scope(|scope| {
        let paygate = &paygate;
        let arguments = json!({"nonce": "slow", "ms": 1_500});
        let call =
            rpc_request(&key, "tools/call", &json!({"name": "sleep", "arguments": arguments}));
        let waiting = scope.spawn(move || paygate.send(&call));
        eventually("the slow tool to start", || disk.has_run("slow"));
        disk.fail(mode);
        waiting.join().unwrap()
    });
    expect_store_unavailable(&slow);
    assert!(disk.was_hit(), "{mode}: nothing was written");
    expect_closed(&disk, &paygate, &key, &id);
    // Mending the disk opens nothing: memory is ahead of the file.
    disk.mend();
    expect_closed(&disk, &paygate, &key, &id);
    paygate.stop();

    disk.setup.verify().expect_success();
    let paygate = disk.setup.start();
    let found = paygate.credits(&key);
    // The one call that was told neither yes nor no is charged at most once.
    assert!(found == sure || found == sure - 2, "{mode}: {found} credits, {sure} are known");
    assert_eq!(paygate.get("/health").status, 200);
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "after"})).tool_text(), "after");
    assert_eq!(paygate.credits(&key), found - 2);
    paygate.stop().expect_success();
    disk.setup.verify().expect_success();
}

/// Paid calls and admin writes are refused at once, everything else goes on.
fn expect_closed(disk: &Disk, paygate: &Paygate, key: &str, id: &str) {
    let arguments = json!({"nonce": "refused"});
    expect_store_unavailable(&paygate.call(key, "instant", &arguments));
    let calls = json!({"calls": [{"name": "instant", "arguments": arguments}]});
    expect_store_unavailable(&paygate.rpc(key, "tools/call_batch", &calls));
    assert!(!disk.has_run("refused"), "a tool ran that nobody can be charged for");

    assert_eq!(top_up(paygate, id, 7).status, 503);
    assert_eq!(paygate.admin_post("/keys", &json!({"credits": 5})).status, 503);
    assert_eq!(paygate.admin_post("/keys/revoke", &json!({"key": id})).status, 503);
    assert_eq!(
        paygate.admin_post("/keys/tags", &json!({"key": id, "tags": {"a": "b"}})).status,
        503
    );
    // Numbers of a memory that is not trusted are not shown either.
    let balance = paygate.send(&Request::new("GET", "/balance").header("X-API-Key", key));
    assert_eq!(balance.status, 503, "{}", balance.text());

    for key in [key, ""] {
        let tools = paygate.rpc(key, "tools/list", &json!({}));
        assert!(tools.json()["result"]["tools"].is_array(), "{}", tools.text());
        assert_eq!(tools.header("x-credits-remaining"), None);
    }
    assert!(paygate.rpc(key, "ping", &json!({})).json()["result"].is_object());
    let health = paygate.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("unavailable")));
}

/// Several clients at work when the disk fails: nobody gets a yes that the file does not know.
#[test]
fn nothing_is_acknowledged_that_is_not_on_disk() {
    for mode in MODES {
        let disk = Disk::new();
        let paygate = disk.setup.start();
        let (key, id) = paygate.create_key(&json!({"credits": 1_000_000}));
        let sums = under_load(&disk, &paygate, mode, &key, &id);
        assert!(disk.was_hit(), "{mode}: nothing was written");
        // It ends on such a disk too, and writes nothing more.
        if mode == "full" {
            paygate.kill9();
        } else {
            paygate.stop();
        }
        disk.mend();

        disk.setup.verify().expect_success();
        let paygate = disk.setup.start();
        let balance = paygate.balance(&key);
        let credits = balance["credits"].as_i64().unwrap();
        let spent = balance["totalSpent"].as_i64().unwrap();
        let granted = credits + spent - 1_000_000;
        let most = |sure: i64, unsure: i64| sure..=sure + unsure;
        assert!(
            most(sums.charged, sums.maybe_charged).contains(&spent),
            "{mode}: {sums:?} {balance}"
        );
        assert!(
            most(sums.granted, sums.maybe_granted).contains(&granted),
            "{mode}: {sums:?} {balance}"
        );
        paygate.stop().expect_success();
    }
}

/// What clients were told, and what they were told neither yes nor no about.
#[derive(Debug)]
struct Sums {
    charged: i64,
    granted: i64,
    maybe_charged: i64,
    maybe_granted: i64,
}

fn under_load(disk: &Disk, paygate: &Paygate, mode: &str, key: &str, id: &str) -> Sums {
    let counts: [AtomicI64; 4] = Default::default();
    let [charged, granted, maybe_charged, maybe_granted] = &counts;
    let has_failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..5 {
            let has_failed = &has_failed;
            scope.spawn(move || {
                while !has_failed.load(Ordering::Relaxed) {
                    let (sure, unsure, amount, is_good) = if client == 0 {
                        (granted, maybe_granted, 3, top_up(paygate, id, 3).status == 200)
                    } else {
                        let answer = paygate.call(key, "instant", &json!({"nonce": "load"}));
                        let is_good = answer.json()["result"].is_object();
                        if !is_good {
                            expect_store_unavailable(&answer);
                        }
                        (charged, maybe_charged, 2, is_good)
                    };
                    let sum = if is_good { sure } else { unsure };
                    sum.fetch_add(amount, Ordering::Relaxed);
                    if !is_good {
                        has_failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
        eventually("answers before the disk fails", || charged.load(Ordering::Relaxed) >= 100);
        disk.fail(mode);
    });
    let [charged, granted, maybe_charged, maybe_granted] = counts.map(AtomicI64::into_inner);
    Sums { charged, granted, maybe_charged, maybe_granted }
}

#[test]
fn a_disk_that_fails_at_the_start_is_one_clear_message() {
    for mode in MODES {
        let disk = Disk::new();
        disk.fail(mode);
        expect_clear_message(&disk, mode);
        assert!(disk.was_hit(), "{mode}: nothing was written");

        // The same with books that hold something: it is still there afterwards.
        disk.mend();
        let paygate = disk.setup.start();
        let (key, _) = paygate.create_key(&json!({"credits": 70}));
        paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text();
        paygate.kill9();
        disk.fail(mode);
        expect_clear_message(&disk, mode);
        disk.mend();
        let paygate = disk.setup.start();
        assert_eq!(paygate.credits(&key), 68, "{mode}");
        paygate.stop().expect_success();
        disk.setup.verify().expect_success();
    }
}

fn expect_clear_message(disk: &Disk, mode: &str) {
    let ended = disk.setup.run_to_end();
    assert_eq!(ended.code(), Some(1), "{mode}: {ended:?}");
    let message = ended.stderr.trim();
    assert_eq!(message.lines().count(), 1, "{mode}: {message}");
    for word in ["paygate.db", "--db", "--ephemeral"] {
        assert!(message.contains(word), "{mode}: no {word} in {message}");
    }
}

#[test]
fn a_copy_of_shared_books_that_cannot_be_written_is_said_and_selling_goes_on() {
    let redis = RedisServer::start();
    let disk = Disk::new();
    let disk = Disk { setup: disk.setup.args(["--redis-url", &redis.url()]) };
    let paygate = disk.setup.start();
    let (key, _) = paygate.create_key(&json!({"credits": FIRST_CREDITS}));
    let health = || paygate.get("/health");
    let copied = || {
        let page = paygate.admin_get("/metrics").text();
        page.lines()
            .find_map(|line| line.strip_prefix("paygate_journal_copied ").map(str::to_owned))
    };
    assert_eq!(
        (health().json()["status"].as_str(), copied().as_deref()),
        (Some("healthy"), Some("1"))
    );

    disk.fail("full");
    paygate.call(&key, "instant", &json!({"nonce": "sold"})).tool_text();
    eventually("it is said", || health().json()["status"] == "degraded");
    let page = health();
    assert_eq!((page.status, &page.json()["redis"]["connected"]), (200, &json!(true)));
    let why = page.json()["redis"]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("copy of the journals") && !why.contains('/'), "{why}");
    assert_eq!(copied().as_deref(), Some("0"));
    let report = paygate.admin_get("/usage");
    assert!(report.status >= 500 && report.text().contains("paygate.db"), "{}", report.text());
    assert_eq!(paygate.credits(&key), FIRST_CREDITS - 2, "selling is exact all the same");

    disk.mend();
    eventually("it is well again", || health().json()["status"] == "healthy");
    assert_eq!(copied().as_deref(), Some("1"));
    assert_eq!(paygate.admin_get("/usage").status, 200);
    let log = paygate.output();
    for words in ["are not copied any more", "are copied again"] {
        assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
    }
}
