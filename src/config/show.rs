//! A configuration as an operator may see it, in the words of the file: every value that holds,
//! defaults included, and `***` in the place of every secret.

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::problem::masked;
use super::settings::{
    Backend, Books, Choice, Config, Pricing, ServerCommand, ServerKind, Webhook,
};

const SECRET: &str = "***";

/// The whole of it.
pub fn show(config: &Config) -> Value {
    Value::Object(tree(config, |_| SECRET.to_owned()))
}

/// The top-level keys whose values differ, those of secrets included.
pub fn changed(before: &Config, after: &Config) -> Vec<String> {
    let whole = |config| tree(config, str::to_owned);
    let (before, after) = (whole(before), whole(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// The keys and their values; `secret` says what stands for a secret.
fn tree(config: &Config, secret: fn(&str) -> String) -> Map<String, Value> {
    let mut shown = backend(config, secret);
    shown.extend(webhook(config, secret).into_iter().chain(redis(config, secret)));
    let rest = json!({
        "name": config.name,
        "host": config.host.to_string(),
        "port": config.port,
        "tls": tls(config),
        "stateFile": config.state_file.as_ref().map(|path| path.display().to_string()),
        "db": match &config.books {
            Books::File(path) => json!(path.display().to_string()),
            Books::Ephemeral => Value::Null,
        },
        "ephemeral": config.books == Books::Ephemeral,
        "durability": word(config.durability),
        "defaultCreditsPerCall": config.pricing.default_credits,
        "toolPricing": tools(&config.pricing),
        "methodPricing": methods(&config.pricing),
        "globalRateLimitPerMin": config.rate_limit_per_min,
        "globalQuota": {
            "dailyCallLimit": config.global_quota.daily_calls,
            "monthlyCallLimit": config.global_quota.monthly_calls,
            "dailyCreditLimit": config.global_quota.daily_credits,
            "monthlyCreditLimit": config.global_quota.monthly_credits,
        },
        "retention": {
            "auditDays": config.retention.audit_days,
            "usageDays": config.retention.usage_days,
        },
        "alertRules": config.alert_rules.as_deref(),
        "metricsToken": config.metrics_token.as_ref().map(|token| secret(token.expose_secret())),
        "refundOnFailure": config.refund_on_failure,
        "shadowMode": config.shadow_mode,
        "adminKey": config.admin_key.as_ref().map(|key| secret(key.expose_secret())),
        "importKeys": config.import_keys.iter()
            .map(|key| (masked(key.raw.expose_secret()), json!(key.credits)))
            .collect::<Map<_, _>>(),
        "requireKey": word(config.require_key),
        "denialStyle": word(config.denial_style),
        "unlistedTools": word(config.unlisted_tools),
        "topUpUrl": config.top_up_url,
        "forwardIdentity": config.forward_identity,
        "idempotencyTtlSeconds": config.kept_ttl.as_secs(),
        "requestTimeoutMs": millis(config.request_timeout),
        "maxRequestTimeoutMs": millis(config.request_timeout_max),
        "maxBodyBytes": config.body_bytes_max,
        "maxAnswerBytes": config.answer_bytes_max,
        "maxBatchCalls": config.batch_calls_max,
        "isolation": word(config.isolation),
        "maxChildren": config.children_max,
        "sessionIdleSeconds": config.session_idle.as_secs(),
        "trustedProxies": config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "allowedHosts": config.allowed_hosts,
        "allowedOrigins": config.allowed_origins,
    });
    if let Value::Object(rest) = rest {
        shown.extend(rest);
    }
    shown
}

fn webhook(config: &Config, secret: fn(&str) -> String) -> [(String, Value); 4] {
    let Webhook { url, secret: signs, retries_max, allow_private } = &config.webhook;
    let url = url.as_ref().map(|url| place(url.expose_secret(), secret));
    let signs = signs.as_ref().map(|signs| secret(signs.expose_secret()));
    [
        ("webhookUrl".to_owned(), json!(url)),
        ("webhookSecret".to_owned(), json!(signs)),
        ("webhookMaxRetries".to_owned(), json!(retries_max)),
        ("webhookAllowPrivate".to_owned(), json!(allow_private)),
    ]
}

fn tls(config: &Config) -> Value {
    let shown = |path: &Path| json!(path.display().to_string());
    config
        .tls
        .as_ref()
        .map_or(Value::Null, |tls| json!({"cert": shown(&tls.cert), "key": shown(&tls.key)}))
}

/// What is guarded, and what it is told.
fn backend(config: &Config, secret: fn(&str) -> String) -> Map<String, Value> {
    let mut shown = Map::new();
    match &config.backend {
        Backend::Demo => drop(shown.insert("demo".to_owned(), json!(true))),
        Backend::Command(command) => shown.extend(self::command(command, secret)),
        Backend::Remote(url) => {
            drop(shown.insert("remoteUrl".to_owned(), json!(place(&url.0, secret))));
        }
        Backend::Several(several) => {
            let servers = several.servers.iter().map(|server| {
                let mut shown = Map::new();
                shown.insert("prefix".to_owned(), json!(server.prefix));
                match &server.kind {
                    ServerKind::Command { command, child_env } => {
                        shown.extend(self::command(command, secret));
                        shown.insert("childEnv".to_owned(), secrets(child_env.iter(), secret));
                    }
                    ServerKind::Remote { url, headers } => {
                        let headers =
                            secrets(headers.iter().map(|(name, value)| (name, value)), secret);
                        shown.insert("remoteUrl".to_owned(), json!(place(&url.0, secret)));
                        shown.insert("upstreamHeaders".to_owned(), headers);
                    }
                }
                Value::Object(shown)
            });
            shown.insert("servers".to_owned(), servers.collect());
            shown.insert("toolSeparator".to_owned(), json!(several.separator));
        }
    }
    shown.insert("childEnv".to_owned(), secrets(config.child_env.iter(), secret));
    let headers =
        secrets(config.upstream_headers.iter().map(|(name, value)| (name, value)), secret);
    shown.insert("upstreamHeaders".to_owned(), headers);
    let ca = config.upstream_ca.as_ref().map(|path| path.display().to_string());
    shown.insert("upstreamCa".to_owned(), json!(ca));
    shown
}

/// A Redis is shown without who logs in.
fn redis(config: &Config, secret: fn(&str) -> String) -> [(String, Value); 2] {
    let redis = config.redis.as_ref();
    let url = redis.map(|redis| redis.url.shown(secret));
    let how = redis.map(|redis| {
        let login = redis.sentinel_login.as_ref();
        json!({
            "onUnavailable": word(redis.on_unavailable),
            "ca": redis.ca.as_ref().map(|path| path.display().to_string()),
            "sentinelUser": login.map(|(user, _)| user),
            "sentinelPassword": login.map(|(_, password)| secret(password.expose_secret())),
        })
    });
    [("redisUrl".to_owned(), json!(url)), ("redis".to_owned(), json!(how))]
}

/// Arguments often hold tokens.
fn command(command: &ServerCommand, secret: fn(&str) -> String) -> [(String, Value); 2] {
    let args: Vec<String> = command.args.iter().map(|argument| secret(argument)).collect();
    [("serverCommand".to_owned(), json!(command.program)), ("serverArgs".to_owned(), json!(args))]
}

/// Scheme and host: a path or a query often holds a token.
fn place(url: &str, secret: fn(&str) -> String) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    format!("{scheme}://{host}/{}", secret(path))
}

fn secrets<'a>(
    all: impl Iterator<Item = (&'a String, &'a SecretString)>,
    secret: fn(&str) -> String,
) -> Value {
    let all = all.map(|(name, value)| (name.clone(), json!(secret(value.expose_secret()))));
    Value::Object(all.collect())
}

fn tools(pricing: &Pricing) -> Value {
    let tools = pricing.tools.iter().map(|(name, tool)| {
        let per_kb = tool.credits_per_kb_input_thousandths;
        let decimal = format!("{}.{:03}", per_kb / 1000, per_kb % 1000);
        let per_kb =
            decimal.trim_end_matches('0').trim_end_matches('.').parse::<serde_json::Number>();
        let shown = json!({
            "creditsPerCall": tool.credits_per_call,
            "creditsPerKbInput": per_kb.ok(),
            "rateLimitPerMin": tool.rate_limit_per_min,
            "requestTimeoutMs": tool.request_timeout.map(millis),
        });
        (name.clone(), shown)
    });
    Value::Object(tools.collect())
}

fn methods(pricing: &Pricing) -> Value {
    let methods = pricing.methods.iter().map(|(name, method)| {
        let shown = json!({
            "creditsPerCall": method.credits_per_call,
            "rateLimitPerMin": method.rate_limit_per_min,
            "requestTimeoutMs": method.request_timeout.map(millis),
        });
        (name.clone(), shown)
    });
    Value::Object(methods.collect())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The word of the file for a choice.
fn word<C: Choice + PartialEq>(choice: C) -> &'static str {
    C::CHOICES.iter().find(|(_, known)| *known == choice).map_or("", |(word, _)| *word)
}
