//! HTTPS on the listener: who is served, who is not, which files are refused, and certificates that
//! change while calls go on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use support::{ADMIN_KEY, PATIENCE, Paygate, Request, Setup, TempDir, eventually, rpc_request};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Not the name of the certificates that it signs: those would pass for their own authority.
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a test");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key for this machine's names, in PEM form.
fn signed(authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// A directory with an authority and a certificate of it.
struct Files {
    dir: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: TempDir::new(), authority: authority() };
        fs::write(files.path("ca.pem"), files.authority.pem()).unwrap();
        files.renew();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.file(name)
    }

    /// Puts a new certificate in the place of the one before.
    fn renew(&self) {
        let (cert, key) = signed(&self.authority, |_| {});
        self.put(&cert, &key);
    }

    fn put(&self, cert: &str, key: &str) {
        fs::write(self.path("cert.pem"), cert).unwrap();
        fs::write(self.path("key.pem"), key).unwrap();
        fs::set_permissions(self.path("key.pem"), Permissions::from_mode(0o600)).unwrap();
    }

    fn config(&self) -> Value {
        json!({"tls": {"cert": self.path("cert.pem"), "key": self.path("key.pem")}, "globalRateLimitPerMin": 0})
    }

    fn setup(&self) -> Setup {
        Setup::new().config(self.config())
    }

    fn client(&self) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client(Arc::new(config))
    }
}

/// Speaks HTTPS and checks the certificate.
#[derive(Clone)]
struct Client(Arc<ClientConfig>);

type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    fn connect(&self, address: &str) -> Stream {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.0), name).unwrap(), socket)
    }

    /// Head and body of the answer, the certificate that was shown, and the protocol agreed on.
    fn send(&self, address: &str, request: &Request) -> io::Result<Answer> {
        let mut stream = self.connect(address);
        stream.write_all(&request.to_bytes(address))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let certificate = stream.conn.peer_certificates().unwrap()[0].to_vec();
        let protocol = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        Ok(Answer { text, certificate, protocol })
    }
}

struct Answer {
    text: String,
    certificate: Vec<u8>,
    protocol: Option<Vec<u8>>,
}

impl Answer {
    fn json(&self) -> Value {
        let body = self.text.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

fn admin(method: &str, path: &str, body: &Value) -> Request {
    let request = Request::new(method, path).header("X-Admin-Key", ADMIN_KEY);
    if body.is_null() { request } else { request.json(body) }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn customers_and_operators_are_served_over_https() {
    let files = Files::new();
    let paygate = files.setup().start();
    let banner = paygate.output();
    assert!(banner.contains(&format!("https://{}/mcp", paygate.address)), "{banner}");
    let client = files.client();
    let made = client.send(&paygate.address, &admin("POST", "/keys", &json!({"credits": 10})));
    let made = made.unwrap();
    let key = made.json()["key"].as_str().unwrap().to_owned();
    let call =
        rpc_request(&key, "tools/call", &json!({"name": "instant", "arguments": {"nonce": "n"}}));
    let called = client.send(&paygate.address, &call).unwrap();
    assert_eq!(called.json()["result"]["content"][0]["text"], "n", "{}", called.text);
    assert!(called.text.contains("x-credits-remaining: 9"), "{}", called.text);

    // Who offers h2 too gets what is spoken without TLS.
    let mut both = (*client.0).clone();
    both.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let asked = Client(Arc::new(both)).send(&paygate.address, &Request::new("GET", "/health"));
    assert_eq!(asked.unwrap().protocol.as_deref(), Some(&b"http/1.1"[..]));

    let url = format!("https://{}", paygate.address);
    let curl = |ca: &[&str]| {
        let command = Command::new("curl").args(["-s", &format!("{url}/health")]).args(ca).output();
        command.expect("curl is there")
    };
    let ca = files.path("ca.pem");
    let answered = curl(&["--cacert", text(&ca)]);
    assert!(answered.status.success(), "{answered:?}");
    assert!(String::from_utf8_lossy(&answered.stdout).contains("\"healthy\""), "{answered:?}");
    assert!(!curl(&[]).status.success(), "nobody vouches for this certificate");

    let setup = paygate.setup();
    let health = |more: &[&str]| setup.run(&[&["health", "--url", &url], more].concat());
    assert!(health(&["--ca", text(&ca)]).expect_success().stdout.contains("healthy"));
    let distrusted = health(&[]);
    assert_eq!(distrusted.code(), Some(1));
    assert!(distrusted.stderr.contains("--ca or PAYGATE_CA"), "{}", distrusted.stderr);
    let operator = ["keys", "list", "--url", &url, "--admin-key", ADMIN_KEY];
    let named = Setup::clone(setup).env("PAYGATE_CA", text(&ca));
    assert!(named.run(&operator).expect_success().stdout.contains("key_"));
    assert!(named.run(&["health", "--url", &url]).expect_success().stdout.contains("healthy"));
    let flag = [&operator[..], &["--ca", text(&ca)]].concat();
    assert!(setup.run(&flag).expect_success().stdout.contains("key_"));
    assert!(setup.run(&operator).stderr.contains("--ca or PAYGATE_CA"));
    let broken = setup.run(&[&operator[..], &["--ca", "no-such.pem"]].concat());
    assert!(broken.stderr.contains("no-such.pem cannot be used"), "{}", broken.stderr);
    let setup = setup.clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

/// As a container's health check does, which asks on loopback.
#[test]
fn the_certificate_may_be_for_another_name_than_the_one_that_is_asked() {
    let files = Files::new();
    let names = |params: &mut CertificateParams| {
        *params = CertificateParams::new(vec!["mcp.example.com".to_owned()]).unwrap();
    };
    let (cert, key) = signed(&files.authority, names);
    files.put(&cert, &key);
    let paygate = files.setup().ephemeral().start();
    let (url, ca) = (format!("https://{}", paygate.address), files.path("ca.pem"));
    let health = ["health", "--url", &url, "--ca", text(&ca)];
    let setup = paygate.setup();
    assert_eq!(setup.run(&health).code(), Some(1));
    setup.run(&[&health[..], &["--name", "mcp.example.com"]].concat()).expect_success();
    assert_eq!(
        setup.run(&[&health[..], &["--name", "other.example.com"]].concat()).code(),
        Some(1)
    );
    paygate.stop().expect_success();
}

#[test]
fn who_speaks_plain_http_is_told_and_closed() {
    let files = Files::new();
    let paygate = files.setup().ephemeral().start();
    let answer = paygate.get("/health");
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("speaks HTTPS alone"), "{error}");
    // Neither HTTP nor TLS: closed at once.
    let mut stream = TcpStream::connect(&paygate.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"\x00\x01\x02garbage of some length that is no handshake").unwrap();
    let mut rest = Vec::new();
    // Reset or closed.
    stream.read_to_end(&mut rest).ok();
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP"));
    assert!(files.client().send(&paygate.address, &Request::new("GET", "/health")).is_ok());
    paygate.stop().expect_success();
}

/// Hundreds that begin a handshake and go no further: others are served meanwhile, they themselves
/// are closed, and a stop does not wait for them.
#[test]
fn handshakes_that_do_not_go_on_are_bounded() {
    let files = Files::new();
    let paygate = files.setup().ephemeral().start();
    let began = Instant::now();
    let open = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&paygate.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let silent: Vec<TcpStream> = (0..300).map(|_| open(b"")).collect();
    // The head of a record that never comes.
    let stuck: Vec<TcpStream> = (0..300).map(|_| open(b"\x16\x03\x01\x02\x00")).collect();
    let answered = files.client().send(&paygate.address, &Request::new("GET", "/health")).unwrap();
    assert!(answered.text.starts_with("HTTP/1.1 200"), "{}", answered.text);
    let in_time = Duration::from_secs(25);
    for mut stream in silent.into_iter().chain(stuck) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = [0_u8; 16];
        // An alert, the end or a reset; but not silence.
        let ended = stream
            .read(&mut rest)
            .map_or_else(|error| error.kind() != io::ErrorKind::WouldBlock, |_| true);
        assert!(ended && began.elapsed() < in_time, "{:?}", began.elapsed());
    }
    let waiting = open(b"\x16\x03\x01");
    paygate.stop().expect_success();
    drop(waiting);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let (other_cert, other_key) = signed(&files.authority, |_| {});
    let cert = fs::read_to_string(files.path("cert.pem")).unwrap();
    let key = fs::read_to_string(files.path("key.pem")).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (cert, key, words) in [
        (cert.as_str(), other_key.as_str(), "is not the key of the certificate in"),
        (other_cert.as_str(), key.as_str(), "is not the key of the certificate in"),
        ("text", key.as_str(), "it holds no certificate"),
        (key.as_str(), key.as_str(), "it holds no certificate"),
        (broken, key.as_str(), "tls.cert"),
        (cert.as_str(), "text", "it holds no private key"),
        (cert.as_str(), cert.as_str(), "without a password"),
    ] {
        files.put(cert, key);
        let ended = files.setup().run_to_end();
        assert_eq!(ended.code(), Some(1));
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        assert!(!ended.stderr.contains("PRIVATE"), "{}", ended.stderr);
    }
    files.put(&cert, &key);
    for name in ["cert", "key"] {
        let mut config = files.config();
        config["tls"][name] = json!("/no/such/file.pem");
        let ended = Setup::new().config(config).run_to_end();
        let expected = format!("tls.{name}: /no/such/file.pem cannot be read (No such file");
        assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
        let mut config = files.config();
        config["tls"].as_object_mut().unwrap().remove(name);
        let ended = Setup::new().config(config).run_to_end();
        assert!(ended.stderr.contains("Both cert and key are needed"), "{}", ended.stderr);
    }
}

#[test]
fn old_certificates_and_open_keys_are_warned_about() {
    let files = Files::new();
    let (cert, key) = signed(&files.authority, |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    files.put(&cert, &key);
    fs::set_permissions(files.path("key.pem"), Permissions::from_mode(0o644)).unwrap();
    let paygate = files.setup().ephemeral().start();
    paygate.wait_for_output("cert.pem has expired; clients will refuse it");
    paygate.wait_for_output("everybody on this machine can read");
    let (cert, key) =
        signed(&files.authority, |params| params.not_before = date_time_ymd(2400, 1, 1));
    files.put(&cert, &key);
    paygate.signal(Signal::HUP);
    paygate.wait_for_output("is not valid yet");
    paygate.stop().expect_success();
}

#[test]
fn a_new_certificate_is_shown_and_a_bad_one_changes_nothing() {
    let files = Files::new();
    let paygate = files.setup().start();
    let client = files.client();
    let shown =
        || client.send(&paygate.address, &Request::new("GET", "/health")).unwrap().certificate;
    let reload = || {
        let answer = client.send(&paygate.address, &admin("POST", "/config/reload", &Value::Null));
        answer.unwrap().json()
    };
    let first = shown();
    // A connection of before goes on with what it began with.
    let mut open = client.connect(&paygate.address);
    let ask = |stream: &mut Stream| {
        let request = Request::new("GET", "/").header("Connection", "keep-alive");
        stream.write_all(&request.to_bytes(&paygate.address)).unwrap();
        let mut piece = [0_u8; 16 << 10];
        let size = stream.read(&mut piece).unwrap();
        String::from_utf8_lossy(&piece[..size]).into_owned()
    };
    assert!(ask(&mut open).starts_with("HTTP/1.1 200"));
    files.renew();
    assert_eq!(reload()["changed"], json!(["tls"]));
    let second = shown();
    assert_ne!(first, second);
    assert!(ask(&mut open).starts_with("HTTP/1.1 200"));
    assert_eq!(reload()["changed"], json!([]));

    fs::write(files.path("key.pem"), "text").unwrap();
    let error = reload()["error"].as_str().unwrap().to_owned();
    for words in ["the one before goes on", "tls.key", "it holds no private key"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert_eq!(shown(), second);

    // Without TLS from now on: that needs a new start, and is named.
    let path = paygate.setup().dir().file("paygate.json");
    fs::write(path, json!({"globalRateLimitPerMin": 0}).to_string()).unwrap();
    assert_eq!(reload()["needsRestart"], json!(["tls"]));
    assert_eq!(shown(), second);
    paygate.stop().expect_success();
}

/// Certificates change all the time while customers call, each call over a connection of its own.
#[test]
fn no_call_fails_while_certificates_change() {
    let files = Files::new();
    let paygate = files.setup().without_child_log().start();
    let client = files.client();
    let made =
        client.send(&paygate.address, &admin("POST", "/keys", &json!({"credits": 1_000_000})));
    let key = made.unwrap().json()["key"].as_str().unwrap().to_owned();
    let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let call =
        rpc_request(&key, "tools/call", &json!({"name": "instant", "arguments": {"nonce": "n"}}));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let answer = client.send(&paygate.address, &call).unwrap();
                    assert_eq!(
                        answer.json()["result"]["content"][0]["text"],
                        "n",
                        "{}",
                        answer.text
                    );
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..20 {
            let before = calls.load(Ordering::SeqCst);
            files.renew();
            let reload = admin("POST", "/config/reload", &Value::Null);
            let answer = client.send(&paygate.address, &reload).unwrap().json();
            assert_eq!(answer["changed"], json!(["tls"]), "{answer}");
            eventually("more calls", || calls.load(Ordering::SeqCst) > before + 3);
        }
        over.store(true, Ordering::SeqCst);
    });
    let balance =
        client.send(&paygate.address, &Request::new("GET", "/balance").header("X-API-Key", &key));
    let spent = balance.unwrap().json()["totalSpent"].as_u64();
    assert_eq!(spent, u64::try_from(calls.load(Ordering::SeqCst)).ok());
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

/// In the modern era who leaves cancels: also over TLS, whose goodbye comes before the end.
#[test]
fn a_client_of_the_modern_era_that_leaves_cancels() {
    let files = Files::new();
    let paygate = files.setup().env("SCRIPTED_ERA", "dual").start();
    let client = files.client();
    let made = client.send(&paygate.address, &admin("POST", "/keys", &json!({"credits": 10})));
    let key = made.unwrap().json()["key"].as_str().unwrap().to_owned();
    let params = json!({"name": "hang", "arguments": {"nonce": "gone"}});
    let request = support::modern_request(&key, "tools/call", &params);
    let mut stream = client.connect(&paygate.address);
    stream.write_all(&request.to_bytes(&paygate.address)).unwrap();
    stream.flush().unwrap();
    let credits = || left(&client, &paygate, &key);
    eventually("the hold", || credits() == 9);
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    drop(stream);
    eventually("the release", || credits() == 10);
    paygate.stop().expect_success();
}

fn left(client: &Client, paygate: &Paygate, key: &str) -> i64 {
    let request = Request::new("GET", "/balance").header("X-API-Key", key);
    client.send(&paygate.address, &request).unwrap().json()["credits"].as_i64().unwrap()
}
