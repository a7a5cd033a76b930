//! What `load` results in: plain values, checked, with every default filled in.
//!
//! No part of Paygate imports these types; `app` maps them to each part's own options.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use crate::model::alert::AlertRule;

/// `name` when nobody gives one.
pub(super) const NAME_DEFAULT: &str = "PayGate MCP Server";
/// The log when nobody says how loud.
pub(super) const LOG_DEFAULT: &str = "info";
/// `host` when nobody gives one: this machine only.
pub(super) const HOST_DEFAULT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// `toolSeparator` when nobody gives one: as in paygate-mcp.
pub(super) const TOOL_SEPARATOR_DEFAULT: &str = ":";
/// `port` when nobody gives one.
pub(super) const PORT_DEFAULT: i64 = 3402;
/// The file that `paygate init` writes if nobody names one.
pub(super) const CONFIG_FILE_DEFAULT: &str = "paygate.json";
/// `db` when nobody gives one: in the working directory.
pub const DB_DEFAULT: &str = "paygate.db";
/// `defaultCreditsPerCall` when nobody gives one.
pub(super) const CREDITS_PER_CALL_DEFAULT: i64 = 1;
/// `globalRateLimitPerMin` when nobody gives one.
pub(super) const RATE_LIMIT_PER_MIN_DEFAULT: i64 = 60;

/// Everything `paygate wrap` needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is guarded.
    pub backend: Backend,
    /// Name shown to clients and operators.
    pub name: String,
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The certificate to serve HTTPS with.
    pub tls: Option<TlsFiles>,
    /// Which clients are served.
    pub serves: Serves,
    /// The key of the client on stdin and stdout.
    pub api_key: Option<SecretString>,
    /// Which lines of the log are written: a level or directives of an `EnvFilter`.
    pub log: String,
    /// Where the books are kept.
    pub books: Books,
    /// The Redis that keeps them, if several instances share them; `books` is then the copy of their
    /// journals that this instance reads reports from.
    pub redis: Option<Redis>,
    /// What paygate-mcp has left, for books that are empty.
    pub state_file: Option<PathBuf>,
    /// What calls cost.
    pub pricing: Pricing,
    /// Admitted calls per key in any minute; 0 is unlimited.
    pub rate_limit_per_min: i64,
    /// Quota of every key that has none of its own.
    pub global_quota: Quota,
    /// How long what happened is remembered.
    pub retention: Retention,
    /// Rules for alerts, if they are those of the file.
    pub alert_rules: Option<Arc<[AlertRule]>>,
    /// Record what would have happened, enforce and charge nothing.
    pub shadow_mode: bool,
    /// Key of the admin API; `None` lets the app generate one at each start.
    pub admin_key: Option<SecretString>,
    /// Whether calls that the server answers with an error are free.
    pub refund_on_failure: bool,
    /// Keys to create at start unless they exist.
    pub import_keys: Vec<ImportKey>,
    /// Time a call may take, unless its tool has its own.
    pub request_timeout: Duration,
    /// Time no call may exceed, whatever its progress.
    pub request_timeout_max: Duration,
    /// Size of a request body.
    pub body_bytes_max: usize,
    /// Size of one answer of the guarded server.
    pub answer_bytes_max: usize,
    /// Calls in one batch.
    pub batch_calls_max: usize,
    /// Which methods need a key.
    pub require_key: RequireKey,
    /// How denials are put.
    pub denial_style: DenialStyle,
    /// What an answer waits for.
    pub durability: Durability,
    /// What happens to calls of tools that the server does not list.
    pub unlisted_tools: UnlistedTools,
    /// Whether the server is told who calls.
    pub forward_identity: bool,
    /// Time for which answers to calls with an idempotency key are kept.
    pub kept_ttl: Duration,
    /// Which sessions share a server process.
    pub isolation: Isolation,
    /// Server processes that run for single sessions at a time.
    pub children_max: usize,
    /// How long nothing may go on in a session before it ends.
    pub session_idle: Duration,
    /// Environment added to the child's.
    pub child_env: BTreeMap<String, SecretString>,
    /// Variables that secrets of this configuration name (`redisUrl`, `upstreamHeaders`…). A server does
    /// not inherit them; `childEnv` may still give it one.
    pub withheld: BTreeSet<String>,
    /// Headers of every request to a remote server.
    pub upstream_headers: Vec<(String, SecretString)>,
    /// Certificates that are trusted beside the system's.
    pub upstream_ca: Option<PathBuf>,
    /// Peers whose forwarded client addresses are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Host headers accepted; empty means the loopback rule.
    pub allowed_hosts: Vec<String>,
    /// Origins accepted beside none.
    pub allowed_origins: Vec<String>,
    /// Where a customer can buy credits, shown in denials.
    pub top_up_url: Option<String>,
    /// Lets a scraper read the metrics from elsewhere.
    pub metrics_token: Option<SecretString>,
    /// Who is told what happens.
    pub webhook: Webhook,
}

/// Who is told what happens.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where to; nobody is told without it. What follows the host is often a secret.
    pub url: Option<SecretString>,
    /// Signs what is sent.
    pub secret: Option<SecretString>,
    /// Attempts beside the first one.
    pub retries_max: u32,
    /// Whether it may be at a private or local address.
    pub allow_private: bool,
}

/// Where a certificate and its private key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those that lead to its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Which clients are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Those over HTTP.
    Http,
    /// The one that started this process, over stdin and stdout.
    Stdio,
    /// All of these.
    Both,
}

impl Serves {
    /// Are clients over HTTP served?
    pub fn http(self) -> bool {
        matches!(self, Self::Http | Self::Both)
    }

    /// Is the client that started this process served?
    pub fn stdio(self) -> bool {
        matches!(self, Self::Stdio | Self::Both)
    }
}

/// What is guarded.
#[derive(Debug, Clone)]
pub enum Backend {
    /// A child process that speaks MCP over stdio.
    Command(ServerCommand),
    /// The demo server of this binary.
    Demo,
    /// A server that is reached over HTTP, at this URL.
    Remote(RemoteUrl),
    /// Several servers as one.
    Several(Several),
}

/// Books that several instances share.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Where they are.
    pub url: RedisUrl,
    /// What becomes of paid calls while it is away.
    pub on_unavailable: OnUnavailable,
    /// Certificates in PEM form that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// Name, which may be empty, and password for the Sentinels.
    pub sentinel_login: Option<(String, SecretString)>,
}

/// Where a Redis is. Not printed: it may hold a password.
#[derive(Clone)]
pub struct RedisUrl(pub SecretString);

impl RedisUrl {
    /// Scheme, host and what follows, with `user` in the place of user and password if there are any.
    pub fn shown(&self, user: impl FnOnce(&str) -> String) -> String {
        let (scheme, rest) = self.0.expose_secret().split_once("://").unwrap_or_default();
        match rest.rsplit_once('@') {
            Some((secret, place)) => format!("{scheme}://{}@{place}", user(secret)),
            None => format!("{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(…)")
    }
}

/// What becomes of paid calls while the Redis of the books is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnavailable {
    /// They are refused at once.
    Refuse,
    /// They are sold from leases that were taken before.
    Lease,
}

/// Where a remote server is. Not printed: what follows the `?` may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl(pub String);

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteUrl(…)")
    }
}

/// Several servers as one.
#[derive(Debug, Clone)]
pub struct Several {
    /// What stands between a server's prefix and a name.
    pub separator: String,
    /// Those that are in service.
    pub servers: Vec<Server>,
}

/// One of several servers.
#[derive(Debug, Clone)]
pub struct Server {
    /// What the names of its tools and prompts begin with.
    pub prefix: String,
    /// How it is reached.
    pub kind: ServerKind,
}

/// How one of several servers is reached.
#[derive(Debug, Clone)]
pub enum ServerKind {
    /// As a child process that speaks MCP over stdio.
    Command {
        /// The program and its arguments.
        command: ServerCommand,
        /// Environment for it alone.
        child_env: BTreeMap<String, SecretString>,
    },
    /// Over HTTP.
    Remote {
        /// Where it is.
        url: RemoteUrl,
        /// Headers of every request to it.
        headers: Vec<(String, SecretString)>,
    },
}

/// A program and its arguments; no shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCommand {
    /// Looked up in `PATH` if it has no slash.
    pub program: String,
    /// Passed on as they are.
    pub args: Vec<String>,
}

/// Where the books are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Books {
    /// In this SQLite file.
    File(PathBuf),
    /// In memory: lost when Paygate stops.
    Ephemeral,
}

/// What calls cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pricing {
    /// Price of a tool that is not in `tools`.
    pub default_credits: i64,
    /// Tools with an entry of their own.
    pub tools: BTreeMap<String, ToolPricing>,
    /// Methods with a price.
    pub methods: BTreeMap<String, MethodPricing>,
}

/// Price and limits of one method that is no call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodPricing {
    /// Price of a request.
    pub credits_per_call: i64,
    /// Admitted requests per key in any minute; 0 is unlimited.
    pub rate_limit_per_min: i64,
    /// Time a request may take, if not the general one.
    pub request_timeout: Option<Duration>,
}

/// Price and limits of one tool; the default price is already filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolPricing {
    /// Price of a call.
    pub credits_per_call: i64,
    /// Thousandths of a credit for each KiB of arguments, rounded up per call.
    pub credits_per_kb_input_thousandths: i64,
    /// Admitted calls of this tool per key in any minute; 0 is unlimited.
    pub rate_limit_per_min: i64,
    /// Time a call of this tool may take, if not the general one.
    pub request_timeout: Option<Duration>,
}

/// Limits per UTC day and month; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Calls a day.
    pub daily_calls: i64,
    /// Calls a month.
    pub monthly_calls: i64,
    /// Credits a day.
    pub daily_credits: i64,
    /// Credits a month.
    pub monthly_credits: i64,
}

/// `retention.auditDays`: a year, so that last year's books can be explained.
pub(super) const AUDIT_DAYS_DEFAULT: i64 = 365;
/// `retention.usageDays`: as long.
pub(super) const USAGE_DAYS_DEFAULT: i64 = 365;

/// How long what happened is remembered, in days; 0 is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The audit log.
    pub audit_days: i64,
    /// Usage: what is listed and its sums.
    pub usage_days: i64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { audit_days: AUDIT_DAYS_DEFAULT, usage_days: USAGE_DAYS_DEFAULT }
    }
}

/// A key that customers already have.
#[derive(Debug, Clone)]
pub struct ImportKey {
    /// The raw key.
    pub raw: SecretString,
    /// Its credits when it is created.
    pub credits: i64,
}

/// Which methods need a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequireKey {
    /// All but handshake, ping, notifications and lists.
    Default,
    /// All.
    All,
}

/// How denials are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialStyle {
    /// As the client's protocol version wants it.
    Auto,
    /// A JSON-RPC error.
    Error,
    /// A tool result with `isError`.
    Result,
    /// HTTP status 401, 402 or 429.
    Http,
}

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Hold and resolution are on disk before the answer leaves.
    Answer,
    /// The hold is on disk before the tool starts, too.
    Call,
    /// Nothing: a crash loses the last moments.
    None,
}

/// What happens to calls of tools that the server does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlistedTools {
    /// They are refused.
    Refuse,
    /// They are passed on and charged.
    Allow,
}

/// Which sessions share a server process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// None: each that has a valid key gets one of its own.
    Session,
    /// All.
    Shared,
}

/// A setting with a closed list of words.
pub(super) trait Choice: Copy + 'static {
    /// The words, the default first.
    const CHOICES: &'static [(&'static str, Self)];
}

impl Choice for RequireKey {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("default", Self::Default), ("all", Self::All)];
}

impl Choice for DenialStyle {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("error", Self::Error),
        ("result", Self::Result),
        ("http", Self::Http),
    ];
}

impl Choice for Durability {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("answer", Self::Answer), ("call", Self::Call), ("none", Self::None)];
}

impl Choice for OnUnavailable {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("lease", Self::Lease)];
}

impl Choice for Isolation {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("session", Self::Session), ("shared", Self::Shared)];
}

impl Choice for UnlistedTools {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("allow", Self::Allow)];
}
