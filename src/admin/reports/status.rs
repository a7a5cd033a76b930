//! `GET /status`: everything at a glance. Only `keys` and `usage` are of one namespace if one is asked
//! for; everything is, for whoever is bound to one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::admin::keys::view::{KeyView, Moment, Shown};
use crate::admin::namespaces::{self, NamespaceView};
use crate::admin::reports::usage::Summary;
use crate::admin::wire::answer::{Answer, Problem, in_background};
use crate::admin::wire::query::Query;
use crate::admin::{Admin, Call, Terms};
use crate::gate::ToolPolicy;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    name: &'a str,
    shadow_mode: bool,
    active_keys: usize,
    keys: Vec<KeyView<'a>>,
    usage: Summary<'a>,
    event_count: i64,
    namespaces: Vec<NamespaceView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filtered_namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_since: Option<Shown>,
    config: Config<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    default_credits_per_call: i64,
    global_rate_limit_per_min: i64,
    tool_pricing: BTreeMap<&'a str, ToolPricing>,
    refund_on_failure: bool,
    webhook_url: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolPricing {
    #[serde(skip_serializing_if = "Option::is_none")]
    credits_per_call: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_per_min: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits_per_kb_input: Option<Box<RawValue>>,
}

pub(in crate::admin) async fn show(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let asked = Query::of(&call.uri)?.namespace()?;
    // What is seen at all, and what of it is asked for.
    let seen = call.actor.namespace.clone();
    let asked = call.actor.scope(asked)?;
    admin.roll_up().await?;
    let keys = admin.store.keys(asked.as_deref()).await?;
    let sums = admin.store.tenant_sums(call.now).await?;
    let usage = admin.store.usage(asked.as_deref()).await?;
    let event_count = admin.store.ended_calls(seen.as_deref()).await?;
    let complete_since = admin.complete_since(asked.as_deref(), None).await?;
    in_background(move || {
        let moment = Moment::new(admin.store.as_ref(), call.now);
        let by_id = keys.iter().map(|(key, _)| (key.id.as_str(), &**key)).collect();
        let tenants = admin.store.namespaces();
        let namespaces = namespaces::views(sums, &tenants, seen.as_deref());
        let (options, terms) = (&admin.options, admin.options.terms.load());
        Answer::pretty(&Status {
            name: &options.name,
            shadow_mode: terms.policy.shadow,
            active_keys: namespaces.iter().map(NamespaceView::active_keys).sum(),
            keys: keys.iter().map(|(key, account)| KeyView::of(key, account, &moment)).collect(),
            usage: Summary::of(&usage, &by_id),
            event_count,
            namespaces,
            filtered_namespace: asked.as_deref(),
            complete_since,
            config: config(&terms, options.webhooks.is_on()),
        })
    })
    .await
}

fn config(terms: &Terms, has_webhooks: bool) -> Config<'_> {
    let policy = &terms.policy;
    Config {
        default_credits_per_call: policy.default_price,
        global_rate_limit_per_min: policy.key_rate,
        tool_pricing: policy.tools.iter().map(|(tool, of)| (tool.as_str(), pricing(of))).collect(),
        refund_on_failure: terms.refund_on_failure,
        webhook_url: has_webhooks.then_some("***"),
    }
}

fn pricing(tool: &ToolPolicy) -> ToolPricing {
    let milli = tool.milli_credits_per_kb;
    ToolPricing {
        credits_per_call: tool.price,
        rate_limit_per_min: (tool.rate > 0).then_some(tool.rate),
        credits_per_kb_input: (milli > 0)
            .then(|| RawValue::from_string(thousandths(milli)).ok())
            .flatten(),
    }
}

/// A number of thousandths as a decimal, without a float in between.
fn thousandths(value: i64) -> String {
    let (whole, rest) = (value.div_euclid(1000), value.rem_euclid(1000));
    let text = format!("{whole}.{rest:03}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_as_decimals() {
        for (value, text) in
            [(1000, "1"), (1500, "1.5"), (5, "0.005"), (10_000, "10"), (1, "0.001")]
        {
            assert_eq!(thousandths(value), text);
        }
    }
}
