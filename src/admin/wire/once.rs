//! `Idempotency-Key`: a request that moves money, sent again within 24 hours, changes nothing more
//! and gets the same answer.

use crate::admin::Call;
use crate::admin::wire::answer::Problem;
use crate::admin::wire::body::Members;
use crate::model::idempotency::IdempotencyKey;
use crate::model::secret::Digest;
use crate::store::Once;

/// The request's idempotency key, if it has one; `note` is what the store keeps for a repetition.
pub(in crate::admin) fn read(
    call: &Call,
    endpoint: &str,
    members: &Members<'_>,
) -> Result<Option<Once>, Problem> {
    let mut given = call.headers.get_all("idempotency-key").iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Problem::bad("Idempotency-Key must be given once"));
    }
    let Some(key) = IdempotencyKey::parse(value.as_bytes()) else {
        return Err(Problem::bad(format!("Idempotency-Key {}", IdempotencyKey::RULE)));
    };
    // One tenant's keys are not those of another; a line break is in none of the three.
    let tenant = call.actor.namespace.as_deref().map_or(String::new(), |own| format!("\n{own}"));
    let given = key.as_str().as_bytes();
    let id = Digest::of(&[endpoint.as_bytes(), tenant.as_bytes(), b"\n", given].concat());
    Ok(Some(Once { id, request: members.digest(), note: String::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn keys_are_bounded_and_belong_to_their_endpoint_and_tenant() {
        let members = Members::of_body(b"{}", &[]).unwrap();
        let once = |endpoint: &str, tenant: Option<&str>, value: &[u8]| {
            let mut call = Call::for_tests();
            call.actor.namespace = tenant.map(str::to_owned);
            call.headers.insert("idempotency-key", HeaderValue::from_bytes(value).unwrap());
            read(&call, endpoint, &members)
        };
        for wrong in [&b""[..], &[b'a'; 256], "ü".as_bytes()] {
            assert!(once("POST /keys", None, wrong).is_err());
        }
        let id = |endpoint: &str, tenant, value: &[u8]| {
            once(endpoint, tenant, value).unwrap().unwrap().id
        };
        let long = [b'a'; 255];
        assert_eq!(id("POST /keys", None, &long), id("POST /keys", None, &long));
        assert_ne!(id("POST /keys", None, b"a"), id("POST /topup", None, b"a"));
        let of_tenants = [None, Some("acme"), Some("zoo")].map(|own| id("POST /keys", own, b"a"));
        assert_eq!(of_tenants.into_iter().collect::<std::collections::HashSet<_>>().len(), 3);
        assert!(read(&Call::for_tests(), "POST /keys", &members).unwrap().is_none());
    }
}
