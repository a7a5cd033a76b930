//! The ordered registry of every key that the file may hold.
//!
//! The order is that of the reference page. A key that is not here does not exist; a key that is
//! here is read, documented and spell-checked. Add one by adding a row.

use secrecy::SecretString;

use super::check;
use super::draft::{Draft, Placed};
use super::entry::Entry;
use super::key::{Fallback, Key, Kind, Read, TopKey, words};
use super::keys_alerts::read_alert_rules;
use super::keys_inside::{
    read_child_env, read_global_quota, read_import_keys, read_method_pricing, read_remote_url,
    read_retention, read_tls, read_tool_pricing, read_upstream_headers,
};
use super::keys_redis;
use super::keys_servers::read_servers;
use super::keys_webhooks;
use super::problem::Findings;
use super::settings::{self, DenialStyle, Durability, Isolation, RequireKey, UnlistedTools};
use crate::model::bounds;

/// Longest time that an operator may give a call: a day.
const REQUEST_TIMEOUT_MS_CEILING: i64 = 86_400_000;
/// Longest time that answers are kept for repetitions: 30 days.
const KEPT_TTL_SECONDS_CEILING: i64 = 2_592_000;
const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;

/// A row of the registry.
pub(super) const fn key<T>(
    name: &'static str,
    kind: Kind,
    fallback: Fallback,
    flag: &'static str,
    about: &'static str,
    read: fn(&mut T, &Entry<'_>, &mut Findings),
) -> Key<T> {
    Key { name, alias: "", kind, fallback, flag, about, read: Read::With(read) }
}

/// A row for a key that this version refuses.
const fn not_built<T>(name: &'static str, feature: &'static str) -> Key<T> {
    Key {
        name,
        alias: "",
        kind: Kind::Shape(""),
        fallback: Fallback::Words(""),
        flag: "",
        about: feature,
        read: Read::NotBuilt,
    }
}

/// The keys of the file itself.
pub(super) static TOP_LEVEL: &[TopKey] = &[
    key(
        "$schema",
        Kind::Text,
        Fallback::Words("none"),
        "",
        "For editors: where the JSON Schema is that `paygate config schema` prints. Not looked at.",
        |_, entry, findings| {
            entry.text(findings, check::argument);
        },
    ),
    key(
        "serverCommand",
        Kind::Text,
        Fallback::Words("none"),
        "--server",
        "The MCP server to guard: a program, or without `serverArgs` a whole command line, split \
         like a shell splits words. No shell runs.",
        |draft, entry, findings| {
            let command = entry.text(findings, check::command);
            draft.server_command = entry.placed(command);
        },
    ),
    key(
        "serverArgs",
        Kind::Shape("list of texts"),
        Fallback::Words("none"),
        "--server",
        "Arguments of `serverCommand`, passed on as they are; `serverCommand` is then the program \
         alone.",
        |draft, entry, findings| {
            let args = entry
                .texts(findings, check::argument)
                .map(|args| args.into_iter().map(|arg| arg.value).collect());
            draft.server_args = entry.placed(args);
        },
    ),
    key(
        "servers",
        Kind::Shape("list of objects"),
        Fallback::Words("none"),
        "",
        "Several servers in the place of one, see below.",
        read_servers,
    ),
    key(
        "toolSeparator",
        Kind::Text,
        Fallback::Text(settings::TOOL_SEPARATOR_DEFAULT),
        "",
        "What stands between a server's prefix and a name. Names with letters, digits, `_` and `-` \
         alone, 64 at most, are taken by all model vendors: `__` is a good choice.",
        |draft, entry, findings| {
            let separator = entry.text(findings, check::separator);
            draft.tool_separator = entry.placed(separator);
        },
    ),
    key(
        "childEnv",
        Kind::Shape("object: variable to text"),
        Fallback::Words("none"),
        "",
        "Environment for the server, or for each of several, beside Paygate's own without its `PAYGATE_` variables and \
         without those that its secrets name (`redisUrl`, `upstreamHeaders`…). Values are treated as secrets.",
        read_child_env,
    ),
    key(
        "remoteUrl",
        Kind::Secret,
        Fallback::Words("none"),
        "--remote-url",
        "The MCP server to guard, reached over HTTP (Streamable HTTP or HTTP+SSE) in the place of \
         `serverCommand`: an `http://` or `https://` URL. No redirect is followed.",
        read_remote_url,
    ),
    key(
        "upstreamHeaders",
        Kind::Shape("object: header to text"),
        Fallback::Words("none"),
        "",
        "Headers of every request to `remoteUrl`, such as `Authorization`. `${NAME}` in a value is \
         that environment variable. Values are treated as secrets; nothing of a client's own request \
         is ever passed on.",
        read_upstream_headers,
    ),
    key(
        "upstreamCa",
        Kind::Text,
        Fallback::Words("the system's root certificates alone"),
        "",
        "File of certificates in PEM form that `remoteUrl` may be signed by, beside the system's.",
        |draft, entry, findings| {
            let path = entry.text(findings, check::file);
            draft.upstream_ca = entry.placed(path);
        },
    ),
    key(
        "name",
        Kind::Text,
        Fallback::Text(settings::NAME_DEFAULT),
        "--name",
        "Name shown to clients and operators.",
        |draft, entry, findings| draft.name = entry.text(findings, check::name),
    ),
    key(
        "host",
        Kind::Text,
        Fallback::Text("127.0.0.1"),
        "--host",
        "Address to listen on. `0.0.0.0` is all of IPv4, `::` is all.",
        |draft, entry, findings| draft.host = entry.text(findings, check::host),
    ),
    key(
        "port",
        Kind::Port,
        Fallback::Number(settings::PORT_DEFAULT),
        "--port",
        "Port to listen on; 0 takes a free one and says which.",
        |draft, entry, findings| draft.port = entry.number(findings),
    ),
    key(
        "db",
        Kind::Text,
        Fallback::Text(settings::DB_DEFAULT),
        "--db",
        "File that keeps the books.",
        |draft, entry, findings| {
            let path = entry.text(findings, check::db);
            draft.db = entry.placed(path);
        },
    ),
    key(
        "ephemeral",
        Kind::Switch,
        Fallback::Text("false"),
        "--ephemeral",
        "Keep the books in memory only: all is lost when Paygate stops.",
        |draft, entry, findings| {
            let ephemeral = entry.switch(findings);
            draft.ephemeral = entry.placed(ephemeral);
        },
    ),
    key(
        "durability",
        Kind::OneOf(words::<Durability>),
        Fallback::Text("answer"),
        "",
        "What an answer waits for: its charge on disk (`answer`), also before the tool starts \
         (`call`), or nothing (`none`: a crash loses the last moments).",
        |draft, entry, findings| draft.durability = entry.choice(findings),
    ),
    key(
        "defaultCreditsPerCall",
        Kind::Credits,
        Fallback::Number(settings::CREDITS_PER_CALL_DEFAULT),
        "--price",
        "Price of a call of any tool that has no price of its own.",
        |draft, entry, findings| draft.default_credits = entry.number(findings),
    ),
    key(
        "toolPricing",
        Kind::Shape("object: tool to entry"),
        Fallback::Words("none"),
        "--tool-price",
        "Prices and limits of single tools, see below. The flag replaces the whole of it.",
        read_tool_pricing,
    ),
    key(
        "methodPricing",
        Kind::Shape("object: method to entry"),
        Fallback::Words("none"),
        "",
        "Prices and limits of methods that are no calls of tools, such as `resources/read`, see \
         below. A method with an entry needs a key.",
        read_method_pricing,
    ),
    key(
        "globalRateLimitPerMin",
        Kind::Limit,
        Fallback::Number(settings::RATE_LIMIT_PER_MIN_DEFAULT),
        "--rate-limit",
        "Admitted calls of one key in any minute.",
        |draft, entry, findings| draft.rate_limit_per_min = entry.number(findings),
    ),
    key(
        "globalQuota",
        Kind::Shape("object"),
        Fallback::Words("unlimited"),
        "",
        "Quota of every key that has none of its own, see below.",
        read_global_quota,
    ),
    key(
        "retention",
        Kind::Shape("object"),
        Fallback::Words("see below"),
        "",
        "How long what happened is remembered, see below.",
        read_retention,
    ),
    key(
        "alertRules",
        Kind::Shape("list of objects"),
        Fallback::Words("those of `POST /alerts`"),
        "",
        "When the operator wants to be told about a key, see below.",
        read_alert_rules,
    ),
    key(
        "refundOnFailure",
        Kind::Switch,
        Fallback::Text("true"),
        "--refund-on-failure",
        "Calls that the server answers with an error are free. Calls without an answer always are.",
        |draft, entry, findings| draft.refund_on_failure = entry.switch(findings),
    ),
    key(
        "shadowMode",
        Kind::Switch,
        Fallback::Text("false"),
        "--shadow",
        "Record what would have happened; refuse and charge nothing.",
        |draft, entry, findings| {
            let shadow = entry.switch(findings);
            draft.shadow_mode = entry.placed(shadow);
        },
    ),
    key(
        "adminKey",
        Kind::Secret,
        Fallback::Words("generated at each start"),
        "--admin-key",
        "Key of the admin API. Better kept in the environment, as `PAYGATE_ADMIN_KEY`.",
        |draft, entry, findings| {
            let admin_key = entry.text(findings, check::admin_key);
            only_admin_key(draft, entry, admin_key, findings);
        },
    ),
    key(
        "adminKeyFile",
        Kind::Text,
        Fallback::Words("none"),
        "",
        "File that holds the admin key, in the place of `adminKey`; also `PAYGATE_ADMIN_KEY_FILE`.",
        |draft, entry, findings| {
            let named = entry.source.named;
            let admin_key = entry.text(findings, |path| {
                check::file(path).and_then(|path| named.content(&path)).and_then(|key| {
                    check::admin_key(&key).map_err(|rule| format!("What it holds: {rule}"))
                })
            });
            only_admin_key(draft, entry, admin_key, findings);
        },
    ),
    key(
        "importKeys",
        Kind::Shape("object: raw key to credits"),
        Fallback::Words("none"),
        "--import-key",
        "Keys that customers already have. Each is created once with these credits and never reset.",
        read_import_keys,
    ),
    key(
        "requireKey",
        Kind::OneOf(words::<RequireKey>),
        Fallback::Text("default"),
        "",
        "Which methods need a key: all but handshake, ping, notifications and lists (`default`), \
         or all.",
        |draft, entry, findings| draft.require_key = entry.choice(findings),
    ),
    key(
        "denialStyle",
        Kind::OneOf(words::<DenialStyle>),
        Fallback::Text("auto"),
        "",
        "How a refused call is answered: as the client's protocol version wants it (`auto`), always \
         a JSON-RPC error, always a tool result, or HTTP status 401, 402 or 429.",
        |draft, entry, findings| draft.denial_style = entry.choice(findings),
    ),
    key(
        "unlistedTools",
        Kind::OneOf(words::<UnlistedTools>),
        Fallback::Text("refuse"),
        "",
        "What happens to calls of tools that the server does not list.",
        |draft, entry, findings| draft.unlisted_tools = entry.choice(findings),
    ),
    key(
        "topUpUrl",
        Kind::Text,
        Fallback::Words("none"),
        "",
        "Where a customer can buy credits; shown when they run out.",
        |draft, entry, findings| draft.top_up_url = entry.text(findings, check::web_url),
    ),
    key(
        "forwardIdentity",
        Kind::Switch,
        Fallback::Text("false"),
        "",
        "Tell the server who calls: id, name, namespace and tags of the key, as \
         `dev.paygate/customer` in `_meta`.",
        |draft, entry, findings| draft.forward_identity = entry.switch(findings),
    ),
    key(
        "idempotencyTtlSeconds",
        Kind::Within(1, KEPT_TTL_SECONDS_CEILING),
        Fallback::Seconds(bounds::KEPT_TTL),
        "",
        "How long the answer to a paid call with an idempotency key is kept for its repetitions.",
        |draft, entry, findings| draft.kept_ttl_seconds = entry.number(findings),
    ),
    key(
        "requestTimeoutMs",
        Kind::Timeout,
        Fallback::Millis(bounds::REQUEST_TIMEOUT),
        "",
        "How long a call may take before it ends as a timeout, which is free.",
        |draft, entry, findings| {
            let timeout = entry.number(findings);
            draft.request_timeout_ms = entry.placed(timeout);
        },
    ),
    key(
        "maxRequestTimeoutMs",
        Kind::Within(1, REQUEST_TIMEOUT_MS_CEILING),
        Fallback::Millis(bounds::REQUEST_TIMEOUT_MAX),
        "",
        "Hard ceiling that no progress of a call extends.",
        |draft, entry, findings| draft.request_timeout_max_ms = entry.number(findings),
    ),
    key(
        "maxBodyBytes",
        Kind::Within(KIB, 64 * MIB),
        Fallback::Size(bounds::BODY_BYTES_MAX),
        "",
        "Size of a request body.",
        |draft, entry, findings| draft.body_bytes_max = entry.number(findings),
    ),
    key(
        "maxAnswerBytes",
        Kind::Within(KIB, 256 * MIB),
        Fallback::Size(bounds::ANSWER_BYTES_MAX),
        "",
        "Size of one answer of the server.",
        |draft, entry, findings| draft.answer_bytes_max = entry.number(findings),
    ),
    key(
        "maxBatchCalls",
        Kind::Within(1, 1000),
        Fallback::Size(bounds::BATCH_CALLS_MAX),
        "",
        "Calls in one batch.",
        |draft, entry, findings| draft.batch_calls_max = entry.number(findings),
    ),
    key(
        "isolation",
        Kind::OneOf(words::<Isolation>),
        Fallback::Text("session"),
        "",
        "Which sessions share a server process: none that has a valid key (`session`), so that sampling, \
         elicitation, subscriptions and log levels work; or all (`shared`), for servers that keep nothing \
         about their client.",
        |draft, entry, findings| draft.isolation = entry.choice(findings),
    ),
    key(
        "maxChildren",
        Kind::Within(1, 4096),
        Fallback::Size(bounds::CHILDREN_MAX),
        "",
        "Server processes that run for single sessions at a time, at most half of them for one key; a session \
         of several servers takes one for each. When all are taken, the session that has been idle longest \
         gives way.",
        |draft, entry, findings| draft.children_max = entry.number(findings),
    ),
    key(
        "sessionIdleSeconds",
        Kind::Within(1, 86_400),
        Fallback::Seconds(bounds::SESSION_IDLE),
        "",
        "How long nothing may go on in a session, no call and no open stream, before it ends.",
        |draft, entry, findings| draft.session_idle_seconds = entry.number(findings),
    ),
    key(
        "trustedProxies",
        Kind::Shape("list of IP addresses and CIDR ranges"),
        Fallback::Words("none"),
        "",
        "Peers whose forwarded client addresses are believed.",
        |draft, entry, findings| {
            draft.trusted_proxies = entry.texts(findings, check::network).unwrap_or_default();
        },
    ),
    key(
        "allowedHosts",
        Kind::Shape("list of hosts"),
        Fallback::Words("this machine's names while bound to loopback, else any"),
        "",
        "`Host` headers that are answered. `/health` is, under any, unless bound to loopback.",
        |draft, entry, findings| {
            draft.allowed_hosts = plain(entry.texts(findings, check::allowed_host));
        },
    ),
    key(
        "allowedOrigins",
        Kind::Shape("list of origins"),
        Fallback::Words("this machine's while bound to loopback, else none"),
        "",
        "Web pages that may call from a browser.",
        |draft, entry, findings| {
            draft.allowed_origins = plain(entry.texts(findings, check::allowed_origin));
        },
    ),
    keys_webhooks::URL,
    keys_webhooks::SECRET,
    keys_webhooks::SECRET_FILE,
    keys_webhooks::RETRIES,
    keys_webhooks::ALLOW_PRIVATE,
    key(
        "stateFile",
        Kind::Text,
        Fallback::Words("none"),
        "--state-file",
        "State file of paygate-mcp: its keys are brought into the books once, while these are empty; \
         from then on it is left alone.",
        |draft, entry, findings| {
            let path = entry.text(findings, check::file);
            draft.state_file = entry.placed(path);
        },
    ),
    key(
        "tls",
        Kind::Shape("object"),
        Fallback::Words("plain HTTP"),
        "",
        "Serve HTTPS with a certificate of yours, see below.",
        read_tls,
    ),
    not_built("stripeWebhookSecret", "payments through Stripe"),
    not_built("oauth", "OAuth"),
    keys_redis::URL,
    keys_redis::REDIS,
    not_built("freeMethods", "a list of free methods of your own"),
    key(
        "metricsToken",
        Kind::Secret,
        Fallback::Words("none"),
        "",
        "Lets a scraper read `GET /metrics`, as `Authorization: Bearer TOKEN`. Without it programs on the same machine may.",
        |draft, entry, findings| draft.metrics_token = entry.text(findings, check::admin_key),
    ),
];

/// Takes the admin key from the one key of the file that may give it.
fn only_admin_key(
    draft: &mut Draft,
    entry: &Entry<'_>,
    admin_key: Option<SecretString>,
    findings: &mut Findings,
) {
    if draft.admin_key.is_some() {
        let message = "Cannot specify both adminKey and adminKeyFile. Use one or the other.";
        return entry.refuse(findings, message, None);
    }
    draft.admin_key = entry.placed(admin_key);
}

fn plain<T>(values: Option<Vec<Placed<T>>>) -> Vec<T> {
    values.into_iter().flatten().map(|placed| placed.value).collect()
}

#[cfg(test)]
mod tests {
    use super::super::keys_inside::{GLOBAL_QUOTA, METHOD_PRICING, RETENTION, TLS, TOOL_PRICING};
    use super::super::keys_servers::SERVERS;
    use super::super::settings::Choice;
    use super::*;

    #[test]
    fn each_name_once() {
        fn names<T>(keys: &[Key<T>]) -> Vec<&'static str> {
            let mut names: Vec<_> = keys.iter().map(|key| key.name).collect();
            names.extend(keys.iter().map(|key| key.alias).filter(|alias| !alias.is_empty()));
            names.sort_unstable();
            names
        }
        let all = [
            names(TOP_LEVEL),
            names(TOOL_PRICING),
            names(METHOD_PRICING),
            names(GLOBAL_QUOTA),
            names(SERVERS),
            names(RETENTION),
            names(TLS),
        ];
        for names in all {
            let mut once = names.clone();
            once.dedup();
            assert_eq!(names, once);
        }
    }

    #[test]
    fn the_documented_default_of_a_choice_is_its_first_word() {
        for key in TOP_LEVEL {
            if let (Kind::OneOf(words), Fallback::Text(text)) = (key.kind, key.fallback) {
                assert_eq!(words()[0], text, "{}", key.name);
            }
        }
        assert_eq!(RequireKey::CHOICES[0].1, RequireKey::Default);
    }
}
