//! Takes a new configuration while calls go on.
//!
//! It is read and checked first; if it is not good, nothing changes. Then everything that may change
//! is put together anew beside what serves, and takes its place in one step per front: a request is
//! judged by the one or by the other, never by half of each. What cannot change while Paygate runs
//! keeps its value and is named.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::options;
use crate::admin::Terms;
use crate::config::{self, Config, Report};
use crate::events::webhooks::{Target, Webhooks};
use crate::front::http::{Certificate, HttpRenewal, TlsError};
use crate::proxy::Proxy;
use crate::store::{SoldBy, Store};

/// Reads the same sources again: file, environment and the flags of the start.
pub type Load = Arc<dyn Fn() -> Result<(Config, Report), Report> + Send + Sync>;

/// Keys that can change while Paygate runs. Any other needs a new start.
const LIVE: &[&str] = &[
    "alertRules",
    "defaultCreditsPerCall",
    "toolPricing",
    "methodPricing",
    "globalRateLimitPerMin",
    "globalQuota",
    "refundOnFailure",
    "shadowMode",
    "requireKey",
    "denialStyle",
    "unlistedTools",
    "topUpUrl",
    "forwardIdentity",
    "idempotencyTtlSeconds",
    "requestTimeoutMs",
    "maxBatchCalls",
    "sessionIdleSeconds",
    "trustedProxies",
    "allowedHosts",
    "allowedOrigins",
    "tls",
    "webhookUrl",
    "webhookSecret",
    "webhookMaxRetries",
    "webhookAllowPrivate",
];

/// What serves, and so what is put in another's place.
pub(super) struct Parts {
    pub(super) http: Option<HttpRenewal>,
    /// For the client on stdin and stdout and for work in the background.
    pub(super) proxy: Arc<ArcSwap<Proxy>>,
    pub(super) webhooks: Arc<Webhooks>,
    /// Which hears what is sold by, for other instances.
    pub(super) store: Arc<dyn Store>,
    /// Where this instance is, among several.
    pub(super) instance: Option<String>,
}

/// Takes new configurations.
pub(super) struct Reloader {
    load: Load,
    running: Mutex<Config>,
    /// The same for who only looks, and never waits for a reload.
    shown: ArcSwap<Config>,
    terms: Arc<ArcSwap<Terms>>,
    parts: OnceLock<Parts>,
}

impl Reloader {
    pub(super) fn new(config: &Config, load: Load) -> Self {
        let terms = Arc::new(ArcSwap::from_pointee(options::terms(config)));
        let (running, shown) = (Mutex::new(config.clone()), ArcSwap::from_pointee(config.clone()));
        Self { load, running, shown, terms, parts: OnceLock::new() }
    }

    /// To be called once, when everything serves.
    pub(super) fn serve(&self, parts: Parts) {
        parts.sell_by(&self.shown.load());
        // It is never called twice.
        self.parts.set(parts).ok();
    }

    /// What holds, for the operator's reports.
    pub(super) fn terms(&self) -> Arc<ArcSwap<Terms>> {
        Arc::clone(&self.terms)
    }

    /// The configuration that holds, without its secrets.
    pub(super) fn shown(&self) -> Value {
        config::show(&self.shown.load())
    }

    /// Reads the sources again and takes what is good. Reads files, so not for an async task.
    pub(super) fn reload(&self) -> Result<Value, String> {
        // Nothing in here panics half way; one at a time.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(parts) = self.parts.get() else {
            return Err("Paygate is still starting; try again".to_owned());
        };
        let (new, warnings) = (self.load)().map_err(|report| {
            tracing::error!(target: "app", "the new configuration is not good; the one before goes on\n{report}");
            format!("The new configuration is not good; the one before goes on.\n{report}")
        })?;
        let certificate = certificate(&running, &new).map_err(|why| {
            tracing::error!(target: "app", "the new configuration is not good; the one before goes on: {why}");
            format!("The new configuration is not good; the one before goes on.\n{why}")
        })?;
        let is_live = |key: &String| is_live(key, (&running, &new));
        let (mut changed, fixed): (Vec<_>, Vec<_>) =
            config::changed(&running, &new).into_iter().partition(is_live);
        let next = merged(&running, new);
        // What can fail comes first: then nothing has changed.
        let target = options::webhooks(&next).map_err(|why| {
            tracing::error!(target: "app", %why, "the new configuration is not good; the one before goes on");
            format!("The new configuration is not good; the one before goes on.\n{why}")
        })?;
        put_in_place(&next, parts);
        // Its files may hold another one although their names are the same.
        let renewed = certificate.zip(parts.http.as_ref());
        let is_new = renewed.is_some_and(|(certificate, http)| http.renew_certificate(certificate));
        if is_new && !changed.iter().any(|name| name == "tls") {
            changed.push("tls".to_owned());
        }
        if changed.iter().any(|key| key.starts_with("webhook")) {
            aim(&parts.webhooks, target);
        }
        self.terms.store(Arc::new(options::terms(&next)));
        self.shown.store(Arc::new(next.clone()));
        parts.sell_by(&next);
        *running = next;
        tracing::info!(target: "app", ?changed, "the configuration was read anew");
        if !fixed.is_empty() {
            tracing::warn!(target: "app", keys = ?fixed, "these keep their values until Paygate is started again");
        }
        let mut told = json!({
            "message": "Configuration reloaded",
            "changed": changed,
            "needsRestart": fixed,
        });
        if !warnings.is_empty() {
            told["warnings"] = json!(warnings.to_string());
        }
        if let Some(instance) = &parts.instance {
            told["instance"] = json!(instance);
        }
        Ok(told)
    }
}

impl Parts {
    fn sell_by(&self, config: &Config) {
        if let Some(instance) = self.instance.clone() {
            self.store.sell_by(SoldBy { instance, fingerprint: config::fingerprint(config) });
        }
    }
}

/// The client on stdin and stdout has its answers written by what it was started with, and a port that
/// has begun with TLS or without goes on so.
fn is_live(key: &str, (running, new): (&Config, &Config)) -> bool {
    let is_of_stdio = matches!(key, "denialStyle" | "topUpUrl") && running.serves.stdio();
    let turns_tls = key == "tls" && running.tls.is_some() != new.tls.is_some();
    LIVE.contains(&key) && !is_of_stdio && !turns_tls
}

/// The certificate that the port is to show from now on, if it speaks TLS and goes on to.
fn certificate(running: &Config, new: &Config) -> Result<Option<Certificate>, TlsError> {
    let goes_on = running.serves.http() && running.tls.is_some();
    if goes_on { options::certificate(new) } else { Ok(None) }
}

/// What holds from now on: of the new one what may change, of the old one all else.
fn merged(running: &Config, new: Config) -> Config {
    let keeps_denials = running.serves.stdio();
    Config {
        pricing: new.pricing,
        rate_limit_per_min: new.rate_limit_per_min,
        global_quota: new.global_quota,
        alert_rules: new.alert_rules,
        refund_on_failure: new.refund_on_failure,
        shadow_mode: new.shadow_mode,
        require_key: new.require_key,
        denial_style: if keeps_denials { running.denial_style } else { new.denial_style },
        unlisted_tools: new.unlisted_tools,
        top_up_url: if keeps_denials { running.top_up_url.clone() } else { new.top_up_url },
        forward_identity: new.forward_identity,
        kept_ttl: new.kept_ttl,
        request_timeout: new.request_timeout,
        batch_calls_max: new.batch_calls_max,
        session_idle: new.session_idle,
        trusted_proxies: new.trusted_proxies,
        allowed_hosts: new.allowed_hosts,
        allowed_origins: new.allowed_origins,
        tls: running.tls.as_ref().and(new.tls).or_else(|| running.tls.clone()),
        webhook: new.webhook,
        ..running.clone()
    }
}

/// Sends what happens to another receiver. What happens after the answer is sent; if the books cannot
/// note that now, the task that sends begins with it.
fn aim(webhooks: &Webhooks, target: Option<Target>) {
    webhooks.aim(target);
    if let Ok(runtime) = Handle::try_current()
        && let Err(why) = runtime.block_on(webhooks.begin())
    {
        tracing::warn!(target: "webhooks", %why, "what happens is not noted yet as to be sent");
    }
}

fn put_in_place(config: &Config, parts: &Parts) {
    let proxy = Arc::new(parts.proxy.load().with_options(options::proxy(config)));
    if let Some(http) = &parts.http {
        http.renew(options::http(config), Arc::clone(&proxy));
    }
    parts.proxy.store(proxy);
}
