//! What may happen to a lease, its file, or the records it is for, while its instance is cut off.

use std::fs::File;

use paygate::ledger::CreditKind;
use paygate::model::secret::Digest;
use paygate::store::{CallState, Store};

use super::support::{RedisServer, Setup, TempDir, Wire};
use super::*;

/// Two instances on one Redis, the first over a wire; it has a lease of 49 of 98 credits.
struct Two {
    server: RedisServer,
    wire: Wire,
    mine: RedisOptions,
    cut_off: Option<RedisStore>,
    other: RedisStore,
    key: Arc<Key>,
    dir: TempDir,
}

impl Two {
    async fn new() -> Self {
        let (server, dir) = (RedisServer::start(), TempDir::new());
        let wire = Wire::to(server.port());
        let mine = options(&wire.url(), &dir.path().join("mine.db"), RedisClock::Passed, LEASE);
        let cut_off = open(&mine).await;
        let other = options(&server.url(), &dir.path().join("other.db"), RedisClock::Passed, LEASE);
        let other = open(&other).await;
        let key = made(&cut_off, 1, 100, at(0)).await;
        sold(&cut_off, &key, at(0)).await.unwrap();
        Self { server, wire, mine, cut_off: Some(cut_off), other, key, dir }
    }

    fn cut_off(&self) -> &RedisStore {
        self.cut_off.as_ref().unwrap()
    }

    async fn lease(&self) {
        self.cut_off().tend_leases(at(0)).await.unwrap();
        assert_eq!(self.cut_off().lease_exposure(), 49);
    }

    /// Sells some calls without Redis; which.
    async fn sell(&self, count: usize) -> Vec<Charge> {
        self.wire.cut(true);
        let (mut all, until) = (Vec::new(), Instant::now() + PATIENCE);
        while all.len() < count {
            let charge = charge(&NO_CAPS, &self.key, None, "a", at(1));
            if held(self.cut_off(), &charge, at(1)).await.is_ok() {
                ended(self.cut_off(), &charge, true, at(1)).await.unwrap();
                all.push(charge);
            }
            assert!(Instant::now() < until, "nothing is sold");
        }
        all
    }

    /// The instance is there again, and has done all that there is to do.
    async fn heal(&self) {
        self.wire.cut(false);
        tended(self.cut_off(), at(2)).await;
    }

    /// What is left, and what of it is held.
    async fn left(&self) -> (i64, i64) {
        let account = self.other.account(&self.key.id).await.unwrap();
        (account.balance(), account.held())
    }

    fn verify(&self) {
        let verified = Setup::new().run(&["ledger", "verify", "--redis", &self.server.url()]);
        assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
    }
}

#[tokio::test]
async fn a_redis_that_has_lost_the_lease_is_told_of_what_was_sold() {
    let two = Two::new().await;
    let account = format!("pg:{{default}}:{}", two.key.id);
    let before = "pg:{default}:before";
    two.server.cli(&["COPY", &account, before]);
    two.lease().await;
    let calls = two.sell(24).await;
    // A replica that took over had not heard of the lease.
    two.server.cli(&["COPY", before, &account, "REPLACE"]);
    two.server.cli(&["DEL", before, "pg:{default}:leases"]);
    two.other.credit(&two.key.id, -70, CreditKind::Adjustment, None.into(), at(1)).await.unwrap();
    assert_eq!(two.left().await, (28, 0), "the others sell what is not theirs");
    two.heal().await;
    let (balance, held) = two.left().await;
    assert_eq!((balance, held - two.cut_off().lease_exposure()), (28 - 48, 0));
    for call in &calls {
        let found = two.other.find_call(call.call).await.unwrap();
        assert_eq!(found.map(|found| found.state), Some(CallState::Charged));
    }
    // What Redis would have ended by itself is not looked for over and over.
    two.other.expire(at(2 * 300_000)).await.unwrap();
    two.verify();
}

fn leases_of(copy: &Path, end: &str) -> String {
    format!("{}-leases{end}", copy.display())
}

/// Nobody has an instance's file of leases open.
async fn is_closed(copy: &Path) {
    let until = Instant::now() + PATIENCE;
    while File::open(leases_of(copy, "")).unwrap().try_lock().is_err() {
        assert!(Instant::now() < until, "somebody has it open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Copies an instance's file of leases, over another one.
fn copy_file(from: &Path, to: &Path) {
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(leases_of(to, end)).ok();
        if end != "-shm" && Path::new(&leases_of(from, end)).exists() {
            std::fs::copy(leases_of(from, end), leases_of(to, end)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_report_whose_instance_died_before_it_noted_that_is_not_made_twice() {
    let mut two = Two::new().await;
    two.lease().await;
    two.sell(3).await;
    // The lease does not end while a call of it is under way.
    let open_call = charge(&NO_CAPS, &two.key, None, "a", at(1));
    held(two.cut_off(), &open_call, at(1)).await.unwrap();
    let (mine, before) = (two.mine.copy.clone().unwrap(), two.dir.path().join("before.db"));
    copy_file(&mine, &before);
    two.heal().await;
    let (balance, held) = two.left().await;
    assert_eq!((balance, held >= 43), (92, true), "reported, and the rest is still out");
    two.cut_off = None;
    is_closed(&mine).await;
    copy_file(&before, &mine);
    two.cut_off = Some(open(&two.mine).await);
    tended(two.cut_off(), at(3)).await;
    assert_eq!(two.left().await, (92, 0));
    assert_eq!(two.other.ended_calls(None).await.unwrap(), 4);
    two.verify();
}

#[tokio::test]
async fn a_file_that_was_copied_reports_nothing_twice_and_gives_nothing_back_that_another_sells() {
    let mut two = Two::new().await;
    two.lease().await;
    two.sell(3).await;
    two.cut_off = None;
    let copy = two.dir.path().join("copy.db");
    let old = two.mine.copy.clone().unwrap();
    is_closed(&old).await;
    copy_file(&old, &copy);
    two.wire.cut(false);
    two.cut_off = Some(open(&two.mine).await);
    tended(two.cut_off(), at(2)).await;
    assert_eq!(two.left().await, (92, 0), "reported, and the lease is over");
    sold(two.cut_off(), &two.key, at(3)).await.unwrap();
    tended(two.cut_off(), at(3)).await;
    assert_eq!(two.cut_off().lease_exposure(), 45);

    let copied = options(&two.server.url(), &copy, RedisClock::Passed, LEASE);
    let copied = open(&copied).await;
    tended(&copied, at(4)).await;
    assert_eq!(two.left().await, (90, 45), "nothing twice, and the lease is still out");
    assert_eq!(two.other.ended_calls(None).await.unwrap(), 5);
    two.verify();
}

#[tokio::test]
async fn one_file_is_one_instances() {
    let two = Two::new().await;
    let second =
        options(&two.server.url(), &two.dir.path().join("2.db"), RedisClock::Passed, LEASE);
    std::os::unix::fs::symlink(
        leases_of(two.mine.copy.as_deref().unwrap(), ""),
        leases_of(second.copy.as_deref().unwrap(), ""),
    )
    .unwrap();
    let refused = RedisStore::open(&second).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("another instance's"), "{refused}");
}

#[tokio::test]
async fn records_may_change_while_calls_are_sold_by_what_they_were() {
    for what in ["deleted", "rotated", "revoked"] {
        let two = Two::new().await;
        two.lease().await;
        two.wire.cut(true);
        let key = (*two.key).clone();
        match what {
            "deleted" => two.other.delete_key(&key.id, None.into(), at(1)).await.unwrap(),
            "rotated" => {
                let digest: Digest = raw(2).digest();
                drop(two.other.update_key(Key { digest, ..key }, None.into()).await.unwrap());
            }
            _ => {
                drop(
                    two.other.update_key(Key { active: false, ..key }, None.into()).await.unwrap(),
                );
            }
        }
        // The books know it is gone for what is not on lease; the rest was promised.
        two.sell(3).await;
        two.heal().await;
        tended(two.cut_off(), at(3)).await;
        assert!(two.other.leases().await.unwrap().is_empty(), "{what}");
        assert_eq!(two.other.ended_calls(None).await.unwrap(), 4, "{what}");
        let usage = two.other.usage(None).await.unwrap();
        assert_eq!(usage.iter().map(|row| row.credits).sum::<i64>(), 8, "{what}");
        // By the record that it knows it sells nothing any more.
        let late = charge(&NO_CAPS, &two.key, None, "a", at(4));
        let refused = held(two.cut_off(), &late, at(4)).await.unwrap_err();
        assert!(matches!(refused, HoldRefused::Stale), "{what}: {refused:?}");
        if what != "deleted" {
            assert_eq!(two.left().await, (92, 0), "{what}");
        }
        two.verify();
    }
}

#[tokio::test]
async fn a_call_sold_from_a_lease_is_explained_and_refunded_like_any_other() {
    let two = Two::new().await;
    two.lease().await;
    let calls = two.sell(2).await;
    two.heal().await;
    let found = two.other.find_call(calls[0].call).await.unwrap().unwrap();
    assert_eq!((found.charged, found.state), (PRICE, CallState::Charged));
    assert!(two.other.explain_call(calls[0].call).await.unwrap().is_some());
    two.other.refund(found, None.into(), at(3)).await.unwrap();
    let (balance, held) = two.left().await;
    assert_eq!((balance, held), (100 - 2 * PRICE, two.cut_off().lease_exposure()));
    two.verify();
}

#[tokio::test]
async fn an_instance_that_stops_while_it_is_cut_off_reports_when_it_starts_again() {
    let mut two = Two::new().await;
    two.lease().await;
    two.sell(3).await;
    two.cut_off().close().await.unwrap();
    two.cut_off = None;
    assert_eq!(two.left().await, (98, 49), "it counts as spent");
    two.wire.cut(false);
    two.cut_off = Some(open(&two.mine).await);
    tended(two.cut_off(), at(2)).await;
    assert_eq!(two.left().await, (92, 0));
    // One that stops with Redis there gives all back, also what it has used.
    sold(two.cut_off(), &two.key, at(3)).await.unwrap();
    tended(two.cut_off(), at(3)).await;
    two.sell(1).await;
    two.wire.cut(false);
    let until = Instant::now() + PATIENCE;
    while two.cut_off().leases().await.is_err() {
        assert!(Instant::now() < until, "Redis is there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    two.cut_off().close().await.unwrap();
    assert_eq!(two.left().await, (88, 0));
    assert!(two.other.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_next_outage_may_come_at_once() {
    let mut two = Two::new().await;
    let slow = LeaseOptions { renewal: Duration::from_mins(10), ..LEASE };
    let copy = two.dir.path().join("slow.db");
    let store = open(&options(&two.wire.url(), &copy, RedisClock::Passed, slow)).await;
    two.key = made(&two.other, 2, 100, at(0)).await;
    two.cut_off = Some(store);
    sold(two.cut_off(), &two.key, at(0)).await.unwrap();
    for _ in 0..2 {
        tended(two.cut_off(), at(1)).await;
        assert!(two.cut_off().lease_exposure() > 40, "one is out");
        two.sell(1).await;
        two.wire.cut(false);
    }
}

#[tokio::test]
async fn a_lease_that_nobody_used_yet_is_there_for_the_whole_outage() {
    let mut two = Two::new().await;
    let short = LeaseOptions { idle: Duration::from_millis(300), ..LEASE };
    let copy = two.dir.path().join("short.db");
    let store = open(&options(&two.wire.url(), &copy, RedisClock::Passed, short)).await;
    two.key = made(&two.other, 2, 100, at(0)).await;
    two.cut_off = Some(store);
    sold(two.cut_off(), &two.key, at(0)).await.unwrap();
    tended(two.cut_off(), at(0)).await;
    assert!(two.cut_off().lease_exposure() > 40, "one is out");
    two.wire.cut(true);
    while two.cut_off().leases().await.is_ok() {}
    let begun = Instant::now();
    while begun.elapsed() < 2 * short.idle {
        tokio::time::sleep(Duration::from_millis(5)).await;
        two.cut_off().tend_leases(at(1)).await.ok();
    }
    two.sell(1).await;
    // With Redis there it is given back by then.
    two.heal().await;
    let until = Instant::now() + PATIENCE;
    while two.cut_off().lease_exposure() > 0 {
        assert!(Instant::now() < until, "it is kept for ever");
        tokio::time::sleep(Duration::from_millis(5)).await;
        tended(two.cut_off(), at(2)).await;
    }
}

#[tokio::test]
async fn books_with_leases_out_are_repaired_but_do_not_move() {
    let two = Two::new().await;
    two.lease().await;
    let (url, to) = (two.server.url(), two.dir.path().join("moved.db"));
    let moved = Setup::new().run(&["migrate", "--from", &url, "--to", to.to_str().unwrap()]);
    assert!(moved.stderr.contains("1 leases of default are out"), "{moved:?}");
    assert!(!to.exists());

    let account = format!("pg:{{default}}:{}", two.key.id);
    two.server.cli(&["HINCRBY", &account, "balance@l", "7"]);
    let copy = two.mine.copy.clone().unwrap();
    let repair = ["ledger", "repair", "--redis", &url, "--db", copy.to_str().unwrap(), "--apply"];
    let repaired = Setup::new().run(&repair);
    assert!(repaired.status.success(), "{repaired:?}");
    assert_eq!(two.left().await, (98, 49));
    two.verify();
    two.sell(3).await;
    two.heal().await;
    let (balance, held) = two.left().await;
    assert_eq!((balance, held), (92, two.cut_off().lease_exposure()));
    two.verify();
}
