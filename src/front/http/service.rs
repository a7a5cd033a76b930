//! One request through the layers to its handler.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tower::ServiceExt;

use super::client_address::client_address;
use super::connection::Departure;
use super::doors::Doors;
use super::guard::Guard;
use super::respond::{Response, empty, json, method_not_allowed};
use super::{HttpOptions, Served, about, cors, health, mcp};
use crate::admin::{ClientAddress, route_of};
use crate::events::metrics::HttpRequest;
use crate::events::webhooks::Webhooks;
use crate::front::reply::DenialOptions;
use crate::model::address::unmapped;
use crate::proxy::Proxy;
use crate::store::Store;
use crate::upstream::Link;

/// What every request of a front shares.
pub(super) struct Service {
    address: SocketAddr,
    options: HttpOptions,
    served: Served,
    guard: Guard,
    about: Bytes,
    doors: Arc<Doors>,
    since: Instant,
}

impl Service {
    pub(super) fn new(
        address: SocketAddr,
        options: HttpOptions,
        served: Served,
        doors: Arc<Doors>,
    ) -> Self {
        let guard = Guard {
            loopback: unmapped(address.ip()).is_loopback(),
            hosts: options.allowed_hosts.clone(),
            origins: options.allowed_origins.clone(),
        };
        let about = about::text(&options.name, options.shadow_mode, options.has_redis).into();
        Self { address, options, served, guard, about, doors, since: Instant::now() }
    }

    /// Do several instances share their books?
    pub(super) const fn has_redis(&self) -> bool {
        self.options.has_redis
    }

    /// The same for what comes from now on, with other options and this proxy.
    pub(super) fn renewed(&self, options: HttpOptions, proxy: Arc<Proxy>) -> Self {
        let served = Served { proxy, ..self.served.clone() };
        let service = Self::new(self.address, options, served, Arc::clone(&self.doors));
        Self { since: self.since, ..service }
    }

    /// Answers one request, whatever it is.
    pub(super) async fn serve(
        &self,
        request: Box<Request<Incoming>>,
        peer: SocketAddr,
        departure: Departure,
    ) -> Response {
        let (method, path) = counted(request.method(), request.uri().path());
        let response = self.guarded(request, peer, departure).await;
        let status = response.status().as_u16();
        self.proxy().metrics().http(HttpRequest { method, path, status });
        response
    }

    async fn guarded(
        &self,
        request: Box<Request<Incoming>>,
        peer: SocketAddr,
        departure: Departure,
    ) -> Response {
        let peer_address = unmapped(peer.ip());
        let origin = match self.guard.check(request.headers(), request.uri(), peer_address) {
            Ok(origin) => origin,
            Err(refusal) => return *refusal,
        };
        let cors = origin.zip(cors::methods(request.uri().path()));
        let mut response = self.route(request, peer_address, departure).await;
        if let Some((origin, methods)) = cors {
            cors::allow(response.headers_mut(), origin, methods);
        }
        response
    }

    async fn route(
        &self,
        request: Box<Request<Incoming>>,
        peer: IpAddr,
        departure: Departure,
    ) -> Response {
        if request.method() == Method::OPTIONS {
            return empty(StatusCode::NO_CONTENT);
        }
        let trusted = &self.options.trusted_proxies;
        let address = client_address(request.headers(), peer, trusted);
        match (request.uri().path(), request.method()) {
            ("/mcp", _) => mcp::serve(self, request, address, departure).await,
            ("/health", &Method::GET | &Method::HEAD) => health::serve(self),
            ("/", &Method::GET | &Method::HEAD) => json(StatusCode::OK, self.about.clone()),
            ("/health" | "/", _) => method_not_allowed("GET, HEAD"),
            _ => self.admin(request, address).await,
        }
    }

    /// The admin API bounds its bodies itself, after it has asked for the key.
    async fn admin(&self, request: Box<Request<Incoming>>, address: IpAddr) -> Response {
        let mut request = (*request).map(axum::body::Body::new);
        request.extensions_mut().insert(ClientAddress(address));
        match self.served.admin.clone().oneshot(request).await {
            Ok(response) => response.map(Either::Right),
            Err(never) => match never {},
        }
    }

    pub(super) fn doors(&self) -> &Doors {
        &self.doors
    }

    pub(super) fn body_bytes_max(&self) -> usize {
        self.options.body_bytes_max
    }

    pub(super) fn denials(&self) -> &Arc<DenialOptions> {
        &self.options.denials
    }

    pub(super) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    pub(super) fn proxy(&self) -> &Arc<Proxy> {
        &self.served.proxy
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.served.store
    }

    pub(super) fn webhooks(&self) -> &Webhooks {
        &self.served.webhooks
    }

    pub(super) fn link(&self) -> &Link {
        &self.served.link
    }
}

/// Method and route as they are counted: only those that exist.
fn counted(method: &Method, path: &str) -> (&'static str, &'static str) {
    let methods = ["GET", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    let method = methods.into_iter().find(|known| *known == method.as_str());
    let own = ["/mcp", "/health", "/"].into_iter().find(|own| *own == path);
    (method.unwrap_or("other"), own.or_else(|| route_of(path)).unwrap_or("other"))
}
