//! Opens the books.

use std::sync::Arc;

use super::{AppError, options};
use crate::config::Config;
use crate::store::local::LocalStore;
use crate::store::{Store, clock};

pub(super) fn open(config: &Config) -> Result<Arc<dyn Store>, AppError> {
    let store = LocalStore::open(&options::books(config), clock::now())?;
    Ok(Arc::new(store))
}
