//! Speaks to a running Paygate over its admin API, for all commands of operators.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::table::Shown;
use super::{output, trust};
use crate::config::{Environment, Reach};
use crate::model::bounds;

/// Where a running Paygate is if nobody says.
const URL_DEFAULT: &str = "http://127.0.0.1:3402";

/// One request to the admin API.
#[derive(Debug)]
pub(super) struct Ask {
    method: Method,
    path: String,
    body: Option<Value>,
    idempotency_key: Option<String>,
}

impl Ask {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, idempotency_key: None }
    }

    pub(super) fn post(path: impl Into<String>, body: Option<Value>) -> Self {
        Self { method: Method::POST, path: path.into(), body, idempotency_key: None }
    }

    /// Adds those parameters that are given.
    pub(super) fn query(mut self, parameters: &[(&str, Option<&str>)]) -> Self {
        for (name, value) in parameters {
            if let Some(value) = value {
                let sign = if self.path.contains('?') { '&' } else { '?' };
                write!(self.path, "{sign}{name}={}", encoded(value)).ok();
            }
        }
        self
    }

    /// Makes a repetition harmless.
    pub(super) fn once(mut self, key: Option<&str>) -> Self {
        self.idempotency_key = key.map(str::to_owned);
        self
    }
}

/// Asks and prints the answer: for people, or as it came with `--json`.
pub(super) fn show(reach: &Reach, ask: &Ask, shown: &Shown) -> Result<(), String> {
    let answer = answer(reach, ask)?;
    if reach.json {
        output::print(&answer);
        return Ok(());
    }
    let answer: Value = serde_json::from_str(&answer)
        .map_err(|_| "The answer is not JSON; is this URL a Paygate's?".to_owned())?;
    output::print(&shown.text(&answer));
    Ok(())
}

/// The body of a success.
fn answer(reach: &Reach, ask: &Ask) -> Result<String, String> {
    let environment = Environment::read();
    let (url, key) = environment.of_operator();
    let url = reach.url.as_deref().or(url).unwrap_or(URL_DEFAULT).trim_end_matches('/');
    let Some(key) = reach.admin_key.as_ref().or(key) else {
        return Err("No admin key: set PAYGATE_ADMIN_KEY, or give --admin-key".to_owned());
    };
    let mut request = Request::builder()
        .method(&ask.method)
        .uri(format!("{url}{}", ask.path))
        .header("X-Admin-Key", key.expose_secret())
        .header(ACCEPT, "application/json");
    if let Some(key) = &ask.idempotency_key {
        request = request.header("Idempotency-Key", key);
    }
    if ask.body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = ask.body.as_ref().map(Value::to_string).unwrap_or_default();
    let request = request.body(Full::from(body)).map_err(|_| {
        format!("{url:?} cannot be asked; give --url like http://127.0.0.1:3402, and a key without spaces")
    })?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| format!("The system does not let it run: {why}"))?;
    let ca = reach.ca.clone().or_else(|| environment.ca_of_operator());
    let (status, body) = runtime.block_on(send(request, ca.as_deref())).map_err(|why| {
        let advice = trust::advice(&why);
        format!(
            "{url} does not answer ({why}); check that Paygate runs there, and --url or PAYGATE_URL{advice}"
        )
    })?;
    let body = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        return Ok(body);
    }
    let said = serde_json::from_str::<Value>(&body).ok();
    let said = said.as_ref().and_then(|said| said.get("error")).and_then(Value::as_str);
    Err(format!("{} ({status})", said.unwrap_or("This was refused")))
}

async fn send(
    request: Request<Full<Bytes>>,
    ca: Option<&Path>,
) -> Result<(StatusCode, Bytes), String> {
    let https = HttpsConnectorBuilder::new().with_tls_config(trust::client(ca)?);
    let client =
        Client::builder(TokioExecutor::new()).build(https.https_or_http().enable_http1().build());
    let exchange = async {
        let response = client.request(request).await.map_err(|error| why(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), bounds::CLI_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| why(error.as_ref()))?;
        Ok((status, body.to_bytes()))
    };
    timeout(bounds::CLI_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("nothing came within {} s", bounds::CLI_TIMEOUT.as_secs())))
}

/// The innermost reason: the outer ones only say where it happened.
fn why(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A text as one value of a query, or one segment of a path.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_written_safely() {
        assert_eq!(encoded("a b/ü&c"), "a%20b%2F%C3%BC%26c");
        let ask = Ask::get("/audit").query(&[
            ("types", Some("a,b")),
            ("actor", None),
            ("limit", Some("5")),
        ]);
        assert_eq!(ask.path, "/audit?types=a%2Cb&limit=5");
    }
}
