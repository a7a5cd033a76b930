//! TLS, users, passwords and database numbers.

use std::fs;

use paygate::store::Store;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use serde_json::json;

use super::support::{RedisServer, Setup, TempDir, free_port};
use super::{patience, soon, try_open};

/// All that Paygate asks Redis for; whoever gives it less hears of it.
const RIGHTS: &str = "~pg:* &pg:* +@all -@admin -@dangerous +info +config|get";

/// Files with an authority's certificate, and a certificate for `localhost` with its key.
fn certificates(dir: &TempDir) -> [String; 3] {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let own = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&own, &authority).unwrap();
    let files = [
        ("ca.pem", authority.pem()),
        ("cert.pem", certificate.pem()),
        ("key.pem", own.serialize_pem()),
    ];
    files.map(|(name, text)| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

#[tokio::test]
async fn redis_is_spoken_to_in_secret_by_a_user_with_few_rights() {
    let dir = TempDir::new();
    let [ca, cert, key] = certificates(&dir);
    let secure_port = free_port().to_string();
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let mut settings = vec!["--tls-port", &*secure_port, "--tls-auth-clients", "no"];
    settings.extend(files);
    settings.extend(["--requirepass", "admin", "--appendonly", "yes"]);
    settings.extend(["--user", "seller", "on", ">p@ss/word"]);
    settings.extend(RIGHTS.split(' '));
    let server = RedisServer::start_in(dir, &settings, &["-a", "admin", "--no-auth-warning"]);
    let url = |user: &str, host: &str| format!("rediss://{user}@{host}:{secure_port}/3");
    let trusting = || {
        let ca = Some(ca.clone().into());
        paygate::store::redis::RedisReach { ca, ..patience() }
    };

    let instance = try_open(&url("seller:p%40ss%2Fword", "localhost"), trusting()).await.unwrap();
    let said = instance.standing().to_string();
    assert!(said.contains("appendfsync everysec"), "what an outage can lose: {said}");
    soon("it hears what others change", async || instance.is_told()).await;
    let buyer = instance.key(1, "default", 10).await;
    instance.sell(&buyer).await.unwrap();
    assert_eq!(instance.account(&buyer.id).await.unwrap().available(), 8);
    assert_ne!(server.cli(&["-n", "3", "KEYS", "pg:*"]), "", "the database that was named");
    assert_eq!(server.cli(&["-n", "0", "KEYS", "pg:*"]), "");
    instance.close().await.unwrap();
    drop(instance);
    a_paygate_connects(url("seller:p%40ss%2Fword", "localhost"), ca.clone()).await;
    an_operator_verifies(url(":${PASSWORD_OF_BOOKS}", "localhost"), ca.clone()).await;

    let refused = [
        (url("seller:wrong", "localhost"), trusting(), "user and the password"),
        (url("seller:p%40ss%2Fword", "localhost"), patience(), "securely"),
        (url("seller:p%40ss%2Fword", "127.0.0.1"), trusting(), "securely"),
    ];
    for (url, reach, part) in refused {
        let error = try_open(&url, reach).await.err().unwrap().to_string();
        assert!(error.contains(part) && !error.contains("p@ss"), "{error}");
    }
}

#[tokio::test]
async fn what_is_wrong_at_a_start_is_said_in_words_of_redis() {
    let mut settings = vec!["--requirepass", "admin", "--user", "poor", "on", ">p@ss"];
    settings.extend(["~pg:*", "&pg:*", "+@all", "-@scripting"]);
    let server =
        RedisServer::start_in(TempDir::new(), &settings, &["-a", "admin", "--no-auth-warning"]);
    let url = server.url();
    let at =
        url.split_once("://").unwrap().1.split('/').next().unwrap().rsplit('@').next().unwrap();
    let quick = || {
        let connect_timeout = std::time::Duration::from_secs(2);
        paygate::store::redis::RedisReach { connect_timeout, ..patience() }
    };
    for (url, reach, part) in [
        (format!("redis://:admin@{at}/99"), patience(), "out of range"),
        (format!("redis+cluster://:admin@{at}"), patience(), "cluster support disabled"),
        (
            format!("redis+sentinel://{at}/m"),
            patience(),
            "opened: no Sentinel names the master m: ",
        ),
        (format!("redis://{at}"), patience(), "wants a password"),
        (format!("rediss://:admin@{at}"), quick(), "does it speak TLS on this port"),
        (format!("redis://poor:p%40ss@{at}"), patience(), "+@all -@admin"),
    ] {
        let error = try_open(&url, reach).await.err().unwrap().to_string();
        assert!(error.contains(part) && !error.contains("p@ss"), "{url}: {error}");
        assert!(!error.contains("try again in a moment"), "it does not help: {error}");
    }
}

/// The same by configuration.
async fn a_paygate_connects(url: String, ca: String) {
    tokio::task::spawn_blocking(move || {
        let config = json!({"redisUrl": url, "redis": {"ca": ca}});
        let paygate = Setup::new().config(config).without_child_log().start();
        assert_eq!(paygate.get("/health").json()["redis"]["connected"], true);
    })
    .await
    .unwrap();
}

async fn an_operator_verifies(url: String, ca: String) {
    tokio::task::spawn_blocking(move || {
        let verify = ["ledger", "verify", "--redis", &url, "--redis-ca", &ca];
        // Not in the list of processes.
        Setup::new().env("PASSWORD_OF_BOOKS", "admin").run(&verify).expect_success();
        let unset = Setup::new().run(&verify);
        assert!(!unset.status.success(), "{unset:?}");
        assert!(unset.stderr.contains("PASSWORD_OF_BOOKS is not set"), "{unset:?}");
    })
    .await
    .unwrap();
}
