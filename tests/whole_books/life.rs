//! Books with something of everything in them, and what they say.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paygate::gate::{self, CallFacts, Charge, Policy, Request};
use paygate::ledger::CreditKind;
use paygate::model::alert::{AlertKind, AlertRule, Decimal};
use paygate::model::audit::AuditEvent;
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::{Key, OldCredential};
use paygate::model::namespace::Namespace;
use paygate::model::secret::{Digest, RawKey};
use paygate::model::team::{Team, TeamId};
use paygate::model::time::Time;
use paygate::model::token::{AdminToken, RawToken, Role, TokenId};
use paygate::store::redis::{RedisClock, RedisOptions, RedisReach, RedisStore};
use paygate::store::{
    Creation, Deed, HoldRefused, ItemEnd, Keep, Once, PaidTask, Parking, Show, Store, settlement,
};

use crate::support::{Ended, PATIENCE, RedisServer, Setup};

pub(crate) const PAID: ItemEnd = ItemEnd { paid: true, outcome: "result" };
pub(crate) const FREE: ItemEnd = ItemEnd { paid: false, outcome: "timeout" };

pub(crate) fn now() -> Time {
    Time::from_ms(1_800_000_000_000)
}

pub(crate) fn later(seconds: u64) -> Time {
    now().plus(Duration::from_secs(seconds))
}

pub(crate) fn raw(number: u8) -> RawKey {
    RawKey::from_random([number; 24])
}

pub(crate) fn id(number: u8) -> KeyId {
    KeyId::from_random([number; 8])
}

pub(crate) fn team_id() -> TeamId {
    TeamId::from_random([9; 8])
}

fn once(id: u8) -> Once {
    let digest = Digest::of(&[id]);
    Once { id: digest, request: digest, note: "a note\nof two lines".to_owned() }
}

pub(crate) fn copy_of(server: &RedisServer, name: &str) -> PathBuf {
    server.dir().join(name)
}

pub(crate) async fn instance(server: &RedisServer, copy: &str) -> RedisStore {
    let (url, clock) = (server.url().into(), RedisClock::Passed);
    let (reach, copy) = (RedisReach::default(), Some(copy_of(server, copy)));
    RedisStore::open(&RedisOptions { url, reach, clock, copy }).await.unwrap()
}

pub(crate) fn charge(key: &Key, team: Option<&Team>, call: u8, tools: &[&str]) -> Charge {
    let policy = Policy { default_price: 3, key_rate: 1_000, ..Policy::default() };
    let calls: Vec<CallFacts<'_>> =
        tools.iter().map(|tool| CallFacts { tool, arguments: None }).collect();
    let request = Request {
        now: now(),
        address: "10.0.0.1".parse().unwrap(),
        credential_shown: true,
        key: Some(key),
        namespace: None,
        team,
        calls: &calls,
        in_batch: tools.len() > 1,
    };
    gate::admit(&policy, &request, CallId::from_random([call; 16])).unwrap()
}

pub(crate) async fn key(store: &dyn Store, number: u8) -> Arc<Key> {
    store.key_by_digest(raw(number).digest(), now()).await.unwrap().expect("its key is there")
}

pub(crate) async fn make(store: &dyn Store, number: u8, namespace: &str, credits: i64) -> Arc<Key> {
    let mut key = Key::new(id(number), &raw(number), "customer", now());
    namespace.clone_into(&mut key.namespace);
    match store.create_key(key, credits, None.into(), now()).await.unwrap() {
        Creation::Made(key) => key,
        Creation::Repeated(note) => panic!("{note}"),
    }
}

/// One call from its hold to its end.
pub(crate) async fn call(store: &dyn Store, number: u8, call: u8, end: ItemEnd) {
    let key = key(store, number).await;
    let team = key.team.as_ref().and_then(|team| store.team(team));
    let charge = charge(&key, team.as_deref(), call, &["tool"]);
    store.hold(&charge, now(), later(60)).await.unwrap();
    store.settle(settlement(&charge, &[end], Show::BALANCE), now()).await.unwrap();
}

/// Can it still sell? A call that nobody has made before.
pub(crate) async fn sells(store: &dyn Store, call: u8) -> Result<(), HoldRefused> {
    let key = Key { revision: u64::MAX, ..Key::new(id(1), &raw(1), "customer", now()) };
    let key = match store.key_by_digest(raw(1).digest(), now()).await? {
        Some(found) => Key::clone(&found),
        None => key,
    };
    let charge = charge(&key, None, call, &["tool"]);
    store.hold(&charge, now(), later(60)).await?;
    store.settle(settlement(&charge, &[PAID], Show::BALANCE), now()).await.unwrap();
    Ok(())
}

async fn records(store: &dyn Store) {
    let team = Team {
        id: team_id(),
        name: "team".to_owned(),
        description: String::new(),
        namespace: "default".to_owned(),
        members: Vec::new(),
        budget: 1_000,
        quota: None,
        tags: [].into(),
        created_at: now(),
        active: true,
        revision: 0,
    };
    store.create_team(team, Deed::default()).await.unwrap();
    let assigned = store.assign_key(&id(2), &team_id(), Deed::default()).await.unwrap();
    assert_eq!(assigned, paygate::store::Assigned::Done);
    let first = key(store, 1).await;
    let tags = [("plan".to_owned(), "gold \"x\"\n".to_owned())].into();
    let first = store.update_key(Key { tags, ..(*first).clone() }, None.into()).await.unwrap();
    let old = Some(OldCredential { digest: raw(1).digest(), until: later(9_999) });
    let (digest, ends) = (raw(51).digest(), raw(51).ends());
    store.update_key(Key { digest, ends, old, ..(*first).clone() }, None.into()).await.unwrap();
    let tenant = Namespace { suspended: true, ..Namespace::unwritten("other") };
    store.update_namespace(tenant, Deed::default()).await.unwrap();
    let rule = AlertRule {
        kind: AlertKind::CreditsLow,
        threshold: Decimal::from_thousandths(12_500),
        cooldown_seconds: Some(60),
    };
    store.set_alert_rules(vec![rule], Deed::default()).await.unwrap();
    let token = AdminToken {
        id: TokenId::from_random([7; 8]),
        digest: RawToken::from_random([7; 24]).digest(),
        name: "ops".to_owned(),
        role: Role::Viewer,
        namespace: None,
        created_at: now(),
        created_by: "admin".to_owned(),
    };
    store.create_token(token, Deed::default()).await.unwrap();
}

/// Something of everything: keys of two tenants, a team, calls that were paid, free, refunded and kept,
/// a call that waits, one that is open, a key that is gone.
pub(crate) async fn fill(store: &dyn Store) {
    for (number, namespace) in [(1, "default"), (2, "default"), (3, "other"), (4, "default")] {
        make(store, number, namespace, 100).await;
    }
    records(store).await;
    for (number, round, end) in
        [(1, 1, PAID), (1, 2, FREE), (2, 3, PAID), (3, 4, PAID), (4, 5, PAID)]
    {
        if number == 3 {
            continue;
        }
        call(store, number, round, end).await;
    }
    let found = store.find_call(CallId::from_random([1; 16])).await.unwrap().unwrap();
    let _ = store.refund(found, Deed::default(), now()).await.unwrap();
    store.delete_key(&id(4), Deed::default(), now()).await.unwrap();
    let event = AuditEvent {
        at: now(),
        kind: "key.topup",
        actor: "admin".to_owned(),
        actor_id: None,
        namespace: Some("default".to_owned()),
        target: Some(id(2).to_string()),
        message: "50 \"credits\"".to_owned(),
        metadata: serde_json::Map::new(),
    };
    let deed = Deed { audit: Some(event.clone()), ..Deed::from(Some(once(1))) };
    store.record(AuditEvent { namespace: None, ..event }).await.unwrap();
    store.credit(&id(2), 50, CreditKind::Grant, deed, now()).await.unwrap();
    store.credit(&id(3), -7, CreditKind::Adjustment, Deed::default(), now()).await.unwrap();

    let first = key(store, 1).await;
    let keeping = charge(&first, None, 6, &["tool", "other"]);
    store.hold(&keeping, now(), later(60)).await.unwrap();
    let mut end = settlement(&keeping, &[PAID, FREE], Show::BALANCE);
    let (answer, ttl) = (Some(b"\"kept\n\"".to_vec()), Duration::from_mins(15));
    end.keep = Some(Keep { once: once(2), answer, ttl });
    store.settle(end, now()).await.unwrap();
    let waiting = charge(&first, None, 7, &["tool"]);
    store.hold(&waiting, now(), later(60)).await.unwrap();
    let parking = Parking {
        call: waiting.call,
        key: first.id.clone(),
        state: "waits\n".to_owned(),
        until: later(600),
    };
    store.park(parking, Show::BALANCE, now()).await.unwrap();
    let task = charge(&first, None, 8, &["tool"]);
    store.hold(&task, now(), later(60)).await.unwrap();
    let end = settlement(&task, &[PAID], Show::BALANCE);
    store.settle_task(end, PaidTask { call: task.call, until: later(600) }, now()).await.unwrap();
    let open = charge(&first, None, 9, &["tool"]);
    store.hold(&open, now(), later(60)).await.unwrap();
}

/// What the books say to whoever asks through the store: all but what is only held.
pub(crate) async fn said(store: &dyn Store) -> Vec<String> {
    let mut said = Vec::new();
    for (key, account) in store.keys(None).await.unwrap() {
        said.push(format!("{key:?} {:?}", account.settled(now())));
    }
    for team in store.teams() {
        let account = store.team_account(&team.id).await.unwrap().settled(now());
        said.push(format!("{team:?} {account:?}"));
    }
    for tenant in store.namespaces() {
        said.push(format!("{tenant:?}"));
    }
    said.push(format!("{:?} {:?}", store.tokens(), store.alert_rules()));
    said.push(format!("{:?}", store.repeated(&once(1), now()).await));
    let kept = store.recall(&id(1), &once(2), now()).await.unwrap();
    said.push(format!("{:?}", kept.map(|kept| kept.call)));
    let task = PaidTask { call: CallId::from_random([8; 16]), until: later(600) };
    said.push(format!("{}", store.is_task_paid(&id(1), task).await.unwrap()));
    said
}

/// Waits until an instance says what is expected, of all but one key: lists are looked at every second.
pub(crate) async fn says_again(store: &dyn Store, mut expected: Vec<String>, but: &str) {
    expected.retain(|line| !line.contains(but));
    let deadline = Instant::now() + PATIENCE;
    loop {
        if store.keys(None).await.is_err() {
            assert!(Instant::now() < deadline, "{:?}", store.health());
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let mut found = said(store).await;
        found.retain(|line| !line.contains(but));
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:#?}\nis not\n{expected:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a command.
pub(crate) fn paygate(args: &[&str]) -> Ended {
    Setup::new().run(args)
}
