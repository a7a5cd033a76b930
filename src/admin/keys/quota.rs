//! `POST /keys/quota`: a key's own quota, or none.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::body::{Json, Members};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::key::{Key, Quota};

#[derive(Serialize)]
struct Set {
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<Quota>,
    message: &'static str,
}

pub(in crate::admin) async fn set(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (key, quota) = {
        let members = call.members()?;
        (fields::key_required(&members)?, read(&members)?)
    };
    let apply = |key: &mut Key| {
        key.quota = quota;
        Ok(())
    };
    let event = |key: &Key| {
        let message = if quota.is_some() { "Quota set" } else { "Quota removed" };
        let quota = serde_json::to_value(quota).unwrap_or_default();
        call.key_event(key, "key.quota_updated", message).with("quota", quota)
    };
    admin.change(&call, &key, Fit::Exists, event, apply).await?;
    let message = match quota {
        Some(_) => "Quota set",
        None => "Quota removed (using global defaults)",
    };
    Answer::ok(&Set { quota, message })
}

/// A misspelt limit must not become "no limit", so at least one has to be there.
fn read(members: &Members<'_>) -> Result<Option<Quota>, Problem> {
    match members.get("remove")? {
        Json::Bool(true) => return Ok(None),
        Json::Null | Json::Bool(false) => {}
        Json::Number(_) | Json::Text(_) | Json::List(_) | Json::Object(_) => {
            return Err(Problem::bad("remove must be true or false"));
        }
    }
    let quota = fields::quota(members)?;
    let missing = || Problem::bad(format!("{}, or remove: true", fields::QUOTA_EMPTY));
    quota.ok_or_else(missing).map(Some)
}
