//! TLS of the listener: its certificate and key, and the handshake of each connection.
//!
//! A certificate is read whole and checked before it is used, at a start as at a reload, so that a
//! bad file never takes the place of a good one. Connections that are open keep what they began
//! with. A handshake costs a client nothing and us work, so it has a deadline, and few run at a time.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::patience::Patient;
use crate::model::bounds;

/// What the listener speaks inside TLS, as without it.
const PROTOCOL: &[u8] = b"http/1.1";

/// Where certificate and key are, in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to its authority (`tls.cert`).
    pub cert: PathBuf,
    /// Its private key (`tls.key`).
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{name}: {} cannot be read ({why}); check the path and its permissions", .path.display())]
    Unreadable {
        /// The key of the configuration.
        name: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// Not certificates.
    #[error(
        "tls.cert: {} cannot be used ({why}); it must hold the certificate in PEM form, followed by those that lead \
         to its authority", .path.display()
    )]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Not a key.
    #[error(
        "tls.key: {} cannot be used ({why}); it must hold the private key in PEM form, without a password",
        .path.display()
    )]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// One is not the other's.
    #[error(
        "tls.key: {} is not the key of the certificate in {}; name the two that belong together",
        .key.display(),
        .cert.display()
    )]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// A certificate that can be shown to clients, with its key.
pub struct Certificate {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    /// What is allowed and worth a word.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads the files and checks that they fit each other.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let TlsFiles { cert: cert_path, key: key_path } = files;
        let broken = |why| TlsError::Certificate { path: cert_path.clone(), why };
        let pem = content("tls.cert", cert_path)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|error| broken(fault(&error, "certificate")))?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(broken("it holds no certificate".to_owned()));
        };
        let parsed = ParsedCertificate::try_from(&leaf).map_err(|error| broken(error.to_string()));
        let mut warnings: Vec<String> = age(&parsed?, cert_path).into_iter().collect();

        let unusable = |why| TlsError::Key { path: key_path.clone(), why };
        let key = PrivateKeyDer::from_pem_slice(&content("tls.key", key_path)?)
            .map_err(|error| unusable(fault(&error, "private key")))?;
        warnings.extend(open_to_all(key_path));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    TlsError::Mismatch { cert: cert_path.clone(), key: key_path.clone() }
                }
                other => unusable(other.to_string()),
            })?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self { config: Arc::new(config), leaf, warnings })
    }
}

fn content(name: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |why| TlsError::Unreadable { name, path: path.to_owned(), why };
    let mut content = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let read = file.take(bounds::PEM_FILE_BYTES_MAX).read_to_end(&mut content);
    read.map_err(unreadable)?;
    Ok(content)
}

fn fault(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("it holds no {what}"),
        other => other.to_string(),
    }
}

/// Is it out of its time? Clients will say so too, so it is no error.
fn age(leaf: &ParsedCertificate<'_>, path: &Path) -> Option<String> {
    // Its time is looked at before its issuer, of whom nothing is known here.
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let (roots, now) = (RootCertStore::empty(), UnixTime::now());
    let verified = verify_server_cert_signed_by_trust_anchor(leaf, &roots, &[], now, algorithms);
    match verified {
        Err(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Some(format!(
            "tls.cert: the certificate in {} has expired; clients will refuse it",
            path.display()
        )),
        Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Some(format!(
            "tls.cert: the certificate in {} is not valid yet; clients will refuse it",
            path.display()
        )),
        Ok(()) | Err(_) => None,
    }
}

#[cfg(unix)]
fn open_to_all(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| {
        format!("tls.key: everybody on this machine can read {}; chmod 600 it", path.display())
    })
}

#[cfg(not(unix))]
fn open_to_all(_: &Path) -> Option<String> {
    None
}

/// The certificate that holds now, for every connection from now on.
pub(super) struct Tls {
    current: ArcSwap<Certificate>,
    handshakes: Semaphore,
}

impl Tls {
    pub(super) fn new(certificate: Certificate) -> Self {
        let current = ArcSwap::from_pointee(certificate);
        Self { current, handshakes: Semaphore::new(bounds::TLS_HANDSHAKES_MAX) }
    }

    /// Puts another certificate in its place; is it another one?
    pub(super) fn renew(&self, certificate: Certificate) -> bool {
        let is_new = self.current.load().leaf != certificate.leaf;
        self.current.store(Arc::new(certificate));
        is_new
    }

    /// The secure stream of a new connection. `Err` is why there is none; the connection is then
    /// to be closed.
    pub(super) async fn secure(
        &self,
        socket: &TcpStream,
        stream: Patient,
    ) -> Result<TlsStream<Patient>, Insecure> {
        let shaken = timeout(bounds::TLS_HANDSHAKE_WAIT, self.shake(socket, stream)).await;
        shaken.unwrap_or(Err(Insecure::Late(bounds::TLS_HANDSHAKE_WAIT)))
    }

    async fn shake(
        &self,
        socket: &TcpStream,
        mut stream: Patient,
    ) -> Result<TlsStream<Patient>, Insecure> {
        let mut first = [0_u8; 1];
        // Who sends nothing takes no turn.
        socket.peek(&mut first).await?;
        if first.first().is_some_and(u8::is_ascii_uppercase) {
            stream.write_all(PLAIN_HTTP.as_bytes()).await?;
            return Err(Insecure::Plain(stream));
        }
        // It is never closed.
        let _turn = self.handshakes.acquire().await.map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().config));
        Ok(acceptor.accept(stream).await?)
    }
}

/// Said to a client that speaks HTTP without TLS.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 67\r\n\
    Connection: close\r\n\r\n{\"error\":\"This port speaks HTTPS alone; write https:// in the URL\"}";

/// Why a connection is not secure.
#[derive(Debug, thiserror::Error)]
pub(super) enum Insecure {
    #[error("no TLS handshake within {} s", .0.as_secs())]
    Late(Duration),
    /// It has been told.
    #[error("it speaks HTTP without TLS")]
    Plain(Patient),
    #[error(transparent)]
    Failed(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_that_it_says() {
        let (head, body) = PLAIN_HTTP.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
