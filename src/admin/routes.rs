//! The one table of endpoints: routing, rights and the tests that cover them all come from it.

use std::pin::Pin;
use std::sync::Arc;

use axum::http::Method;

use super::answer::{Answer, Problem};
use super::{
    Admin, Call, acl, adjust, balance, expiry, ip, keys, limits, namespaces, quota, refund, revoke,
    rotate, search, status, tags, topup,
};

/// Who may call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody; the handler looks at the API key itself.
    Public,
    /// Whoever has the admin key.
    Admin,
}

type Reply = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send>>;

/// One endpoint.
pub(super) struct Route {
    pub(super) method: Method,
    /// Matched byte for byte; `{id}` stands for one segment.
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) handler: fn(Arc<Admin>, Call) -> Reply,
}

/// One row: method, path, access, handler.
macro_rules! route {
    ($method:ident $path:literal $access:ident $handler:path) => {
        Route {
            method: Method::$method,
            path: $path,
            access: Access::$access,
            handler: |admin, call| Box::pin($handler(admin, call)),
        }
    };
}

/// Every endpoint, in the order of the documentation.
pub(super) static ROUTES: &[Route] = &[
    route!(GET "/balance" Public balance::show),
    route!(POST "/keys" Admin keys::create::create),
    route!(GET "/keys" Admin keys::list::list),
    route!(GET "/keys/{id}" Admin keys::one::show),
    route!(PATCH "/keys/{id}" Admin keys::one::patch),
    route!(DELETE "/keys/{id}" Admin keys::one::delete),
    route!(POST "/topup" Admin topup::add),
    route!(POST "/credits/adjust" Admin adjust::adjust),
    route!(POST "/calls/{id}/refund" Admin refund::refund),
    route!(POST "/keys/revoke" Admin revoke::revoke),
    route!(POST "/keys/suspend" Admin keys::suspend::suspend),
    route!(POST "/keys/resume" Admin keys::suspend::resume),
    route!(POST "/keys/rotate" Admin rotate::rotate),
    route!(POST "/keys/acl" Admin acl::set),
    route!(POST "/keys/expiry" Admin expiry::set),
    route!(POST "/keys/quota" Admin quota::set),
    route!(POST "/keys/tags" Admin tags::merge),
    route!(POST "/keys/ip" Admin ip::set),
    route!(POST "/keys/search" Admin search::search),
    route!(POST "/limits" Admin limits::set),
    route!(GET "/status" Admin status::show),
    route!(GET "/namespaces" Admin namespaces::list),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_needs_the_admin_key_but_one_and_is_tried_without_it() {
        let tried = include_str!("../../tests/admin_access.rs");
        for (index, route) in ROUTES.iter().enumerate() {
            let Route { method, path, access, .. } = route;
            let is_public = *path == "/balance";
            assert_eq!(*access == Access::Public, is_public, "{method} {path}");
            assert!(tried.contains(&format!("(\"{path}\", \"")), "add {path} to ENDPOINTS there");
            let mut earlier = ROUTES.iter().take(index);
            let is_twice = earlier.any(|other| other.path == *path && other.method == *method);
            assert!(!is_twice, "{method} {path} is in the table twice");
        }
    }
}
