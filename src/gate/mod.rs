//! May this call be made, and at what price? Pure: facts in, a [`Charge`] or a [`Denied`] out.
//!
//! First the ordered checks on the request itself ([`checks`]), then the price, then the ordered
//! list of counters that the call would use up ([`limits`]). The store applies those in one atomic
//! step; if one does not fit, [`Charge::refused`] says what that means.

mod charge;
mod checks;
mod limits;
mod policy;
mod price;
mod request;

pub use charge::{Charge, Denied, Item};
pub use policy::{Policy, ToolPolicy};
pub use price::script_length;
pub use request::{CallFacts, Request};

use crate::model::ids::CallId;
use crate::model::name_map::NameMap;

/// Judges a request whose calls cost nothing and use nothing up: any method but `tools/call`.
pub fn admit_free(request: &Request<'_>) -> Result<(), Denied> {
    checks::run(request).map_err(|failed| Denied::by_check(failed, 0))
}

/// Judges a call whose price is known: something that was priced before and was not paid.
pub fn admit_at_price(
    policy: &Policy,
    request: &Request<'_>,
    item: Item,
    call: CallId,
) -> Result<Charge, Denied> {
    charge(policy, &policy.tools, request, call, vec![item])
}

/// Judges a call or a batch. The charge still has to be held by the store.
pub fn admit(policy: &Policy, request: &Request<'_>, call: CallId) -> Result<Charge, Denied> {
    charge(policy, &policy.tools, request, call, price::items(policy, request.calls))
}

/// Judges a request by a method with a price; its request has no calls. A method without a price
/// costs nothing.
pub fn admit_method(
    policy: &Policy,
    request: &Request<'_>,
    method: &str,
    call: CallId,
) -> Result<Charge, Denied> {
    let price = policy.methods.get(method).and_then(|own| own.price).unwrap_or(0);
    let items = vec![Item { tool: method.into(), price }];
    charge(policy, &policy.methods, request, call, items)
}

fn charge(
    policy: &Policy,
    entries: &NameMap<String, ToolPolicy>,
    request: &Request<'_>,
    call: CallId,
    items: Vec<Item>,
) -> Result<Charge, Denied> {
    let total = price::total(&items);
    checks::run(request).map_err(|failed| Denied::by_check(failed, total))?;
    match request.key {
        Some(key) => Ok(limits::charge(policy, entries, request, key, call, items, total)),
        // The first check refuses a request without a key.
        None => Err(Denied::by_check(checks::no_key(request), total)),
    }
}
