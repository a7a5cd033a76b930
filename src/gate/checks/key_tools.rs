//! The key must be allowed every tool.

use super::{Failed, tools_allowed};
use crate::gate::request::Request;

pub(super) fn check(request: &Request<'_>) -> Result<(), Failed> {
    match request.key {
        Some(key) => tools_allowed(request, &key.allowed_tools, &key.denied_tools),
        None => Ok(()),
    }
}
