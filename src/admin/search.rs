//! `POST /keys/search`: the keys that carry all of some tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::answer::{Answer, Problem, in_background};
use super::body::{Json, Members};
use super::view::{KeyView, Moment};
use super::{Admin, Call, fields, tags};

#[derive(Serialize)]
struct Found<'a> {
    keys: Vec<KeyView<'a>>,
    count: usize,
}

pub(super) async fn search(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (wanted, namespace) = {
        let members = Members::of_body(&call.body, &["tags", "namespace"])?;
        (fields::wanted_tags(&tags::object(&members)?)?, namespace(&members)?)
    };
    let keys = admin.store.keys(namespace.as_deref()).await?;
    in_background(move || {
        let moment = Moment::new(admin.store.as_ref(), call.now);
        let carries_all = |tags: &BTreeMap<String, String>| {
            wanted.iter().all(|(name, value)| tags.get(name) == Some(value))
        };
        let found = keys.iter().filter(|(key, _)| carries_all(&key.tags));
        let keys: Vec<KeyView<'_>> =
            found.map(|(key, account)| KeyView::of(key, account, &moment)).collect();
        let count = keys.len();
        Answer::ok(&Found { keys, count })
    })
    .await
}

/// `None` for all of them.
fn namespace(members: &Members<'_>) -> Result<Option<String>, Problem> {
    match members.get("namespace")? {
        Json::Null => Ok(None),
        Json::Text(text) if text.is_empty() => Ok(None),
        Json::Text(text) => fields::namespace_of(&text).map(Some),
        Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            Err(Problem::bad("namespace must be a string"))
        }
    }
}
