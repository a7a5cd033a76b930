//! `GET /namespaces`: the tenants, in order of their first key.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::answer::{Answer, Problem, in_background};
use super::{Admin, Call};
use crate::ledger::{Account, names};
use crate::model::key::Key;
use crate::model::time::Time;

/// One tenant; revoked keys count too.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamespaceView<'a> {
    namespace: &'a str,
    key_count: usize,
    active_keys: usize,
    total_credits: i64,
    total_spent: i64,
}

#[derive(Serialize)]
struct All<'a> {
    namespaces: Vec<NamespaceView<'a>>,
    count: usize,
}

pub(super) async fn list(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let keys = admin.store.keys(None).await?;
    in_background(move || {
        let namespaces = views(&keys, call.now);
        let count = namespaces.len();
        Answer::pretty(&All { namespaces, count })
    })
    .await
}

pub(super) fn views(keys: &[(Arc<Key>, Account)], now: Time) -> Vec<NamespaceView<'_>> {
    let mut views: Vec<NamespaceView<'_>> = Vec::new();
    let mut places = HashMap::new();
    for (key, account) in keys {
        let namespace = key.namespace.as_str();
        let place = *places.entry(namespace).or_insert_with(|| {
            views.push(NamespaceView {
                namespace,
                key_count: 0,
                active_keys: 0,
                total_credits: 0,
                total_spent: 0,
            });
            views.len().saturating_sub(1)
        });
        let Some(view) = views.get_mut(place) else { continue };
        view.key_count = view.key_count.saturating_add(1);
        view.active_keys = view.active_keys.saturating_add(usize::from(key.usable(now)));
        view.total_credits = view.total_credits.saturating_add(account.available());
        let spent = account.value(&names::SPENT, now);
        view.total_spent = view.total_spent.saturating_add(spent);
    }
    views
}
