//! What must hold for any headers. See `crate::fuzz`.

use std::net::{IpAddr, Ipv4Addr};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::client_address::client_address;
use super::media;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

/// Lines of `Name: value`. Who takes event streams takes something, and nobody but a trusted proxy
/// says where a request comes from.
pub(crate) fn headers(bytes: &[u8]) {
    let headers = parse(bytes);
    if media::takes_events(&headers) {
        assert!(media::wanted(&headers).is_some());
    }
    let _either = media::sends_json(&headers);
    let trusted = [IpNet::new_assert(PROXY, 8)];
    assert_eq!(client_address(&headers, STRANGER, &trusted), STRANGER);
    assert_eq!(client_address(&headers, PROXY, &[]), PROXY);
    let mut more = headers.clone();
    more.append("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
    assert_eq!(client_address(&more, PROXY, &trusted), STRANGER, "what a proxy adds comes last");
    check_event(bytes);
}

/// Whatever an event carries, it is one event.
fn check_event(bytes: &[u8]) {
    let text = media::event(None, bytes);
    let blank_lines = text.windows(2).filter(|two| *two == b"\n\n").count();
    assert!(blank_lines == 1 && text.ends_with(b"\n\n"), "more than one event");
    assert!(!text.contains(&b'\r'));
}

fn parse(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
        {
            headers.append(name, value);
        }
    }
    headers
}
