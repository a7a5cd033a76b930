//! `GET /namespaces`: the tenants, in order of their first key, then those without one. `POST
//! /namespaces`: suspends a tenant, or says which tools its keys may call.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::keys::subject::ATTEMPTS_MAX;
use super::wire::answer::{Answer, Problem, in_background};
use super::wire::body::{Json, Members};
use super::wire::fields;
use super::wire::query::Query;
use super::{Admin, Call};
use crate::model::key::ToolList;
use crate::model::namespace::{Namespace, TenantSum};
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
    let sums = admin.store.tenant_sums(call.now).await?;
    in_background(move || {
        let namespaces = views(sums, &admin.store.namespaces(), scope.as_deref());
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
pub(super) fn views(
    sums: Vec<TenantSum>,
    tenants: &[Arc<Namespace>],
    scope: Option<&str>,
) -> Vec<NamespaceView> {
    let is_asked = |name: &str| scope.is_none_or(|scope| scope == name);
    let mut views: Vec<NamespaceView> =
        sums.into_iter().filter(|sum| is_asked(&sum.namespace)).map(Into::into).collect();
    let places = views.iter().enumerate();
    let places: HashMap<String, usize> =
        places.map(|(place, view)| (view.namespace.clone(), place)).collect();
    for tenant in tenants.iter().filter(|tenant| is_asked(&tenant.name)) {
        let place = places.get(tenant.name.as_str()).copied().unwrap_or_else(|| {
            views.push(TenantSum::empty(&tenant.name).into());
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
    pub(super) const fn active_keys(&self) -> usize {
        self.active_keys
    }
}

impl From<TenantSum> for NamespaceView {
    fn from(sum: TenantSum) -> Self {
        Self {
            namespace: sum.namespace,
            key_count: sum.keys,
            active_keys: sum.usable,
            total_credits: sum.available,
            total_spent: sum.spent,
            suspended: false,
            allowed_tools: ToolList::default(),
            denied_tools: ToolList::default(),
        }
    }
}
