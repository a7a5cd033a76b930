//! The options of each part, from the one Config.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::AppError;
use super::reload::Reloader;
use crate::admin::{AdminOptions, Live, Terms};
use crate::config::{self, Backend, Books, Config, RemoteUrl, ServerCommand, ServerKind, Several};
use crate::events::metrics::Gauges;
use crate::events::webhooks::{Target, WebhookError, WebhookOptions, Webhooks};
use crate::front::http::{Certificate, HttpOptions, TlsError, TlsFiles};
use crate::front::reply::{DenialOptions, DenialStyle};
use crate::front::stdio::StdioOptions;
use crate::gate::{Policy, ToolPolicy};
use crate::model::bounds;
use crate::model::key::Quota;
use crate::model::usage::Refused;
use crate::proxy::{Isolation, Proxy, ProxyOptions};
use crate::store::local::{Durability, LocalOptions};
use crate::store::redis::{LeaseOptions, OnUnavailable, RedisClock, RedisOptions, RedisReach};
use crate::upstream::{
    ChildOptions, Kind, Link, LinkOptions, Member, Names, Reach, RemoteOptions, RemoteSetup,
    SeveralOptions,
};

/// Names of tools in a warning.
const NAMES_SHOWN_MAX: usize = 8;

/// Where this instance is among several: its machine and its port, or its process.
pub(super) fn instance(config: &Config, address: Option<SocketAddr>) -> Option<String> {
    config.redis.as_ref()?;
    let system = rustix::system::uname();
    let machine = system.nodename().to_string_lossy();
    match address {
        Some(address) => Some(format!("{machine}:{}", address.port())),
        None => Some(format!("{machine}, process {}", std::process::id())),
    }
}

pub(super) fn policy(config: &Config) -> Policy {
    let tools = config.pricing.tools.iter().map(|(name, tool)| {
        let policy = ToolPolicy::new(
            name,
            Some(tool.credits_per_call),
            tool.rate_limit_per_min,
            tool.credits_per_kb_input_thousandths,
        );
        (name.clone(), policy)
    });
    let methods = config.pricing.methods.iter().map(|(name, method)| {
        let (price, rate) = (method.credits_per_call, method.rate_limit_per_min);
        (name.clone(), ToolPolicy::of_method(name, price, rate))
    });
    Policy {
        default_price: config.pricing.default_credits,
        key_rate: config.rate_limit_per_min,
        quota: Quota {
            daily_call_limit: config.global_quota.daily_calls,
            monthly_call_limit: config.global_quota.monthly_calls,
            daily_credit_limit: config.global_quota.daily_credits,
            monthly_credit_limit: config.global_quota.monthly_credits,
        },
        shadow: config.shadow_mode,
        tools: tools.collect(),
        methods: methods.collect(),
    }
}

pub(super) fn proxy(config: &Config) -> ProxyOptions {
    let tools = config.pricing.tools.iter();
    let timeouts = tools.filter_map(|(name, tool)| Some((name.clone(), tool.request_timeout?)));
    let methods = config.pricing.methods.iter();
    let method_timeouts =
        methods.filter_map(|(name, method)| Some((name.clone(), method.request_timeout?)));
    ProxyOptions {
        policy: policy(config),
        refund_on_failure: config.refund_on_failure,
        request_timeout: config.request_timeout,
        tool_timeouts: timeouts.collect(),
        method_timeouts: method_timeouts.collect(),
        forward_identity: config.forward_identity,
        kept_ttl: config.kept_ttl,
        request_timeout_max: config.request_timeout_max,
        batch_calls_max: config.batch_calls_max,
        require_key_for_all: config.require_key == config::RequireKey::All,
        isolation: match config.isolation {
            config::Isolation::Session => Isolation::Session,
            config::Isolation::Shared => Isolation::Shared,
        },
        session_idle: config.session_idle,
        has_one_client: config.serves == config::Serves::Stdio,
        refuse_unlisted_tools: config.unlisted_tools == config::UnlistedTools::Refuse,
    }
}

pub(super) fn admin(
    config: &Config,
    admin_key: SecretString,
    proxy: &Arc<Proxy>,
    reloader: &Arc<Reloader>,
    webhooks: &Arc<Webhooks>,
) -> AdminOptions {
    AdminOptions {
        admin_key,
        name: config.name.clone(),
        terms: reloader.terms(),
        body_bytes_max: config.body_bytes_max,
        config: {
            let reloader = Arc::clone(reloader);
            Arc::new(move || reloader.shown())
        },
        reload: {
            let reloader = Arc::clone(reloader);
            Arc::new(move || reloader.reload())
        },
        metrics_token: config.metrics_token.clone(),
        webhooks: Arc::clone(webhooks),
        live: Arc::new(ProxyNow { proxy: Arc::clone(proxy), since: Instant::now() }),
    }
}

/// What the operator API shows of a proxy.
struct ProxyNow {
    proxy: Arc<Proxy>,
    since: Instant,
}

impl Live for ProxyNow {
    fn take_refused(&self) -> Vec<Refused> {
        self.proxy.denials().take()
    }

    fn refunded(&self, tools: &[String]) {
        for tool in tools {
            self.proxy.metrics().refunded(tool);
        }
    }

    fn metrics(&self, gauges: Gauges) -> String {
        let sessions = self.proxy.open_sessions();
        let gauges = Gauges { uptime: self.since.elapsed(), sessions, ..gauges };
        self.proxy.metrics().text(&self.proxy.denials().snapshot(), &gauges)
    }
}

/// Who is told what happens, if anybody is.
pub(super) fn webhooks(config: &Config) -> Result<Option<Target>, WebhookError> {
    let config::Webhook { url, secret, retries_max, allow_private } = config.webhook.clone();
    let Some(url) = url else { return Ok(None) };
    let reach = if allow_private { Reach::Anywhere } else { Reach::Public };
    Target::new(&WebhookOptions { url, secret, retries_max, reach }).map(Some)
}

pub(super) fn terms(config: &Config) -> Terms {
    Terms {
        policy: policy(config),
        refund_on_failure: config.refund_on_failure,
        alert_rules: config.alert_rules.clone(),
    }
}

pub(super) fn books(config: &Config) -> LocalOptions {
    LocalOptions {
        path: match &config.books {
            Books::File(path) => Some(path.clone()),
            Books::Ephemeral => None,
        },
        durability: match config.durability {
            config::Durability::Answer => Durability::Answer,
            config::Durability::Call => Durability::Call,
            config::Durability::None => Durability::None,
        },
    }
}

/// Where the books are that several instances share, if they do.
pub(super) fn redis(redis: &config::Redis, books: &Books) -> RedisOptions {
    let on_unavailable = match redis.on_unavailable {
        config::OnUnavailable::Refuse => OnUnavailable::Refuse,
        config::OnUnavailable::Lease => OnUnavailable::Lease(LeaseOptions::default()),
    };
    RedisOptions {
        url: redis.url.0.clone(),
        reach: RedisReach { on_unavailable, ..reach(redis) },
        clock: RedisClock::Server,
        copy: match books {
            Books::File(path) => Some(path.clone()),
            Books::Ephemeral => None,
        },
    }
}

/// How that Redis is reached.
pub(super) fn reach(redis: &config::Redis) -> RedisReach {
    let (ca, sentinel_login) = (redis.ca.clone(), redis.sentinel_login.clone());
    RedisReach { ca, sentinel_login, ..RedisReach::default() }
}

pub(super) fn http(config: &Config) -> HttpOptions {
    HttpOptions {
        name: config.name.clone(),
        shadow_mode: config.shadow_mode,
        has_redis: config.redis.is_some(),
        body_bytes_max: config.body_bytes_max,
        connections_max: connections_max(config),
        trusted_proxies: config.trusted_proxies.clone(),
        allowed_hosts: config.allowed_hosts.clone(),
        allowed_origins: config.allowed_origins.clone(),
        denials: denials(config),
    }
}

/// The certificate to serve with, if there is one. Reads its files.
pub(super) fn certificate(config: &Config) -> Result<Option<Certificate>, TlsError> {
    let Some(config::TlsFiles { cert, key }) = &config.tls else { return Ok(None) };
    let certificate = Certificate::read(&TlsFiles { cert: cert.clone(), key: key.clone() })?;
    for warning in &certificate.warnings {
        tracing::warn!(target: "app", "{warning}");
    }
    Ok(Some(certificate))
}

/// For the client that started this process. Without a key of its own it tries the demo with the
/// demo's.
pub(super) fn stdio(config: &Config, demo_key: Option<&str>) -> StdioOptions {
    StdioOptions {
        api_key: config.api_key.clone().or_else(|| demo_key.map(SecretString::from)),
        body_bytes_max: config.body_bytes_max,
        denials: denials(config),
    }
}

fn denials(config: &Config) -> Arc<DenialOptions> {
    Arc::new(DenialOptions {
        style: match config.denial_style {
            config::DenialStyle::Auto => DenialStyle::Auto,
            config::DenialStyle::Error => DenialStyle::Error,
            config::DenialStyle::Result => DenialStyle::Result,
            config::DenialStyle::Http => DenialStyle::Http,
        },
        top_up_url: config.top_up_url.clone(),
    })
}

/// As many as there are files for, so that clients cannot take those of the books and of sessions'
/// servers.
fn connections_max(config: &Config) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = limit.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let own_servers = match config.isolation {
        config::Isolation::Session => config.children_max,
        config::Isolation::Shared => 0,
    };
    let of_children = own_servers.saturating_mul(bounds::FILES_PER_CHILD);
    let reserved = bounds::FILES_RESERVED.saturating_add(of_children);
    files.saturating_sub(reserved).clamp(1, bounds::CONNECTIONS_MAX)
}

/// What to guard.
pub(super) fn server(
    config: &Config,
    environment: Vec<(OsString, OsString)>,
) -> Result<LinkOptions, AppError> {
    let none = BTreeMap::new();
    let (name, kind) = match &config.backend {
        Backend::Remote(url) => {
            let remote = remote(config, url, &config.upstream_headers)?;
            (remote.host().to_owned(), Kind::Remote(Arc::new(remote)))
        }
        Backend::Demo => {
            let program = env::current_exe().map_err(AppError::NoProgram)?;
            let arguments = vec!["demo-server".into()];
            ("demo".to_owned(), child(config, program, arguments, &none, environment))
        }
        Backend::Command(ServerCommand { program, args }) => {
            let name = Path::new(program)
                .file_name()
                .map_or_else(|| program.clone(), |name| name.to_string_lossy().into_owned());
            (name, child(config, program, all(args), &none, environment))
        }
        Backend::Several(several) => {
            let prefixes: Vec<&str> = several.servers.iter().map(|s| s.prefix.as_str()).collect();
            (prefixes.join(", "), several_servers(config, several, &environment)?)
        }
    };
    let mut options = LinkOptions::new(name, kind);
    options.answer_bytes_max = config.answer_bytes_max;
    Ok(options)
}

fn several_servers(
    config: &Config,
    several: &Several,
    environment: &[(OsString, OsString)],
) -> Result<Kind, AppError> {
    let mut members = Vec::with_capacity(several.servers.len());
    for server in &several.servers {
        let kind = match &server.kind {
            ServerKind::Command { command, child_env } => {
                let environment = environment.to_vec();
                child(config, &command.program, all(&command.args), child_env, environment)
            }
            ServerKind::Remote { url, headers } => {
                Kind::Remote(Arc::new(remote(config, url, headers)?))
            }
        };
        members.push(Member { prefix: server.prefix.clone(), kind });
    }
    let options = SeveralOptions::new(&config.name, &several.separator, members);
    Ok(Kind::Several(Arc::new(options)))
}

fn remote(
    config: &Config,
    RemoteUrl(url): &RemoteUrl,
    headers: &[(String, SecretString)],
) -> Result<RemoteOptions, AppError> {
    let (headers, ca) = (headers.to_vec(), config.upstream_ca.clone());
    Ok(RemoteOptions::new(&RemoteSetup { url: url.clone(), headers, ca })?)
}

fn all(args: &[String]) -> Vec<OsString> {
    args.iter().map(OsString::from).collect()
}

/// A child process with the environment that the configuration gives to each, and its own, but without
/// the variables that hold secrets of Paygate.
fn child(
    config: &Config,
    program: impl Into<OsString>,
    arguments: Vec<OsString>,
    own: &BTreeMap<String, SecretString>,
    environment: Vec<(OsString, OsString)>,
) -> Kind {
    let variables = config.child_env.iter().chain(own);
    let variables: BTreeMap<&String, &SecretString> = variables.collect();
    let child_environment = variables
        .into_iter()
        .map(|(name, value)| (name.into(), value.expose_secret().into()))
        .collect();
    let is_withheld = |name: &OsString| name.to_str().is_some_and(|n| config.withheld.contains(n));
    let environment = environment.into_iter().filter(|(name, _)| !is_withheld(name)).collect();
    let program = program.into();
    Kind::Child(Arc::new(ChildOptions { program, arguments, environment, child_environment }))
}

/// Says which tools of several servers have names that some model vendors refuse, unless all have,
/// for their separator's sake: that was said when the configuration was read.
pub(super) fn warn_of_names(config: &Config, link: &Link) {
    let Backend::Several(several) = &config.backend else { return };
    let tools = link.tools();
    let refused: Vec<&str> = tools.iter().filter(|tool| !Names::is_accepted(tool)).collect();
    if Names::is_accepted(&several.separator) && !refused.is_empty() {
        let (count, some) =
            (refused.len(), refused.iter().take(NAMES_SHOWN_MAX).collect::<Vec<_>>());
        tracing::warn!(
            target: "app", count, ?some,
            "model vendors refuse tools with such names: they take letters, digits, \"_\" and \"-\" only, 64 at most"
        );
    }
}

/// What the guarded server calls itself, or else its command, and where it is if elsewhere.
pub(super) fn server_title(config: &Config, link: &Link) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized {
        server_info: Option<Info>,
        #[serde(rename = "_meta")]
        meta: Option<Meta>,
    }
    /// Where the modern era has it.
    #[derive(Deserialize)]
    struct Meta {
        #[serde(rename = "io.modelcontextprotocol/serverInfo")]
        server_info: Option<Info>,
    }
    #[derive(Deserialize)]
    struct Info {
        name: String,
        #[serde(default)]
        version: String,
    }
    let members = link.members();
    if !members.is_empty() {
        return format!("{} servers", members.len());
    }
    let said = link.first_result();
    let info = said.and_then(|said| serde_json::from_str::<Initialized>(&said).ok());
    let info = info
        .and_then(|said| said.server_info.or_else(|| said.meta.and_then(|meta| meta.server_info)));
    let title = match info {
        Some(Info { name, version }) => {
            // It goes to a terminal, and the server decides what it says.
            let title = format!("{name} {version}");
            title.trim().chars().filter(|character| !character.is_control()).take(100).collect()
        }
        None => link.server().to_owned(),
    };
    match config.backend {
        Backend::Remote(_) => format!("{title} at {}", link.server()),
        Backend::Command(_) | Backend::Demo | Backend::Several(_) => title,
    }
}
