//! One key by its id: `GET`, `PATCH` and `DELETE /keys/{id}`.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::members;
use crate::admin::keys::subject::Fit;
use crate::admin::keys::view::{KeyView, Moment};
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::body::Members;
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::key::Key;

#[derive(Serialize)]
struct Deleted<'a> {
    message: &'static str,
    id: &'a str,
}

pub(in crate::admin) async fn show(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let key = admin.find(&call, &call.key_in_path(), Fit::Exists).await?;
    view(&admin, &call, &key).await
}

/// What is absent stays, `null` clears, all or nothing.
pub(in crate::admin) async fn patch(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let key = {
        let members = call.members()?;
        let apply = |key: &mut Key| apply(key, &members, &call);
        let event = |key: &Key| {
            let names: Vec<&str> = members.iter().map(|(name, _)| name).collect();
            let message = format!("Key updated: {}", names.join(", "));
            call.key_event(key, "key.updated", message).with("changed", names)
        };
        admin.change(&call, &call.key_in_path(), Fit::Exists, event, apply).await?
    };
    view(&admin, &call, &key).await
}

/// What was charged stays in the journal under the id; credits that are left end with the key.
pub(in crate::admin) async fn delete(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let key = admin.find(&call, &call.key_in_path(), Fit::Exists).await?;
    let event = call.key_event(&key, "key.deleted", format!("Key deleted: {}", key.name));
    admin.store.delete_key(&key.id, event.into(), call.now).await?;
    Answer::ok(&Deleted { message: "Key deleted", id: key.id.as_str() })
}

async fn view(admin: &Admin, call: &Call, key: &Key) -> Result<Answer, Problem> {
    let account = admin.store.account(&key.id).await?;
    let moment = Moment::new(admin.store.as_ref(), call.now);
    Answer::pretty(&KeyView::of(key, &account, &moment))
}

fn apply(key: &mut Key, members: &Members<'_>, call: &Call) -> Result<(), Problem> {
    if members.has("name") {
        key.name = members::name(members)?;
    }
    if members.has("expiresIn") || members.has("expiresAt") {
        key.expires_at = fields::expiry(members, call.now)?;
    }
    if members.has("quota") {
        key.quota = match members::quota_members(members)? {
            Some(given) => {
                let after = fields::quota_over(key.quota.unwrap_or_default(), &given)?;
                Some(after.ok_or_else(|| Problem::bad(fields::QUOTA_EMPTY))?)
            }
            None => None,
        };
    }
    if members.has("spendingLimit") {
        let limit = fields::limit("spendingLimit", &members.get("spendingLimit")?)?;
        key.spending_limit = limit.unwrap_or(0);
    }
    if members.has("allowedTools") {
        key.allowed_tools = fields::tools(members, "allowedTools")?;
    }
    if members.has("deniedTools") {
        key.denied_tools = fields::tools(members, "deniedTools")?;
    }
    if members.has("tags") {
        key.tags = members::changed_tags(members, std::mem::take(&mut key.tags))?;
    }
    if members.has("ipAllowlist") {
        key.ip_allowlist = members::addresses(members)?;
    }
    Ok(())
}
