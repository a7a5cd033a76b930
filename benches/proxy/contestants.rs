//! Who is measured: the bare bridge, and Paygate with everything on.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{ADMIN_KEY, Paygate, Request, Setup, TempDir, scripted_child, target_dir};
use crate::wire::{self, Wire, show};

/// A limit that is checked on every call and never reached.
const NEVER_REACHED: u64 = 1_000_000_000;
/// Connections that create keys at the same time.
const CREATORS: usize = 64;
/// As long as a raw key of Paygate, so that the requests to the bare bridge are as long.
const NO_KEY: &str = "pg_000000000000000000000000000000000000000000000000";
/// The magic number of tmpfs, which has no disk under it.
const TMPFS: i64 = 0x0102_1994;

/// A process that answers `POST /mcp`, and the keys to call it with.
pub struct Contestant {
    pub label: &'static str,
    pub address: SocketAddr,
    pub keys: Arc<[String]>,
    /// Does each connection that calls it begin a session of its own?
    pub in_sessions: bool,
    process: Process,
}

/// Held until the end of the measurement; both are killed when dropped.
enum Process {
    Bare(BareBridge),
    Paygate(Box<Paygate>),
}

struct BareBridge(Child);

impl Drop for BareBridge {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Contestant {
    /// The bare bridge, with its child initialised.
    pub fn bare(label: &'static str) -> Self {
        let bridge = env::current_exe().expect("this program has a path");
        let mut process = Command::new(bridge)
            .arg("bare-bridge")
            .arg(scripted_child())
            .stdout(Stdio::piped())
            .spawn()
            .map(BareBridge)
            .expect("the bare bridge starts");
        let mut line = String::new();
        let stdout = process.0.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the bare bridge tells its address");
        let address = line.trim().trim_start_matches("listening on http://");
        initialize(address);
        Self {
            label,
            address: address.parse().expect("an address"),
            keys: Arc::new([NO_KEY.to_owned()]),
            in_sessions: false,
            process: Process::Bare(process),
        }
    }

    /// Paygate with key, ACL, rates, quotas, credits and books on disk.
    pub fn paygate(label: &'static str, durability: &str, keys: usize) -> Self {
        Self::started(label, &setup(durability), keys)
    }

    /// The same for clients with sessions, with more in its config.
    pub fn with_sessions(label: &'static str, durability: &str, keys: usize, more: Value) -> Self {
        let setup = setup_with(durability, more);
        Self { in_sessions: true, ..Self::started(label, &setup, keys) }
    }

    /// The same over other files, with new keys.
    pub fn started(label: &'static str, setup: &Setup, keys: usize) -> Self {
        let paygate = setup.start();
        let address = paygate.address.parse().expect("an address");
        Self::running(label, paygate, create_keys(address, keys, 1))
    }

    /// The same over books that have these keys.
    pub fn over(label: &'static str, setup: &Setup, keys: Arc<[String]>) -> Self {
        Self::running(label, setup.start(), keys)
    }

    fn running(label: &'static str, paygate: Paygate, keys: Arc<[String]>) -> Self {
        let address = paygate.address.parse().expect("an address");
        let process = Process::Paygate(Box::new(paygate));
        Self { label, address, keys, in_sessions: false, process }
    }

    /// The running Paygate, if it is one.
    pub fn server(&self) -> Option<&Paygate> {
        match &self.process {
            Process::Bare(_) => None,
            Process::Paygate(paygate) => Some(paygate),
        }
    }

    /// The process itself, not its child.
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Bare(bridge) => bridge.0.id(),
            Process::Paygate(paygate) => paygate.pid(),
        }
    }

    /// Resident memory of the process itself, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let pid = self.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.expect("VmRSS is there")
    }
}

/// A bare child has to be told who is there; Paygate does it by itself.
fn initialize(address: &str) {
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    });
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let response = Request::new("POST", "/mcp").json(&body).send(address).expect("an answer");
    assert!(response.json()["result"].is_object(), "{}", response.text());
}

/// A Paygate that measures as it would run: release build, database on a real disk.
pub fn setup(durability: &str) -> Setup {
    setup_with(durability, json!({}))
}

/// The same with more in its config.
pub fn setup_with(durability: &str, more: Value) -> Setup {
    let tool = json!({"creditsPerCall": 1, "rateLimitPerMin": NEVER_REACHED});
    let mut config = json!({
        "defaultCreditsPerCall": 1,
        "globalRateLimitPerMin": NEVER_REACHED,
        "toolPricing": {"instant": tool, "sleep": tool},
        "globalQuota": quota(),
        "durability": durability,
    });
    let Value::Object(more) = more else { panic!("{more} is no config") };
    config.as_object_mut().expect("an object").extend(more);
    Setup::in_dir(TempDir::within(&disk_dir())).without_child_log().config(config)
}

fn quota() -> Value {
    json!({
        "dailyCallLimit": NEVER_REACHED,
        "monthlyCallLimit": NEVER_REACHED,
        "dailyCreditLimit": NEVER_REACHED,
        "monthlyCreditLimit": NEVER_REACHED,
    })
}

/// Where databases lie: `BENCH_DIR`, else the target directory. A disk, not memory.
pub fn disk_dir() -> PathBuf {
    let dir = env::var_os("BENCH_DIR").map_or_else(|| target_dir().join("tmp"), PathBuf::from);
    fs::create_dir_all(&dir).expect("the directory for databases can be made");
    let filesystem = rustix::fs::statfs(&dir).expect("it lies on a file system");
    #[allow(clippy::unnecessary_cast, reason = "the type differs between platforms")]
    let kind = filesystem.f_type as i64;
    assert_ne!(kind, TMPFS, "{} is in memory: set BENCH_DIR to a disk", dir.display());
    dir
}

/// Creates so many keys, each with every limit on, spread over so many tenants.
pub fn create_keys(address: SocketAddr, count: usize, tenants: usize) -> Arc<[String]> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let mut creators = JoinSet::new();
        for index in 0..CREATORS.min(count) {
            let share =
                count / CREATORS.min(count) + usize::from(index < count % CREATORS.min(count));
            creators.spawn(create_share(address, share, (index, tenants)));
        }
        creators.join_all().await.concat().into()
    })
}

async fn create_share(
    address: SocketAddr,
    count: usize,
    (first, tenants): (usize, usize),
) -> Vec<String> {
    let mut body = json!({
        "name": "bench",
        "credits": NEVER_REACHED,
        "allowedTools": ["instant", "sleep", "progress"],
        "quota": quota(),
    });
    let admin = format!("X-Admin-Key: {ADMIN_KEY}\r\n");
    let mut request = wire::post(address, "/keys", &admin, &body.to_string());
    let mut wire = Wire::open(address).await;
    let mut keys = Vec::with_capacity(count);
    for number in 0..count {
        if tenants > 1 {
            body["namespace"] = format!("tenant-{}", (first + number) % tenants).into();
            request = wire::post(address, "/keys", &admin, &body.to_string());
        }
        let answer = wire.exchange(&request).await;
        assert!(answer.starts_with(b"HTTP/1.1 201 "), "no key: {}", show(answer));
        let body = memchr::memmem::find(answer, b"\r\n\r\n").expect("a whole answer") + 4;
        let created: Value = serde_json::from_slice(&answer[body..]).expect("JSON");
        keys.push(created["key"].as_str().expect("a raw key").to_owned());
    }
    keys
}

/// Builds the scripted child as it is measured, so that an old one is never used.
pub fn build_child() {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--example", "scripted-child"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the scripted child does not build");
}
