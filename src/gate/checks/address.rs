//! The client's address must be on the key's list, if it has one.

use super::Failed;
use crate::gate::request::Request;
use crate::model::denial::Denial;

pub(super) fn check(request: &Request<'_>) -> Result<(), Failed> {
    match request.key {
        Some(key) if !key.ip_allowlist.allows(request.address) => {
            Err(Denial::IpNotAllowed(request.address).into())
        }
        Some(_) | None => Ok(()),
    }
}
