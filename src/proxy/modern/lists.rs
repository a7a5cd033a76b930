//! Results of the modern era that differ from what the server wrote: the versions that can be
//! spoken here, and tools with prices. A list of tools is not the same for every key, so nobody may
//! keep it for others, and that holds for all of its pages.

use super::super::list;
use crate::gate::Policy;
use crate::protocol::object::{Member, Object};
use crate::protocol::to_client::push_json;
use crate::protocol::to_server::{push_member, push_object};

/// The server's result of discover with the versions that can be spoken here.
pub(super) fn discovered(result: &str, versions: &[String]) -> Vec<u8> {
    let Ok(object) = Object::read(result) else { return result.as_bytes().to_vec() };
    let mut list = Vec::new();
    push_json(&mut list, versions);
    let list = String::from_utf8_lossy(&list).into_owned();
    let object = object.with("supportedVersions", Some(&list));
    let mut text = Vec::with_capacity(result.len());
    push_object(&mut text, object.members(), push_member);
    text
}

/// The list with prices, for its key alone; `None` if it is no list of tools.
pub(super) fn priced(
    policy: &Policy,
    result: &str,
    keep: impl Fn(&str) -> bool,
) -> Option<Vec<u8>> {
    let priced = list::priced(policy, list::Style::Modern, result, keep)?;
    let object = Object::read(std::str::from_utf8(&priced).ok()?).ok()?;
    let is_scope = |member: &&Member<'_>| member.name == "cacheScope";
    let others: Vec<_> = object.members().iter().filter(|it| !is_scope(it)).cloned().collect();
    let mut text = Vec::with_capacity(priced.len());
    push_object(&mut text, &others, push_member);
    text.pop();
    text.extend_from_slice(b",\"cacheScope\":\"private\"}");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_for_one_key_alone() {
        let text = |result: &str| {
            String::from_utf8(priced(&Policy::default(), result, |_| true).unwrap()).unwrap()
        };
        let public = r#"{"cacheScope":"public","resultType":"complete","tools":[],"ttlMs":5}"#;
        let private = r#"{"resultType":"complete","tools":[],"ttlMs":5,"cacheScope":"private"}"#;
        assert_eq!(text(public), private);
        let tool = text(r#"{"tools":[{"name":"a"}]}"#);
        assert!(tool.contains("dev.paygate/pricing") && !tool.contains("_pricing\":"), "{tool}");
    }

    #[test]
    fn only_versions_that_can_be_spoken_are_told() {
        let said = r#"{"a":1.0,"supportedVersions":["2026-07-28","2027-01-01"],"capabilities":{}}"#;
        let told = discovered(said, &["2026-07-28".to_owned()]);
        let expected = r#"{"a":1.0,"supportedVersions":["2026-07-28"],"capabilities":{}}"#;
        assert_eq!(String::from_utf8(told).unwrap(), expected);
    }
}
