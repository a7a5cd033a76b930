//! The options of each part, from the one Config.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::AppError;
use crate::admin::AdminOptions;
use crate::config::{self, Backend, Books, Config, ServerCommand};
use crate::front::http::HttpOptions;
use crate::front::reply::{DenialOptions, DenialStyle};
use crate::gate::{Policy, ToolPolicy};
use crate::model::bounds;
use crate::model::key::Quota;
use crate::proxy::{Proxy, ProxyOptions};
use crate::store::local::{Durability, LocalOptions};
use crate::upstream::{ChildOptions, Kind, Link, LinkOptions};

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
    }
}

pub(super) fn proxy(config: &Config, policy: Policy) -> ProxyOptions {
    let tools = config.pricing.tools.iter();
    let timeouts = tools.filter_map(|(name, tool)| Some((name.clone(), tool.request_timeout?)));
    ProxyOptions {
        policy,
        refund_on_failure: config.refund_on_failure,
        request_timeout: config.request_timeout,
        tool_timeouts: timeouts.collect(),
        request_timeout_max: config.request_timeout_max,
        batch_calls_max: config.batch_calls_max,
        require_key_for_all: config.require_key == config::RequireKey::All,
        refuse_unlisted_tools: config.unlisted_tools == config::UnlistedTools::Refuse,
    }
}

pub(super) fn admin(
    config: &Config,
    policy: Policy,
    admin_key: SecretString,
    proxy: &Arc<Proxy>,
) -> AdminOptions {
    AdminOptions {
        admin_key,
        name: config.name.clone(),
        policy: Arc::new(policy),
        refund_on_failure: config.refund_on_failure,
        body_bytes_max: config.body_bytes_max,
        denied: {
            let proxy = Arc::clone(proxy);
            Arc::new(move || proxy.denials().snapshot().by_reason.into_iter().collect())
        },
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

pub(super) fn http(config: &Config) -> HttpOptions {
    HttpOptions {
        name: config.name.clone(),
        shadow_mode: config.shadow_mode,
        body_bytes_max: config.body_bytes_max,
        connections_max: connections_max(),
        trusted_proxies: config.trusted_proxies.clone(),
        allowed_hosts: config.allowed_hosts.clone(),
        allowed_origins: config.allowed_origins.clone(),
        denials: Arc::new(DenialOptions {
            style: match config.denial_style {
                config::DenialStyle::Auto => DenialStyle::Auto,
                config::DenialStyle::Error => DenialStyle::Error,
                config::DenialStyle::Result => DenialStyle::Result,
                config::DenialStyle::Http => DenialStyle::Http,
            },
            top_up_url: config.top_up_url.clone(),
        }),
    }
}

/// As many as there are files for, so that clients cannot take those of the books.
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = limit.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    files.saturating_sub(bounds::FILES_RESERVED).clamp(1, bounds::CONNECTIONS_MAX)
}

/// What to start and guard.
pub(super) fn server(
    config: &Config,
    environment: Vec<(OsString, OsString)>,
) -> Result<LinkOptions, AppError> {
    let (name, mut child) = match &config.backend {
        Backend::Demo => {
            let mut child = ChildOptions::new(env::current_exe().map_err(AppError::NoProgram)?);
            child.arguments = vec!["demo-server".into()];
            ("demo".to_owned(), child)
        }
        Backend::Command(ServerCommand { program, args }) => {
            let name = Path::new(program)
                .file_name()
                .map_or_else(|| program.clone(), |name| name.to_string_lossy().into_owned());
            let mut child = ChildOptions::new(program);
            child.arguments = args.iter().map(OsString::from).collect();
            (name, child)
        }
    };
    child.environment = environment;
    let own = config.child_env.iter();
    let own = own.map(|(name, value)| (name.into(), value.expose_secret().into()));
    child.child_environment = own.collect();
    let mut options = LinkOptions::new(name, Kind::Child(Arc::new(child)));
    options.answer_bytes_max = config.answer_bytes_max;
    Ok(options)
}

/// What the guarded server calls itself, or else its command.
pub(super) fn server_title(link: &Link) -> String {
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
    let said = link.first_result();
    let info = said.and_then(|said| serde_json::from_str::<Initialized>(&said).ok());
    let info = info.and_then(|said| said.server_info.or(said.meta?.server_info));
    match info {
        Some(Info { name, version }) => {
            // It goes to a terminal, and the server decides what it says.
            let title = format!("{name} {version}");
            title.trim().chars().filter(|character| !character.is_control()).take(100).collect()
        }
        None => link.server().to_owned(),
    }
}
