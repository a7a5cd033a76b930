//! The HTTP front: an accept loop of our own on hyper, because every connection is bounded, counted
//! and drained here, and `/mcp` works on hyper's bodies without a layer between.
//!
//! Reading order: `listener` takes connections, `connection` runs one, `service` sends each request
//! through the layers (`guard`, `cors`, `client_address`) to its handler: `mcp`, `health`, `about`,
//! or the admin API's router. `tls` secures a connection before that, if it is configured.

mod about;
mod body;
mod client_address;
mod connection;
mod cors;
mod doors;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod guard;
mod health;
mod listener;
mod mcp;
mod media;
mod modern;
mod patience;
mod respond;
mod service;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use listener::{BindError, Listener};
pub use tls::{Certificate, TlsError, TlsFiles};

use super::reply::DenialOptions;
use crate::events::webhooks::Webhooks;
use crate::proxy::Proxy;
use crate::store::Store;
use crate::upstream::Link;
use doors::Doors;
use service::Service;
use tls::Tls;

/// How to serve.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Name shown to clients.
    pub name: String,
    /// Is nothing refused and nothing charged? Shown only.
    pub shadow_mode: bool,
    /// Do several instances share their books? Shown only.
    pub has_redis: bool,
    /// Bytes of a request body.
    pub body_bytes_max: usize,
    /// Connections open at a time.
    pub connections_max: usize,
    /// Peers whose forwarded client addresses are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Host headers that are answered, in lower case, with or without a port; empty for the
    /// loopback rule.
    pub allowed_hosts: Vec<String>,
    /// Origins that are answered beside none and loopback, in lower case.
    pub allowed_origins: Vec<String>,
    /// How refusals look.
    pub denials: Arc<DenialOptions>,
}

/// What the front serves.
#[derive(Clone)]
pub struct Served {
    /// The life of a call.
    pub proxy: Arc<Proxy>,
    /// Whose health is shown.
    pub store: Arc<dyn Store>,
    /// Whose status is shown.
    pub link: Link,
    /// Every path that is not the front's own.
    pub admin: axum::Router,
    /// Whose standing is shown.
    pub webhooks: Arc<Webhooks>,
}

/// A running front.
pub struct HttpFront {
    address: SocketAddr,
    service: Arc<ArcSwap<Service>>,
    tls: Option<Arc<Tls>>,
    doors: Arc<Doors>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl fmt::Debug for HttpFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFront").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Renews the options of a front.
pub struct HttpRenewal {
    service: Arc<ArcSwap<Service>>,
    tls: Option<Arc<Tls>>,
}

impl HttpRenewal {
    /// Serves every request from now on by these options and this proxy. Connections stay open, and
    /// requests that have begun end as they began.
    pub fn renew(&self, options: HttpOptions, proxy: Arc<Proxy>) {
        let service = self.service.load().renewed(options, proxy);
        self.service.store(Arc::new(service));
    }

    /// Shows this certificate to every connection from now on; is it another one than before?
    /// Nothing happens to a front without TLS.
    pub fn renew_certificate(&self, certificate: Certificate) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.renew(certificate))
    }
}

impl HttpFront {
    /// Begins to take connections.
    pub fn start(listener: Listener, options: HttpOptions, served: Served) -> Self {
        let (address, tls) = (listener.address(), listener.tls());
        let doors = Arc::new(Doors::default());
        let connections_max = options.connections_max;
        let service = Service::new(address, options, served, Arc::clone(&doors));
        let (stop, stopped) = watch::channel(false);
        let service = Arc::new(ArcSwap::from_pointee(service));
        let accepting =
            tokio::spawn(listener.accept(Arc::clone(&service), connections_max, stopped));
        Self { address, service, tls, doors, stop, accepting }
    }

    /// What its options are renewed by, also where the front itself is out of reach.
    pub fn renewal(&self) -> HttpRenewal {
        HttpRenewal { service: Arc::clone(&self.service), tls: self.tls.clone() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more messages: they are answered with 503, and so is `/health`. The listener stays
    /// open, so that whoever asks is told. A message whose body is arriving has a moment left.
    pub fn drain(&self) {
        self.doors.close();
    }

    /// Messages that were let in and are not answered yet, those whose body is arriving included.
    pub fn messages_open(&self) -> usize {
        self.doors.inside()
    }

    /// Closes the listener and every connection, each after the answer that it owes. What is not
    /// done within `grace` is cut off.
    pub async fn stop(&mut self, grace: Duration) {
        self.drain();
        self.stop.send_replace(true);
        if tokio::time::timeout(grace, &mut self.accepting).await.is_err() {
            tracing::warn!(target: "front", "connections were cut off: they were not done in time");
            self.accepting.abort();
        }
    }
}
