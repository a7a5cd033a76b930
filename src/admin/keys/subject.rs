//! The key that a request is about: found, judged fit, changed.

use std::sync::Arc;

use crate::admin::wire::answer::Problem;
use crate::admin::wire::fields::KeyRef;
use crate::admin::{Admin, Call};
use crate::model::audit::AuditEvent;
use crate::model::key::Key;
use crate::model::time::Time;
use crate::store::StoreError;

/// How often a change is tried against others that change the same key.
pub(in crate::admin) const ATTEMPTS_MAX: usize = 8;

/// What state a key must be in for a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::admin) enum Fit {
    /// Any.
    Exists,
    /// Not revoked.
    NotRevoked,
    /// Neither revoked nor expired; it may be suspended.
    InForce,
    /// Open to the one who showed the credential.
    Credential,
}

impl Fit {
    fn problem(self) -> Problem {
        Problem::not_found(match self {
            Self::Exists => "Key not found",
            Self::NotRevoked | Self::InForce => "Key not found or inactive",
            Self::Credential => "Invalid or inactive API key",
        })
    }

    fn suits(self, key: &Key, now: Time) -> bool {
        match self {
            Self::Exists => true,
            Self::NotRevoked => key.active,
            Self::InForce => key.in_force(now),
            Self::Credential => key.usable(now),
        }
    }
}

impl Admin {
    /// The key that a request names. One that its sender does not see is not there.
    pub(in crate::admin) async fn find(
        &self,
        call: &Call,
        key: &KeyRef,
        fit: Fit,
    ) -> Result<Arc<Key>, Problem> {
        let found = match key {
            KeyRef::Id(id) => self.store.key_by_id(id).await?,
            KeyRef::Credential(digest) => self.store.key_by_digest(*digest, call.now).await?,
            KeyRef::Nothing => None,
        };
        let found = found.filter(|key| call.actor.sees_key(key) && fit.suits(key, call.now));
        found.ok_or_else(|| fit.problem())
    }

    /// Changes a key. What others change at the same time is kept: the change is applied to the
    /// record as it is then. `event` is what the audit log says of the changed record.
    pub(in crate::admin) async fn change(
        &self,
        call: &Call,
        key: &KeyRef,
        fit: Fit,
        event: impl Fn(&Key) -> AuditEvent + Send,
        apply: impl Fn(&mut Key) -> Result<(), Problem> + Send,
    ) -> Result<Arc<Key>, Problem> {
        let mut current = self.find(call, key, fit).await?;
        for _ in 0..ATTEMPTS_MAX {
            let mut changed = Key::clone(&current);
            apply(&mut changed)?;
            if changed == *current {
                return Ok(current);
            }
            let deed = event(&changed).into();
            match self.store.update_key(changed, deed).await {
                Ok(key) => return Ok(key),
                Err(StoreError::Conflict) => {}
                Err(StoreError::NotFound) => return Err(fit.problem()),
                Err(other) => return Err(other.into()),
            }
            // By id: the credential that named it may have been replaced meanwhile.
            current = self.find(call, &KeyRef::Id(current.id.clone()), fit).await?;
        }
        Err(StoreError::Conflict.into())
    }
}
