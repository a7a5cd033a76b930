//! `POST /keys/search`: the keys that carry all of some tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::tags;
use crate::admin::keys::view::{KeyView, Moment};
use crate::admin::wire::answer::{Answer, Problem, in_background};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};

#[derive(Serialize)]
struct Found<'a> {
    keys: Vec<KeyView<'a>>,
    count: usize,
}

pub(in crate::admin) async fn search(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (wanted, namespace) = {
        let members = call.members()?;
        (fields::wanted_tags(&tags::object(&members)?)?, fields::namespace(&members)?)
    };
    let namespace = call.actor.scope(namespace)?;
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
