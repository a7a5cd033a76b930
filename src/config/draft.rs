//! A configuration that is still being gathered: what was given, and where.
//!
//! File, flags and environment all write here, the stronger source last, so that precedence is one
//! assignment and the checks across keys run once, in `finish`, over the values that count.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::SecretString;

use super::keys_servers::ServerDraft;
use super::problem::Place;
use super::settings::{
    DenialStyle, Durability, ImportKey, Isolation, OnUnavailable, Quota, RequireKey, Retention,
    ServerCommand, UnlistedTools,
};
use crate::model::alert::AlertRule;

/// A value and where it was given.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What was given so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) server_command: Option<Placed<String>>,
    pub(super) server_args: Option<Placed<Vec<String>>>,
    pub(super) servers: Option<Placed<Vec<ServerDraft>>>,
    pub(super) tool_separator: Option<Placed<String>>,
    /// `--server`, split.
    pub(super) server_flag: Option<ServerCommand>,
    pub(super) demo: bool,
    pub(super) remote_url: Option<Placed<String>>,
    /// Name and value; the value as written until the environment is known.
    pub(super) upstream_headers: Vec<(String, Placed<SecretString>)>,
    pub(super) upstream_ca: Option<Placed<PathBuf>>,
    /// A backend was named that cannot be used; it has its own error.
    pub(super) backend_refused: bool,
    pub(super) name: Option<String>,
    pub(super) host: Option<IpAddr>,
    pub(super) port: Option<i64>,
    pub(super) log: Option<String>,
    pub(super) tls: Option<Placed<TlsDraft>>,
    pub(super) state_file: Option<Placed<PathBuf>>,
    pub(super) db: Option<Placed<PathBuf>>,
    pub(super) redis_url: Option<Placed<String>>,
    pub(super) redis: Option<Placed<RedisDraft>>,
    pub(super) ephemeral: Option<Placed<bool>>,
    pub(super) default_credits: Option<i64>,
    pub(super) rate_limit_per_min: Option<i64>,
    pub(super) tools: BTreeMap<String, ToolDraft>,
    pub(super) methods: BTreeMap<String, Placed<MethodDraft>>,
    pub(super) quota: Quota,
    pub(super) retention: Retention,
    pub(super) alert_rules: Option<Vec<AlertRule>>,
    pub(super) shadow_mode: Option<Placed<bool>>,
    pub(super) stdio: bool,
    pub(super) api_key: Option<Placed<SecretString>>,
    pub(super) admin_key: Option<Placed<SecretString>>,
    pub(super) refund_on_failure: Option<bool>,
    pub(super) import_keys: Vec<ImportKey>,
    pub(super) request_timeout_ms: Option<Placed<i64>>,
    pub(super) request_timeout_max_ms: Option<i64>,
    pub(super) body_bytes_max: Option<i64>,
    pub(super) answer_bytes_max: Option<i64>,
    pub(super) batch_calls_max: Option<i64>,
    pub(super) require_key: Option<RequireKey>,
    pub(super) denial_style: Option<DenialStyle>,
    pub(super) durability: Option<Durability>,
    pub(super) unlisted_tools: Option<UnlistedTools>,
    pub(super) forward_identity: Option<bool>,
    pub(super) kept_ttl_seconds: Option<i64>,
    pub(super) isolation: Option<Isolation>,
    pub(super) children_max: Option<i64>,
    pub(super) session_idle_seconds: Option<i64>,
    pub(super) child_env: BTreeMap<String, SecretString>,
    pub(super) trusted_proxies: Vec<Placed<IpNet>>,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) allowed_origins: Vec<String>,
    pub(super) top_up_url: Option<String>,
    pub(super) metrics_token: Option<SecretString>,
    pub(super) webhook_url: Option<Placed<String>>,
    pub(super) webhook_secret: Option<Placed<SecretString>>,
    pub(super) webhook_retries: Option<i64>,
    pub(super) webhook_allow_private: Option<bool>,
}

/// How books in Redis are used.
#[derive(Debug, Default)]
pub(super) struct RedisDraft {
    pub(super) on_unavailable: Option<OnUnavailable>,
    pub(super) ca: Option<PathBuf>,
    pub(super) sentinel_user: Option<String>,
    pub(super) sentinel_password: Option<SecretString>,
}

/// The files of a certificate.
#[derive(Debug, Default)]
pub(super) struct TlsDraft {
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// A tool's entry, before defaults.
#[derive(Debug, Default)]
pub(super) struct ToolDraft {
    pub(super) credits_per_call: Option<i64>,
    pub(super) rate_limit_per_min: Option<i64>,
    pub(super) credits_per_kb_input_thousandths: Option<i64>,
    pub(super) request_timeout_ms: Option<Placed<i64>>,
}

/// A method's entry, before defaults.
#[derive(Debug, Default)]
pub(super) struct MethodDraft {
    pub(super) credits_per_call: Option<i64>,
    pub(super) rate_limit_per_min: Option<i64>,
    pub(super) request_timeout_ms: Option<Placed<i64>>,
}
