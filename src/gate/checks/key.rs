//! The credential must open a key that is active and not suspended, and whose time has not passed.

use super::Failed;
use crate::gate::request::Request;
use crate::model::denial::Denial;

pub(super) fn check(request: &Request<'_>) -> Result<(), Failed> {
    match request.key {
        None => Err(absent(request).into()),
        Some(key) if key.expired(request.now) => Err(Denial::ApiKeyExpired.into()),
        Some(key) if !key.active => Err(Denial::InvalidApiKey.into()),
        Some(key) if key.suspended => Err(Denial::ApiKeySuspended.into()),
        Some(_) => Ok(()),
    }
}

pub(super) fn absent(request: &Request<'_>) -> Denial {
    if request.credential_shown { Denial::InvalidApiKey } else { Denial::MissingApiKey }
}
