//! Admin tokens and records of namespaces: few, all in memory, changed by operators only.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::queue::Write;
use super::records::{from_json, to_json};
use super::state::Shared;
use crate::model::bounds::{ADMIN_TOKENS_MAX, NAMESPACES_MAX};
use crate::model::namespace::Namespace;
use crate::model::secret::Digest;
use crate::model::token::{AdminToken, TokenId};
use crate::store::record::TokenRecord;
use crate::store::{Deed, Durable, StoreError};

/// Every admin token, by its digest.
pub(super) type Tokens = HashMap<Digest, Arc<AdminToken>>;

pub(super) fn write_token(connection: &Connection, token: &AdminToken) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO admin_tokens (id, digest, record) VALUES (?1, ?2, ?3)")?
        .execute(params![
            token.id.as_str(),
            token.digest.bytes().as_slice(),
            to_json(&TokenRecord::of(token))?
        ])?;
    Ok(())
}

pub(super) fn delete_token(connection: &Connection, id: &TokenId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM admin_tokens WHERE id = ?1")?.execute([id.as_str()])?;
    Ok(())
}

pub(super) fn read_tokens(connection: &Connection) -> rusqlite::Result<Tokens> {
    let mut statement = connection.prepare("SELECT id, digest, record FROM admin_tokens")?;
    let tokens = statement.query_map([], |row| {
        let digest = Digest::from_slice(row.get_ref(1)?.as_blob()?)
            .ok_or(rusqlite::Error::InvalidColumnName("digest".into()))?;
        let record: TokenRecord = from_json(row.get_ref(2)?.as_str()?)?;
        let id = TokenId::parse(row.get_ref(0)?.as_str()?)
            .ok_or(rusqlite::Error::InvalidColumnName("id".into()))?;
        let token = record.token(id, digest);
        Ok((digest, Arc::new(token)))
    })?;
    tokens.collect()
}

pub(super) fn write_namespace(connection: &Connection, tenant: &Namespace) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO namespaces (name, record) VALUES (?1, ?2)")?
        .execute((&tenant.name, to_json(tenant)?))?;
    Ok(())
}

impl Shared {
    pub(super) fn token(&self, digest: &Digest) -> Option<Arc<AdminToken>> {
        let token = self.lock().tokens.get(digest).map(Arc::clone);
        token.filter(|token| token.digest.same(digest))
    }

    /// In order of their making.
    pub(super) fn tokens(&self) -> Vec<Arc<AdminToken>> {
        let mut tokens: Vec<_> = self.lock().tokens.values().map(Arc::clone).collect();
        tokens.sort_unstable_by(|one, other| {
            (one.created_at, &one.id).cmp(&(other.created_at, &other.id))
        });
        tokens
    }

    pub(super) fn create_token(
        &self,
        token: AdminToken,
        deed: Deed,
    ) -> Result<Durable, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        if state.tokens.len() >= ADMIN_TOKENS_MAX {
            return Err(StoreError::Full("admin tokens", ADMIN_TOKENS_MAX));
        }
        let token = Arc::new(token);
        state.tokens.insert(token.digest, Arc::clone(&token));
        state.queue.push(Write::Token(token));
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(durable)
    }

    pub(super) fn delete_token(&self, id: &TokenId, deed: Deed) -> Result<Durable, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let before = state.tokens.len();
        state.tokens.retain(|_, token| token.id != *id);
        if state.tokens.len() == before {
            return Err(StoreError::NotFound);
        }
        state.queue.push(Write::DeletedToken(id.clone()));
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(durable)
    }

    /// In order of their names.
    pub(super) fn namespaces(&self) -> Vec<Arc<Namespace>> {
        let mut tenants: Vec<_> = self.lock().namespaces.values().map(Arc::clone).collect();
        tenants.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        tenants
    }

    /// Replaces a tenant's record if its revision is still the one given.
    pub(super) fn update_namespace(
        &self,
        mut tenant: Namespace,
        deed: Deed,
    ) -> Result<(Arc<Namespace>, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let known = state.namespaces.get(&tenant.name).map(|known| known.revision);
        if known.unwrap_or(0) != tenant.revision {
            return Err(StoreError::Conflict);
        }
        if known.is_none() && state.namespaces.len() >= NAMESPACES_MAX {
            return Err(StoreError::Full("namespaces", NAMESPACES_MAX));
        }
        tenant.revision = tenant.revision.saturating_add(1);
        let tenant = Arc::new(tenant);
        state.namespaces.insert(tenant.name.clone(), Arc::clone(&tenant));
        state.queue.push(Write::Namespace(Arc::clone(&tenant)));
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((tenant, durable))
    }
}
