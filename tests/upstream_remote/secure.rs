//! TLS: whom Paygate trusts.

use std::path::PathBuf;

use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::tls;

/// A server for `localhost` whose certificate is signed by an authority of its own, and that
/// authority's file.
async fn secure_server() -> (Server, PathBuf) {
    let (config, authority) = tls::of_localhost();
    let tls = TlsAcceptor::from(config);
    let server = listen(Arc::new(Mcp::new(Manners::default())), "127.0.0.1:0", Some(tls)).await;
    let path =
        std::env::temp_dir().join(format!("paygate-ca-{}.pem", server.address.replace(':', "-")));
    std::fs::write(&path, authority).unwrap();
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
