//! What the era of 2026-07-28 asks of every request: it says its version and its sender's
//! capabilities itself, and over HTTP some of it is said a second time in headers, which must agree.
//!
//! Everything here is a pure check. Nothing is ever priced by what a header says.

mod header;
mod params;

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::from_client::{Params, Request};
use super::object::{Object, string};
use super::version;

pub use header::{Headers, Mirror, encoded};
pub use params::ParamHeaders;

/// The member of `_meta` that says a request's version.
pub const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// The member of `_meta` that says what the client can do.
pub const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// The member of a notification's `_meta` that says which subscription it belongs to.
pub const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";

/// The extension for results that come later.
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// The headers do not say what the body says.
pub const HEADER_MISMATCH: i32 = -32020;

/// The request needs something that its client has not said that it can do.
pub const MISSING_CAPABILITY: i32 = -32021;

/// The request's version is not spoken here.
pub const UNSUPPORTED_VERSION: i32 = -32022;

const INVALID_PARAMS: i32 = -32602;

/// Methods that earlier versions had. A server whose process speaks the modern era must not even
/// see them: some would bind the process to one client.
const REMOVED: &[&str] = &[
    "initialize",
    "initialized",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/list",
    "tasks/result",
];

/// Why a request is not one of the modern era.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The JSON-RPC error code.
    pub code: i32,
    /// What is wrong.
    pub message: String,
}

impl Unfit {
    fn mismatch(message: &str) -> Self {
        Self { code: HEADER_MISMATCH, message: format!("Header mismatch: {message}") }
    }

    fn params(message: String) -> Self {
        Self { code: INVALID_PARAMS, message }
    }
}

/// Is this a method that the modern era does not have any more?
pub fn is_removed(method: &str) -> bool {
    REMOVED.contains(&method) || method.starts_with("notifications/")
}

/// Does a message claim to be of a version that has no handshake? Its `_meta` decides, whatever it
/// says, as long as it is no version with a handshake.
pub fn is_claimed(params: &Params<'_>) -> bool {
    let claimed = meta(params).and_then(|meta| meta.get(VERSION_KEY));
    claimed.is_some_and(|claimed| string(claimed).is_none_or(|it| version::age(&it).is_none()))
}

/// Prepared once, because every body is searched.
static VERSION_IN_BODY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(VERSION_KEY));

/// May a body make that claim, as far as its bytes show? Without an escape a name is spelled in one
/// way.
pub fn may_be_claimed(body: &[u8]) -> bool {
    let is_escape = |at: usize| matches!(body.get(at.saturating_add(1)), Some(b'/' | b'u'));
    VERSION_IN_BODY.find(body).is_some() || memchr::memchr_iter(b'\\', body).any(is_escape)
}

fn meta<'m, 'a>(params: &'m Params<'a>) -> Option<&'m Object<'a>> {
    match params {
        Params::Object(params) => params.meta.as_ref(),
        Params::Absent | Params::Array(_) => None,
    }
}

/// The version that a request asks for, after everything about it has been checked that does not
/// depend on the server.
pub fn check(request: &Request<'_>, headers: &Headers) -> Result<String, Unfit> {
    let meta = meta(&request.params).ok_or_else(|| {
        Unfit::params(format!(
            "Invalid params: \"_meta\" must be an object with {VERSION_KEY} and {CAPABILITIES_KEY}"
        ))
    })?;
    for key in [VERSION_KEY, CAPABILITIES_KEY] {
        if !meta.has(key) {
            return Err(Unfit::params(format!("Invalid params: \"_meta\" has no {key}")));
        }
    }
    let version = meta.get(VERSION_KEY).and_then(string);
    match (&headers.version, &version) {
        _ if headers.are_none => {}
        (Mirror::One(header), Some(version)) if header.as_str() == version.as_ref() => {}
        (Mirror::Absent, _) => {
            return Err(Unfit::mismatch("MCP-Protocol-Version is missing"));
        }
        _ => {
            return Err(Unfit::mismatch(&format!("MCP-Protocol-Version is not the {VERSION_KEY}")));
        }
    }
    if !headers.are_none && headers.method.text() != Some(request.method.as_ref()) {
        return Err(Unfit::mismatch("Mcp-Method is not the body's method"));
    }
    check_name(request, headers)?;
    if !meta.get(CAPABILITIES_KEY).is_some_and(|value| value.starts_with('{')) {
        return Err(Unfit::params(format!("Invalid params: {CAPABILITIES_KEY} must be an object")));
    }
    Ok(version.unwrap_or_default().into_owned())
}

/// The parameter that `Mcp-Name` repeats, by method.
pub fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

fn check_name(request: &Request<'_>, headers: &Headers) -> Result<(), Unfit> {
    let Some(parameter) = named_by(&request.method).filter(|_| !headers.are_none) else {
        return Ok(());
    };
    // A name that is missing or no string is somebody else's to refuse.
    let Some(name) = request.param(parameter).and_then(string) else { return Ok(()) };
    if headers.name.decoded().as_deref() == Some(name.as_ref()) {
        return Ok(());
    }
    Err(Unfit::mismatch(&format!("Mcp-Name is not the body's \"{parameter}\"")))
}

/// Has the client said, in this very request, that it can deal with an extension?
pub fn declares_extension(params: &Params<'_>, extension: &str) -> bool {
    let read = |text| Object::read(text).ok();
    let capabilities = meta(params).and_then(|meta| meta.get(CAPABILITIES_KEY)).and_then(read);
    let extensions = capabilities.and_then(|all| all.get("extensions").and_then(read));
    extensions.is_some_and(|all| all.has(extension))
}

/// May this request be answered with a task?
pub fn takes_tasks(request: &Request<'_>) -> bool {
    request.method == "tools/call" && declares_extension(&request.params, TASKS_EXTENSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::from_client::Message;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn headers(version: &str, method: &str, name: Option<&str>) -> Headers {
        let mirror = |text: &str| Mirror::One(text.to_owned());
        let name = name.map_or(Mirror::Absent, mirror);
        Headers { version: mirror(version), method: mirror(method), name, ..Headers::default() }
    }

    fn checked(method: &str, params: &str, headers: &Headers) -> Result<String, i32> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        match Message::read(&text).unwrap() {
            Message::Request(request) => check(&request, headers).map_err(|unfit| unfit.code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn headers_must_say_what_the_body_says() {
        let version = "2026-07-28";
        let ok = Ok(version.to_owned());
        let call = format!(r#"{{"name":"caf\u00e9",{META}}}"#);
        let encoded = "=?base64?Y2Fmw6k=?=";
        let with = |name| headers(version, "tools/call", name);
        assert_eq!(checked("tools/call", &call, &with(Some(encoded))), ok);
        for wrong in [None, Some("cafe"), Some("=?base64?Y2Fmw6k?="), Some("=?BASE64?Y2Fmw6k=?=")] {
            assert_eq!(
                checked("tools/call", &call, &with(wrong)),
                Err(HEADER_MISMATCH),
                "{wrong:?}"
            );
        }
        let list = format!("{{{META}}}");
        assert_eq!(checked("tools/list", &list, &headers(version, "tools/list", None)), ok);
        for wrong in [
            headers("2025-11-25", "tools/list", None),
            headers(version, "tools/call", None),
            headers(version, "Tools/List", None),
            Headers { version: Mirror::Absent, ..headers(version, "tools/list", None) },
            Headers { method: Mirror::Unreadable, ..headers(version, "tools/list", None) },
        ] {
            assert_eq!(checked("tools/list", &list, &wrong), Err(HEADER_MISMATCH), "{wrong:?}");
        }
        let task = format!(r#"{{"taskId":"t",{META}}}"#);
        assert_eq!(checked("tasks/get", &task, &headers(version, "tasks/get", Some("t"))), ok);
        let none = headers(version, "tasks/get", None);
        assert_eq!(checked("tasks/get", &task, &none), Err(HEADER_MISMATCH));
    }

    #[test]
    fn every_request_says_its_version_and_its_capabilities() {
        let list = |version| headers(version, "tools/list", None);
        for params in [
            "{}",
            r#"{"_meta":5}"#,
            r#"{"_meta":{}}"#,
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
            r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}"#,
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}}"#,
        ] {
            let found = checked("tools/list", params, &list("2026-07-28"));
            assert_eq!(found, Err(INVALID_PARAMS), "{params}");
        }
        // Another version that header and body agree on is for the caller to judge.
        let old = format!("{{{}}}", META.replace("2026-07-28", "1900-01-01"));
        assert_eq!(checked("tools/list", &old, &list("1900-01-01")), Ok("1900-01-01".to_owned()));
    }

    #[test]
    fn a_claim_may_be_escaped() {
        for (body, expected) in [
            (r#"{"io.modelcontextprotocol/protocolVersion":1}"#, true),
            (r#"{"io.modelcontextprotocol\/protocolVersion":1}"#, true),
            (r#"{"\u0069o.modelcontextprotocol/protocolVersion":1}"#, true),
            (r#"{"a":"\n\"\\"}"#, false),
            (r"\", false),
            ("", false),
        ] {
            assert_eq!(may_be_claimed(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn a_claim_is_what_the_body_says() {
        let claimed = |params: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{params}}}"#);
            match Message::read(&text).unwrap() {
                Message::Request(request) => is_claimed(&request.params),
                other => panic!("{other:?}"),
            }
        };
        let of = |value: &str| format!(r#"{{"_meta":{{"{VERSION_KEY}":{value}}}}}"#);
        assert!(
            claimed(&of(r#""2026-07-28""#)) && claimed(&of(r#""1900-01-01""#)) && claimed(&of("5"))
        );
        assert!(!claimed(&of(r#""2025-11-25""#)) && !claimed("{}") && !claimed("[]"));
    }
}
