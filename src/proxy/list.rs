//! `tools/list`: the server's list with a price on each tool, without the tools that the caller's
//! lists forbid.

use std::sync::Arc;

use super::identify::{Caller, Identity};
use super::{Proxy, fault};
use crate::gate::Policy;
use crate::protocol::from_client::Request;
use crate::protocol::from_server::Answer;
use crate::protocol::object::{Object, items, string};
use crate::protocol::to_client::{self, push_json};
use crate::protocol::to_server::push_member;

/// Our member of a tool's `_meta`.
const META_NAME: &str = "dev.paygate/pricing";

impl Proxy {
    pub(super) async fn list_tools(
        self: &Arc<Self>,
        caller: &Caller,
        identity: &Identity,
        request: &Request<'_>,
    ) -> Vec<u8> {
        match self.ask(caller, identity, request).await {
            Ok(answer) => self.listed(identity, request.id, &answer),
            Err(failure) => to_client::error(request.id, &fault::upstream(failure)),
        }
    }

    /// The server's list as this caller sees it.
    pub(super) fn listed(&self, identity: &Identity, id: &str, answer: &Answer) -> Vec<u8> {
        let filtered = identity.entitled_key().is_some();
        let keep = |tool: &str| !filtered || identity.may_call(tool);
        let priced = answer
            .result_text()
            .and_then(|result| priced(&self.options.policy, Style::Legacy, result, keep));
        match priced {
            Some(result) => to_client::result(id, &result),
            // An error, or nothing that looks like a list of tools.
            None => answer.with_id(id),
        }
    }
}

/// Where a tool's price stands. Both eras find it in `_meta`; older clients know a member of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Legacy,
    Modern,
}

/// The result with prices; `None` if it is no list of tools.
pub(super) fn priced(
    policy: &Policy,
    style: Style,
    result: &str,
    keep: impl Fn(&str) -> bool,
) -> Option<Vec<u8>> {
    let object = Object::read(result).ok()?;
    items(object.get("tools")?)?;
    let mut text = Vec::with_capacity(result.len() * 2);
    text.push(b'{');
    for (index, member) in object.members().iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        match (member.name.as_ref(), items(member.value)) {
            ("tools", Some(tools)) => push_tools(&mut text, policy, style, &tools, &keep),
            _ => push_member(&mut text, member),
        }
    }
    text.push(b'}');
    Some(text)
}

fn push_tools(
    text: &mut Vec<u8>,
    policy: &Policy,
    style: Style,
    tools: &[&str],
    keep: &impl Fn(&str) -> bool,
) {
    text.extend_from_slice(b"\"tools\":[");
    let mut first = true;
    for raw in tools {
        // What has no name cannot be called, so it needs no price.
        let tool = Object::read(raw).ok();
        let name = tool.as_ref().and_then(|tool| tool.get("name")).and_then(string);
        if name.as_deref().is_some_and(|name| !keep(name)) {
            continue;
        }
        if !std::mem::replace(&mut first, false) {
            text.push(b',');
        }
        match (tool, name) {
            (Some(tool), Some(name)) => push_tool(text, style, &tool, &pricing(policy, &name)),
            _ => text.extend_from_slice(raw.as_bytes()),
        }
    }
    text.push(b']');
}

/// Writes a tool with our two members in the place of any that were there.
fn push_tool(text: &mut Vec<u8>, style: Style, tool: &Object<'_>, pricing: &str) {
    text.push(b'{');
    for member in tool.members() {
        if member.name != "_pricing" && member.name != "_meta" {
            push_member(text, member);
            text.push(b',');
        }
    }
    if style == Style::Legacy {
        text.extend_from_slice(format!("\"_pricing\":{pricing},").as_bytes());
    }
    text.extend_from_slice(b"\"_meta\":{");
    let meta = tool.get("_meta").and_then(|meta| Object::read(meta).ok()).unwrap_or_default();
    for member in meta.members().iter().filter(|member| member.name != META_NAME) {
        push_member(text, member);
        text.push(b',');
    }
    text.extend_from_slice(format!("\"{META_NAME}\":{pricing}}}}}").as_bytes());
}

/// A tool's price as clients see it, as JSON.
pub fn pricing(policy: &Policy, tool: &str) -> String {
    let own = policy.tools.get(tool);
    let price = own.and_then(|own| own.price).unwrap_or(policy.default_price);
    let milli_per_kb = own.map_or(0, |own| own.milli_credits_per_kb);
    let rate = policy.shown_rate(Some(tool)).map_or(0, |(limit, _)| limit);
    let model = if milli_per_kb > 0 { "dynamic" } else { "flat" };
    let mut name = Vec::with_capacity(tool.len() + 2);
    push_json(&mut name, tool);
    format!(
        r#"{{"name":{},"creditsPerCall":{price},"creditsPerKbInput":{},"rateLimitPerMin":{rate},"pricingModel":"{model}"}}"#,
        String::from_utf8_lossy(&name),
        thousandths(milli_per_kb),
    )
}

/// Thousandths as a decimal number, without superfluous zeros.
fn thousandths(milli: i64) -> String {
    let text = format!("{}.{:03}", milli / 1000, (milli % 1000).abs());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ToolPolicy;

    fn policy() -> Policy {
        let mut policy = Policy { default_price: 2, key_rate: 60, ..Policy::default() };
        policy.tools.insert("kb".into(), ToolPolicy::new("kb", None, 5, 1_250));
        policy.tools.insert("free".into(), ToolPolicy::new("free", Some(0), 0, 0));
        policy
    }

    #[test]
    fn thousandths_are_exact() {
        for (milli, text) in
            [(0, "0"), (1, "0.001"), (100, "0.1"), (1_250, "1.25"), (5_000, "5"), (10_000, "10")]
        {
            assert_eq!(thousandths(milli), text);
        }
    }

    #[test]
    fn a_price_is_what_is_charged() {
        assert_eq!(
            pricing(&policy(), "kb"),
            r#"{"name":"kb","creditsPerCall":2,"creditsPerKbInput":1.25,"rateLimitPerMin":5,"pricingModel":"dynamic"}"#
        );
        assert_eq!(
            pricing(&policy(), "free"),
            r#"{"name":"free","creditsPerCall":0,"creditsPerKbInput":0,"rateLimitPerMin":60,"pricingModel":"flat"}"#
        );
    }

    #[test]
    fn everything_else_in_the_list_stays_as_it_was() {
        let result = concat!(
            r#"{"nextCursor":"p\/2","tools":[{"_pricing":"old","name":"x","inputSchema":{"a":1.0},"_meta":{"k":1,"dev.paygate/pricing":0}},"#,
            r#"{"name":"hidden"},5],"_meta":{}}"#
        );
        let text = priced(&policy(), Style::Legacy, result, |name| name != "hidden").unwrap();
        let price = pricing(&policy(), "x");
        let expected = format!(
            concat!(
                r#"{{"nextCursor":"p\/2","tools":[{{"name":"x","inputSchema":{{"a":1.0}},"_pricing":{price},"#,
                r#""_meta":{{"k":1,"dev.paygate/pricing":{price}}}}},5],"_meta":{{}}}}"#
            ),
            price = price
        );
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert!(priced(&policy(), Style::Legacy, r#"{"tools":{}}"#, |_| true).is_none());
    }
}
