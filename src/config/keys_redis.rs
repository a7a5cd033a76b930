//! The keys about books that several instances share.

use super::check;
use super::draft::RedisDraft;
use super::file::walk;
use super::key::{Fallback, Key, Kind, TopKey, words};
use super::keys::key;
use super::keys_inside::url;
use super::settings::OnUnavailable;

pub(super) const URL: TopKey = key(
    "redisUrl",
    Kind::Secret,
    Fallback::Words("none"),
    "--redis-url",
    "Redis that keeps the books of several instances, `redis://[user][:password]@host[:port][/database]`; \
     `rediss://` for TLS, `redis+sentinel://host[,host…]/master[/database]` for Sentinels, \
     `redis+cluster://host[,host…]` for a cluster. `db` is then this instance's own copy of the journals, for reports, and no other may use it.",
    |draft, entry, findings| {
        draft.redis_url = url("redisUrl", check::redis_url, entry, findings);
    },
);

pub(super) const REDIS: TopKey = key(
    "redis",
    Kind::Shape("object"),
    Fallback::Words("defaults"),
    "",
    "How those books are used, see below.",
    |draft, entry, findings| {
        let subject = |name: &str| format!("redis.{name}");
        if let Some(object) = entry.object(findings) {
            let mut redis = RedisDraft::default();
            walk(object, entry, INSIDE, &subject, &mut redis, findings);
            draft.redis = entry.placed(Some(redis));
        }
    },
);

/// The keys of `redis`.
pub(super) static INSIDE: &[Key<RedisDraft>] = &[
    key(
        "onUnavailable",
        Kind::OneOf(words::<OnUnavailable>),
        Fallback::Text("refuse"),
        "",
        "What becomes of paid calls while Redis is away: `refuse` refuses them at once, `lease` sells to keys in use \
         what this instance has reserved for them, for ten minutes at most.",
        |redis, entry, findings| redis.on_unavailable = entry.choice(findings),
    ),
    key(
        "ca",
        Kind::Text,
        Fallback::Words("the system's root certificates alone"),
        "",
        "File of certificates in PEM form that a Redis with `rediss` may be signed by, beside the system's.",
        |redis, entry, findings| redis.ca = entry.text(findings, check::file),
    ),
    key(
        "sentinelUser",
        Kind::Text,
        Fallback::Words("none"),
        "",
        "Name by which the Sentinels know us, where they ask for one. User and password in `redisUrl` are for Redis itself.",
        |redis, entry, findings| redis.sentinel_user = entry.text(findings, check::name),
    ),
    key(
        "sentinelPassword",
        Kind::Secret,
        Fallback::Words("none"),
        "",
        "Password of the Sentinels, where they ask for one.",
        |redis, entry, findings| {
            redis.sentinel_password = entry.text(findings, check::webhook_secret);
        },
    ),
];
