//! The registry of the keys inside objects: tools' entries, quotas, and members whose names are the
//! operator's own.

use std::collections::BTreeMap;

use jsonc_parser::ast::Value;
use secrecy::SecretString;

use super::check;
use super::draft::{Draft, MethodDraft, Placed, TlsDraft, ToolDraft};
use super::entry::Entry;
use super::file::walk;
use super::key::{Fallback, Key, Kind};
use super::keys::key;
use super::problem::{Findings, masked, shown};
use super::settings::{AUDIT_DAYS_DEFAULT, ImportKey, Quota, Retention, USAGE_DAYS_DEFAULT};

/// The keys of an entry of `toolPricing`.
pub(super) static TOOL_PRICING: &[Key<ToolDraft>] = &[
    key(
        "creditsPerCall",
        Kind::Credits,
        Fallback::Words("`defaultCreditsPerCall`"),
        "",
        "Price of a call.",
        |tool, entry, findings| tool.credits_per_call = entry.number(findings),
    ),
    key(
        "creditsPerKbInput",
        Kind::Thousandths,
        Fallback::Number(0),
        "",
        "Credits for each KiB of arguments beside the price; rounded up per call.",
        |tool, entry, findings| tool.credits_per_kb_input_thousandths = entry.number(findings),
    ),
    key(
        "rateLimitPerMin",
        Kind::Limit,
        Fallback::Number(0),
        "",
        "Admitted calls of this tool by one key in any minute.",
        |tool, entry, findings| tool.rate_limit_per_min = entry.number(findings),
    ),
    key(
        "requestTimeoutMs",
        Kind::Timeout,
        Fallback::Words("the general `requestTimeoutMs`"),
        "",
        "How long a call of this tool may take.",
        |tool, entry, findings| {
            let timeout = entry.number(findings);
            tool.request_timeout_ms = entry.placed(timeout);
        },
    ),
];

/// The keys of an entry of `methodPricing`.
pub(super) static METHOD_PRICING: &[Key<MethodDraft>] = &[
    key(
        "creditsPerCall",
        Kind::Credits,
        Fallback::Number(0),
        "",
        "Price of a request.",
        |method, entry, findings| method.credits_per_call = entry.number(findings),
    ),
    key(
        "rateLimitPerMin",
        Kind::Limit,
        Fallback::Number(0),
        "",
        "Admitted requests of this method by one key in any minute.",
        |method, entry, findings| method.rate_limit_per_min = entry.number(findings),
    ),
    key(
        "requestTimeoutMs",
        Kind::Timeout,
        Fallback::Words("the general `requestTimeoutMs`"),
        "",
        "How long a request of this method may take.",
        |method, entry, findings| {
            let timeout = entry.number(findings);
            method.request_timeout_ms = entry.placed(timeout);
        },
    ),
];

/// The keys of `globalQuota`.
pub(super) static GLOBAL_QUOTA: &[Key<Quota>] = &[
    quota("dailyCallLimit", "dailyCalls", "Calls in a UTC day.", |quota, entry, findings| {
        quota.daily_calls = entry.number(findings).unwrap_or(0);
    }),
    quota("monthlyCallLimit", "monthlyCalls", "Calls in a UTC month.", |quota, entry, findings| {
        quota.monthly_calls = entry.number(findings).unwrap_or(0);
    }),
    quota("dailyCreditLimit", "dailyCredits", "Credits in a UTC day.", |quota, entry, findings| {
        quota.daily_credits = entry.number(findings).unwrap_or(0);
    }),
    quota(
        "monthlyCreditLimit",
        "monthlyCredits",
        "Credits in a UTC month.",
        |quota, entry, findings| quota.monthly_credits = entry.number(findings).unwrap_or(0),
    ),
];

/// The keys of `retention`.
pub(super) static RETENTION: &[Key<Retention>] = &[
    key(
        "auditDays",
        Kind::Limit,
        Fallback::Number(AUDIT_DAYS_DEFAULT),
        "",
        "Days after which entries of the audit log are forgotten.",
        |retention, entry, findings| {
            retention.audit_days = entry.number(findings).unwrap_or(AUDIT_DAYS_DEFAULT);
        },
    ),
    key(
        "usageDays",
        Kind::Limit,
        Fallback::Number(USAGE_DAYS_DEFAULT),
        "",
        "Days after which usage is forgotten: its list and its sums. What calls cost stays in the \
         journal.",
        |retention, entry, findings| {
            retention.usage_days = entry.number(findings).unwrap_or(USAGE_DAYS_DEFAULT);
        },
    ),
];

pub(super) fn read_retention(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    let subject = |name: &str| name.to_owned();
    if let Some(object) = entry.object(findings) {
        walk(object, entry, RETENTION, &subject, &mut draft.retention, findings);
    }
}

/// The keys of `tls`.
pub(super) static TLS: &[Key<TlsDraft>] = &[
    key(
        "cert",
        Kind::Text,
        Fallback::Words("none"),
        "",
        "File with the certificate in PEM form, followed by those that lead to its authority.",
        |tls, entry, findings| tls.cert = entry.text(findings, check::file),
    ),
    key(
        "key",
        Kind::Text,
        Fallback::Words("none"),
        "",
        "File with its private key in PEM form, without a password.",
        |tls, entry, findings| tls.key = entry.text(findings, check::file),
    ),
];

pub(super) fn read_tls(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    let subject = |name: &str| format!("tls.{name}");
    let Some(object) = entry.object(findings) else { return };
    let mut tls = TlsDraft::default();
    walk(object, entry, TLS, &subject, &mut tls, findings);
    let has = |name| object.properties.iter().any(|property| property.name.as_str() == name);
    if !has("cert") || !has("key") {
        entry.refuse(findings, "Both cert and key are needed: the files of a certificate.", None);
    }
    draft.tls = entry.placed(Some(tls));
}

const fn quota(
    name: &'static str,
    alias: &'static str,
    about: &'static str,
    read: fn(&mut Quota, &Entry<'_>, &mut Findings),
) -> Key<Quota> {
    let mut row = key(name, Kind::Limit, Fallback::Number(0), "", about, read);
    row.alias = alias;
    row
}

pub(super) fn read_child_env(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    child_env(&mut draft.child_env, entry, findings);
}

/// Reads variables into `variables`.
pub(super) fn child_env(
    variables: &mut BTreeMap<String, SecretString>,
    entry: &Entry<'_>,
    findings: &mut Findings,
) {
    for (name, mut member) in entry.members(findings, shown) {
        member.kind = Kind::ServerSecret;
        member.subject = format!("value of \"{}\"", shown(name));
        if let Err(rule) = check::variable_name(name) {
            member.refuse(findings, rule, None);
            continue;
        }
        if let Some(value) = member.text(findings, check::argument) {
            variables.insert(name.to_owned(), SecretString::from(value));
        }
    }
}

pub(super) fn read_remote_url(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    draft.remote_url = remote_url(entry, findings);
}

/// Reads where a remote server is.
pub(super) fn remote_url(entry: &Entry<'_>, findings: &mut Findings) -> Option<Placed<String>> {
    url("remoteUrl", check::remote_url, entry, findings)
}

/// Reads a URL whose check gives the whole message.
pub(super) fn url(
    name: &str,
    check: fn(&str) -> check::Checked<String>,
    entry: &Entry<'_>,
    findings: &mut Findings,
) -> Option<Placed<String>> {
    let mut is_filled = false;
    let text = entry.text(findings, |text| {
        is_filled = !matches!(entry.value, Value::StringLit(written) if written.value == text);
        check::argument(text)
    })?;
    let url = check(&text).map_err(|message| {
        // What was put in may be a secret.
        let hidden = format!("Invalid {name}. Must be a valid URL.");
        entry.refuse(findings, if is_filled { hidden } else { message }, None);
    });
    entry.placed(url.ok())
}

pub(super) fn read_upstream_headers(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    upstream_headers(&mut draft.upstream_headers, entry, findings);
}

/// Reads headers into `headers`.
pub(super) fn upstream_headers(
    headers: &mut Vec<(String, Placed<SecretString>)>,
    entry: &Entry<'_>,
    findings: &mut Findings,
) {
    for (name, mut member) in entry.members(findings, shown) {
        member.kind = Kind::Secret;
        member.subject = format!("value of \"{}\"", shown(name));
        if let Err(rule) = check::upstream_header_name(name) {
            member.refuse(findings, rule, None);
            continue;
        }
        let given = |(other, _): &(String, _)| other.eq_ignore_ascii_case(name);
        if headers.iter().any(given) {
            member.refuse(findings, "Given twice, in other letters.", None);
            continue;
        }
        let value = member.text(findings, |text| {
            check::upstream_header_value(text).map(|()| SecretString::from(text))
        });
        headers.extend(member.placed(value).map(|value| (name.to_owned(), value)));
    }
}

pub(super) fn read_global_quota(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    let subject = |name: &str| name.to_owned();
    if let Some(object) = entry.object(findings) {
        walk(object, entry, GLOBAL_QUOTA, &subject, &mut draft.quota, findings);
    }
}

pub(super) fn read_tool_pricing(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    for (name, mut member) in entry.members(findings, shown) {
        member.subject = format!("toolPricing entry \"{}\"", shown(name));
        let subject = |key: &str| format!("{key} for \"{}\"", shown(name));
        let mut tool = ToolDraft::default();
        if let Some(object) = member.object(findings) {
            walk(object, &member, TOOL_PRICING, &subject, &mut tool, findings);
        }
        draft.tools.insert(name.to_owned(), tool);
    }
}

pub(super) fn read_method_pricing(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    for (name, mut member) in entry.members(findings, shown) {
        member.subject = format!("methodPricing entry \"{}\"", shown(name));
        if let Err(rule) = check::priced_method(name) {
            member.refuse(findings, format!("Invalid {}. {rule}", member.subject), None);
            continue;
        }
        let subject = |key: &str| format!("{key} for \"{}\"", shown(name));
        let mut method = MethodDraft::default();
        if let Some(object) = member.object(findings) {
            walk(object, &member, METHOD_PRICING, &subject, &mut method, findings);
        }
        let method = Placed { value: method, place: member.place() };
        draft.methods.insert(name.to_owned(), method);
    }
}

pub(super) fn read_import_keys(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    for (raw, mut member) in entry.members(findings, masked) {
        member.kind = Kind::Credits;
        member.subject = format!("credits for imported key \"{}\"", masked(raw));
        let checked = check::raw_key(raw);
        let credits = member.number(findings);
        match (checked, credits) {
            (Ok(raw), Some(credits)) => draft.import_keys.push(ImportKey { raw, credits }),
            (Err(rule), _) => member.refuse(findings, rule, None),
            (Ok(_), None) => {}
        }
    }
}
