//! Speaks to a running Paygate over its admin API, for all commands of operators.

use std::fmt::Write as _;

use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::http::request::Builder;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::output;
use super::table::Shown;
use super::wire::{Received, Wire};
use crate::config::{Environment, Reach, read_file};
use crate::model::bounds;

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
        Self::new(Method::GET, path, None)
    }

    pub(super) fn post(path: impl Into<String>, body: Option<Value>) -> Self {
        Self::new(Method::POST, path, body)
    }

    pub(super) fn patch(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::PATCH, path, Some(body))
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, None)
    }

    fn new(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        Self { method, path: path.into(), body, idempotency_key: None }
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

/// The admin API of one running Paygate.
pub(super) struct Desk {
    wire: Wire,
    key: SecretString,
}

impl Desk {
    /// Where flags and environment say that it is.
    pub(super) fn of(reach: &Reach) -> Result<Self, String> {
        let environment = Environment::read();
        let key = match &reach.admin_key {
            Some(key) => Some(key.clone()),
            None => environment.admin_key(read_file)?,
        };
        let Some(key) = key else {
            return Err(
                "No admin key: set PAYGATE_ADMIN_KEY, or PAYGATE_ADMIN_KEY_FILE to a file that holds it, or give --admin-key"
                    .to_owned(),
            );
        };
        Ok(Self { wire: Wire::to(reach.url.as_deref(), reach.ca.clone(), &environment)?, key })
    }

    /// A success, read whole.
    pub(super) fn answer(&self, ask: &Ask) -> Result<Received, String> {
        let body = ask.body.as_ref().map(Value::to_string).unwrap_or_default();
        let received = self.wire.send(self.request(ask), body, bounds::CLI_TIMEOUT)?;
        if received.status.is_success() { Ok(received) } else { Err(refusal(&received)) }
    }

    /// Prints the body of a success as it comes, however long it is. A reader that goes away ends it.
    pub(super) fn copy(&self, ask: &Ask) -> Result<(), String> {
        match self.wire.stream(self.request(ask), output::piece)? {
            None => Ok(()),
            Some(refused) => Err(refusal(&refused)),
        }
    }

    fn request(&self, ask: &Ask) -> Builder {
        let mut request = self
            .wire
            .request(&ask.method, &ask.path)
            .header("X-Admin-Key", self.key.expose_secret())
            .header(ACCEPT, "application/json, text/csv");
        if let Some(key) = &ask.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        if ask.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request
    }
}

/// Asks and prints the answer: for people, or as it came with `--json`.
pub(super) fn show(reach: &Reach, ask: &Ask, shown: &Shown) -> Result<(), String> {
    show_as(reach, ask, |answer| shown.text(answer))
}

/// The same, put into words by `text`.
pub(super) fn show_as(
    reach: &Reach,
    ask: &Ask,
    text: impl FnOnce(&Value) -> String,
) -> Result<(), String> {
    let answer = Desk::of(reach)?.answer(ask)?;
    if reach.json {
        output::print(&answer.body);
    } else {
        output::print(&text(&answer.json()?));
    }
    if answer.header("idempotency-replayed").is_some() {
        output::error("This was done before: nothing more was done now.");
    }
    Ok(())
}

fn refusal(received: &Received) -> String {
    let said = serde_json::from_str::<Value>(&received.body).ok();
    let said = said.as_ref().and_then(|said| said.get("error")).and_then(Value::as_str);
    format!("{} ({})", said.unwrap_or("This was refused"), received.status)
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
