//! The key's tenant must not be suspended.

use super::Failed;
use crate::gate::request::Request;
use crate::model::denial::Denial;

pub(super) fn check(request: &Request<'_>) -> Result<(), Failed> {
    match request.namespace {
        Some(namespace) if namespace.suspended => Err(Denial::NamespaceSuspended.into()),
        Some(_) | None => Ok(()),
    }
}
