//! Query strings.

use axum::extract::Query as Pairs;
use axum::http::Uri;

use crate::admin::wire::answer::Problem;
use crate::admin::wire::fields;
use crate::model::time::Time;

/// Entries of a page where nobody says how many.
const PAGE_DEFAULT: usize = 100;
/// Most entries of a page.
const PAGE_MAX: usize = 1000;

/// The parameters of a request.
pub(in crate::admin) struct Query(Vec<(String, String)>);

/// Which part of a list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::admin) struct PageAsked {
    pub(in crate::admin) after: Option<i64>,
    pub(in crate::admin) limit: usize,
}

impl Query {
    pub(in crate::admin) fn of(uri: &Uri) -> Result<Self, Problem> {
        let malformed = |_| Problem::bad("The query string is malformed");
        Pairs::try_from_uri(uri).map(|Pairs(pairs)| Self(pairs)).map_err(malformed)
    }

    /// A parameter; an empty one counts as absent.
    pub(in crate::admin) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// `namespace`, as namespaces are stored; `None` for all of them.
    pub(in crate::admin) fn namespace(&self) -> Result<Option<String>, Problem> {
        self.get("namespace").map(fields::namespace_of).transpose()
    }

    /// `limit` and `cursor`; `None` if there is neither.
    pub(in crate::admin) fn page(&self) -> Result<Option<PageAsked>, Problem> {
        self.marked_page(None)
    }

    /// The same of a list whose order is this instance's own.
    pub(in crate::admin) fn marked_page(
        &self,
        mark: Option<&str>,
    ) -> Result<Option<PageAsked>, Problem> {
        let (limit, cursor) = (self.get("limit"), self.get("cursor"));
        if limit.is_none() && cursor.is_none() {
            return Ok(None);
        }
        let wrong = || Problem::bad(format!("limit must be a whole number from 1 to {PAGE_MAX}"));
        let limit = match limit {
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                limit.ok_or_else(wrong)?
            }
            None => PAGE_DEFAULT,
        };
        Ok(Some(PageAsked { after: self.cursor(mark)?, limit }))
    }

    /// A whole number, 0 or more.
    pub(in crate::admin) fn number(&self, name: &str) -> Result<Option<usize>, Problem> {
        let wrong = || Problem::bad(format!("{name} must be a whole number, 0 or more"));
        let fits = |number: &usize| u32::try_from(*number).is_ok();
        let read = |text: &str| text.parse().ok().filter(fits).ok_or_else(wrong);
        self.get(name).map(read).transpose()
    }

    /// A moment.
    pub(in crate::admin) fn time(&self, name: &str) -> Result<Option<Time>, Problem> {
        let wrong = || {
            let example = "a time such as 2030-12-31T23:59:59Z or epoch milliseconds";
            Problem::bad(format!("{name} must be {example}"))
        };
        self.get(name).map(|text| fields::time(text).ok_or_else(wrong)).transpose()
    }

    /// `cursor`: the place after which a list goes on, and the mark of the instance whose place it is.
    pub(in crate::admin) fn cursor(&self, mark: Option<&str>) -> Result<Option<i64>, Problem> {
        let Some(text) = self.get("cursor") else { return Ok(None) };
        let wrong = || Problem::bad("cursor must be the X-Next-Cursor of an earlier answer");
        let (place, of) = match text.split_once('-') {
            Some((place, of)) if !place.is_empty() => (place, Some(of)),
            Some(_) | None => (text, None),
        };
        let place = place.parse().ok().filter(|place| *place >= 0).ok_or_else(wrong)?;
        if of != mark {
            return Err(Problem::bad(
                "cursor is of another instance, whose lists have an order of their own: ask that one, or begin again without it",
            ));
        }
        Ok(Some(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(uri: &str) -> Query {
        Query::of(&uri.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_namespace_is_normalised() {
        let read = |uri: &str| query(uri).namespace();
        assert_eq!(read("/keys").unwrap(), None);
        assert_eq!(read("/keys?namespace=").unwrap(), None);
        assert_eq!(read("/keys?x=1&namespace=ACME").unwrap().as_deref(), Some("acme"));
        assert!(read("/keys?namespace=acme_1").is_err());
    }

    #[test]
    fn pages() {
        let page = |uri: &str| query(uri).page().map_err(|problem| problem.message().to_owned());
        assert_eq!(page("/keys"), Ok(None));
        let asked = |after, limit| Ok(Some(PageAsked { after, limit }));
        assert_eq!(page("/keys?limit=5"), asked(None, 5));
        assert_eq!(page("/keys?cursor=7"), asked(Some(7), PAGE_DEFAULT));
        let marked = |uri: &str| query(uri).cursor(Some("ab")).ok();
        assert_eq!(marked("/usage?cursor=7-ab"), Some(Some(7)));
        assert_eq!(marked("/usage"), Some(None));
        for foreign in ["7-cd", "7", "7-", "-ab", "x-ab"] {
            assert_eq!(marked(&format!("/usage?cursor={foreign}")), None, "{foreign}");
        }
        for wrong in
            ["cursor=7-ab", "limit=0", "limit=1001", "limit=x", "limit=-1", "cursor=x", "cursor=-1"]
        {
            assert!(page(&format!("/keys?{wrong}")).is_err(), "{wrong}");
        }
    }
}
