//! `paygate import --redis`: the keys of paygate-mcp as its instances share them.

use paygate::model::secret::RawKey;
use paygate::store::Store;
use paygate::store::local::{LocalOptions, LocalStore};
use paygate::store::redis::{RedisClock, RedisOptions, RedisReach, RedisStore};

use crate::life::{now, paygate};
use crate::support::{RedisServer, TempDir};

/// A key of paygate-mcp, with these fields in the place of plain ones.
fn put(server: &RedisServer, key: &str, fields: &[(&str, &str)]) {
    let plain = [
        ("key", key),
        ("name", "acme"),
        ("credits", "100"),
        ("totalSpent", "7"),
        ("totalCalls", "3"),
        ("createdAt", "2025-01-01T00:00:00.000Z"),
        ("lastUsedAt", ""),
        ("active", "1"),
        ("spendingLimit", "0"),
        ("allowedTools", "[\"search\"]"),
        ("deniedTools", "[]"),
        ("expiresAt", ""),
        ("quota", ""),
        ("tags", "{\"plan\":\"gold\"}"),
        ("ipAllowlist", "[]"),
        ("namespace", "acme"),
        ("quotaDailyCalls", "0"),
        ("quotaMonthlyCalls", "0"),
        ("quotaDailyCredits", "0"),
        ("quotaMonthlyCredits", "0"),
        ("quotaLastResetDay", "2025-01-01"),
        ("quotaLastResetMonth", "2025-01"),
    ];
    server.cli(&["SADD", "pg:keys", key]);
    for (name, text) in plain.iter().chain(fields) {
        server.cli(&["HSET", &format!("pg:key:{key}"), name, text]);
    }
}

fn raw(number: u8) -> String {
    format!("pg_{}", hex::encode([number; 24]))
}

/// Some of everything that instances of paygate-mcp leave.
fn fill(server: &RedisServer) {
    put(server, &raw(1), &[("name", "one \"1\"")]);
    put(server, &raw(2), &[("active", "0"), ("credits", "5")]);
    put(server, &raw(3), &[("credits", "what")]);
    // What a rotation leaves behind, and the new key.
    put(server, &raw(4), &[("name", "turned"), ("credits", "50")]);
    put(server, &raw(5), &[("name", "turned"), ("credits", "50")]);
    // What a top-up of an unknown key leaves behind.
    server.cli(&["SADD", "pg:keys", "ghost"]);
    server.cli(&["HSET", "pg:key:ghost", "credits", "5"]);
    server.cli(&["RPUSH", "pg:usage", "{}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_paygate_mcp_shares_come_over() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    fill(&server);
    let size = server.cli(&["DBSIZE"]);
    let url = server.url();
    let db = dir.file("books.db").display().to_string();
    let import = |more: &[&str]| {
        let args: Vec<&str> = ["import", "--redis", &url].iter().chain(more).copied().collect();
        paygate(&args)
    };
    let came = import(&["--db", &db]);
    assert_eq!(came.code(), Some(1), "one key is left out: {came:#?}");
    for words in ["credits is not a number", "205", "rotated", "revoked, with 5 credits"] {
        assert!(came.stdout.contains(words), "{words} is missing in {}", came.stdout);
    }
    assert!(!came.stdout.contains(&raw(1)[..20]), "a raw key is shown: {}", came.stdout);
    assert_eq!(server.cli(&["DBSIZE"]), size, "what is read is left as it is");
    let options = LocalOptions { path: Some(dir.file("books.db")), ..LocalOptions::default() };
    let store = LocalStore::open(&options, now()).unwrap();
    let one = RawKey::parse(&raw(1)).unwrap().digest();
    let key = store.key_by_digest(one, now()).await.unwrap().unwrap();
    assert_eq!((key.name.as_str(), key.namespace.as_str()), ("one \"1\"", "acme"));
    assert_eq!(key.tags["plan"], "gold");
    let account = store.account(&key.id).await.unwrap();
    assert_eq!(account.available(), 100);
    assert_eq!(store.keys(None).await.unwrap().len(), 4);
    store.close().await.unwrap();

    // Into Redis: another database of the same server.
    let other = format!("{url}1");
    let config_text = serde_json::json!({
        "redisUrl": other, "serverCommand": "x", "adminKey": crate::support::ADMIN_KEY,
    });
    std::fs::write(dir.file("paygate.json"), config_text.to_string()).unwrap();
    let config = dir.file("paygate.json").display().to_string();
    let shared = import(&["--config", &config]);
    assert!(shared.stdout.contains("205"), "{shared:#?}");
    paygate(&["ledger", "verify", "--redis", &other]).expect_success();
    let options = |url: &str| {
        let (url, reach, clock) = (url.into(), RedisReach::default(), RedisClock::Server);
        RedisOptions { url, reach, clock, copy: None }
    };
    let store = RedisStore::open(&options(&other)).await.unwrap();
    let found = store.key_by_digest(one, now()).await.unwrap().unwrap();
    assert_eq!(store.account(&found.id).await.unwrap().available(), 100);

    // Never into the same one: the names would be mixed.
    let mixed = RedisStore::open(&options(&url)).await.err().unwrap().to_string();
    assert!(mixed.contains("holds the keys of paygate-mcp"), "{mixed}");
    assert_eq!(server.cli(&["DBSIZE"]), size);
    let nothing = paygate(&["import", "--redis", &other, "--db", &db]);
    assert!(nothing.stderr.contains("no keys of paygate-mcp in this Redis"), "{nothing:#?}");
}
