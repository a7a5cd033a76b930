//! PLACEHOLDER for the admin API that is being written beside this; not to be merged.
#![allow(missing_docs, reason = "placeholder")]

use std::sync::Arc;

use secrecy::SecretString;

use crate::gate::Policy;
use crate::store::Store;

pub type Denied = Arc<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub std::net::IpAddr);

pub struct AdminOptions {
    pub admin_key: SecretString,
    pub name: String,
    pub policy: Arc<Policy>,
    pub refund_on_failure: bool,
    pub body_bytes_max: usize,
    pub denied: Denied,
}

pub fn router(_options: AdminOptions, _store: Arc<dyn Store>) -> axum::Router {
    axum::Router::new()
}
