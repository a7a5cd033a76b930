//! `POST /keys/acl`: which tools a key may call. A list that is not given stays as it is.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::key::{Key, ToolList};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set<'a> {
    allowed_tools: &'a ToolList,
    denied_tools: &'a ToolList,
    message: &'static str,
}

pub(in crate::admin) async fn set(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (key, allowed, denied) = {
        let members = call.members()?;
        let list =
            |name: &str| members.has(name).then(|| fields::tools(&members, name)).transpose();
        (fields::key_required(&members)?, list("allowedTools")?, list("deniedTools")?)
    };
    let apply = |key: &mut Key| {
        if let Some(allowed) = &allowed {
            key.allowed_tools.clone_from(allowed);
        }
        if let Some(denied) = &denied {
            key.denied_tools.clone_from(denied);
        }
        Ok(())
    };
    let event = |key: &Key| {
        call.key_event(key, "key.acl_updated", "ACL updated")
            .with("allowedTools", key.allowed_tools.names())
            .with("deniedTools", key.denied_tools.names())
    };
    let key = admin.change(&call, &key, Fit::InForce, event, apply).await?;
    Answer::ok(&Set {
        allowed_tools: &key.allowed_tools,
        denied_tools: &key.denied_tools,
        message: "ACL updated",
    })
}
