//! PLACEHOLDER for the admin API that is being written beside this; not to be merged.
#![allow(missing_docs, reason = "placeholder")]

use std::sync::Arc;

use secrecy::SecretString;

use crate::gate::Policy;
use crate::store::Store;

pub struct AdminOptions {
    pub admin_key: SecretString,
    pub name: String,
    pub policy: Arc<Policy>,
    pub refund_on_failure: bool,
}

pub struct AdminState;

impl AdminState {
    pub fn new(_options: AdminOptions, _store: Arc<dyn Store>) -> Self {
        Self
    }
}

pub fn router(_state: AdminState) -> axum::Router {
    axum::Router::new()
}
