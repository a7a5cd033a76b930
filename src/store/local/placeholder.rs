//! PLACEHOLDER for the embedded store that is being written beside this; not to be merged.
#![allow(missing_docs, reason = "placeholder")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::Durability;
use crate::gate::Charge;
use crate::ledger::{Account, CreditKind, Refusal};
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::namespace::Namespace;
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::{
    Creation, Durable, HoldRefused, Once, Reading, Settlement, Show, Store, StoreError, UsageRow,
};

pub struct LocalOptions {
    pub path: Option<PathBuf>,
    pub durability: Durability,
}

#[derive(Debug, thiserror::Error)]
#[error("placeholder")]
pub struct OpenError;

#[derive(Debug, thiserror::Error)]
#[error("placeholder")]
pub struct VerifyError;

pub struct VerifyReport;

impl VerifyReport {
    pub fn is_clean(&self) -> bool {
        true
    }
}

impl std::fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("placeholder")
    }
}

pub fn verify(_path: &Path) -> Result<VerifyReport, VerifyError> {
    Err(VerifyError)
}

pub struct LocalStore;

impl LocalStore {
    pub fn open(_options: &LocalOptions, _now: Time) -> Result<Self, OpenError> {
        Ok(Self)
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn key_by_digest(&self, _: Digest, _: Time) -> Result<Option<Arc<Key>>, StoreError> {
        Ok(None)
    }
    async fn key_by_id(&self, _: &KeyId) -> Result<Option<Arc<Key>>, StoreError> {
        Ok(None)
    }
    async fn namespace(&self, name: &str) -> Result<Arc<Namespace>, StoreError> {
        Ok(Arc::new(Namespace::unwritten(name)))
    }
    async fn create_key(&self, key: Key, _: i64, _: Option<Once>, _: Time) -> Result<Creation, StoreError> {
        Ok(Creation::Made(Arc::new(key)))
    }
    async fn update_key(&self, key: Key) -> Result<Arc<Key>, StoreError> {
        Ok(Arc::new(key))
    }
    async fn credit(&self, _: &KeyId, _: i64, _: CreditKind, _: Option<Once>, _: Time) -> Result<i64, StoreError> {
        Err(StoreError::NotFound)
    }
    async fn hold(&self, _: &Charge, _: Time, _: Time) -> Result<(), HoldRefused> {
        Err(HoldRefused::Stale)
    }
    async fn check(&self, _: &Charge, _: Time) -> Result<Result<(), Refusal>, StoreError> {
        Err(StoreError::NotFound)
    }
    async fn settle(&self, _: Settlement, _: Time) -> Result<(Reading, Durable), StoreError> {
        Err(StoreError::NotOpen)
    }
    async fn expire(&self, _: Time) -> Result<usize, StoreError> {
        Ok(0)
    }
    async fn read(&self, _: &KeyId, _: Show, _: Time) -> Result<Reading, StoreError> {
        Err(StoreError::NotFound)
    }
    async fn account(&self, _: &KeyId) -> Result<Account, StoreError> {
        Err(StoreError::NotFound)
    }
    async fn keys(&self, _: Option<&str>) -> Result<Vec<(Arc<Key>, Account)>, StoreError> {
        Ok(Vec::new())
    }
    async fn usage(&self, _: Option<&str>) -> Result<Vec<UsageRow>, StoreError> {
        Ok(Vec::new())
    }
    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
