//! Query strings.

use axum::extract::Query;
use axum::http::Uri;

use super::answer::Problem;
use super::fields;

/// `?namespace=`, as namespaces are stored; `None` for all of them.
pub(super) fn namespace(uri: &Uri) -> Result<Option<String>, Problem> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| Problem::bad("The query string is malformed"))?;
    let found = pairs.into_iter().find(|(name, _)| name == "namespace");
    match found {
        Some((_, value)) if !value.is_empty() => fields::namespace_of(&value).map(Some),
        Some(_) | None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_normalised() {
        let read = |uri: &str| namespace(&uri.parse().unwrap());
        assert_eq!(read("/keys").unwrap(), None);
        assert_eq!(read("/keys?namespace=").unwrap(), None);
        assert_eq!(read("/keys?x=1&namespace=ACME").unwrap().as_deref(), Some("acme"));
        assert!(read("/keys?namespace=acme_1").is_err());
    }
}
