//! The tenant must be allowed every tool.

use super::{Failed, tools_allowed};
use crate::gate::request::Request;

pub(super) fn check(request: &Request<'_>) -> Result<(), Failed> {
    match request.namespace {
        Some(tenant) => tools_allowed(request, &tenant.allowed_tools, &tenant.denied_tools),
        None => Ok(()),
    }
}
