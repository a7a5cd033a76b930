//! The receiver of webhooks, and one POST to it.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use secrecy::{ExposeSecret, SecretString};

use super::{form, sign};
use crate::model::bounds::{WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_TIMEOUT};
use crate::model::time::Time;
use crate::store::clock;
use crate::upstream::{HttpClient, Reach, RemoteSetupError, Trouble};

const SIGNATURE: HeaderName = HeaderName::from_static("x-paygate-signature");
const RETRY: HeaderName = HeaderName::from_static("x-paygate-retry");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PAYGATE: HeaderValue =
    HeaderValue::from_static(concat!("paygate-webhook/", env!("CARGO_PKG_VERSION")));

/// Where and how to send.
#[derive(Clone)]
pub struct WebhookOptions {
    /// `http://` or `https://`. It may hold a secret.
    pub url: SecretString,
    /// Signs every body.
    pub secret: Option<SecretString>,
    /// Attempts beside the first one.
    pub retries_max: u32,
    /// Which addresses may be connected to.
    pub reach: Reach,
}

impl fmt::Debug for WebhookOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookOptions").finish_non_exhaustive()
    }
}

/// Why there can be no receiver.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It is not shown: it may hold a secret.
    #[error("webhookUrl is not an http:// or https:// URL without user and password")]
    Url,
    /// TLS.
    #[error("webhooks cannot be sent: {0}")]
    Tls(RemoteSetupError),
}

/// A receiver.
pub struct Target {
    url: Uri,
    secret: Option<SecretString>,
    retries_max: u32,
    client: HttpClient,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.shown()).finish_non_exhaustive()
    }
}

/// What came of one POST.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The status, if one came.
    pub status: Option<u16>,
    /// Why it does not count; none if it was taken.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Target {
    /// Reads the certificates and makes the client.
    pub fn new(options: &WebhookOptions) -> Result<Self, WebhookError> {
        let url: Uri = options.url.expose_secret().parse().map_err(|_| WebhookError::Url)?;
        if url.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(WebhookError::Url);
        }
        let client = HttpClient::for_url(&url, options.reach).map_err(|why| match why {
            RemoteSetupError::Url => WebhookError::Url,
            other => WebhookError::Tls(other),
        })?;
        let WebhookOptions { secret, retries_max, .. } = options.clone();
        Ok(Self { url, secret, retries_max, client })
    }

    /// Scheme and host: paths of webhooks often are secrets.
    pub fn shown(&self) -> String {
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        format!("{}://{authority}/***", self.url.scheme_str().unwrap_or("http"))
    }

    /// Attempts beside the first one.
    pub fn retries_max(&self) -> u32 {
        self.retries_max
    }

    /// Sends some events once. `retry` counts the attempts before.
    pub(super) async fn post(&self, members: &str, retry: u32) -> Attempt {
        let (now, started) = (clock::now(), Instant::now());
        let (mut status, mut error) = (None, None);
        match self.request(now, form::body(now, members), retry) {
            Err(why) => error = Some(why.to_string()),
            Ok(request) => {
                let sending = self.send(request, &mut status);
                match tokio::time::timeout(WEBHOOK_TIMEOUT, sending).await {
                    Ok(Ok(())) => {}
                    Ok(Err(why)) => error = Some(why),
                    Err(_) => error = Some(format!("Timeout ({}s)", WEBHOOK_TIMEOUT.as_secs())),
                }
            }
        }
        let status = status.map(|status: StatusCode| status.as_u16());
        Attempt { status, error, took: started.elapsed() }
    }

    fn request(
        &self,
        now: Time,
        body: String,
        retry: u32,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(CONTENT_TYPE, JSON)
            .header(USER_AGENT, PAYGATE);
        if let Some(secret) = &self.secret
            && let Some(signed) = sign::signature(secret.expose_secret(), now, &body)
        {
            request = request.header(SIGNATURE, signed);
        }
        if retry > 0 {
            request = request.header(RETRY, retry);
        }
        request.body(Full::new(body.into()))
    }

    /// Taken is what was answered with 2xx, and the whole of the answer came.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        seen: &mut Option<StatusCode>,
    ) -> Result<(), String> {
        let response = self.client.send(request).await.map_err(|trouble| told(&trouble))?;
        let status = response.status();
        *seen = Some(status);
        let code = status.as_u16();
        if status.is_redirection() {
            return Err(format!("HTTP {code}: redirects are not followed"));
        }
        if !status.is_success() {
            return Err(format!("HTTP {code}"));
        }
        drain(response).await
    }
}

/// Reads what nobody wants to know, so that the connection can be used again.
async fn drain(response: Response<Incoming>) -> Result<(), String> {
    let (mut body, mut bytes) = (response.into_body(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| "The answer ended too early".to_owned())?;
        bytes = bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if bytes > WEBHOOK_ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(())
}

/// What is told of a POST that got no status.
fn told(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Connect(why) if why.ends_with("private or local address") => {
            format!("No connection ({why}; webhookAllowPrivate lets webhooks go there)")
        }
        Trouble::Connect(why) => format!("No connection ({why})"),
        Trouble::Tls(why) => format!("No connection that can be trusted ({why})"),
        Trouble::Cut(why) => format!("The connection ended before the answer ({why})"),
        Trouble::NotMcp(why) => format!("No HTTP answer: {why}"),
        Trouble::Status { .. } | Trouble::Redirect { .. } | Trouble::SessionEnded => {
            trouble.brief()
        }
    }
}
