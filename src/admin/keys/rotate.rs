//! `POST /keys/rotate`: a new credential for the same key. The old one may stay valid for a while,
//! so that a customer can change over without a gap.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::admin::keys::create::new_raw_key;
use crate::admin::keys::subject::Fit;
use crate::admin::keys::view::Shown;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::body::Members;
use crate::admin::wire::fields;
use crate::admin::wire::fields::KeyRef;
use crate::admin::{Admin, Call};
use crate::model::key::{Key, OldCredential};

/// Longest grace period: 90 days. Beyond it the old credential would rather be a second key.
const GRACE_SECONDS_MAX: i64 = 90 * 24 * 60 * 60;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rotated<'a> {
    message: &'static str,
    new_key: &'a str,
    name: &'a str,
    credits: i64,
    id: &'a str,
    old_key_valid_until: Option<Shown>,
}

pub(in crate::admin) async fn rotate(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (key, grace) = {
        let members = call.members()?;
        (fields::key_required(&members)?, grace(&members)?)
    };
    let raw = new_raw_key()?;
    let (digest, ends) = (raw.digest(), raw.ends());
    let swap = |key: &mut Key| {
        let until = call.now.plus(grace);
        key.old = (!grace.is_zero()).then_some(OldCredential { digest: key.digest, until });
        key.digest = digest;
        key.ends = ends.clone();
        Ok(())
    };
    let found = admin.find(&call, &key, Fit::NotRevoked).await?;
    let before = admin.store.account(&found.id).await?;
    let id = KeyRef::Id(found.id.clone());
    let event = |key: &Key| {
        let masked = key.ends.masked();
        let mut event = call.key_event(key, "key.rotated", "Key rotated");
        event.metadata.remove("keyMasked");
        event.with("oldKeyMasked", found.ends.masked()).with("newKeyMasked", masked)
    };
    let key = admin.change(&call, &id, Fit::NotRevoked, event, swap).await?;
    // The credential has changed: whatever happens to this read, the answer must show the new one.
    let account = admin.store.account(&key.id).await.unwrap_or(before);
    Answer::ok(&Rotated {
        message: "Key rotated",
        new_key: raw.reveal(),
        name: &key.name,
        credits: account.available(),
        id: key.id.as_str(),
        old_key_valid_until: key.old.map(|old| Shown(old.until)),
    })
}

fn grace(members: &Members<'_>) -> Result<Duration, Problem> {
    let wrong = || {
        let message = format!("graceSeconds must be a whole number from 0 to {GRACE_SECONDS_MAX}");
        Problem::bad(message)
    };
    match fields::whole_number(&members.get("graceSeconds")?) {
        None => Ok(Duration::ZERO),
        Some(Ok(seconds)) if seconds <= GRACE_SECONDS_MAX => {
            u64::try_from(seconds).map(Duration::from_secs).map_err(|_| wrong())
        }
        Some(_) => Err(wrong()),
    }
}
