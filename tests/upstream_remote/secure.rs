//! TLS: whom Paygate trusts.

use std::path::PathBuf;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

/// A server for `localhost` whose certificate is signed by an authority of its own, and that
/// authority's file.
async fn secure_server() -> (Server, PathBuf) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let server = listen(Arc::new(Mcp::new(Manners::default())), "127.0.0.1:0", Some(tls)).await;
    let path =
        std::env::temp_dir().join(format!("paygate-ca-{}.pem", server.address.replace(':', "-")));
    std::fs::write(&path, authority.pem()).unwrap();
    (server, path)
}

async fn reach(server: &Server, host: &str, ca: Option<PathBuf>) -> Result<Link, StartError> {
    let port = server.address.rsplit_once(':').unwrap().1;
    let setup =
        RemoteSetup { url: format!("https://{host}:{port}/mcp"), ca, ..RemoteSetup::default() };
    // A system without roots says so before it asks anybody.
    let remote = RemoteOptions::new(&setup).unwrap();
    Link::start(LinkOptions::new("fixture", Kind::Remote(Arc::new(remote)))).await
}

#[tokio::test]
async fn an_authority_of_the_operators_own_is_trusted_and_no_other() {
    let (server, ca) = secure_server().await;
    let link = reach(&server, "localhost", Some(ca.clone())).await.unwrap();
    assert_eq!(result(&link, "echo", json!({"a": 1})).await, json!({"a": 1}));
    link.stop(CEILING).await;

    let (_, other) = secure_server().await;
    for (host, ca) in [("localhost", other.clone()), ("127.0.0.1", ca.clone())] {
        let error = reach(&server, host, Some(ca)).await.unwrap_err();
        assert!(matches!(&error, StartError::Remote { trouble: Trouble::Tls(_), .. }), "{error}");
        assert!(error.to_string().contains("upstreamCa"), "{error}");
    }
    for path in [ca, other] {
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn files_that_hold_no_certificates_are_refused() {
    let path = std::env::temp_dir().join(format!("paygate-ca-none-{}.pem", std::process::id()));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, why) in
        [("", "holds no certificate"), ("text", "holds no certificate"), (broken, "upstreamCa")]
    {
        std::fs::write(&path, content).unwrap();
        let setup = RemoteSetup {
            url: "https://localhost/".to_owned(),
            ca: Some(path.clone()),
            ..RemoteSetup::default()
        };
        let error = RemoteOptions::new(&setup).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("PEM"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    let setup = RemoteSetup {
        url: "https://localhost/".to_owned(),
        ca: Some(path),
        ..RemoteSetup::default()
    };
    assert!(RemoteOptions::new(&setup).unwrap_err().to_string().contains("No such file"));
}
