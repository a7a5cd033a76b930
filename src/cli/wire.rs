//! HTTP to a running Paygate, for every command that speaks to one.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::trust;
use crate::config::Environment;
use crate::model::bounds;

/// Where a running Paygate is if nobody says.
const URL_DEFAULT: &str = "http://127.0.0.1:3402";

/// The way to one running Paygate.
pub(super) struct Wire {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Runtime,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Received {
    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, which should be JSON.
    pub(super) fn json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.body)
            .map_err(|_| "The answer is not JSON; is this URL a Paygate's?".to_owned())
    }
}

impl Wire {
    /// To the URL that a flag gives, else to that of the environment; `ca` is an authority besides
    /// those of the system.
    pub(super) fn to(
        url: Option<&str>,
        ca: Option<PathBuf>,
        environment: &Environment,
    ) -> Result<Self, String> {
        let ca = ca.or_else(|| environment.ca_of_operator());
        let url = url.or(environment.url()).unwrap_or(URL_DEFAULT).trim_end_matches('/').to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| format!("The system does not let it run: {why}"))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(trust::client(ca.as_deref())?);
        let connector = connector.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { url, client, runtime })
    }

    /// The start of a request to a path of it.
    pub(super) fn request(&self, method: &Method, path: &str) -> Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.url))
    }

    /// Sends a request and reads its whole answer, whatever the status.
    pub(super) fn send(
        &self,
        request: Builder,
        body: String,
        wait: Duration,
    ) -> Result<Received, String> {
        let request = self.finish(request, body)?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| why(&error))?;
            read_whole(response).await
        };
        let done = self.runtime.block_on(async { timeout(wait, exchange).await });
        let done = done.unwrap_or_else(|_| Err(nothing_within(wait)));
        done.map_err(|why| self.silent(&why))
    }

    /// Sends a request and hands on the body of a success piece by piece, until `take` has enough.
    /// Anything but a success is read whole.
    pub(super) fn stream(
        &self,
        request: Builder,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Received>, String> {
        let request = self.finish(request, String::new())?;
        let wait = bounds::CLI_TIMEOUT;
        let exchange = async {
            let response = timeout(wait, self.client.request(request)).await;
            let response = response.map_err(|_| nothing_within(wait))?;
            let response = response.map_err(|error| why(&error))?;
            if !response.status().is_success() {
                return read_whole(response).await.map(Some);
            }
            let mut body = response.into_body();
            while let Some(frame) =
                timeout(wait, body.frame()).await.map_err(|_| nothing_within(wait))?
            {
                let frame = frame.map_err(|error| format!("it broke off: {}", why(&error)))?;
                if frame.data_ref().is_some_and(|piece| !take(piece)) {
                    break;
                }
            }
            Ok(None)
        };
        self.runtime.block_on(exchange).map_err(|why| self.silent(&why))
    }

    fn finish(&self, request: Builder, body: String) -> Result<Request<Full<Bytes>>, String> {
        request.body(Full::from(body)).map_err(|_| {
            format!(
                "{:?} cannot be asked; give --url like http://127.0.0.1:3402, and a key without spaces",
                self.url
            )
        })
    }

    fn silent(&self, why: &str) -> String {
        let (url, advice) = (&self.url, trust::advice(why));
        format!(
            "{url} does not answer ({why}); check that Paygate runs there, and --url or PAYGATE_URL{advice}"
        )
    }
}

async fn read_whole(response: Response<Incoming>) -> Result<Received, String> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, bounds::CLI_ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| why(error.as_ref()))?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Received { status: head.status, headers: head.headers, body })
}

fn nothing_within(wait: Duration) -> String {
    format!("nothing came within {} s", wait.as_secs())
}

/// The innermost reason: the outer ones only say where it happened.
fn why(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
