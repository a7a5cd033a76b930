//! `GET /namespaces`: the tenants, in order of their first key, then those without one. `POST
//! /namespaces`: suspends a tenant, or says which tools its keys may call.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::answer::{Answer, Problem, in_background};
use super::body::{Json, Members};
use super::query::Query;
use super::subject::ATTEMPTS_MAX;
use super::{Admin, Call, fields};
use crate::ledger::{Account, names};
use crate::model::key::{Key, ToolList};
use crate::model::namespace::Namespace;
use crate::model::time::Time;
use crate::store::StoreError;

/// One tenant; revoked keys count too.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamespaceView {
    namespace: String,
    key_count: usize,
    active_keys: usize,
    total_credits: i64,
    total_spent: i64,
    suspended: bool,
    allowed_tools: ToolList,
    denied_tools: ToolList,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set<'a> {
    namespace: &'a str,
    suspended: bool,
    allowed_tools: &'a ToolList,
    denied_tools: &'a ToolList,
    message: &'static str,
}

#[derive(Serialize)]
struct All {
    namespaces: Vec<NamespaceView>,
    count: usize,
}

pub(super) async fn list(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let scope = call.actor.scope(Query::of(&call.uri)?.namespace()?)?;
    let keys = admin.store.keys(scope.as_deref()).await?;
    in_background(move || {
        let namespaces = views(&keys, &admin.store.namespaces(), scope.as_deref(), call.now);
        let count = namespaces.len();
        Answer::pretty(&All { namespaces, count })
    })
    .await
}

/// What is absent stays; `null` clears.
pub(super) async fn set(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let members = call.members()?;
    let name = fields::namespace(&members)?.ok_or_else(|| Problem::bad("Missing namespace"))?;
    for _ in 0..ATTEMPTS_MAX {
        let mut tenant = Namespace::clone(&*admin.store.namespace(&name).await?);
        apply(&mut tenant, &members)?;
        let mut event = call
            .event("namespace.updated", format!("Namespace updated: {name}"))
            .with("suspended", tenant.suspended)
            .with("allowedTools", tenant.allowed_tools.names())
            .with("deniedTools", tenant.denied_tools.names());
        (event.namespace, event.target) = (Some(name.clone()), Some(name.clone()));
        match admin.store.update_namespace(tenant, event.into()).await {
            Ok(tenant) => {
                return Answer::ok(&Set {
                    namespace: &tenant.name,
                    suspended: tenant.suspended,
                    allowed_tools: &tenant.allowed_tools,
                    denied_tools: &tenant.denied_tools,
                    message: "Namespace updated",
                });
            }
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(Problem::conflict("The namespace is being changed by others; nothing was done, try again"))
}

fn apply(tenant: &mut Namespace, members: &Members<'_>) -> Result<(), Problem> {
    if members.has("suspended") {
        tenant.suspended = match members.get("suspended")? {
            Json::Bool(suspended) => suspended,
            Json::Null => false,
            Json::Number(_) | Json::Text(_) | Json::List(_) | Json::Object(_) => {
                return Err(Problem::bad("suspended must be true or false"));
            }
        };
    }
    if members.has("allowedTools") {
        tenant.allowed_tools = fields::tools(members, "allowedTools")?;
    }
    if members.has("deniedTools") {
        tenant.denied_tools = fields::tools(members, "deniedTools")?;
    }
    Ok(())
}

/// Of one tenant, or of all.
pub(super) fn views<'a>(
    keys: &'a [(Arc<Key>, Account)],
    tenants: &[Arc<Namespace>],
    scope: Option<&str>,
    now: Time,
) -> Vec<NamespaceView> {
    let mut views: Vec<NamespaceView> = Vec::new();
    let mut places: HashMap<&'a str, usize> = HashMap::new();
    for (key, account) in keys {
        let place = *places.entry(&key.namespace).or_insert_with(|| {
            views.push(NamespaceView::empty(&key.namespace));
            views.len().saturating_sub(1)
        });
        let Some(view) = views.get_mut(place) else { continue };
        view.key_count = view.key_count.saturating_add(1);
        view.active_keys = view.active_keys.saturating_add(usize::from(key.usable(now)));
        view.total_credits = view.total_credits.saturating_add(account.available());
        let spent = account.value(&names::SPENT, now);
        view.total_spent = view.total_spent.saturating_add(spent);
    }
    for tenant in tenants.iter().filter(|tenant| scope.is_none_or(|scope| scope == tenant.name)) {
        let place = places.get(tenant.name.as_str()).copied().unwrap_or_else(|| {
            views.push(NamespaceView::empty(&tenant.name));
            views.len().saturating_sub(1)
        });
        let Some(view) = views.get_mut(place) else { continue };
        view.suspended = tenant.suspended;
        view.allowed_tools = tenant.allowed_tools.clone();
        view.denied_tools = tenant.denied_tools.clone();
    }
    views
}

impl NamespaceView {
    fn empty(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            key_count: 0,
            active_keys: 0,
            total_credits: 0,
            total_spent: 0,
            suspended: false,
            allowed_tools: ToolList::default(),
            denied_tools: ToolList::default(),
        }
    }
}
