//! `POST /keys`: a new key and its first credits. The raw key exists in this one answer only, so a
//! repetition of the request gets the same answer without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::admin::entropy::random;
use crate::admin::keys::members;
use crate::admin::keys::view::{Addresses, Shown};
use crate::admin::wire::answer::{Answer, Problem, to_json};
use crate::admin::wire::body::Members;
use crate::admin::wire::{fields, once};
use crate::admin::{Admin, Call};
use crate::model::bounds::COUNTER_MAX;
use crate::model::ids::KeyId;
use crate::model::key::{Key, ToolList};
use crate::model::secret::RawKey;
use crate::store::{Creation, Deed, Once, StoreError};

/// Credits of a key that is made without saying how many.
const CREDITS_DEFAULT: i64 = 100;

/// The answer, in the order of the documentation; `id` is Paygate's own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    key: Option<&'a str>,
    name: &'a str,
    credits: i64,
    allowed_tools: &'a ToolList,
    denied_tools: &'a ToolList,
    expires_at: Option<Shown>,
    tags: &'a BTreeMap<String, String>,
    ip_allowlist: Addresses<'a>,
    namespace: &'a str,
    message: &'a str,
    id: &'a str,
}

const SAVE_IT: &str = "Save this key — it cannot be retrieved later.";
const SHOWN_BEFORE: &str = "This key was made by an earlier request with this Idempotency-Key and \
     was shown then, once. If it is lost, POST /keys/rotate with the id gives a new one.";

pub(in crate::admin) async fn create(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let raw = new_raw_key()?;
    let (key, credits, once, answer) = {
        let members = call.members()?;
        let once = once::read(&call, "POST /keys", &members)?;
        let (key, credits) = read(&members, &raw, &call)?;
        let note = written(&key, credits, None, SHOWN_BEFORE)?;
        let answer = written(&key, credits, Some(raw.reveal()), SAVE_IT)?;
        (key, credits, once.map(|once| Once { note, ..once }), answer)
    };
    let event = call
        .key_event(&key, "key.created", format!("Key created: {}", key.name))
        .with("name", key.name.as_str())
        .with("credits", credits)
        .with("allowedTools", key.allowed_tools.names())
        .with("deniedTools", key.denied_tools.names())
        .with("expiresAt", key.expires_at.map(|end| end.to_string()));
    let deed = Deed { once, audit: Some(event), reason: None };
    match admin.store.create_key(key, credits, deed, call.now).await {
        Ok(Creation::Made(_)) => Ok(Answer::created(answer)),
        Ok(Creation::Repeated(note)) => Ok(Answer::created(note).replayed()),
        // 24 random bytes do not come twice: somebody's random source is broken.
        Err(StoreError::Duplicate) => Err(Problem::unavailable("No new key could be made", 1)),
        Err(other) => Err(other.into()),
    }
}

fn written(key: &Key, credits: i64, raw: Option<&str>, message: &str) -> Result<String, Problem> {
    to_json(&Created {
        key: raw,
        name: &key.name,
        credits,
        allowed_tools: &key.allowed_tools,
        denied_tools: &key.denied_tools,
        expires_at: key.expires_at.map(Shown),
        tags: &key.tags,
        ip_allowlist: Addresses(&key.ip_allowlist),
        namespace: &key.namespace,
        message,
        id: key.id.as_str(),
    })
}

/// The record and the first credits that a request asks for.
fn read(members: &Members<'_>, raw: &RawKey, call: &Call) -> Result<(Key, i64), Problem> {
    let credits = credits(members)?;
    let limit = fields::limit("spendingLimit", &members.get("spendingLimit")?)?;
    let key = Key {
        id: KeyId::from_random(random()?),
        digest: raw.digest(),
        ends: raw.ends(),
        old: None,
        name: members::name(members)?,
        team: None,
        namespace: call.actor.home(fields::namespace(members)?)?,
        created_at: call.now,
        active: true,
        suspended: false,
        spending_limit: limit.unwrap_or(0),
        allowed_tools: fields::tools(members, "allowedTools")?,
        denied_tools: fields::tools(members, "deniedTools")?,
        expires_at: fields::expiry(members, call.now)?,
        quota: members::quota(members)?,
        tags: members::changed_tags(members, BTreeMap::new())?,
        ip_allowlist: members::addresses(members)?,
        revision: 0,
    };
    Ok((key, credits))
}

fn credits(members: &Members<'_>) -> Result<i64, Problem> {
    match fields::whole_number(&members.get("credits")?) {
        None => Ok(CREDITS_DEFAULT),
        Some(Ok(credits)) if credits >= 0 => Ok(credits),
        Some(_) => {
            let message = format!("Credits must be a positive integer or 0, at most {COUNTER_MAX}");
            Err(Problem::bad(message))
        }
    }
}

/// A new credential.
pub(in crate::admin) fn new_raw_key() -> Result<RawKey, Problem> {
    random().map(RawKey::from_random)
}
