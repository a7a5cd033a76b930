//! From what was given to what holds: defaults, and the checks across keys.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::check;
use super::draft::{Draft, MethodDraft, Placed, TlsDraft, ToolDraft};
use super::key::Kind;
use super::problem::{Findings, Place, shown, unknown};
use super::servers;
use super::settings::{self, Backend, Books, Config, MethodPricing, Pricing, RemoteUrl};
use super::settings::{DenialStyle, Durability, Isolation, RequireKey, UnlistedTools};
use super::settings::{OnUnavailable, Redis, RedisUrl};
use super::settings::{ServerCommand, Serves, TlsFiles, ToolPricing, Webhook};
use crate::model::bounds;

/// An admin key shorter than this, in bytes, is within reach of guessing.
const ADMIN_KEY_BYTES_MIN: usize = 16;

/// Fills in every default. `None` if there is nothing to guard; that and every other problem is
/// among the findings.
pub(super) fn finish(draft: Draft, findings: &mut Findings) -> Option<Config> {
    let (backend, serves) = (backend(&draft, findings), serves(&draft));
    let (books, state_file) = books_and_state(&draft, findings);
    let redis = redis(&draft, serves, findings);
    let request_timeout_max =
        draft.request_timeout_max_ms.map_or(bounds::REQUEST_TIMEOUT_MAX, millis);
    let request_timeout = request_timeout(&draft, request_timeout_max, findings);
    warn(&draft, findings);
    let pricing = pricing(&draft, request_timeout_max, findings);
    let webhook = webhook(&draft);
    Some(Config {
        backend: backend?,
        name: draft.name.unwrap_or_else(|| settings::NAME_DEFAULT.to_owned()),
        host: draft.host.unwrap_or(settings::HOST_DEFAULT),
        port: u16::try_from(draft.port.unwrap_or(settings::PORT_DEFAULT)).ok()?,
        serves,
        api_key: draft.api_key.map(|key| key.value),
        log: draft.log.unwrap_or_else(|| settings::LOG_DEFAULT.to_owned()),
        books,
        redis,
        state_file,
        tls: draft.tls.and_then(tls),
        pricing,
        rate_limit_per_min: draft
            .rate_limit_per_min
            .unwrap_or(settings::RATE_LIMIT_PER_MIN_DEFAULT),
        global_quota: draft.quota,
        retention: draft.retention,
        alert_rules: draft.alert_rules.map(Into::into),
        shadow_mode: draft.shadow_mode.is_some_and(|shadow| shadow.value),
        admin_key: draft.admin_key.map(|key| key.value),
        refund_on_failure: draft.refund_on_failure.unwrap_or(true),
        import_keys: draft.import_keys,
        request_timeout: request_timeout
            .unwrap_or_else(|| bounds::REQUEST_TIMEOUT.min(request_timeout_max)),
        request_timeout_max,
        body_bytes_max: size(draft.body_bytes_max, bounds::BODY_BYTES_MAX),
        answer_bytes_max: size(draft.answer_bytes_max, bounds::ANSWER_BYTES_MAX),
        batch_calls_max: size(draft.batch_calls_max, bounds::BATCH_CALLS_MAX),
        require_key: draft.require_key.unwrap_or(RequireKey::Default),
        denial_style: draft.denial_style.unwrap_or(DenialStyle::Auto),
        durability: draft.durability.unwrap_or(Durability::Answer),
        unlisted_tools: draft.unlisted_tools.unwrap_or(UnlistedTools::Refuse),
        forward_identity: draft.forward_identity.unwrap_or(false),
        kept_ttl: draft.kept_ttl_seconds.map_or(bounds::KEPT_TTL, seconds),
        isolation: draft.isolation.unwrap_or(Isolation::Session),
        children_max: size(draft.children_max, bounds::CHILDREN_MAX),
        session_idle: draft.session_idle_seconds.map_or(bounds::SESSION_IDLE, seconds),
        child_env: draft.child_env,
        withheld: findings.secret_variables(),
        upstream_headers: headers(draft.upstream_headers),
        upstream_ca: draft.upstream_ca.map(|path| path.value),
        trusted_proxies: draft.trusted_proxies.into_iter().map(|net| net.value).collect(),
        allowed_hosts: draft.allowed_hosts,
        allowed_origins: draft.allowed_origins,
        top_up_url: draft.top_up_url,
        metrics_token: draft.metrics_token,
        webhook,
    })
}

/// Whether both are there was said where they were read.
fn tls(given: Placed<TlsDraft>) -> Option<TlsFiles> {
    Some(TlsFiles { cert: given.value.cert?, key: given.value.key? })
}

/// Who wants stdio and names a port wants both.
fn serves(draft: &Draft) -> Serves {
    match draft.port {
        _ if !draft.stdio => Serves::Http,
        Some(_) => Serves::Both,
        None => Serves::Stdio,
    }
}

/// A flag wins over the file; without either there is nothing to guard.
fn backend(draft: &Draft, findings: &mut Findings) -> Option<Backend> {
    if let Some(list) = &draft.servers {
        let has_other = draft.server_command.is_some()
            || draft.server_flag.is_some()
            || draft.remote_url.is_some()
            || draft.demo;
        if has_other || draft.backend_refused {
            let message =
                "Cannot combine servers[] with serverCommand or remoteUrl. Use one or the other.";
            let hint = "--server, --remote-url and --demo are such a one too".to_owned();
            findings.error(list.place, "servers", message, Some(hint));
        }
        return servers::several(draft, list, findings).map(Backend::Several);
    }
    if let Some(separator) = &draft.tool_separator {
        let message = "toolSeparator is set but servers is not. It has no effect.";
        findings.warning(separator.place, "toolSeparator", message, None);
    }
    let from_file = file_command(draft, findings);
    refuse_mixtures(draft, findings);
    if let Some(command) = &draft.server_flag {
        return Some(Backend::Command(command.clone()));
    }
    if draft.demo {
        return Some(Backend::Demo);
    }
    if let Some(url) = &draft.remote_url {
        return Some(Backend::Remote(RemoteUrl(url.value.clone())));
    }
    if from_file.is_none() && draft.server_command.is_none() && !draft.backend_refused {
        findings.error(
            Place::Nowhere,
            "serverCommand | remoteUrl | servers",
            "No backend configured. Provide serverCommand, remoteUrl, or servers[].",
            Some(
                "--server \"COMMAND\" guards a server that it starts, --remote-url URL one that \
                 runs elsewhere, --demo one that is built in; servers[] in the file, several"
                    .to_owned(),
            ),
        );
    }
    from_file.map(Backend::Command)
}

/// The time of a call that has none of its own, if one is given.
fn request_timeout(draft: &Draft, ceiling: Duration, findings: &mut Findings) -> Option<Duration> {
    let name = "requestTimeoutMs";
    timeout(name, name, draft.request_timeout_ms.as_ref(), ceiling, findings)
}

/// Who is told what happens.
fn webhook(draft: &Draft) -> Webhook {
    let retries = draft.webhook_retries.unwrap_or(bounds::WEBHOOK_RETRIES);
    Webhook {
        url: draft.webhook_url.as_ref().map(|url| SecretString::from(url.value.as_str())),
        secret: draft.webhook_secret.as_ref().map(|secret| secret.value.clone()),
        retries_max: u32::try_from(retries).unwrap_or(0),
        allow_private: draft.webhook_allow_private.unwrap_or(false),
    }
}

fn headers(headers: Vec<(String, Placed<SecretString>)>) -> Vec<(String, SecretString)> {
    headers.into_iter().map(|(name, value)| (name, value.value)).collect()
}

/// What belongs to one kind of server does nothing for the other, and must not look as if it did.
fn refuse_mixtures(draft: &Draft, findings: &mut Findings) {
    if let (Some(_), Some(url)) = (&draft.server_command, &draft.remote_url) {
        let message = "Cannot specify both serverCommand and remoteUrl. Use one or the other.";
        findings.error(url.place, "serverCommand | remoteUrl", message, None);
    }
    if draft.remote_url.is_some() && !draft.child_env.is_empty() {
        let message = "childEnv is for a server that Paygate starts; remoteUrl names one that runs elsewhere.";
        findings.error(Place::Nowhere, "childEnv", message, None);
    }
    if draft.remote_url.is_some() || draft.backend_refused {
        return;
    }
    let of_remote = [
        ("upstreamHeaders", draft.upstream_headers.first().map(|(_, value)| value.place)),
        ("upstreamCa", draft.upstream_ca.as_ref().map(|path| path.place)),
    ];
    for (field, place) in of_remote {
        if let Some(place) = place {
            let message = format!("{field} is set but remoteUrl is not.");
            findings.error(place, field, message, None);
        }
    }
}

fn file_command(draft: &Draft, findings: &mut Findings) -> Option<ServerCommand> {
    let Some(command) = &draft.server_command else {
        if let Some(args) = &draft.server_args
            && !draft.backend_refused
        {
            let message = "serverArgs is set but serverCommand is not.";
            findings.error(args.place, "serverArgs", message, None);
        }
        return None;
    };
    server_command("serverCommand", command, draft.server_args.as_ref(), findings)
}

/// The program and its arguments, which are in the command line if they are not given.
pub(super) fn server_command(
    field: &str,
    command: &Placed<String>,
    args: Option<&Placed<Vec<String>>>,
    findings: &mut Findings,
) -> Option<ServerCommand> {
    if let Some(args) = args {
        return Some(ServerCommand { program: command.value.clone(), args: args.value.clone() });
    }
    match check::split_command(&command.value) {
        Ok(command) => Some(command),
        Err(rule) => {
            let message = format!("Invalid serverCommand. {rule}");
            let hint = "a program whose name has spaces needs serverArgs beside it".to_owned();
            findings.error(command.place, field, message, Some(hint));
            None
        }
    }
}

/// `--demo` writes no file unless a flag says so: its key has no place in real books.
fn books(draft: &Draft, findings: &mut Findings) -> Books {
    let ephemeral = draft.ephemeral.as_ref().is_some_and(|given| given.value);
    match &draft.db {
        Some(db) if ephemeral => {
            let message = "Cannot specify both db and ephemeral. Use one or the other.";
            findings.error(db.place, "db | ephemeral", message, None);
            Books::Ephemeral
        }
        Some(db) if draft.demo && db.place != Place::Flag("--db") => {
            let message = "The demo keeps its books in memory and leaves this file alone.";
            let hint = "to keep them in a file, name it with --db".to_owned();
            findings.warning(db.place, "db", message, Some(hint));
            Books::Ephemeral
        }
        Some(db) => Books::File(db.value.clone()),
        None if ephemeral || draft.demo => Books::Ephemeral,
        None => Books::File(PathBuf::from(settings::DB_DEFAULT)),
    }
}

fn books_and_state(draft: &Draft, findings: &mut Findings) -> (Books, Option<PathBuf>) {
    let books = books(draft, findings);
    let state_file = state_file(draft, &books, findings);
    (books, state_file)
}

/// Books that several instances share want one admin key for all of them.
fn redis(draft: &Draft, serves: Serves, findings: &mut Findings) -> Option<Redis> {
    let Some(url) = &draft.redis_url else {
        if let Some(redis) = &draft.redis {
            let message = "redis is set but redisUrl is not. It will be ignored.";
            findings.warning(redis.place, "redis", message, None);
        }
        return None;
    };
    if serves.http() && draft.admin_key.is_none() {
        let message =
            "Instances that share their books share their admin key, and none is configured.";
        let hint = "set adminKey, PAYGATE_ADMIN_KEY or --admin-key, the same for all".to_owned();
        findings.error(url.place, "adminKey", message, Some(hint));
    }
    let given = draft.redis.as_ref();
    let redis = given.map(|redis| &redis.value);
    let on_unavailable = redis.and_then(|redis| redis.on_unavailable);
    let on_unavailable = on_unavailable.unwrap_or(OnUnavailable::Refuse);
    let is_ephemeral = draft.ephemeral.as_ref().is_some_and(|given| given.value) || draft.demo;
    if let (OnUnavailable::Lease, true, Some(given)) = (on_unavailable, is_ephemeral, given) {
        let message = "What is sold while Redis is away is written down in a file beside db.";
        let hint = "leave --ephemeral and --demo out".to_owned();
        findings.error(given.place, "redis.onUnavailable", message, Some(hint));
    }
    Some(Redis {
        url: RedisUrl(url.value.as_str().into()),
        on_unavailable,
        ca: redis.and_then(|redis| redis.ca.clone()),
        sentinel_login: redis.and_then(|redis| {
            let user = redis.sentinel_user.clone().unwrap_or_default();
            Some((user, redis.sentinel_password.clone()?))
        }),
    })
}

/// What customers spend would be forgotten with books in memory, and their credits come back with the
/// file at every start.
fn state_file(draft: &Draft, books: &Books, findings: &mut Findings) -> Option<PathBuf> {
    let given = draft.state_file.as_ref()?;
    if *books == Books::Ephemeral && draft.redis_url.is_none() {
        let message = "The books are kept in memory, so every start would give these keys what they have spent again.";
        let hint = "keep the books in a file: leave --ephemeral and --demo out".to_owned();
        findings.error(given.place, "stateFile", message, Some(hint));
    }
    Some(given.value.clone())
}

/// A tool's entry without a price has the default one; a method's costs nothing.
fn pricing(draft: &Draft, request_timeout_max: Duration, findings: &mut Findings) -> Pricing {
    let default_credits = draft.default_credits.unwrap_or(settings::CREDITS_PER_CALL_DEFAULT);
    let (tools, methods) = (BTreeMap::new(), BTreeMap::new());
    let mut pricing = Pricing { default_credits, tools, methods };
    for (name, tool) in &draft.tools {
        let tool = tool_pricing(name, tool, default_credits, request_timeout_max, findings);
        pricing.tools.insert(name.clone(), tool);
    }
    for (name, method) in &draft.methods {
        if !check::is_method_of_mcp(name) {
            let known = unknown("method of MCP", name, check::PRICED_METHODS.iter().copied());
            let message = format!("{known} It has a price all the same.");
            findings.warning(method.place, format!("methodPricing.{}", shown(name)), message, None);
        }
        let method = method_pricing(name, &method.value, request_timeout_max, findings);
        pricing.methods.insert(name.clone(), method);
    }
    pricing
}

fn method_pricing(
    name: &str,
    method: &MethodDraft,
    request_timeout_max: Duration,
    findings: &mut Findings,
) -> MethodPricing {
    let name = shown(name);
    MethodPricing {
        credits_per_call: method.credits_per_call.unwrap_or(0),
        rate_limit_per_min: method.rate_limit_per_min.unwrap_or(0),
        request_timeout: timeout(
            &format!("methodPricing.{name}.requestTimeoutMs"),
            &format!("requestTimeoutMs for \"{name}\""),
            method.request_timeout_ms.as_ref(),
            request_timeout_max,
            findings,
        ),
    }
}

fn tool_pricing(
    name: &str,
    tool: &ToolDraft,
    default_credits: i64,
    request_timeout_max: Duration,
    findings: &mut Findings,
) -> ToolPricing {
    let name = shown(name);
    ToolPricing {
        credits_per_call: tool.credits_per_call.unwrap_or(default_credits),
        credits_per_kb_input_thousandths: tool.credits_per_kb_input_thousandths.unwrap_or(0),
        rate_limit_per_min: tool.rate_limit_per_min.unwrap_or(0),
        request_timeout: timeout(
            &format!("toolPricing.{name}.requestTimeoutMs"),
            &format!("requestTimeoutMs for \"{name}\""),
            tool.request_timeout_ms.as_ref(),
            request_timeout_max,
            findings,
        ),
    }
}

/// A timeout within the ceiling.
fn timeout(
    field: &str,
    subject: &str,
    given: Option<&Placed<i64>>,
    ceiling: Duration,
    findings: &mut Findings,
) -> Option<Duration> {
    let given = given?;
    let ceiling_ms = i64::try_from(ceiling.as_millis()).unwrap_or(i64::MAX);
    let written = given.value.to_string();
    match Kind::Within(1, ceiling_ms).accept(subject, &written, Ok(given.value)) {
        Ok(value) => Some(millis(value)),
        Err(refusal) => {
            let hint = (given.value > ceiling_ms)
                .then(|| "maxRequestTimeoutMs is the ceiling; raise it too".to_owned());
            findings.error(given.place, field, refusal.message, hint);
            None
        }
    }
}

fn seconds(value: i64) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or(0))
}

fn millis(value: i64) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

/// A size that was given within its bounds, or the default.
fn size(given: Option<i64>, fallback: usize) -> usize {
    given.and_then(|value| usize::try_from(value).ok()).unwrap_or(fallback)
}

/// What is allowed and worth a word.
fn warn(draft: &Draft, findings: &mut Findings) {
    if let Some(shadow) = draft.shadow_mode.as_ref().filter(|shadow| shadow.value) {
        let message = "Shadow mode is enabled. Payment will not be enforced.";
        findings.warning(shadow.place, "shadowMode", message, None);
    }
    if let Some(tls) = draft.tls.as_ref().filter(|_| serves(draft) == Serves::Stdio) {
        let message = "tls is set but no port is. It has no effect on stdin and stdout.";
        findings.warning(tls.place, "tls", message, None);
    }
    if let Some(key) = &draft.admin_key
        && key.value.expose_secret().len() < ADMIN_KEY_BYTES_MIN
    {
        let message =
            format!("The admin key is shorter than {ADMIN_KEY_BYTES_MIN} characters: guessable.");
        findings.warning(key.place, "adminKey", message, None);
    }
    if let Some(secret) = &draft.webhook_secret
        && draft.webhook_url.is_none()
    {
        let message = "webhookSecret is set but webhookUrl is not. Secret will be ignored.";
        findings.warning(secret.place, "webhookSecret", message, None);
    }
    for net in &draft.trusted_proxies {
        if net.value.prefix_len() == 0 {
            let message = format!(
                "{} trusts everybody to say where a call comes from. IP allowlists will not hold.",
                net.value
            );
            findings.warning(net.place, "trustedProxies", message, None);
        }
    }
}
