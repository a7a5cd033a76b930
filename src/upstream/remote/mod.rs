//! An MCP server that is reached over HTTP: Streamable HTTP in every version, and the older HTTP+SSE
//! transport, which is tried when a server does not take an `initialize` by POST.
//!
//! One generation is one session with the server, and a [`Running`] holds all of it: so a customer's
//! session has a session of its own upstream, and nothing outlives it. Every line is a request of
//! its own; every message of its response goes to the inbox at once, with the id of the request.
//! Nothing of a client's HTTP request can get here: a line has no headers, and what is sent beside
//! it is the operator's (`upstreamHeaders`) and the transport's own.
//!
//! A session that the server has ended (HTTP 404) is opened again in place, and the message that
//! found it ended is sent again, once: nothing ran. Everything else that fails ends its own call.
//! If it may be more than that, the server is asked whether it is there; a generation ends when it
//! is not, and `supervise` begins the next.
//!
//! Reading order: `connection` is what the tasks of one generation share, `sessions` where its
//! session stands. `pump` takes lines, `exchange` sends one and takes its `reply`, `stream` reads and
//! resumes event streams, `listen` the stream that belongs to no request, `old` the older transport.
//! `watch` opens ended sessions again and asks whether the server is there. `trouble` says what went
//! wrong.

mod client;
mod connection;
mod exchange;
mod listen;
mod old;
mod pump;
mod reach;
mod reply;
mod running;
mod sessions;
mod stream;
mod trouble;
mod watch;

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

pub use client::HttpClient;
pub use reach::Reach;
pub(super) use running::Running;
pub use trouble::Trouble;

/// A remote server as an operator describes it.
#[derive(Clone, Default)]
pub struct RemoteSetup {
    /// `http://` or `https://`, without user and password.
    pub url: String,
    /// Headers of every request (`upstreamHeaders`).
    pub headers: Vec<(String, SecretString)>,
    /// A file with certificates in PEM form that are trusted beside the system's (`upstreamCa`).
    pub ca: Option<PathBuf>,
}

/// How to reach a remote server. Links with the same options share connections, nothing else.
#[derive(Clone)]
pub struct RemoteOptions {
    url: Uri,
    headers: HeaderMap,
    client: HttpClient,
}

/// Why a description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteSetupError {
    /// Not a URL that can be asked. It is not shown: it may hold a password.
    #[error("remoteUrl is not an http:// or https:// URL without user and password")]
    Url,
    /// Not a header.
    #[error("upstreamHeaders: {name:?} is not a header that can be sent")]
    Header {
        /// Its name.
        name: String,
    },
    /// The file of certificates is unusable.
    #[error("upstreamCa: {path:?} cannot be used ({why}); it must hold certificates in PEM form")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing to trust.
    #[error(
        "this system has no root certificates, so no https server can be trusted; install them (on Debian the package \
         ca-certificates) or name a file in upstreamCa"
    )]
    NoRoots,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up ({0})")]
    Tls(String),
}

impl RemoteOptions {
    /// Reads the certificates and makes the client.
    pub fn new(setup: &RemoteSetup) -> Result<Self, RemoteSetupError> {
        let url: Uri = setup.url.parse().map_err(|_| RemoteSetupError::Url)?;
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(RemoteSetupError::Url),
        };
        if url.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(RemoteSetupError::Url);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &setup.headers {
            let unusable = || RemoteSetupError::Header { name: name.clone() };
            let header = HeaderName::try_from(name.as_str()).map_err(|_| unusable())?;
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| unusable())?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        let client = HttpClient::new(client::tls(is_tls, setup.ca.as_deref())?, Reach::Anywhere);
        Ok(Self { url, headers, client })
    }

    /// Where the server is, without what may be a secret.
    pub fn address(&self) -> String {
        shown(&self.url)
    }

    /// The server's host, and its port if the URL has one.
    pub fn host(&self) -> &str {
        self.url.authority().map_or("", |authority| authority.as_str())
    }
}

impl fmt::Debug for RemoteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteOptions").field("url", &self.address()).finish_non_exhaustive()
    }
}

/// A URL without user, password and query, which may be secrets.
fn shown(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}://{host}{}{query}", url.scheme_str().unwrap_or("http"), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(url: &str, headers: &[(&str, &str)]) -> Result<RemoteOptions, RemoteSetupError> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
        let setup = RemoteSetup { url: url.to_owned(), headers: headers.collect(), ca: None };
        RemoteOptions::new(&setup)
    }

    #[test]
    fn nothing_that_may_be_secret_is_shown() {
        let options = made("http://host:81/mcp?token=t0ken", &[("X-Api-Key", "s3cret")]).unwrap();
        assert_eq!(options.address(), "http://host:81/mcp?…");
        let debug = format!("{options:?}{:?}", options.headers);
        assert!(!debug.contains("t0ken") && !debug.contains("s3cret"), "{debug}");
        for url in ["http://user:s3same@host/", "ftp://host/", "host/mcp", "", "http://"] {
            let error = made(url, &[]).unwrap_err();
            assert!(matches!(error, RemoteSetupError::Url), "{url}");
            assert!(!error.to_string().contains("s3same"));
        }
        for header in [("a b", "x"), ("a", "x\ny"), ("", "x")] {
            let error = made("http://host/", &[header]).unwrap_err();
            assert!(matches!(error, RemoteSetupError::Header { .. }), "{header:?}");
        }
    }
}
