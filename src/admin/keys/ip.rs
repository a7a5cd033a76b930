//! `POST /keys/ip`: the addresses that a key may call from. Replaces the whole list.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::audit::events::texts;
use crate::admin::keys::subject::Fit;
use crate::admin::keys::view::Addresses;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::body::{Json, Members};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::key::{IpAllowlist, Key};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set<'a> {
    ip_allowlist: Addresses<'a>,
    message: &'static str,
}

pub(in crate::admin) async fn set(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (key, list) = {
        let members = call.members()?;
        (fields::key_required(&members)?, addresses(&members)?)
    };
    let apply = |key: &mut Key| {
        key.ip_allowlist.clone_from(&list);
        Ok(())
    };
    let event = |key: &Key| {
        call.key_event(key, "key.ip_updated", "IP allowlist updated")
            .with("ipAllowlist", texts(key.ip_allowlist.texts()))
    };
    let key = admin.change(&call, &key, Fit::Exists, event, apply).await?;
    let ip_allowlist = Addresses(&key.ip_allowlist);
    Answer::ok(&Set { ip_allowlist, message: "IP allowlist updated" })
}

fn addresses(members: &Members<'_>) -> Result<IpAllowlist, Problem> {
    let value = members.get("ips")?;
    let entries = match value {
        Json::List(_) => fields::strings(&value, "ips", IpAllowlist::ENTRIES_MAX)?,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_) => None,
    };
    let missing = || Problem::bad("Missing or invalid ips array");
    fields::addresses(&entries.ok_or_else(missing)?, "ips")
}
