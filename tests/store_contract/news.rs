//! What one instance changes, the others know at once, and again after they could not be told for a while.

use std::sync::Arc;
use std::time::Duration;

use paygate::model::alert::{AlertKind, AlertRule, Decimal};
use paygate::model::key::Key;
use paygate::model::namespace::Namespace;
use paygate::model::secret::Digest;
use paygate::model::team::Team;
use paygate::model::token::{AdminToken, RawToken, Role, TokenId};
use paygate::store::redis::{RedisClock, RedisStore};
use paygate::store::{Deed, Store, clock};
use tokio::time::{Instant, sleep};

use super::records::team;
use super::support::RedisServer;
use super::{instance, made, now, raw};

/// Less than a copy lives that nobody speaks of.
const SOON: Duration = Duration::from_secs(3);

async fn soon(what: &str, is_so: impl AsyncFn() -> bool) {
    within(SOON, what, is_so).await;
}

async fn within(longest: Duration, what: &str, is_so: impl AsyncFn() -> bool) {
    let end = Instant::now() + longest;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}: not so after {longest:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Two instances that hear each other.
async fn pair(server: &RedisServer) -> (RedisStore, RedisStore) {
    let one = instance(server, RedisClock::Server).await;
    let other = instance(server, RedisClock::Server).await;
    hear(&one).await;
    hear(&other).await;
    (one, other)
}

async fn hear(store: &RedisStore) {
    within(Duration::from_secs(20), "news are heard", async || store.is_told()).await;
}

async fn opens(store: &RedisStore, digest: Digest) -> bool {
    let key = store.key_by_digest(digest, clock::now()).await.unwrap();
    key.is_some_and(|key| key.active)
}

fn token() -> AdminToken {
    AdminToken {
        id: TokenId::from_random([3; 8]),
        digest: RawToken::from_random([3; 24]).digest(),
        name: "ci".to_owned(),
        role: Role::Owner,
        namespace: None,
        created_at: now(),
        created_by: "test".to_owned(),
    }
}

fn subscribers(server: &RedisServer) -> String {
    let answer = server.cli(&["PUBSUB", "NUMSUB", "pg:news"]);
    answer.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_changes_the_others_know_at_once() {
    let server = RedisServer::start();
    let (one, other) = pair(&server).await;
    let mut key = made(&one, 1, 100).await;
    for round in 0..50 {
        assert!(opens(&other, raw(1).digest()).await, "round {round}: it is known now");
        let set = async |active: bool, key: &Key| {
            one.update_key(Key { active, ..key.clone() }, Deed::default()).await.unwrap()
        };
        key = set(false, &key).await;
        soon("a revoked key opens nothing", async || !opens(&other, raw(1).digest()).await).await;
        let seen = other.recent_key(&key.id).await.unwrap().unwrap();
        assert!(!seen.active, "nor does it keep a session");
        key = set(true, &key).await;
        soon("and opens again", async || opens(&other, raw(1).digest()).await).await;
    }
    // The old credential of a rotated key.
    let mut rotated = Key::clone(&key);
    rotated.digest = raw(2).digest();
    one.update_key(rotated, Deed::default()).await.unwrap();
    soon("the old one opens nothing", async || !opens(&other, raw(1).digest()).await).await;
    assert!(opens(&other, raw(2).digest()).await);

    let tenant = Namespace { suspended: true, ..Namespace::unwritten("acme") };
    one.update_namespace(tenant, Deed::default()).await.unwrap();
    soon("a tenant", async || other.namespace("acme").await.unwrap().suspended).await;
    let red = one.create_team(team(1, "default"), Deed::default()).await.unwrap();
    soon("a team", async || other.team(&red.id).is_some()).await;
    one.update_team(Team { name: "blue".to_owned(), ..(*red).clone() }, Deed::default())
        .await
        .unwrap();
    soon("its name", async || other.team(&red.id).unwrap().name == "blue").await;
    let token = token();
    one.create_token(token.clone(), Deed::default()).await.unwrap();
    soon("an admin token", async || other.token(&token.digest).is_some()).await;
    let threshold = Decimal::whole(5);
    let rule = AlertRule { kind: AlertKind::CreditsLow, threshold, cooldown_seconds: None };
    one.set_alert_rules(vec![rule], Deed::default()).await.unwrap();
    soon("rules for alerts", async || other.alert_rules().len() == 1).await;
    one.delete_token(&token.id, Deed::default()).await.unwrap();
    soon("its end", async || other.token(&token.digest).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_not_told_forgets_what_it_knew_once_it_hears_again() {
    let settings = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    let mut server = RedisServer::start_with(&settings);
    let (one, other) = pair(&server).await;
    assert_eq!(subscribers(&server), "2");
    let key = made(&one, 1, 100).await;
    assert!(opens(&other, raw(1).digest()).await);

    server.kill();
    server.restart();
    // Whoever says that it is told is told: what `is_told` says of nobody is more than Redis says.
    let told = [&one, &other].iter().filter(|store| store.is_told()).count();
    let heard: usize = subscribers(&server).parse().unwrap();
    assert!(told <= heard, "{told} are said to be told, {heard} are");
    hear(&one).await;
    hear(&other).await;
    assert_eq!(subscribers(&server), "2");

    // Changed while nobody was told.
    assert!(opens(&other, raw(1).digest()).await);
    server.cli(&["ACL", "SETUSER", "default", "resetchannels"]);
    within(SOON, "nothing is heard", async || !one.is_told() && !other.is_told()).await;
    let revoked = Key { active: false, ..(*key).clone() };
    one.update_key(revoked, Deed::default()).await.unwrap();
    let token = token();
    one.create_token(token.clone(), Deed::default()).await.unwrap();
    server.cli(&["ACL", "SETUSER", "default", "allchannels"]);
    hear(&other).await;
    assert!(!opens(&other, raw(1).digest()).await);
    assert!(other.token(&token.digest).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_be_told_learns_it_within_seconds() {
    let server = RedisServer::start();
    server.cli(&["ACL", "SETUSER", "default", "resetchannels"]);
    let one = Arc::new(instance(&server, RedisClock::Server).await);
    let other = Arc::new(instance(&server, RedisClock::Server).await);
    let key = made(&*one, 1, 100).await;
    assert!(opens(&other, raw(1).digest()).await);
    let revoked = Key { active: false, ..(*key).clone() };
    one.update_key(revoked, Deed::default()).await.unwrap();
    let tenant = Namespace { suspended: true, ..Namespace::unwritten("acme") };
    one.update_namespace(tenant, Deed::default()).await.unwrap();
    assert!(!other.is_told());
    // Five seconds, and what a busy machine adds.
    let longest = Duration::from_secs(8);
    within(longest, "a revoked key", async || !opens(&other, raw(1).digest()).await).await;
    within(longest, "a tenant", async || other.namespace("acme").await.unwrap().suspended).await;
}
