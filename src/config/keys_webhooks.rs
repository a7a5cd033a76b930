//! The keys about webhooks.

use secrecy::SecretString;

use super::check;
use super::draft::Draft;
use super::entry::Entry;
use super::key::{Fallback, Kind, TopKey};
use super::keys::key;
use super::keys_inside::url;
use super::problem::Findings;
use crate::model::bounds;

pub(super) const URL: TopKey = key(
    "webhookUrl",
    Kind::Secret,
    Fallback::Words("none"),
    "--webhook-url",
    "Where to send what became of calls and what operators did, as signed POSTs: an `http://` or \
     `https://` URL. No redirect is followed. Shown as scheme and host alone.",
    |draft, entry, findings| {
        draft.webhook_url = url("webhookUrl", check::webhook_url, entry, findings);
    },
);

pub(super) const SECRET: TopKey = key(
    "webhookSecret",
    Kind::Secret,
    Fallback::Words("none: nothing is signed"),
    "--webhook-secret",
    "Signs every POST, as `X-PayGate-Signature`.",
    |draft, entry, findings| {
        let secret = entry.text(findings, check::webhook_secret);
        only_secret(draft, entry, secret, findings);
    },
);

pub(super) const SECRET_FILE: TopKey = key(
    "webhookSecretFile",
    Kind::Text,
    Fallback::Words("none"),
    "",
    "File that holds that secret, in the place of `webhookSecret`.",
    |draft, entry, findings| {
        let named = entry.source.named;
        let secret = entry.text(findings, |path| {
            check::file(path).and_then(|path| named.content(&path)).and_then(|secret| {
                check::webhook_secret(&secret).map_err(|rule| format!("What it holds: {rule}"))
            })
        });
        only_secret(draft, entry, secret, findings);
    },
);

pub(super) const RETRIES: TopKey = key(
    "webhookMaxRetries",
    Kind::Retries,
    Fallback::Number(bounds::WEBHOOK_RETRIES),
    "--webhook-retries",
    "How often a POST that was not answered with 2xx within 10 seconds is sent again, 1, 2, 4 … 60 \
     seconds later, before it is put among the dead letters.",
    |draft, entry, findings| draft.webhook_retries = entry.number(findings),
);

pub(super) const ALLOW_PRIVATE: TopKey = key(
    "webhookAllowPrivate",
    Kind::Switch,
    Fallback::Text("false"),
    "",
    "Let `webhookUrl` lead to loopback, private and link-local addresses too.",
    |draft, entry, findings| draft.webhook_allow_private = entry.switch(findings),
);

/// Takes the secret from the one key of the file that may give it.
fn only_secret(
    draft: &mut Draft,
    entry: &Entry<'_>,
    secret: Option<SecretString>,
    findings: &mut Findings,
) {
    if draft.webhook_secret.is_some() {
        let message =
            "Cannot specify both webhookSecret and webhookSecretFile. Use one or the other.";
        return entry.refuse(findings, message, None);
    }
    draft.webhook_secret = entry.placed(secret);
}
