//! Records of tenants, and entries of the audit log that belong to none.

use std::sync::Arc;

use redis::cmd;
use serde_json::json;

use crate::model::audit::AuditEvent;
use crate::model::bounds::NAMESPACES_MAX;
use crate::model::namespace::Namespace;
use crate::store::redis::books::Books;
use crate::store::redis::journals::journal::common_row;
use crate::store::redis::names::Names;
use crate::store::redis::records::deeds::{Plan, audit_text};
use crate::store::{Deed, StoreError};

impl Books {
    /// Replaces a tenant's record.
    pub(in crate::store::redis) async fn update_namespace(
        &self,
        mut tenant: Namespace,
        deed: Deed,
    ) -> Result<Arc<Namespace>, StoreError> {
        let is_new = !self.memory().namespaces.contains_key(&tenant.name);
        if is_new && self.memory().namespaces.len() >= NAMESPACES_MAX {
            return Err(StoreError::Full("namespaces", NAMESPACES_MAX));
        }
        self.begin_books(&tenant.name).await?;
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
    pub(in crate::store::redis) async fn namespace(
        &self,
        name: &str,
    ) -> Result<Arc<Namespace>, StoreError> {
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
    pub(in crate::store::redis) async fn fresh_namespace(
        &self,
        name: &str,
    ) -> Result<Arc<Namespace>, StoreError> {
        let mut get = cmd("HGET");
        get.arg(Names::of(name).meta()).arg("record");
        let record: Option<String> = self.link.ask(&get).await?;
        let Some(record) = record else {
            self.memory().trust(name);
            return Ok(Arc::new(Namespace::unwritten(name)));
        };
        let tenant: Namespace = serde_json::from_str(&record)
            .map_err(|error| StoreError::Read(format!("the record of {name} is none: {error}")))?;
        let tenant = Arc::new(tenant);
        self.memory().put_namespace(&tenant);
        Ok(tenant)
    }

    /// Writes an entry of the audit log that belongs to no change of a tenant's books.
    pub(in crate::store::redis) async fn note(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.link.ask::<Option<String>>(&noted(event)?).await.map(drop)
    }
}

fn noted(event: &AuditEvent) -> Result<redis::Cmd, StoreError> {
    common_row("audit", event.at.ms(), "", &audit_text(event))
}
