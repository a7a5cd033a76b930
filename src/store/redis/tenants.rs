//! Records of tenants, and entries of the audit log that belong to none.

use std::sync::Arc;

use redis::cmd;
use serde_json::json;

use super::books::Books;
use super::deeds::{Plan, audit_text};
use super::names::{self, Names};
use super::streams::append;
use crate::model::audit::AuditEvent;
use crate::model::bounds::{NAMESPACES_MAX, REDIS_JOURNAL_ROWS_MAX};
use crate::model::namespace::Namespace;
use crate::store::{Deed, StoreError};

impl Books {
    /// Replaces a tenant's record.
    pub(super) async fn update_namespace(
        &self,
        mut tenant: Namespace,
        deed: Deed,
    ) -> Result<Arc<Namespace>, StoreError> {
        let is_new = !self.memory().namespaces.contains_key(&tenant.name);
        if is_new && self.memory().namespaces.len() >= NAMESPACES_MAX {
            return Err(StoreError::Full("namespaces", NAMESPACES_MAX));
        }
        self.found(&tenant.name).await?;
        let names = Names::of(&tenant.name);
        let mut plan = Plan::new(&names, &tenant.name, deed.once)?;
        plan.expect.push((1, tenant.revision.to_string()));
        tenant.revision = tenant.revision.saturating_add(1);
        let record = serde_json::to_string(&tenant).map_err(|error| {
            StoreError::Read(format!("a tenant's record cannot be written: {error}"))
        })?;
        let revision = tenant.revision.to_string();
        plan.put.push(vec![
            json!(1),
            json!("rev"),
            json!(&revision),
            json!("record"),
            json!(&record),
        ]);
        plan.told("namespace", &tenant.name, record, revision);
        plan.audit(deed.audit);
        self.act(plan, self.present()).await?;
        let tenant = Arc::new(tenant);
        self.memory().put_namespace(&tenant);
        self.changed().await?;
        Ok(tenant)
    }

    /// A tenant's record, read again if a hold was refused because some record was old.
    pub(super) async fn namespace(&self, name: &str) -> Result<Arc<Namespace>, StoreError> {
        let (known, is_doubted) = {
            let memory = self.memory();
            (memory.namespaces.get(name).map(Arc::clone), memory.doubts(name))
        };
        if !is_doubted {
            return Ok(known.unwrap_or_else(|| Arc::new(Namespace::unwritten(name))));
        }
        match (self.fresh_namespace(name).await, known) {
            // A paid call is refused all the same.
            (Err(StoreError::Unavailable(_)), Some(known)) => Ok(known),
            (Err(StoreError::Unavailable(_)), None) if self.leases.is_some() => {
                // What is sold from a lease names the revision that it was judged by.
                Ok(Arc::new(Namespace::unwritten(name)))
            }
            (fresh, _) => fresh,
        }
    }

    /// A tenant's record as it is now.
    pub(super) async fn fresh_namespace(&self, name: &str) -> Result<Arc<Namespace>, StoreError> {
        let mut get = cmd("HGET");
        get.arg(Names::of(name).meta()).arg("record");
        let record: Option<String> = self.link.ask(&get).await?;
        let Some(record) = record else {
            self.memory().settle(name);
            return Ok(Arc::new(Namespace::unwritten(name)));
        };
        let tenant: Namespace = serde_json::from_str(&record)
            .map_err(|error| StoreError::Read(format!("the record of {name} is none: {error}")))?;
        let tenant = Arc::new(tenant);
        self.memory().put_namespace(&tenant);
        Ok(tenant)
    }

    /// Writes an entry of the audit log that belongs to no change of a tenant's books.
    pub(super) async fn note(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.link.ask::<Option<String>>(&noted(event)?).await.map(drop)
    }
}

fn noted(event: &AuditEvent) -> Result<redis::Cmd, StoreError> {
    let (at, text) = (event.at.ms().to_string(), audit_text(event));
    let fields = [("at", &*at), ("kind", "audit"), ("amount", "0"), ("detail", &*text)];
    append(names::JOURNAL, REDIS_JOURNAL_ROWS_MAX, &fields)
}
