//! What the flags say, put over what the file says.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::check::{self, Checked};
use super::draft::{Draft, Placed, ToolDraft};
use super::file::not_built;
use super::flags::{NotBuiltFlags, WrapFlags};
use super::key::Kind;
use super::number::strict_integer;
use super::problem::{Findings, Place, masked, shown};
use super::settings::{ImportKey, ServerCommand};

/// Checks every flag that was given and lets it win.
pub(super) fn apply(flags: &WrapFlags, draft: &mut Draft, findings: &mut Findings) {
    refuse_not_built(&flags.not_built, findings);
    backend_and_books(flags, draft, findings);
    let mut number = |flag, field: &str, kind, text: &Option<String>, slot: &mut Option<i64>| {
        if let Some(text) = text {
            *slot = flag_number(flag, field, field, kind, text, findings);
        }
    };
    number("--port", "port", Kind::Port, &flags.port, &mut draft.port);
    number(
        "--price",
        "defaultCreditsPerCall",
        Kind::Credits,
        &flags.price,
        &mut draft.default_credits,
    );
    number(
        "--rate-limit",
        "globalRateLimitPerMin",
        Kind::Limit,
        &flags.rate_limit,
        &mut draft.rate_limit_per_min,
    );
    number(
        "--webhook-retries",
        "webhookMaxRetries",
        Kind::Retries,
        &flags.webhook_retries,
        &mut draft.webhook_retries,
    );
    if let Some(text) = &flags.name {
        draft.name = flag_text("--name", "name", text, check::name, findings);
    }
    if let Some(text) = &flags.host {
        draft.host = flag_text("--host", "host", text, check::host, findings);
    }
    if let Some(text) = &flags.refund_on_failure {
        draft.refund_on_failure = Some(text == "true");
    }
    if flags.shadow {
        draft.shadow_mode = placed("--shadow", true);
    }
    if let Some(key) = &flags.admin_key {
        admin_key(key, draft, findings);
    }
    webhook(flags, draft, findings);
    draft.stdio = flags.stdio;
    if let Some(key) = &flags.api_key {
        api_key(key, draft, findings);
    }
    if let Some(list) = only_one("--tool-price", "toolPricing", &flags.tool_price, findings) {
        draft.tools = tool_prices(list, findings);
    }
    if let Some(list) = only_one("--import-key", "importKeys", &flags.import_key, findings) {
        import_keys(list.expose_secret(), draft, findings);
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every slot of a draft is optional")]
fn placed<T>(flag: &'static str, value: T) -> Option<Placed<T>> {
    Some(Placed { value, place: Place::Flag(flag) })
}

fn backend_and_books(flags: &WrapFlags, draft: &mut Draft, findings: &mut Findings) {
    draft.demo = flags.demo;
    if let Some(text) = &flags.server {
        draft.server_flag = server_command(text, findings);
        draft.backend_refused |= draft.server_flag.is_none();
    }
    if let Some(url) = &flags.remote_url {
        remote_url(url, draft, findings);
    }
    let backends = [
        ("--server", flags.server.is_some()),
        ("--remote-url", flags.remote_url.is_some()),
        ("--demo", flags.demo),
    ];
    let given: Vec<&str> =
        backends.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
    if let [one, other, ..] = given.as_slice() {
        let message = format!("Cannot specify both {one} and {other}. Use one or the other.");
        findings.error(Place::Nowhere, given.join(" | "), message, None);
    }
    if let Some(path) = &flags.db {
        let path = match path.to_str() {
            Some(text) => flag_text("--db", "db", text, check::db, findings),
            None => Some(path.clone()),
        };
        draft.db = path.and_then(|path| placed("--db", path));
        draft.ephemeral = None;
    }
    if let Some(url) = &flags.redis_url {
        match check::redis_url(url.expose_secret()) {
            Ok(url) => draft.redis_url = placed("--redis-url", url),
            Err(message) => {
                findings.error(Place::Flag("--redis-url"), "redisUrl", message, None);
            }
        }
    }
    if let Some(path) = &flags.state_file {
        let path = match path.to_str() {
            Some(text) => flag_text("--state-file", "stateFile", text, check::file, findings),
            None => Some(path.clone()),
        };
        draft.state_file = path.and_then(|path| placed("--state-file", path));
    }
    if flags.ephemeral {
        draft.db = None;
        draft.ephemeral = placed("--ephemeral", true);
    }
}

/// A flag for one kind of server puts the other kind in the file out of force.
fn remote_url(url: &SecretString, draft: &mut Draft, findings: &mut Findings) {
    match check::remote_url(url.expose_secret()) {
        Ok(url) => {
            draft.remote_url = placed("--remote-url", url);
            draft.server_command = None;
            draft.server_args = None;
            draft.child_env.clear();
        }
        Err(message) => {
            draft.backend_refused = true;
            findings.error(Place::Flag("--remote-url"), "remoteUrl", message, None);
        }
    }
}

/// What was written is not repeated: a token of the server's may be in it.
fn server_command(text: &str, findings: &mut Findings) -> Option<ServerCommand> {
    let split = check::split_command(text);
    split
        .map_err(|rule| {
            let message = format!("Invalid serverCommand. {rule}");
            findings.error(Place::Flag("--server"), "serverCommand", message, None);
        })
        .ok()
}

/// A flag whose value passes this check.
fn flag_text<T>(
    flag: &'static str,
    field: &str,
    text: &str,
    check: impl FnOnce(&str) -> Checked<T>,
    findings: &mut Findings,
) -> Option<T> {
    match check(text) {
        Ok(value) => Some(value),
        Err(rule) => {
            let message = format!("Invalid {field}: \"{}\". {rule}", shown(text));
            findings.error(Place::Flag(flag), field, message, None);
            None
        }
    }
}

/// A flag's number, by the rules of the key that it wins over.
fn flag_number(
    flag: &'static str,
    field: &str,
    subject: &str,
    kind: Kind,
    text: &str,
    findings: &mut Findings,
) -> Option<i64> {
    match kind.accept(subject, &shown(text), strict_integer(text)) {
        Ok(value) => Some(value),
        Err(refusal) => {
            findings.error(Place::Flag(flag), field, refusal.message, refusal.hint);
            None
        }
    }
}

/// The list of a flag that holds a list. Elsewhere the last flag wins; here that would drop what
/// the first one said without a word, and a dropped price is a tool sold too cheaply.
fn only_one<'a, T>(
    flag: &'static str,
    field: &str,
    lists: &'a [T],
    findings: &mut Findings,
) -> Option<&'a T> {
    if lists.len() > 1 {
        let message = format!("{flag} is given {} times.", lists.len());
        let hint = "write one list, with commas".to_owned();
        findings.error(Place::Flag(flag), field, message, Some(hint));
        return None;
    }
    lists.first()
}

fn admin_key(key: &SecretString, draft: &mut Draft, findings: &mut Findings) {
    match check::admin_key(key.expose_secret()) {
        Ok(value) => draft.admin_key = placed("--admin-key", value),
        Err(rule) => {
            let message = format!("Invalid adminKey. {rule}");
            findings.error(Place::Flag("--admin-key"), "adminKey", message, None);
        }
    }
}

fn webhook(flags: &WrapFlags, draft: &mut Draft, findings: &mut Findings) {
    if let Some(url) = &flags.webhook_url {
        match check::webhook_url(url.expose_secret()) {
            Ok(url) => draft.webhook_url = placed("--webhook-url", url),
            Err(message) => {
                findings.error(Place::Flag("--webhook-url"), "webhookUrl", message, None);
            }
        }
    }
    if let Some(secret) = &flags.webhook_secret {
        match check::webhook_secret(secret.expose_secret()) {
            Ok(secret) => draft.webhook_secret = placed("--webhook-secret", secret),
            Err(rule) => {
                let message = format!("Invalid webhookSecret. {rule}");
                findings.error(Place::Flag("--webhook-secret"), "webhookSecret", message, None);
            }
        }
    }
}

fn api_key(key: &SecretString, draft: &mut Draft, findings: &mut Findings) {
    let place = Place::Flag("--api-key");
    if !draft.stdio {
        let message = "--api-key is set but --stdio is not. Clients over HTTP send their own.";
        findings.error(place, "--api-key", message, None);
    }
    match check::raw_key(key.expose_secret()) {
        Ok(value) => draft.api_key = placed("--api-key", value),
        Err(rule) => findings.error(place, "--api-key", format!("Invalid API key. {rule}"), None),
    }
}

/// `tool:credits,tool:credits`. A tool's name may hold colons, so the last one counts.
fn tool_prices(list: &str, findings: &mut Findings) -> BTreeMap<String, ToolDraft> {
    let place = Place::Flag("--tool-price");
    let mut tools = BTreeMap::new();
    for item in list.split(',').map(str::trim) {
        let Some((tool, credits)) = split_pair(item) else {
            let message = format!("Invalid entry \"{}\". Must be tool:credits.", shown(item));
            findings.error(place, "toolPricing", message, None);
            continue;
        };
        let field = format!("toolPricing.{}.creditsPerCall", shown(tool));
        let subject = format!("creditsPerCall for \"{}\"", shown(tool));
        let credits_per_call =
            flag_number("--tool-price", &field, &subject, Kind::Credits, credits, findings);
        let entry = ToolDraft { credits_per_call, ..ToolDraft::default() };
        if tools.insert(tool.to_owned(), entry).is_some() {
            findings.error(place, field, "Given twice.", None);
        }
    }
    tools
}

/// `key:credits,key:credits`, beside those of the file; for a key in both, the flag's credits.
fn import_keys(list: &str, draft: &mut Draft, findings: &mut Findings) {
    let place = Place::Flag("--import-key");
    let mut given: Vec<&str> = Vec::new();
    for item in list.split(',').map(str::trim) {
        let Some((raw, credits)) = split_pair(item) else {
            let message = format!("Invalid entry \"{}\". Must be key:credits.", masked(item));
            findings.error(place, "importKeys", message, None);
            continue;
        };
        let field = format!("importKeys.{}", masked(raw));
        let subject = format!("credits for imported key \"{}\"", masked(raw));
        let credits =
            flag_number("--import-key", &field, &subject, Kind::Credits, credits, findings);
        if given.contains(&raw) {
            findings.error(place, field, "Given twice.", None);
            continue;
        }
        given.push(raw);
        match (check::raw_key(raw), credits) {
            (Ok(secret), Some(credits)) => {
                draft.import_keys.retain(|key| key.raw.expose_secret() != raw);
                draft.import_keys.push(ImportKey { raw: secret, credits });
            }
            (Err(rule), _) => findings.error(place, field, rule, None),
            (Ok(_), None) => {}
        }
    }
}

fn split_pair(item: &str) -> Option<(&str, &str)> {
    let (name, number) = item.rsplit_once(':')?;
    let (name, number) = (name.trim(), number.trim());
    (!name.is_empty()).then_some((name, number))
}

fn refuse_not_built(flags: &NotBuiltFlags, findings: &mut Findings) {
    let refused = [("--stripe-secret", flags.stripe_secret, "payments through Stripe")];
    for (flag, given, feature) in refused {
        if given.is_some() {
            let hint = "leave it out to start".to_owned();
            findings.error(Place::Flag(flag), flag, not_built(feature), Some(hint));
        }
    }
}
