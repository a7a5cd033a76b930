//! Webhooks against a receiver that fails, hangs, redirects and lies: every event arrives at least once,
//! over a kill too, signed, and nobody's call waits for it.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on panics"
)]

#[path = "webhooks/receiver.rs"]
mod receiver;
#[path = "webhooks/secure.rs"]
mod secure;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use receiver::{Post, Receiver, Reply};
use serde_json::{Value, json};
use support::{Paygate, Setup, eventually, python};

const SECRET: &str = "whsec_0123456789";

fn setup(receiver: &Receiver, more: &Value) -> Setup {
    let mut config = json!({
        "webhookUrl": receiver.url(), "webhookSecret": SECRET, "webhookAllowPrivate": true,
        "globalRateLimitPerMin": 0,
    });
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    Setup::new().without_child_log().config(config)
}

fn get(paygate: &Paygate, path: &str) -> Value {
    let answer = paygate.admin_get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn stats(paygate: &Paygate) -> Value {
    get(paygate, "/webhooks/stats")
}

fn test_fire(paygate: &Paygate) -> Value {
    let answer = paygate.admin("POST", "/webhooks/test", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn replay(paygate: &Paygate, body: &Value) -> Value {
    let answer = paygate.admin_post("/webhooks/dead-letter/replay", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// So many admin events that their batch is full and leaves at once.
fn make_ten_keys(paygate: &Paygate) -> Vec<String> {
    (0..10).map(|_| paygate.create_key(&json!({"credits": 1000})).0).collect()
}

fn call(paygate: &Paygate, key: &str) -> String {
    let answer = paygate.call(key, "instant", &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-paygate-call-id").unwrap().to_owned()
}

/// Puts this in the place of the configuration file and has it read.
fn reload(paygate: &Paygate, config: &Value) -> Value {
    fs::write(paygate.setup().dir().file("paygate.json"), config.to_string()).unwrap();
    let answer = paygate.admin("POST", "/config/reload", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Verifies with another implementation than the one that signed.
fn verify(post: &Post) {
    let script = "import hashlib, hmac, sys\n\
        secret, header = sys.argv[1:3]\n\
        parts = dict(part.split('=', 1) for part in header.split(','))\n\
        signed = parts['t'].encode() + b'.' + sys.stdin.buffer.read()\n\
        made = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()\n\
        sys.exit(0 if hmac.compare_digest(made, parts['v1']) else 1)\n";
    let header = post.header("x-paygate-signature").expect("it is signed");
    let mut child = Command::new(python())
        .args(["-c", script, SECRET, header])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(post.body.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{header} does not sign {}", post.body);
}

#[test]
fn what_happens_is_sent_in_order_and_signed() {
    let receiver = Receiver::start();
    let paygate = setup(&receiver, &json!({})).start();
    let key = json!({"name": "Ada", "namespace": "acme", "credits": 1});
    let (raw, id) = paygate.create_key(&key);
    paygate.admin_post("/topup", &json!({"key": id, "credits": 1}));
    let labels = json!({"name": "instant", "arguments": {},
        "_meta": {"dev.paygate/labels": {"feature": "search"}}});
    let answer = paygate.rpc(&raw, "tools/call", &labels);
    let call_id = answer.header("x-paygate-call-id").unwrap().to_owned();
    call(&paygate, &raw);
    paygate.call(&raw, "instant", &json!({}));
    paygate.admin_post("/keys/acl", &json!({"key": id, "allowedTools": ["instant"]}));
    paygate.admin_post("/keys/rotate", &json!({"key": id}));
    paygate.admin_post("/keys/revoke", &json!({"key": id}));
    eventually("all events", || {
        receiver.taken("adminEvents").len() >= 4 && receiver.taken("events").len() >= 3
    });
    let admin = receiver.taken("adminEvents");
    let kinds: Vec<_> = admin.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["key.created", "key.topup", "key.rotated", "key.revoked"]);
    for event in &admin {
        assert_eq!((&event["actor"], &event["target"]), (&json!("admin"), &json!(id)), "{event}");
    }
    let [created, topped_up, rotated, revoked] = admin.try_into().unwrap();
    assert_eq!(created["metadata"]["name"], "Ada");
    assert_eq!(created["metadata"]["credits"], 1);
    assert_eq!(topped_up["metadata"]["creditsAdded"], 1);
    assert_eq!(topped_up["metadata"]["newBalance"], 2);
    assert!(rotated["metadata"]["oldKeyMasked"].is_string(), "{rotated}");
    assert!(rotated["metadata"]["newKeyMasked"].is_string(), "{rotated}");
    assert!(revoked["metadata"]["keyMasked"].is_string(), "{revoked}");
    let events = receiver.taken("events");
    let listed = get(&paygate, "/usage")["events"].clone();
    for (event, listed) in events.iter().zip(listed.as_array().unwrap()) {
        let mut event = event.clone();
        let id = event.as_object_mut().unwrap().remove("id").unwrap();
        assert!(id.as_str().unwrap().starts_with("usage_"), "{id}");
        assert_eq!(&event, listed);
    }
    assert_eq!(events[0]["callId"], json!(call_id));
    assert_eq!(events[0]["labels"], json!({"feature": "search"}));
    assert_eq!(events[2]["denyReason"], "insufficient_credits");
    for post in receiver.posts() {
        verify(&post);
        assert_eq!(post.path, "/hook/s3cretpath");
        assert_eq!(post.header("content-type"), Some("application/json"));
        let agent = format!("paygate-webhook/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(post.header("user-agent"), Some(&*agent));
        assert_eq!(post.header("x-paygate-retry"), None);
        assert!(post.json()["sentAt"].is_string());
        assert!(post.list("events").len() + post.list("adminEvents").len() <= 10);
        assert!(!post.body.contains(&raw), "a raw key was sent: {}", post.body);
    }
    eventually("the counts", || stats(&paygate)["eventsDelivered"] == 7);
    let stats = stats(&paygate);
    assert_eq!(stats["totalDelivered"], receiver.posts().len());
    for (name, expected) in
        [("configured", json!(true)), ("maxRetries", json!(5)), ("deadLetterCount", json!(0))]
    {
        assert_eq!(stats[name], expected, "{name} in {stats}");
    }
}

#[test]
fn a_test_event_says_what_came_back() {
    let receiver = Receiver::start();
    let other = Receiver::start();
    let paygate = setup(&receiver, &json!({"webhookMaxRetries": 0})).start();
    for (reply, delivered, status, error) in [
        (Reply::Status(204), true, json!(204), ""),
        (Reply::Endless, true, json!(200), ""),
        (Reply::Status(400), false, json!(400), "HTTP 400"),
        (Reply::Status(500), false, json!(500), "HTTP 500"),
        (Reply::Redirect(other.url()), false, json!(302), "redirects are not followed"),
        (Reply::Close, false, json!(null), "ended before the answer"),
        (Reply::TooShort, false, json!(200), "ended too early"),
        (Reply::Garbage, false, json!(null), "No HTTP answer"),
        (Reply::Hang, false, json!(null), "Timeout (10s)"),
    ] {
        receiver.next([reply.clone()]);
        let told = test_fire(&paygate);
        assert_eq!((&told["delivered"], &told["status"]), (&json!(delivered), &status), "{told}");
        let why = told["error"].as_str().unwrap_or_default();
        assert!(why.contains(error) && why.is_empty() == delivered, "{reply:?}: {told}");
        assert_eq!(told["url"], format!("http://127.0.0.1:{}/***", receiver.port));
    }
    let post = receiver.posts().remove(0);
    verify(&post);
    assert_eq!(post.list("adminEvents")[0]["type"], "webhook.test");
    assert_eq!(other.posts().len(), 0, "a redirect was followed");
}

#[test]
fn a_receiver_that_fails_gets_it_again() {
    let receiver = Receiver::start();
    let other = Receiver::start();
    receiver.next([Reply::Status(500), Reply::Redirect(other.url()), Reply::TooShort]);
    let paygate = setup(&receiver, &json!({})).start();
    make_ten_keys(&paygate);
    eventually("a retry is pending", || stats(&paygate)["pendingRetries"] == 1);
    let health = paygate.get("/health").json();
    assert_eq!(health["webhooks"], json!({"pendingRetries": 1, "deadLetterCount": 0}));
    assert!(stats(&paygate)["oldestPending"].is_string());
    eventually("it is taken at last", || receiver.taken("adminEvents").len() == 10);
    let posts = receiver.posts();
    assert_eq!(posts.len(), 4);
    for (retry, post) in posts.iter().enumerate() {
        verify(post);
        let retry = (retry > 0).then(|| retry.to_string());
        assert_eq!(post.header("x-paygate-retry"), retry.as_deref());
        assert_eq!(post.list("adminEvents"), posts[0].list("adminEvents"));
        assert!(retry.is_none() || post.json()["sentAt"] != posts[0].json()["sentAt"]);
    }
    assert_eq!(other.connections(), 0, "a redirect was followed");
    eventually("the counts", || stats(&paygate)["totalDelivered"] == 1);
    let stats = stats(&paygate);
    assert_eq!((&stats["totalRetries"], &stats["totalFailed"]), (&json!(3), &json!(0)), "{stats}");
    assert_eq!(stats["pendingRetries"], 0);
}

#[test]
fn what_nobody_takes_is_kept_replayed_and_cleared() {
    let receiver = Receiver::start();
    receiver.always(Reply::Status(503));
    let setup = setup(&receiver, &json!({"webhookMaxRetries": 0}));
    let paygate = setup.start();
    make_ten_keys(&paygate);
    eventually("a dead letter", || stats(&paygate)["deadLetterCount"] == 1);
    // One batch that fails does not hold up the next.
    let keys = make_ten_keys(&paygate);
    eventually("two dead letters", || stats(&paygate)["deadLetterCount"] == 2);
    paygate.kill9();
    let paygate = setup.start();
    let list = get(&paygate, "/webhooks/dead-letter");
    assert_eq!((&list["count"], &list["message"]), (&json!(2), &Value::Null), "{list}");
    let letter = &list["deadLetters"][0];
    assert_eq!(
        (&letter["attempts"], &letter["lastError"], &letter["events"]),
        (&json!(1), &json!("HTTP 503"), &json!([])),
        "{letter}"
    );
    assert_eq!(letter["adminEvents"].as_array().unwrap().len(), 10);
    assert_eq!(letter["url"], format!("http://127.0.0.1:{}/***", receiver.port));
    assert_eq!(paygate.get("/health").json()["webhooks"]["deadLetterCount"], 2);
    let all = list.to_string();
    assert!(!all.contains("s3cretpath") && !all.contains(&keys[0]), "{all}");

    // Still away: one attempt, and all of them stay.
    assert_eq!(replay(&paygate, &json!({}))["replaying"], 2);
    eventually("the attempt", || {
        get(&paygate, "/webhooks/dead-letter")["deadLetters"][0]["attempts"] == 2
    });
    assert_eq!(stats(&paygate)["deadLetterCount"], 2);
    // Back again: the second alone, by its id.
    receiver.always(Reply::Status(200));
    let second = list["deadLetters"][1].clone();
    // The replay before may still be ending.
    eventually("a replay", || {
        let answer =
            paygate.admin_post("/webhooks/dead-letter/replay", &json!({"id": second["id"]}));
        assert!([200, 409].contains(&answer.status), "{}", answer.text());
        answer.status == 200
    });
    eventually("it was taken", || stats(&paygate)["deadLetterCount"] == 1);
    let taken: Vec<_> = receiver.posts().into_iter().filter(|post| post.was_taken).collect();
    assert_eq!(taken.len(), 1);
    assert_eq!(json!(taken[0].list("adminEvents")), second["adminEvents"]);
    assert_eq!(taken[0].header("x-paygate-retry"), Some("1"));
    verify(&taken[0]);

    for (body, status) in
        [(json!({"id": 999}), 404), (json!({"id": "x"}), 400), (json!({"all": 1}), 400)]
    {
        let refused = paygate.admin_post("/webhooks/dead-letter/replay", &body);
        assert_eq!(refused.status, status, "{body}: {}", refused.text());
    }
    let cleared = paygate.admin("DELETE", "/webhooks/dead-letter", &Value::Null).json();
    assert_eq!(cleared, json!({"cleared": 1, "message": "Cleared 1 dead letter entries"}));
    assert_eq!(get(&paygate, "/webhooks/dead-letter"), json!({"deadLetters": [], "count": 0}));
    let audit = get(&paygate, "/audit?types=webhook.dead_letter_cleared");
    assert_eq!(audit["events"][0]["metadata"], json!({"cleared": 1}), "{audit}");
    assert_eq!(audit["total"], 1);
    let stats = stats(&paygate);
    for (name, expected) in [("totalFailed", 2), ("totalDelivered", 1), ("eventsFailed", 20)] {
        assert_eq!(stats[name], expected, "{name} in {stats}");
    }
}

/// The receiver fails, closes and lies meanwhile; the kill comes while batches are under way.
#[test]
fn every_call_arrives_at_least_once_over_kills() {
    let receiver = Receiver::start();
    let setup = setup(&receiver, &json!({"webhookMaxRetries": 3}));
    let mut expected = BTreeSet::new();
    for round in 0..3 {
        receiver.next([Reply::Status(200), Reply::Close, Reply::TooShort, Reply::Status(200)]);
        let paygate = setup.start();
        let keys = make_ten_keys(&paygate);
        let calls: Vec<String> = thread::scope(|scope| {
            let paygate = &paygate;
            let callers = keys[..4].iter().map(|key| {
                scope.spawn(move || (0..25).map(|_| call(paygate, key)).collect::<Vec<_>>())
            });
            let callers: Vec<_> = callers.collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        });
        expected.extend(calls);
        let seen = receiver.posts().len();
        eventually("something is being sent", || receiver.posts().len() > seen + round);
        paygate.kill9();
    }
    let paygate = setup.start();
    let arrived = || -> BTreeSet<String> {
        let events = receiver.taken("events");
        events.iter().filter_map(|event| Some(event["callId"].as_str()?.to_owned())).collect()
    };
    eventually("every call", || arrived().is_superset(&expected));
    assert_eq!(arrived(), expected);
    let keys = receiver.taken("adminEvents");
    let keys: BTreeSet<_> = keys.iter().map(|event| event["target"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), 30);
    // An event keeps its id, so that a receiver can tell a repetition.
    let events = receiver.taken("events");
    let pairs: BTreeSet<_> = events
        .iter()
        .filter(|event| event["callId"].is_string())
        .map(|event| (event["id"].to_string(), event["callId"].to_string()))
        .collect();
    assert_eq!(pairs.len(), expected.len());
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn private_addresses_are_refused_unless_allowed() {
    let receiver = Receiver::start();
    let port = receiver.port;
    let config = |url: &str| json!({"webhookUrl": url, "webhookMaxRetries": 0});
    let paygate =
        Setup::new().ephemeral().without_child_log().config(config("http://[::1]/")).start();
    for host in [
        "127.0.0.1",
        "127.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "[::ffff:a9fe:a9fe]",
        "10.0.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "[64:ff9b::7f00:1]",
    ] {
        reload(&paygate, &config(&format!("http://{host}:{port}/")));
        let told = test_fire(&paygate);
        let why = told["error"].as_str().unwrap();
        assert!(why.contains("a private or local address"), "{host}: {told}");
        assert_eq!(told["delivered"], false);
    }
    assert_eq!(receiver.connections(), 0);
    let mut allowed = config(&format!("http://localhost:{port}/"));
    allowed["webhookAllowPrivate"] = json!(true);
    let told = reload(&paygate, &allowed);
    assert_eq!(told["changed"], json!(["webhookAllowPrivate", "webhookUrl"]));
    assert_eq!(test_fire(&paygate)["delivered"], true);
}

#[test]
fn only_what_happens_from_then_on_is_sent() {
    let receiver = Receiver::start();
    let plain = Setup::new().without_child_log().config(json!({}));
    let paygate = plain.start();
    for (path, expected) in [
        ("/webhooks/stats", json!({"configured": false, "message": "No webhook configured"})),
        (
            "/webhooks/dead-letter",
            json!({"deadLetters": [], "count": 0, "message": "No webhook configured"}),
        ),
    ] {
        assert_eq!(get(&paygate, path), expected);
    }
    let cleared = paygate.admin("DELETE", "/webhooks/dead-letter", &Value::Null).json();
    assert_eq!(cleared, json!({"cleared": 0, "message": "No webhook configured"}));
    assert_eq!(replay(&paygate, &json!({}))["message"], "No webhook configured");
    assert_eq!(paygate.admin("POST", "/webhooks/test", &Value::Null).status, 400);
    assert_eq!(paygate.get("/health").json()["webhooks"], Value::Null);
    assert_eq!(get(&paygate, "/status")["config"]["webhookUrl"], Value::Null);
    let before = make_ten_keys(&paygate);
    call(&paygate, &before[0]);

    // While it runs, by a reload.
    let config = json!({"webhookUrl": receiver.url(), "webhookAllowPrivate": true});
    reload(&paygate, &config);
    let (_, first) = paygate.create_key(&json!({}));
    assert_eq!(get(&paygate, "/status")["config"]["webhookUrl"], "***");
    let sent = || -> Vec<String> {
        let events = receiver.taken("adminEvents");
        events.iter().map(|event| event["target"].as_str().unwrap().to_owned()).collect()
    };
    eventually("an event", || !sent().is_empty());
    assert_eq!(sent(), [first], "old events were sent");
    assert_eq!(receiver.taken("events").len(), 0, "an old call was sent");

    // Without a word about them at a start, they wait; then they go on where they were.
    eventually("all is sent", || stats(&paygate)["oldestPending"].is_null());
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    let off = setup.clone().config(json!({})).start();
    let (key, _) = off.create_key(&json!({"credits": 5}));
    let call = call(&off, &key);
    off.stop().expect_success();
    let on = setup.config(config).start();
    eventually("the call of meanwhile", || {
        receiver.taken("events").iter().any(|event| event["callId"] == json!(call))
    });
    let ids = sent();
    let once: BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), once.len(), "something was sent twice");
    drop(on);
}

#[test]
fn no_call_and_no_stop_waits_for_a_receiver_that_hangs() {
    let receiver = Receiver::start();
    receiver.always(Reply::Hang);
    let setup = setup(&receiver, &json!({}));
    let paygate = setup.start();
    let keys = make_ten_keys(&paygate);
    eventually("a POST hangs", || !receiver.posts().is_empty());
    let started = Instant::now();
    for key in &keys {
        call(&paygate, key);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "calls waited for the receiver");
    let started = Instant::now();
    paygate.stop().expect_success();
    assert!(started.elapsed() < Duration::from_secs(6), "the stop waited for the receiver");
    // What was not taken is sent after the next start, in the order in which it happened.
    receiver.always(Reply::Status(200));
    let paygate = setup.start();
    eventually("all of it", || {
        receiver.taken("adminEvents").len() == 10 && receiver.taken("events").len() == 10
    });
    assert_eq!(stats(&paygate)["deadLetterCount"], 0);
}

#[test]
fn the_secret_is_never_shown() {
    let receiver = Receiver::start();
    receiver.always(Reply::Status(500));
    let config = json!({
        "webhookUrl": receiver.url(), "webhookSecretFile": "secret.txt", "webhookMaxRetries": 0,
        "webhookAllowPrivate": true,
    });
    let setup = Setup::new().without_child_log().config(config).env("PAYGATE_LOG", "debug");
    fs::write(setup.dir().file("secret.txt"), format!("{SECRET}\n")).unwrap();
    let paygate = setup.start();
    make_ten_keys(&paygate);
    eventually("a dead letter", || stats(&paygate)["deadLetterCount"] == 1);
    test_fire(&paygate);
    verify(&receiver.posts()[0]);
    let shown = get(&paygate, "/config");
    assert_eq!(shown["webhookUrl"], format!("http://127.0.0.1:{}/***", receiver.port));
    assert_eq!(shown["webhookSecret"], "***");
    let pages = ["/config", "/status", "/webhooks/stats", "/webhooks/dead-letter", "/audit"];
    let mut all: String = pages.iter().map(|page| paygate.admin_get(page).text()).collect();
    let ended = paygate.stop().expect_success();
    all.push_str(&ended.stdout);
    all.push_str(&ended.stderr);
    for hidden in [SECRET, "s3cretpath"] {
        assert!(!all.contains(hidden), "{hidden} is in {all}");
    }
    // Another secret takes its place by a flag; a wrong URL is not repeated where it may hold one.
    let wrong = Setup::new().args(["--webhook-url", "ftp://host/s3cretpath"]).run_to_end();
    assert_ne!(wrong.code(), Some(0));
    assert!(wrong.stderr.contains("[webhookUrl] Invalid webhookUrl."), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains("s3cretpath"), "{}", wrong.stderr);
}
