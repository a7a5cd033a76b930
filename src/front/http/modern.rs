//! The headers that repeat something of a body.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::modern::{self, Headers, Mirror};
use crate::protocol::version;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAM: &str = "mcp-param-";

/// Does a request without a body name the version that has none of these?
pub(super) fn is_named(headers: &HeaderMap) -> bool {
    headers.get(PROTOCOL_VERSION).is_some_and(|value| value == version::MODERN)
}

/// The version with a handshake that a request names, and what else its headers say if it may be of
/// a version without one.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> (Option<String>, Option<Box<Headers>>) {
    let version = mirror(headers, &PROTOCOL_VERSION);
    let known = version.text().filter(|version| version::age(version).is_some());
    let known = known.map(str::to_owned);
    let is_legacy = known.is_some() || version.is_absent();
    if is_legacy && !modern::may_be_claimed(body) {
        return (known, None);
    }
    let params = headers.keys().filter_map(|name| {
        let param = name.as_str().strip_prefix(PARAM)?;
        Some((param.to_owned(), mirror(headers, name)))
    });
    let params = params.collect();
    let (method, name) = (mirror(headers, &METHOD), mirror(headers, &NAME));
    (known, Some(Box::new(Headers { version, method, name, params, are_none: false })))
}

fn mirror(headers: &HeaderMap, name: &HeaderName) -> Mirror {
    Mirror::of(headers.get_all(name).iter().map(HeaderValue::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::modern::VERSION_KEY;

    #[test]
    fn headers_are_read_where_they_may_matter() {
        let read = |pairs: &[(&str, &str)], body: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                let name: HeaderName = name.parse().unwrap();
                headers.append(name, value.parse().unwrap());
            }
            read(&headers, body.as_bytes())
        };
        assert_eq!(
            read(&[("MCP-Protocol-Version", "2025-11-25")], "{}").0.as_deref(),
            Some("2025-11-25")
        );
        assert_eq!(read(&[], "{}"), (None, None));
        let modern = [
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "tools/call"),
            ("MCP-NAME", "a"),
            ("mcp-param-Region", "eu"),
        ];
        let one = |text: &str| Mirror::One(text.to_owned());
        let (known, headers) = read(&modern, "{}");
        let headers = headers.unwrap();
        assert_eq!((known, &headers.version), (None, &one("2026-07-28")));
        assert_eq!((&headers.method, &headers.name), (&one("tools/call"), &one("a")));
        assert_eq!(headers.params, [("region".to_owned(), one("eu"))]);
        // Only the body says so; twice is no version.
        assert!(read(&[("MCP-Protocol-Version", "2025-11-25")], VERSION_KEY).1.is_some());
        let twice = [("MCP-Protocol-Version", "2025-06-18"); 2];
        assert_eq!(read(&twice, "{}").1.unwrap().version, Mirror::Unreadable);
    }
}
