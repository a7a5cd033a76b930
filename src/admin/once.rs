//! `Idempotency-Key`: a request that moves money, sent again within 24 hours, changes nothing more
//! and gets the same answer.

use axum::http::HeaderMap;

use super::answer::Problem;
use super::body::Members;
use crate::model::idempotency::IdempotencyKey;
use crate::model::secret::Digest;
use crate::store::Once;

/// The request's idempotency key, if it has one; `note` is what the store keeps for a repetition.
pub(super) fn read(
    headers: &HeaderMap,
    endpoint: &str,
    members: &Members<'_>,
) -> Result<Option<Once>, Problem> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Problem::bad("Idempotency-Key must be given once"));
    }
    let Some(key) = IdempotencyKey::parse(value.as_bytes()) else {
        return Err(Problem::bad(format!("Idempotency-Key {}", IdempotencyKey::RULE)));
    };
    let id = Digest::of(&[endpoint.as_bytes(), b"\n", key.as_str().as_bytes()].concat());
    Ok(Some(Once { id, request: members.digest(), note: String::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_and_belong_to_their_endpoint() {
        let members = Members::of_body(b"{}", &[]).unwrap();
        let once = |endpoint: &str, value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", axum::http::HeaderValue::from_bytes(value).unwrap());
            read(&headers, endpoint, &members)
        };
        for wrong in [&b""[..], &[b'a'; 256], "ü".as_bytes()] {
            assert!(once("POST /keys", wrong).is_err());
        }
        let id = |endpoint: &str, value: &[u8]| once(endpoint, value).unwrap().unwrap().id;
        assert_eq!(id("POST /keys", &[b'a'; 255]), id("POST /keys", &[b'a'; 255]));
        assert_ne!(id("POST /keys", b"a"), id("POST /topup", b"a"));
        assert!(read(&HeaderMap::new(), "POST /keys", &members).unwrap().is_none());
    }
}
