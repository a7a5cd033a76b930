//! `POST /keys/tags`: the operator's labels. Given ones are added or replaced, `null` removes one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::body::{Json, Members};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::key::Key;

#[derive(Serialize)]
struct Merged<'a> {
    tags: &'a BTreeMap<String, String>,
    message: &'static str,
}

pub(in crate::admin) async fn merge(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let members = call.members()?;
    let key = fields::key_required(&members)?;
    let changes = object(&members)?;
    let apply = |key: &mut Key| fields::merge_tags(&mut key.tags, &changes);
    let event = |key: &Key| {
        let tags = serde_json::to_value(&key.tags).unwrap_or_default();
        call.key_event(key, "key.tags_updated", "Tags updated").with("tags", tags)
    };
    let key = admin.change(&call, &key, Fit::Exists, event, apply).await?;
    Answer::ok(&Merged { tags: &key.tags, message: "Tags updated" })
}

/// `tags`, which must be there.
pub(in crate::admin) fn object<'a>(members: &Members<'a>) -> Result<Members<'a>, Problem> {
    match members.get("tags")? {
        Json::Object(tags) => Members::of_object(tags, "tags"),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
            Err(Problem::bad("Missing or invalid tags object"))
        }
    }
}
