//! Opens the books, and brings in what paygate-mcp has left while they are empty.

use std::path::Path;
use std::sync::Arc;

use super::import::{Import, ImportFrom, ImportInto, ImportReport, StateFile};
use super::{AppError, options};
use crate::config::{Books, Config};
use crate::store::local::LocalStore;
use crate::store::redis::RedisStore;
use crate::store::{Store, clock};

/// The books, and what became of the state file if one is named.
pub(super) async fn open(config: &Config) -> Result<(Arc<dyn Store>, Option<String>), AppError> {
    let store: Arc<dyn Store> = match &config.redis {
        Some(redis) => Arc::new(RedisStore::open(&options::redis(redis, &config.books)).await?),
        None => Arc::new(LocalStore::open(&options::books(config), clock::now())?),
    };
    let into = match (&config.redis, &config.books) {
        (Some(redis), _) => ImportInto::Redis(redis.clone()),
        (None, Books::File(db)) => ImportInto::File(db.clone()),
        (None, Books::Ephemeral) => return Ok((store, None)),
    };
    let Some(file) = &config.state_file else { return Ok((store, None)) };
    match bring_in(store.as_ref(), file, into).await {
        Ok(said) => Ok((store, Some(said))),
        Err(why) => {
            // What cannot be closed was not written to either.
            store.close().await.ok();
            Err(why)
        }
    }
}

/// Brings in the keys of a state file if nothing was ever written to these books; what became of it.
///
/// All of it or nothing: once there are books the file is left alone, so what was left out now would
/// stay out without a word.
async fn bring_in(store: &dyn Store, path: &Path, into: ImportInto) -> Result<String, AppError> {
    let failed = |why: String| AppError::StateFile { path: path.to_owned(), why };
    if !store.is_unused().await.map_err(|why| failed(why.to_string()))? {
        return Ok(format!("{} is left alone: {into} is in use", path.display()));
    }
    if !path.exists() {
        return Ok(format!("{} is not there; nothing was brought over", path.display()));
    }
    let now = clock::now();
    let file = StateFile::read(path, now).map_err(|why| failed(why.to_string()))?;
    if let Some(first) = file.first_left_out() {
        return Err(failed(first));
    }
    let made = file.import(store, now).await.map_err(|why| failed(why.to_string()))?;
    let import = Import { from: ImportFrom::File(path.to_owned()), into, is_dry: false };
    let report = ImportReport::new(&file, &made, &import, now);
    for note in report.notes() {
        tracing::warn!(target: "app", "{}: {note}", path.display());
    }
    Ok(format!(
        "{}: {} keys with {} credits were brought over; from now on it is left alone",
        path.display(),
        report.keys_imported(),
        report.credits_imported()
    ))
}
