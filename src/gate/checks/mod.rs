//! The checks on the request itself, one file each. The order of [`CHECKS`] is part of the API.

mod address;
mod key;
mod key_tools;
mod namespace;
mod namespace_tools;

use super::request::Request;
use crate::model::denial::Denial;
use crate::model::key::ToolList;

/// A failed check: why, and which call of a batch it is about (0 if all).
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) denial: Denial,
    pub(super) index: usize,
}

impl From<Denial> for Failed {
    fn from(denial: Denial) -> Self {
        Self { denial, index: 0 }
    }
}

type Check = fn(&Request<'_>) -> Result<(), Failed>;

/// Every check, in order of precedence.
const CHECKS: &[Check] =
    &[key::check, namespace::check, address::check, namespace_tools::check, key_tools::check];

pub(super) fn run(request: &Request<'_>) -> Result<(), Failed> {
    CHECKS.iter().try_for_each(|check| check(request))
}

/// What the first check says of a request without a key.
pub(super) fn no_key(request: &Request<'_>) -> Failed {
    key::absent(request).into()
}

/// The rule that a namespace's and a key's tool lists share.
fn tools_allowed(
    request: &Request<'_>,
    allowed: &ToolList,
    denied: &ToolList,
) -> Result<(), Failed> {
    for (index, call) in request.calls.iter().enumerate() {
        let tool = call.tool;
        if !allowed.is_empty() && !allowed.contains(tool) {
            return Err(Failed { denial: Denial::ToolNotAllowed(tool.to_owned()), index });
        }
        if denied.contains(tool) {
            return Err(Failed { denial: Denial::ToolDenied(tool.to_owned()), index });
        }
    }
    Ok(())
}
