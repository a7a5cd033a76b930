//! The operator's API: one file per noun, in folders by subject. [`router`] is built from the one table in
//! `routes.rs`, which also says who may call what.
//!
//! Must never: show or log a raw key outside the answer that made it, change a record or a balance
//! except through the store, or answer before that change is durable.

mod access;
mod alerts;
mod audit;
mod config;
mod credits;
mod entropy;
mod keys;
mod namespaces;
mod openapi;
mod reports;
mod routes;
mod teams;
mod webhooks;
mod wire;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use secrecy::SecretString;
use serde_json::Value;

use crate::events::metrics::Gauges;
use crate::events::webhooks::Webhooks;
use crate::gate::Policy;
use crate::model::alert::AlertRule;
use crate::model::ids::KeyId;
use crate::model::time::Time;
use crate::model::usage::Refused;
use crate::store::{Store, clock};
use access::actor::Actor;
use access::auth::AdminAuth;
use audit::refusals::Refusals;
use reports::metrics::Scrapes;
use routes::{Access, ROUTES, Route};
pub use routes::{endpoints, route_of};
use wire::answer::{Answer, Problem};
use wire::body::Members;
use wire::fields::KeyRef;

/// What only the running proxy knows.
pub trait Live: Send + Sync {
    /// Takes the refusals that are not in the database yet.
    fn take_refused(&self) -> Vec<Refused>;

    /// Counts a refunded call for each of its tools that was charged.
    fn refunded(&self, tools: &[String]);

    /// The page of `GET /metrics`, with what the books say.
    fn metrics(&self, books: Gauges) -> String;
}

/// The configuration that holds, as an owner may see it.
pub type ShownConfig = Arc<dyn Fn() -> Value + Send + Sync>;

/// Reads the configuration anew and takes it if it is good: what to tell an owner, or why the one
/// before goes on.
pub type Reload = Arc<dyn Fn() -> Result<Value, String> + Send + Sync>;

/// Prices and limits that hold for everybody.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Prices and limits.
    pub policy: Policy,
    /// Is a call that ends in an error free?
    pub refund_on_failure: bool,
    /// Rules for alerts, if they are those of the configuration.
    pub alert_rules: Option<Arc<[AlertRule]>>,
}

/// What the operator's API has to know.
#[derive(Clone)]
pub struct AdminOptions {
    /// Opens every admin endpoint.
    pub admin_key: SecretString,
    /// Shown to people.
    pub name: String,
    /// What calls cost, as it is now.
    pub terms: Arc<ArcSwap<Terms>>,
    /// Largest body of a request.
    pub body_bytes_max: usize,
    /// The configuration that holds, without its secrets.
    pub config: ShownConfig,
    /// Reads the configuration anew.
    pub reload: Reload,
    /// Lets a scraper read the metrics from elsewhere.
    pub metrics_token: Option<SecretString>,
    /// Who is told what happens.
    pub webhooks: Arc<Webhooks>,
    /// The running proxy.
    pub live: Arc<dyn Live>,
}

impl fmt::Debug for AdminOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The client's address, which the front puts into a request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// What every handler works with.
struct Admin {
    options: AdminOptions,
    store: Arc<dyn Store>,
    auth: AdminAuth,
    refusals: Refusals,
    scrapes: Scrapes,
}

/// One request, its body read.
#[derive(Clone)]
struct Call {
    uri: Uri,
    /// What stands for `{id}` in the route's path, as it was written.
    id: String,
    headers: HeaderMap,
    body: Bytes,
    address: IpAddr,
    now: Time,
    actor: Actor,
    /// Nobody will see the answer, so nothing may be done but looked at.
    is_head: bool,
    /// The members that its body may have.
    known: Vec<&'static str>,
}

impl Call {
    /// The key whose id is in the path. Not the raw key: paths end up in logs.
    fn key_in_path(&self) -> KeyRef {
        KeyId::parse(&self.id).map_or(KeyRef::Nothing, KeyRef::Id)
    }

    /// The members of its body.
    fn members(&self) -> Result<Members<'_>, Problem> {
        Members::of_body(&self.body, &self.known)
    }

    #[cfg(test)]
    fn for_tests() -> Self {
        Self {
            uri: Uri::from_static("/"),
            id: String::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            now: Time::ZERO,
            actor: Actor::operator(),
            is_head: false,
            known: Vec::new(),
        }
    }
}

/// All endpoints of this part; any other path is answered with 404.
pub fn router(options: AdminOptions, store: Arc<dyn Store>) -> Router {
    let auth = AdminAuth::new(&options.admin_key);
    let scrapes = Scrapes::new(options.metrics_token.as_ref());
    let refusals = Refusals::default();
    let admin = Arc::new(Admin { options, store, auth, refusals, scrapes });
    let mut router = Router::new();
    for (index, route) in ROUTES.iter().enumerate() {
        let path = route.path;
        if ROUTES.iter().take(index).any(|earlier| earlier.path == path) {
            continue;
        }
        let dispatch =
            move |State(admin): State<Arc<Admin>>, request: Request| dispatch(admin, path, request);
        router = router.route(path, any(dispatch));
    }
    router.fallback(|| async { Problem::not_found("Not found").respond() }).with_state(admin)
}

async fn dispatch(admin: Arc<Admin>, path: &'static str, request: Request) -> Response {
    match answer(admin, path, request).await {
        Ok(answer) => answer.respond(),
        Err(problem) => problem.respond(),
    }
}

/// Method, then right, then body: who may not call learns nothing and costs little.
async fn answer(admin: Arc<Admin>, path: &str, request: Request) -> Result<Answer, Problem> {
    let route = find_route(path, request.method())?;
    let (parts, body) = request.into_parts();
    let address = parts.extensions.get::<ClientAddress>();
    let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.0);
    let now = clock::now();
    let actor = match route.access {
        Access::Public => Actor::customer(),
        Access::Scraper if admin.scrapes.may(&parts.headers, address) => Actor::operator(),
        Access::Scraper
        | Access::Viewer
        | Access::Admin
        | Access::Owner
        | Access::Operator
        | Access::Host => {
            match admin.auth.check(&parts.headers, address, admin.store.as_ref()).await {
                Ok(actor) => actor,
                Err(refused) => {
                    admin.note_stranger(route, &address.to_string(), now);
                    return Err(refused);
                }
            }
        }
    };
    let id = id_in_path(route.path, parts.uri.path()).to_owned();
    let is_head = parts.method == Method::HEAD;
    let (uri, headers, known) = (parts.uri, parts.headers, openapi::known_members(route));
    let body_read = Bytes::new();
    let mut call = Call { uri, id, headers, body: body_read, address, now, actor, is_head, known };
    let answered = perform(&admin, route, &mut call, body).await;
    if let Err(problem) = &answered
        && problem.is_forbidden()
        && route.access != Access::Public
    {
        admin.note_denied(route, &call, problem.message());
    }
    answered
}

/// What comes after who it is was found out.
async fn perform(
    admin: &Arc<Admin>,
    route: &Route,
    call: &mut Call,
    body: Body,
) -> Result<Answer, Problem> {
    route.access.check(&call.actor)?;
    if matches!(route.method, Method::POST | Method::PATCH) {
        call.body = wire::body::read(body, admin.options.body_bytes_max).await?;
    }
    // Whoever was let in may have been shut out since, on another instance.
    if route.method != Method::GET
        && let Some(token) = &call.actor.token
        && !admin.store.has_token(token).await?
    {
        return Err(Problem::unauthorized("Invalid admin key"));
    }
    (route.handler)(Arc::clone(admin), call.clone()).await
}

/// The segment of a path that stands where the route has `{id}`; empty if it has none.
fn id_in_path<'a>(route: &str, path: &'a str) -> &'a str {
    let mut segments = route.split('/').zip(path.split('/'));
    segments.find(|(pattern, _)| *pattern == "{id}").map_or("", |(_, given)| given)
}

/// HEAD is served as GET; the HTTP layer leaves the body out.
fn find_route(path: &str, method: &Method) -> Result<&'static Route, Problem> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let of_path = || ROUTES.iter().filter(|route| route.path == path);
    if let Some(route) = of_path().find(|route| route.method == method) {
        return Ok(route);
    }
    let mut allowed = Vec::new();
    for route in of_path() {
        allowed.push(route.method.as_str());
        if route.method == Method::GET {
            allowed.push("HEAD");
        }
    }
    Err(Problem::method_not_allowed(&allowed.join(", ")))
}
