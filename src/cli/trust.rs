//! Whom the commands trust that speak to a running Paygate over HTTPS: the system's authorities, and
//! one of the operator's own.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::model::bounds;

/// How these commands speak TLS. `ca` is a file of certificates in PEM form.
pub(super) fn client(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        add(&mut roots, path).map_err(|why| {
            format!(
                "--ca: {} cannot be used ({why}); it must hold certificates in PEM form",
                path.display()
            )
        })?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let mut pem = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(bounds::PEM_FILE_BYTES_MAX).read_to_end(&mut pem);
    read.map_err(|error| error.to_string())?;
    let mut is_empty = true;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        is_empty = false;
    }
    if is_empty { Err("it holds no certificate".to_owned()) } else { Ok(()) }
}

/// What to do if it is the certificate that keeps two from speaking.
pub(super) fn advice(why: &str) -> &'static str {
    if why.contains("CaUsedAsEndEntity") {
        "; the server shows a certificate that is made for an authority: make one with basicConstraints CA:FALSE, as \
         `openssl req -x509 -addext basicConstraints=critical,CA:FALSE` does"
    } else if why.contains("certificate") {
        "; if it is signed by an authority of your own, name that one's file with --ca or PAYGATE_CA"
    } else {
        ""
    }
}
