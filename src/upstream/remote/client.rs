//! The HTTP client to remote servers and to receivers of webhooks: pooled HTTP/1.1 over TLS or plain TCP, no redirects, no
//! cookies, no proxies, and a bound on everything.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::BoxError;
use tower::timeout::Timeout;
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;

use super::reach::{Door, Lookup};
use super::{Reach, RemoteSetupError, Trouble};
use crate::model::bounds;

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// A client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct HttpClient(Client<Connector, Full<Bytes>>);

impl HttpClient {
    /// One for a URL that trusts what the system trusts.
    pub fn for_url(url: &Uri, reach: Reach) -> Result<Self, RemoteSetupError> {
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(RemoteSetupError::Url),
        };
        Ok(Self::new(tls(is_tls, None)?, reach))
    }

    pub(super) fn new(tls: ClientConfig, reach: Reach) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Lookup::new(reach));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // A stream may be silent for hours; this notices that nobody is there any more.
        tcp.set_keepalive(Some(bounds::REMOTE_KEEPALIVE));
        tcp.set_keepalive_interval(Some(bounds::REMOTE_KEEPALIVE));
        tcp.set_keepalive_retries(Some(bounds::REMOTE_KEEPALIVE_TRIES));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let https = https.enable_http1().wrap_connector(Door { tcp, reach });
        let connector = Timeout::new(https, bounds::REMOTE_CONNECT_TIMEOUT);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(bounds::REMOTE_IDLE_CONNECTION)
            .pool_max_idle_per_host(bounds::REMOTE_IDLE_CONNECTIONS_MAX)
            .http1_max_buf_size(bounds::REMOTE_HEAD_BYTES_MAX)
            .http1_max_headers(bounds::REMOTE_HEADERS_MAX)
            .build(Connector::new(connector));
        Self(client)
    }

    /// Sends a request and waits for the head of its response, for as long as the caller lets it.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Trouble> {
        self.0.request(request).await.map_err(|error| trouble(&error))
    }
}

/// What TLS trusts: the system's roots and the operator's own authority. Without TLS, nothing.
pub(super) fn tls(is_wanted: bool, ca: Option<&Path>) -> Result<ClientConfig, RemoteSetupError> {
    let mut roots = RootCertStore::empty();
    if is_wanted {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(target: "upstream", %error, "one of the system's certificates cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = ca {
            add_own(&mut roots, path)?;
        }
        if roots.is_empty() {
            return Err(RemoteSetupError::NoRoots);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| RemoteSetupError::Tls(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn add_own(roots: &mut RootCertStore, path: &Path) -> Result<(), RemoteSetupError> {
    let refused = |why: String| RemoteSetupError::Ca { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
        count += 1;
    }
    if count == 0 {
        return Err(refused("it holds no certificate in PEM form".to_owned()));
    }
    Ok(())
}

fn trouble(error: &Error) -> Trouble {
    let cause = root_cause(error);
    if !error.is_connect() {
        let hyper = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
        return match hyper {
            Some(error) if error.is_parse() => {
                Trouble::NotMcp(format!("it does not speak HTTP/1.1 ({cause})"))
            }
            _ => Trouble::Cut(cause),
        };
    }
    let mut next = error.source();
    while let Some(error) = next {
        if error.is::<Elapsed>() {
            let seconds = bounds::REMOTE_CONNECT_TIMEOUT.as_secs();
            return Trouble::Connect(format!("no connection within {seconds} s"));
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(is_tls) {
            return Trouble::Tls(cause);
        }
        next = error.source();
    }
    Trouble::Connect(cause)
}

fn is_tls(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let nested = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || nested.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

/// The innermost reason: the others repeat it or say less.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
