//! `initialize`: answered from the guarded server's own handshake, with the version negotiated.

use super::{Proxy, fault};
use crate::protocol::from_client::Request;
use crate::protocol::object::{Object, string};
use crate::protocol::to_client;
use crate::protocol::to_server::push_member;
use crate::upstream::Failure;

/// Versions of the handshake era, oldest first.
const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

impl Proxy {
    pub(super) fn initialize(&self, request: &Request<'_>) -> Vec<u8> {
        let Some(result) = self.link.initialize_result() else {
            return to_client::error(request.id, &fault::upstream(Failure::Unavailable));
        };
        let wanted = request.param("protocolVersion").and_then(string);
        to_client::result(request.id, &negotiated(&result, wanted.as_deref()))
    }
}

/// The server's result with the version that both sides speak: the client's, if Paygate knows it
/// and it is not newer than the server's; else the server's.
fn negotiated(result: &str, wanted: Option<&str>) -> Vec<u8> {
    let Ok(object) = Object::read(result) else { return result.as_bytes().to_vec() };
    let offered = object.get("protocolVersion").and_then(string);
    let age = |version: &str| VERSIONS.iter().position(|known| *known == version);
    let wanted = wanted.and_then(age).zip(offered.as_deref().and_then(age));
    let agreed = wanted
        .filter(|(wanted, offered)| wanted <= offered)
        .and_then(|(wanted, _)| VERSIONS.get(wanted));
    let Some(agreed) = agreed else { return result.as_bytes().to_vec() };
    let mut text = vec![b'{'];
    for (index, member) in object.members().iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        if member.name == "protocolVersion" {
            text.extend_from_slice(format!("\"protocolVersion\":\"{agreed}\"").as_bytes());
        } else {
            push_member(&mut text, member);
        }
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_version_is_agreed_on_and_the_rest_stays() {
        let check = |offered: &str, wanted: Option<&str>| {
            let result =
                format!(r#"{{"x":1.0,"protocolVersion":"{offered}","capabilities":{{}}}}"#);
            let text = String::from_utf8(negotiated(&result, wanted)).unwrap();
            assert!(
                text.starts_with(r#"{"x":1.0,"#) && text.ends_with(r#","capabilities":{}}"#),
                "{text}"
            );
            text.split('"').nth(5).unwrap().to_owned()
        };
        assert_eq!(check("2025-06-18", Some("2025-03-26")), "2025-03-26");
        assert_eq!(check("2025-06-18", Some("2025-06-18")), "2025-06-18");
        assert_eq!(check("2025-06-18", Some("2025-11-25")), "2025-06-18");
        assert_eq!(check("2025-06-18", Some("1.0")), "2025-06-18");
        assert_eq!(check("2025-06-18", None), "2025-06-18");
        assert_eq!(check("2024-10-07", Some("2024-11-05")), "2024-10-07");
    }
}
